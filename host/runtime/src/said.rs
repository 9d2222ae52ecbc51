//! What a task says, made fit for the host's log and for terminals: a task is not trusted, so its text must neither pass
//! for a line of the host nor steer the terminal that shows it. Knows nothing of where it goes.

use std::borrow::Cow;

/// Bytes of a reason that are kept: a stack trace of any language fits.
pub(crate) const REASON_MAX_BYTES: usize = 8 << 10;

/// The text with its control characters spelt out. Lines after the first are indented, so that none of them begins as
/// the host's lines do.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches('\n');
    if !text.contains(is_spelt_out) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\n  "),
            hidden if is_spelt_out(hidden) => shown.extend(hidden.escape_default()),
            plain => shown.push(plain),
        }
    }
    Cow::Owned(shown)
}

/// A reason of foreign text, its control characters spelt out, and cut to 8 KiB: it goes into several lines of the log.
#[must_use]
pub fn reason(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(REASON_MAX_BYTES)];
    let mut reason = shown(kept).into_owned();
    if kept.len() < text.len() {
        reason.push_str(&format!("... ({} bytes more)", text.len() - kept.len()));
    }
    reason
}

/// A text of several lines that was put together of shown ones, cut to the length of a reason.
pub(crate) fn cut(mut text: String) -> String {
    let kept = text.floor_char_boundary(REASON_MAX_BYTES);
    let more = text.len() - kept;
    if more > 0 {
        text.truncate(kept);
        text.push_str(&format!("... ({more} bytes more)"));
    }
    text
}

/// One line of a foreign text with at most so many bytes of it, its control characters spelt out. To show it twice
/// changes nothing.
pub(crate) fn line(text: &str, max_bytes: usize) -> String {
    let mut line = String::new();
    for (at, character) in text.char_indices() {
        if line.len() >= max_bytes {
            line.push_str(&format!("... ({} bytes more)", text.len() - at));
            break;
        }
        match character {
            hidden if hidden.is_control() => line.extend(hidden.escape_default()),
            plain => line.push(plain),
        }
    }
    line
}

fn is_spelt_out(character: char) -> bool {
    character.is_control() && character != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_pass_for_a_line_of_the_host_nor_steer_a_terminal() {
        let forged = "done\n2026-01-01T00:00:00Z ERROR shardmill::host: \u{1b}[2Jgone\r\u{9b}31m\u{7}";
        assert_eq!(
            shown(forged),
            "done\n  2026-01-01T00:00:00Z ERROR shardmill::host: \\u{1b}[2Jgone\\r\\u{9b}31m\\u{7}"
        );
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        for text in ["", "an amount", "tab\tand Umlaut: ü, 名前"] {
            assert!(matches!(shown(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(shown("a line\n"), "a line");
    }

    #[test]
    fn a_long_reason_is_cut_where_a_character_ends() {
        let long = "ü".repeat(REASON_MAX_BYTES);
        let cut = reason(&long);
        assert!(cut.starts_with("üü") && cut.ends_with(&format!("ü... ({REASON_MAX_BYTES} bytes more)")), "{cut}");
        assert_eq!(reason("short"), "short");
    }

    #[test]
    fn a_line_stays_one_line_and_short() {
        assert_eq!(line("a\n2026 ERROR \u{1b}[2J", 100), "a\\n2026 ERROR \\u{1b}[2J");
        let long = line(&"\u{7}ü".repeat(100_000), 100);
        assert!(long.len() < 150 && long.ends_with(" bytes more)"), "{long}");
        assert_eq!(line(&line("a\nb", 9), 9), line("a\nb", 9));
    }
}
