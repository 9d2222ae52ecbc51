//! The messages of tasks: the flat buffer that a call fills, and the table of streams that a send may name. Owns the
//! atomicity of the buffer (marks); knows nothing of the delivery.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use shardmill_core::text;

/// Streams that one job may send to in its lifetime. Protects against names generated per record.
const MAX_STREAMS: usize = 10_000;
/// Bytes of `system.stream`. Kinesis allows 128 for a stream.
const MAX_NAME_BYTES: usize = 1024;
/// How many bytes of a name an error message repeats.
const SHOWN_NAME_MAX_BYTES: usize = 200;

/// Messages that calls have sent, in order, waiting for delivery.
///
/// The buffer is reused for each batch: clear it, pass it to [`Instance::process`](crate::Instance::process), drain it.
#[derive(Debug, Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    output: u32,
    /// Where key and message begin; the key comes first.
    start: usize,
    key: Option<usize>,
    message: usize,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Index for [`OutputStreams::get`].
    pub output: u32,
    pub key: Option<&'a str>,
    pub message: &'a [u8],
}

/// A state of [`Outputs`] to which it can be rolled back.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    bytes: usize,
    messages: usize,
}

impl Outputs {
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Key and message bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        self.messages.iter().map(|message| {
            let body = message.start + message.key.unwrap_or(0);
            let key = message
                .key
                .map(|_| std::str::from_utf8(&self.bytes[message.start..body]).expect("keys are pushed as text"));
            Outgoing { output: message.output, key, message: &self.bytes[body..body + message.message] }
        })
    }

    /// Drops the messages and keeps the allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
    }

    pub(crate) fn push(&mut self, output: u32, key: Option<&str>, message: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key.unwrap_or_default().as_bytes());
        self.bytes.extend_from_slice(message);
        self.messages.push(Message { output, start, key: key.map(str::len), message: message.len() });
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), messages: self.messages.len() }
    }

    pub(crate) fn since(&self, mark: Mark) -> Mark {
        Mark { bytes: self.bytes.len() - mark.bytes, messages: self.messages.len() - mark.messages }
    }

    pub(crate) fn take_back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.messages.truncate(mark.messages);
    }
}

impl Mark {
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    pub(crate) fn messages(self) -> usize {
        self.messages
    }
}

/// A stream that a task may send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputStream {
    pub system: String,
    pub stream: String,
}

/// The output streams of a job: its systems, and the streams that its tasks have named so far.
///
/// Shared by all instances of a job and the delivery, so that an index means the same stream to all of them, across traps
/// and new instances. It only grows.
#[derive(Debug)]
pub struct OutputStreams {
    systems: Vec<String>,
    streams: RwLock<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    by_index: Vec<Arc<OutputStream>>,
    by_name: HashMap<String, u32>,
}

/// Why a name is not a valid output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    Unknown,
    Full,
}

impl OutputStreams {
    /// A table that allows any stream of these systems.
    pub fn new(systems: impl IntoIterator<Item = String>) -> Self {
        Self { systems: systems.into_iter().collect(), streams: RwLock::default() }
    }

    /// A table with the same systems and no streams, for a task whose messages are discarded.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.systems.iter().cloned())
    }

    /// The stream with this index.
    #[must_use]
    pub fn get(&self, output: u32) -> Option<Arc<OutputStream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).by_index.get(output as usize).cloned()
    }

    /// The index of `system.stream`. The first dot ends the system's name, as in Samza.
    pub(crate) fn resolve(&self, name: &str) -> Result<u32, Unresolved> {
        if let Some(&index) = self.streams.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name) {
            return Ok(index);
        }
        let (system, stream) = name.split_once('.').ok_or(Unresolved::Unknown)?;
        let known = self.systems.iter().any(|known| known == system);
        if !known || stream.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Unresolved::Unknown);
        }
        self.streams.write().unwrap_or_else(PoisonError::into_inner).add(name, system, stream)
    }
}

impl OutputStreams {
    /// Why a name is unknown and which outputs exist, for the author of the configuration.
    pub(crate) fn explain_unknown(&self, name: &str) -> String {
        let shown = text::line(name, SHOWN_NAME_MAX_BYTES);
        let systems = match self.systems.as_slice() {
            [] => "no output systems".to_owned(),
            systems => format!("these: {}", systems.join(", ")),
        };
        match name.split_once('.').filter(|(system, stream)| !system.is_empty() && !stream.is_empty()) {
            Some((system, _)) if !self.systems.iter().any(|known| known == system) => {
                let system = text::line(system, SHOWN_NAME_MAX_BYTES);
                format!(
                    "it requested the output `{shown}`, but the job has no system `{system}`, only {systems}; \
                     systems.{system}.samza.factory makes one"
                )
            }
            Some(_) => format!("it requested the output `{shown}`, whose name is longer than {MAX_NAME_BYTES} bytes"),
            None => format!("it requested the output `{shown}`, which is not SYSTEM.STREAM; the job has {systems}"),
        }
    }
}

impl Streams {
    fn add(&mut self, name: &str, system: &str, stream: &str) -> Result<u32, Unresolved> {
        // Another instance may have added it first.
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        if self.by_index.len() >= MAX_STREAMS {
            return Err(Unresolved::Full);
        }
        let index = u32::try_from(self.by_index.len()).expect("MAX_STREAMS is far below");
        self.by_index.push(Arc::new(OutputStream { system: system.to_owned(), stream: stream.to_owned() }));
        self.by_name.insert(name.to_owned(), index);
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_back_keeps_earlier_messages() {
        let mut outputs = Outputs::default();
        outputs.push(0, Some("k"), b"kept");
        let mark = outputs.mark();
        outputs.push(1, None, b"dropped");
        assert_eq!((outputs.since(mark).messages(), outputs.since(mark).bytes()), (1, 7));
        outputs.take_back_to(mark);
        let kept: Vec<_> = outputs.iter().collect();
        assert_eq!(kept, [Outgoing { output: 0, key: Some("k"), message: b"kept" }]);
        assert_eq!(outputs.bytes(), 5);
    }

    #[test]
    fn an_empty_key_is_not_an_absent_key() {
        let mut outputs = Outputs::default();
        outputs.push(0, Some(""), b"a");
        outputs.push(0, None, b"");
        let keys: Vec<_> = outputs.iter().map(|out| (out.key, out.message)).collect();
        assert_eq!(keys, [(Some(""), &b"a"[..]), (None, &b""[..])]);
    }

    #[test]
    fn the_first_dot_ends_the_system_and_indexes_are_stable() {
        let streams = OutputStreams::new(["console".to_owned(), "file".to_owned()]);
        assert_eq!(streams.resolve("console.word.counts"), Ok(0));
        assert_eq!(streams.resolve("file.a"), Ok(1));
        assert_eq!(streams.resolve("console.word.counts"), Ok(0));
        assert_eq!(streams.get(0).unwrap().stream, "word.counts");
        for unknown in ["console", "console.", "kafka.a", ".a", ""] {
            assert_eq!(streams.resolve(unknown), Err(Unresolved::Unknown), "{unknown}");
        }
    }

    #[test]
    fn the_error_of_an_unknown_output_lists_the_existing_ones() {
        let streams = OutputStreams::new(["out".to_owned(), "file".to_owned()]);
        assert_eq!(
            streams.explain_unknown("console.big-orders"),
            "it requested the output `console.big-orders`, but the job has no system `console`, only these: out, file; \
             systems.console.samza.factory makes one"
        );
        assert!(
            streams.explain_unknown("out").contains("`out`, which is not SYSTEM.STREAM; the job has these: out, file")
        );
        let forged = format!("\u{1b}[2J{}.x", "ü".repeat(MAX_NAME_BYTES));
        let text = OutputStreams::new([]).explain_unknown(&forged);
        assert!(text.contains(r"`\u{1b}[2Jü") && text.contains("no output systems") && text.len() < 800, "{text}");
    }

    #[test]
    fn the_number_of_streams_is_bounded() {
        let streams = OutputStreams::new(["s".to_owned()]);
        for i in 0..MAX_STREAMS {
            assert!(streams.resolve(&format!("s.{i}")).is_ok());
        }
        assert_eq!(streams.resolve("s.more"), Err(Unresolved::Full));
        assert_eq!(streams.resolve("s.7"), Ok(7));
    }
}
