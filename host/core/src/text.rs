//! Foreign text made fit for terminals and logs. Names of modules, files and streams, reasons of tasks, messages of
//! services and keys of records are written by people whom the operator need not trust: their text must neither pass for
//! a line of the host, nor steer a terminal, nor look like what it is not. What does any of that is spelt out, as
//! `\u{202e}`; everything else stays as it is, in every language.
//!
//! Foreign text is made fit where it enters: by [`shown`] if it is a name or a message of one line, by [`shown_lines`]
//! or [`reason`] if it may have several. Where text leaves for people, [`guarded`] holds what slipped through, and
//! [`json`] does so in what programs read.

use std::borrow::Cow;
use std::path::Path;

/// The most bytes of a [`reason`]: a stack trace of any language fits. Reasons are kept, and go into several lines of
/// the log.
pub const REASON_MAX_BYTES: usize = 8 << 10;
/// Room for the note that says how much was cut.
const NOTE_MAX_BYTES: usize = 40;

/// Characters that are not seen, or change how others are seen: Unicode's format characters (the bidirectional ones among
/// them), line and paragraph separators, what it says to ignore where it is not known, and what is no character. In order.
const HIDDEN: [(char, char); 26] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// A foreign text for one line: a name, a key, a value, a message. Newlines and tabs are spelt out, too.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    spelt_out(text, |_| None)
}

/// The same with at most so many bytes and a note of how much is missing; a text that fits stays whole.
#[must_use]
pub fn line(text: &str, max_bytes: usize) -> String {
    let mut line = String::new();
    for (at, character) in text.char_indices() {
        if line.len() >= max_bytes {
            line.push_str(&format!("... ({} bytes more)", text.len() - at));
            break;
        }
        match character {
            hidden if is_hidden(hidden) => line.extend(hidden.escape_default()),
            plain => line.push(plain),
        }
    }
    line
}

/// A file's name as [`shown`] shows it; what is not UTF-8 is replaced.
#[must_use]
pub fn path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// A foreign text that may have several lines, such as a stack trace. Lines after the first are indented, so that none of
/// them begins as the host's lines do; newlines at the end are left out.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    spelt_out(text.trim_end_matches('\n'), |character| match character {
        '\n' => Some("\n  "),
        '\t' => Some("\t"),
        _ => None,
    })
}

/// A foreign reason: as by [`shown_lines`], and cut to [`REASON_MAX_BYTES`] with a note of how much is missing. Takes no
/// longer for a longer text.
#[must_use]
pub fn reason(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(REASON_MAX_BYTES)];
    let shown = shown_lines(kept);
    if kept.len() == text.len() && shown.len() <= REASON_MAX_BYTES {
        return shown.into_owned();
    }
    // Spelt out, a character takes more room: then less of the text fits.
    let mut end = kept.len();
    let mut cut = shown;
    while cut.len() > REASON_MAX_BYTES - NOTE_MAX_BYTES {
        let surplus = cut.len() - (REASON_MAX_BYTES - NOTE_MAX_BYTES);
        end = text.floor_char_boundary(end - surplus.div_ceil(LONGEST_BYTES).min(end));
        cut = shown_lines(&text[..end]);
    }
    format!("{cut}... ({} bytes more)", text.len() - end)
}

/// A text of several lines that was put together of shown ones, cut to the length of a [`reason`].
#[must_use]
pub fn cut(mut text: String) -> String {
    let kept = text.floor_char_boundary(REASON_MAX_BYTES);
    let more = text.len() - kept;
    if more > 0 {
        text.truncate(kept);
        text.push_str(&format!("... ({more} bytes more)"));
    }
    text
}

/// How many bytes a byte can become: `\u{1b}` is spelt out by six.
const LONGEST_BYTES: usize = 6;

/// The last gate before people: a text of several lines that this program put together, of parts that were made fit
/// before. Its newlines and tabs stay.
#[must_use]
pub fn guarded(text: &str) -> Cow<'_, str> {
    spelt_out(text, |character| match character {
        '\n' => Some("\n"),
        '\t' => Some("\t"),
        _ => None,
    })
}

/// A text for one entry of a log or a list: as by [`guarded`], and lines after the first are indented, so that none of them
/// begins as an entry does.
#[must_use]
pub fn entry(text: &str) -> Cow<'_, str> {
    let guarded = guarded(text);
    let is_indented = |line: &str| line.starts_with([' ', '\t']);
    if guarded.split('\n').skip(1).all(is_indented) {
        return guarded;
    }
    let mut lines = guarded.split('\n');
    let mut entry = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        entry.push_str(if is_indented(line) { "\n" } else { "\n  " });
        entry.push_str(line);
    }
    Cow::Owned(entry)
}

/// The last gate before programs: JSON in which hidden characters of its strings are JSON's own escapes. Means the same.
#[must_use]
pub fn json(json: &str) -> Cow<'_, str> {
    // JSON itself has no control characters but these, and these only between its values.
    let is_escaped = |character: char| is_hidden(character) && !matches!(character, '\n' | '\r' | '\t');
    if is_plain(json) || !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_escaped(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character is not seen as itself: those of the table above, and every control character.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // A byte order mark that is read the wrong way round, and its like in every plane.
    let is_no_character = u32::from(character) & 0xfffe == 0xfffe;
    let after = HIDDEN.partition_point(|&(first, _)| first <= character);
    let is_listed = HIDDEN[..after].last().is_some_and(|&(_, last)| character <= last);
    character.is_control() || is_no_character || is_listed
}

/// Whether there is nothing to look for, for most text: letters and signs of ASCII.
fn is_plain(text: &str) -> bool {
    // Without an early end, which is faster: most is plain to its end.
    text.bytes().fold(true, |is_plain, byte| is_plain & (b' '..=b'~').contains(&byte))
}

/// The text with its hidden characters spelt out, but for those that `kept` has something else for.
fn spelt_out(text: &str, kept: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    let is_changed = |character: char| match kept(character) {
        Some(instead) => !instead.chars().eq([character]),
        None => is_hidden(character),
    };
    if is_plain(text) || !text.contains(is_changed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match kept(character) {
            Some(instead) => shown.push_str(instead),
            None if is_hidden(character) => shown.extend(character.escape_default()),
            None => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests;
