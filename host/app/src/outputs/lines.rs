//! A message as a line of JSON, and lines that are written whole.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use shardmill_core::text;

/// Bytes of lines that wait to be written together.
const PENDING_MAX: usize = 8 << 10;

/// A message. Bytes that are not UTF-8 come as base64.
#[derive(Serialize)]
struct Line<'a> {
    // First: a file is known by how its lines begin.
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_base64: Option<String>,
}

/// Lines that are written whole, many at a time: the jobs of a host may share standard output or a file, and none may
/// write into another's line. What was taken is handed on when this is dropped.
pub(super) struct Lines<W: Write> {
    to: W,
    pending: Vec<u8>,
}

impl<W: Write> Lines<W> {
    pub(super) fn to(to: W) -> Self {
        Self { to, pending: Vec::new() }
    }

    pub(super) fn inner(&self) -> &W {
        &self.to
    }

    pub(super) fn push(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
        write_line(&mut self.pending, stream, key, message)?;
        if self.pending.len() < PENDING_MAX { Ok(()) } else { self.flush() }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let written = self.to.write_all(&self.pending);
            // Not even after a failure: nobody knows how much of it is there.
            self.pending.clear();
            written?;
        }
        self.to.flush()
    }
}

impl<W: Write> Drop for Lines<W> {
    fn drop(&mut self) {
        // Whoever needs to know has called `flush`.
        drop(self.flush());
    }
}

fn write_line(to: &mut impl Write, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
    let text = std::str::from_utf8(message).ok();
    let message_base64 = text.is_none().then(|| STANDARD.encode(message));
    let line = Line { stream, key, message: text, message_base64 };
    line.serialize(&mut serde_json::Serializer::with_formatter(&mut *to, Shown))?;
    to.write_all(b"\n")
}

/// JSON that may be looked at: what would steer a terminal is an escape in it, and means the same.
struct Shown;

impl serde_json::ser::Formatter for Shown {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        to.write_all(text::json(fragment).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use shardmill_core::appending::LINE_BEGINS;

    use super::*;

    fn line(key: Option<&str>, message: &[u8]) -> String {
        let mut out = Vec::new();
        write_line(&mut out, "counts", key, message).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_text_and_bytes_are_base64() {
        assert_eq!(line(Some("a\"b"), b"x\ny"), "{\"stream\":\"counts\",\"key\":\"a\\\"b\",\"message\":\"x\\ny\"}\n");
        assert_eq!(line(None, b"\xff\x00"), "{\"stream\":\"counts\",\"message_base64\":\"/wA=\"}\n");
    }

    #[test]
    fn what_would_steer_a_terminal_is_an_escape_and_means_the_same() {
        let message = "\u{202e}\u{1b}[2J\u{2028}\u{9b}\u{e0041}ü名前";
        let line = line(Some("\u{7f}"), message.as_bytes());
        assert_eq!(
            line,
            "{\"stream\":\"counts\",\"key\":\"\\u007f\",\
             \"message\":\"\\u202e\\u001b[2J\\u2028\\u009b\\udb40\\udc41ü名前\"}\n"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["message"], message);
    }

    #[test]
    fn a_line_begins_as_the_rule_for_cutting_has_it() {
        assert!(line(None, b"x").as_bytes().starts_with(LINE_BEGINS));
    }
}
