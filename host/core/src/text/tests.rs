//! Over all of Unicode, and over texts made of what is awkward in it.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn all_characters() -> impl Iterator<Item = char> {
    (0..=u32::from(char::MAX)).filter_map(char::from_u32)
}

/// What the issue, Unicode's reports on security (UTR 36) and terminals name.
fn is_dangerous(character: char) -> bool {
    let bidirectional =
        matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let line = matches!(character, '\u{2028}' | '\u{2029}' | '\u{85}');
    let invisible = matches!(
        character,
        '\u{200b}'
            ..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}' | '\u{fe0f}' | '\u{e0001}' | '\u{e0100}' | '\u{3164}'
    );
    character.is_control() || bidirectional || line || invisible
}

#[test]
fn no_character_of_unicode_gets_through_that_is_not_seen_as_itself() {
    for character in all_characters() {
        let text = format!("a{character}b");
        let shown = shown(&text);
        let stays = shown == text;
        assert_eq!(stays, !is_hidden(character), "{:?}", character.escape_unicode());
        assert!(!(stays && is_dangerous(character)), "{:?}", character.escape_unicode());
        // Letters, digits and the space of every language stay.
        assert!(stays || !character.is_alphanumeric() || is_filler(character), "{:?}", character.escape_unicode());
        assert!(!shown.chars().any(is_hidden), "{shown:?}");
    }
}

/// Letters by name, which are made not to be seen.
fn is_filler(character: char) -> bool {
    matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

#[test]
fn the_table_is_in_order() {
    assert!(HIDDEN.iter().all(|(first, last)| first <= last) && HIDDEN.is_sorted_by(|a, b| a.1 < b.0));
}

#[test]
fn a_name_stays_on_its_line() {
    let forged = "a\nERROR b\r\tc\u{1b}[2J\u{7}\u{9b}31m\u{202e}txt.wasm\u{2028}\u{e0041}";
    assert_eq!(shown(forged), r"a\nERROR b\r\tc\u{1b}[2J\u{7}\u{9b}31m\u{202e}txt.wasm\u{2028}\u{e0041}");
    assert_eq!(path(Path::new("x\u{7}.wasm")), r"x\u{7}.wasm");
}

#[test]
fn a_text_of_several_lines_cannot_pass_for_a_line_of_the_host_nor_steer_a_terminal() {
    let forged = "done\n2026-01-01T00:00:00Z ERROR shardmill::host: \u{1b}[2Jgone\r\u{9b}31m\u{7}\n";
    assert_eq!(
        shown_lines(forged),
        "done\n  2026-01-01T00:00:00Z ERROR shardmill::host: \\u{1b}[2Jgone\\r\\u{9b}31m\\u{7}"
    );
}

#[test]
fn what_is_harmless_stays_as_it_is() {
    for text in ["", "an amount", "Umlaut: ü, e\u{301}, 名前\u{3000}, नमस्ते, עברית, ✓ 🎉"] {
        for fit in [shown(text), shown_lines(text), guarded(text), json(text)] {
            assert!(matches!(fit, Cow::Borrowed(same) if same == text), "{text}");
        }
    }
    assert_eq!(shown_lines("a line\twith a tab\n"), "a line\twith a tab");
    assert!(matches!(guarded("our\nlines\t\n"), Cow::Borrowed("our\nlines\t\n")));
}

#[test]
fn a_long_reason_is_cut_where_a_character_ends() {
    let long = "ü".repeat(REASON_MAX_BYTES);
    let cut = reason(&long);
    assert!(cut.starts_with("üü") && cut.contains("ü... (") && cut.ends_with(" bytes more)"), "{cut}");
    assert_eq!(reason("short"), "short");
    let fits = "x".repeat(REASON_MAX_BYTES);
    assert_eq!(reason(&fits), fits);
}

#[test]
fn a_line_is_cut_and_to_show_it_twice_changes_nothing() {
    assert_eq!(line("a\nb\u{202e}", 100), r"a\nb\u{202e}");
    let cut = line(&"ü\n".repeat(1_000), 10);
    assert_eq!(cut, r"ü\nü\nü... (2992 bytes more)");
    assert_eq!(line(&cut, 100), cut);
}

proptest! {
    #[test]
    fn a_reason_has_its_bound_whatever_it_is_made_of(text in awkward(0..4_000)) {
        let reason = reason(&text);
        prop_assert!(reason.len() <= REASON_MAX_BYTES, "{} bytes", reason.len());
        prop_assert!(!reason.chars().any(|it| is_hidden(it) && it != '\n' && it != '\t'));
        prop_assert!(reason.split('\n').skip(1).all(|line| line.starts_with("  ")), "{reason}");
    }

    #[test]
    fn json_means_the_same_and_shows_what_it_holds(text in awkward(0..200)) {
        let raw = serde_json::to_string_pretty(&serde_json::json!({ (text.as_str()): [&text, 1] })).unwrap();
        let json = json(&raw);
        prop_assert!(!json.chars().any(|it| is_hidden(it) && it != '\n'), "{json}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        prop_assert_eq!(read(&json), read(&raw));
    }

    #[test]
    fn what_was_made_fit_passes_the_gates_as_it_is(text in awkward(0..200)) {
        for fit in [shown(&text), shown_lines(&text)] {
            prop_assert_eq!(guarded(&fit), fit.as_ref());
        }
        let shown = shown_lines(&text);
        prop_assert_eq!(entry(&shown), shown.as_ref());
        prop_assert!(entry(&text).split('\n').skip(1).all(|line| line.starts_with([' ', '\t'])));
        prop_assert!(!guarded(&text).chars().any(|it| is_hidden(it) && it != '\n' && it != '\t'));
    }
}

/// Texts of which every second character is hidden.
fn awkward(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let hidden: Vec<char> = all_characters().filter(|&it| is_hidden(it)).collect();
    let character = prop_oneof![proptest::sample::select(hidden), any::<char>(), Just('\n'), Just('\u{1b}')];
    proptest::collection::vec(character, length).prop_map(String::from_iter)
}
