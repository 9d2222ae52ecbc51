//! Output systems: where the messages that tasks send go. Owns the line format and what "durable" means for each
//! system; knows nothing of tasks or positions.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Stdout, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use shardmill_core::config::Output;
use shardmill_core::text;
use shardmill_runtime::{OutputStreams, Outputs};

/// Bytes of a file's end that are searched for the last whole line: a message of 10 MiB in base64, and some.
const TAIL_MAX: u64 = 16 << 20;
/// Bytes of lines that wait to be written together.
const PENDING_MAX: usize = 8 << 10;

/// One output system. Called by the thread that runs the task, in the order of the sends.
trait OutputSystem: Send {
    /// Takes a message; it may stay in memory until [`OutputSystem::flush`].
    fn write(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()>;
    /// Hands on what can be seen early; nothing is promised.
    fn show(&mut self) -> io::Result<()>;
    /// Returns once everything taken is durable.
    fn flush(&mut self) -> io::Result<()>;
}

/// The output systems of a job, by name.
pub(crate) struct OutputSystems {
    systems: BTreeMap<String, Box<dyn OutputSystem>>,
    /// The first failed write: from then on nothing is taken, and the next flush tells.
    failed: Option<String>,
}

impl OutputSystems {
    /// Opens every output system of a job.
    ///
    /// # Errors
    /// When a file cannot be opened for appending.
    pub(crate) fn open(outputs: &BTreeMap<String, Output>) -> Result<Self> {
        let open = |(name, output): (&String, &Output)| -> Result<(String, Box<dyn OutputSystem>)> {
            let system: Box<dyn OutputSystem> = match output {
                Output::Console => Box::new(Console(Lines::to(io::stdout()))),
                Output::File { path } => Box::new(
                    AppendedFile::open(path)
                        .with_context(|| format!("failed to open output system {name}: {}", path.display()))?,
                ),
            };
            Ok((name.clone(), system))
        };
        Ok(Self { systems: outputs.iter().map(open).collect::<Result<_>>()?, failed: None })
    }

    /// Hands the messages of successful calls to their systems.
    pub(crate) fn write(&mut self, outputs: &Outputs, streams: &OutputStreams) {
        if self.failed.is_none()
            && let Err(error) = self.try_write(outputs, streams)
        {
            self.failed = Some(format!("{error:#}"));
        }
    }

    fn try_write(&mut self, outputs: &Outputs, streams: &OutputStreams) -> Result<()> {
        let mut current = None;
        for out in outputs.iter() {
            // Neighbours usually go to the same stream: the table is asked once per run of them.
            if current.as_ref().is_none_or(|(index, _)| *index != out.output) {
                let stream = streams.get(out.output).ok_or_else(|| anyhow!("no output stream {}", out.output))?;
                current = Some((out.output, stream));
            }
            let Some((_, stream)) = &current else { continue };
            let system = self.systems.get_mut(&stream.system);
            let system = system.ok_or_else(|| anyhow!("no output system {}", stream.system))?;
            system
                .write(&stream.stream, out.key, out.message)
                .with_context(|| format!("failed to write to {}.{}", stream.system, stream.stream))?;
        }
        for (name, system) in &mut self.systems {
            system.show().with_context(|| format!("failed to write to {name}"))?;
        }
        Ok(())
    }

    /// Whether the next flush will fail: there is no use in going on until then.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Nothing is taken any more; what was taken is handed on, without a promise.
    pub(crate) fn close(&mut self) {
        self.systems.clear();
    }

    /// Makes everything taken so far durable.
    ///
    /// # Errors
    /// The first write or flush that failed; the messages since the last flush may be lost then.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        for (name, system) in &mut self.systems {
            system.flush().map_err(|error| format!("failed to flush output system {name}: {error}"))?;
        }
        Ok(())
    }
}

/// A message as a line of JSON. Bytes that are not UTF-8 come as base64.
#[derive(Serialize)]
struct Line<'a> {
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
struct Lines<W: Write> {
    to: W,
    pending: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn to(to: W) -> Self {
        Self { to, pending: Vec::new() }
    }

    fn push(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
        write_line(&mut self.pending, stream, key, message)?;
        if self.pending.len() < PENDING_MAX { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
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

/// JSON lines on standard output.
struct Console(Lines<Stdout>);

impl OutputSystem for Console {
    fn write(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
        self.0.push(stream, key, message)
    }

    fn show(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// JSON lines appended to a file; durable means fsync.
struct AppendedFile(Lines<File>);

impl AppendedFile {
    /// Opens or creates the file and cuts a line that a crash left unfinished: it was not acknowledged, so its
    /// envelope is processed again.
    fn open(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let len = file.metadata()?.len();
        let tail = len.min(TAIL_MAX);
        file.seek(SeekFrom::Start(len - tail))?;
        let mut end = Vec::new();
        Read::by_ref(&mut file).take(tail).read_to_end(&mut end)?;
        let unfinished = end.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        if unfinished > 0 && (unfinished < tail || tail == len) {
            file.set_len(len - unfinished)?;
        }
        Ok(Self(Lines::to(file)))
    }
}

impl OutputSystem for AppendedFile {
    fn write(&mut self, stream: &str, key: Option<&str>, message: &[u8]) -> io::Result<()> {
        self.0.push(stream, key, message)
    }

    fn show(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.to.sync_data()
    }
}

#[cfg(test)]
mod tests {
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
    fn an_unfinished_line_of_a_crash_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        for (before, after) in [("", "new\n"), ("a\nb\nhal", "a\nb\nnew\n"), ("a\n", "a\nnew\n"), ("half", "new\n")] {
            let path = dir.path().join("out.jsonl");
            std::fs::write(&path, before).unwrap();
            let mut file = AppendedFile::open(&path).unwrap();
            file.0.pending.extend(b"new\n");
            file.flush().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:?}");
        }
    }

    /// A second job that opens the file must not take what is half written for what a crash left.
    #[test]
    fn a_file_that_jobs_share_holds_whole_lines_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut first = AppendedFile::open(&path).unwrap();
        for _ in 0..2_000 {
            first.write("counts", None, &[b'x'; 100]).unwrap();
            let so_far = std::fs::read(&path).unwrap();
            assert!(so_far.is_empty() || so_far.ends_with(b"\n"), "half a line after {} bytes", so_far.len());
        }
        let mut second = AppendedFile::open(&path).unwrap();
        second.write("counts", None, b"of the second").unwrap();
        drop((first, second));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2_001);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}
