//! One properties text to its lines, by Java's rules (escapes, continuation lines, no trailing comments). The format is
//! read by `java-properties`; what is added here is to go on after a bad line and to tell a pair from a line of prose.
//! It must not know any key.

use java_properties::{LineContent, PropertiesIter};

/// A line that is neither blank nor a comment. Numbers count from 1 and are those of the line's beginning.
pub(super) enum Line {
    Pair {
        number: usize,
        key: String,
        value: String,
    },
    /// No `=` or `:` and no key before the first blank: text, pasted with the settings around it.
    Prose {
        number: usize,
    },
    Malformed {
        number: usize,
    },
}

pub(super) fn lines(text: &str) -> Vec<Line> {
    // The crate drops a last line that ends in a backslash unless another line follows.
    let text = format!("{}\n", text.replace("\r\n", "\n").replace('\r', "\n"));
    let natural: Vec<&str> = text.split('\n').collect();
    let mut found = Vec::new();
    for line in PropertiesIter::new_with_encoding(text.as_bytes(), encoding_rs::UTF_8) {
        match line {
            Ok(line) => {
                let number = line.line_number();
                if let LineContent::KVPair(key, value) = line.consume_content() {
                    found.push(pair_or_prose(number, natural[number - 1], key, value));
                }
            }
            Err(error) => {
                let number = error.line_number().unwrap_or(1);
                // The crate unescapes comments as well, `# C:\users` is no mistake.
                if !natural[number - 1].trim_start().starts_with(['#', '!']) {
                    found.push(Line::Malformed { number });
                }
            }
        }
    }
    found
}

fn pair_or_prose(number: usize, natural: &str, key: String, value: String) -> Line {
    if has_separator(natural) || is_dotted(&key) { Line::Pair { number, key, value } } else { Line::Prose { number } }
}

/// Whether the key of the line ends at an `=` or `:` and not just at a blank.
fn has_separator(natural: &str) -> bool {
    let mut escaped = false;
    let mut key_ended = false;
    for c in natural.trim_start().chars() {
        match c {
            _ if escaped => escaped = false,
            '=' | ':' => return true,
            ' ' | '\t' | '\x0c' => key_ended = true,
            _ if key_ended => return false,
            '\\' => escaped = true,
            _ => {}
        }
    }
    false
}

fn is_dotted(key: &str) -> bool {
    key.contains('.') && key.split('.').all(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Line, lines};
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<String> {
        let show = |line| match line {
            Line::Pair { number, key, value } => format!("{number} {key} -> {value}"),
            Line::Prose { number } => format!("{number} prose"),
            Line::Malformed { number } => format!("{number} malformed"),
        };
        lines(text).into_iter().map(show).collect()
    }

    #[test]
    fn separators_and_blanks_as_java() {
        assert_eq!(
            read("a=1\nb:2\nc.d 3\n  e = 4 \nf==5"),
            ["1 a -> 1", "2 b -> 2", "3 c.d -> 3", "4 e -> 4 ", "5 f -> =5"]
        );
    }

    #[test]
    fn comments_stand_on_lines_of_their_own() {
        assert_eq!(read("# a=1\n! b=2\na=1 # one"), ["3 a -> 1 # one"]);
    }

    #[test]
    fn a_comment_may_hold_any_backslash() {
        assert_eq!(read("# C:\\users\na=1"), ["2 a -> 1"]);
    }

    #[test]
    fn continuation_lines_join_and_keep_the_first_number() {
        assert_eq!(read("a=1,\\\n   2,\\\n   # 3\nb=4"), ["1 a -> 1,2,# 3", "4 b -> 4"]);
        assert_eq!(read("a=1\\"), ["1 a -> 1"]);
    }

    #[test]
    fn escapes_in_keys_and_values() {
        assert_eq!(read("a\\=b=c\\u00e9\\t\\:d\\q"), ["1 a=b -> cé\t:dq"]);
    }

    #[test]
    fn a_bad_escape_is_told_and_the_rest_is_read() {
        assert_eq!(read("a=\\u12\nb=2"), ["1 malformed", "2 b -> 2"]);
    }

    #[test]
    fn texts_are_utf8_with_or_without_a_mark_and_any_line_end() {
        assert_eq!(read("\u{feff}a=ü\r\nb=2\rc=3"), ["1 a -> ü", "2 b -> 2", "3 c -> 3"]);
    }

    #[test]
    fn prose_is_not_a_pair() {
        assert_eq!(
            read("The tuple required\n```\ne.g. this\njob.name"),
            ["1 prose", "2 prose", "3 prose", "4 job.name -> "]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~\\\\\n\r=:#!\tü]{0,200}") {
            let count = text.split(['\n', '\r']).count();
            for line in lines(&text) {
                let (Line::Pair { number, .. } | Line::Prose { number } | Line::Malformed { number }) = line;
                prop_assert!((1..=count).contains(&number));
            }
        }

        #[test]
        fn what_java_writes_is_read_back(key in "[a-z]{1,5}\\.[ =:#a-z]{1,5}", value in "[!-~ü][ -~ü\\\\]{0,40}") {
            let escape = |text: &str| text.chars().map(|c| match c {
                '\\' | '=' | ':' | '#' | '!' | ' ' => format!("\\{c}"),
                c => c.to_string(),
            }).collect::<String>();
            let written = format!("{}={}\n", escape(&key), escape(&value));
            prop_assert_eq!(read(&written), [format!("1 {key} -> {value}")]);
        }
    }
}
