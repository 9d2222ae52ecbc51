//! The host's log, on standard error: its filter, its colours, and the escaping of invisible characters in every text that
//! comes from outside. Standard output is for results.

use std::fmt;
use std::io::IsTerminal;

use shardmill_core::text;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

use crate::cli::Color;

/// Starts the log.
pub(crate) fn init(verbose: u8, color: Color) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    // The SDK and HTTP are verbose below `warn`. The local DynamoDB warns of every failed condition, and the search for
    // region and credentials of every place without any: the host logs what was found.
    let default = format!("warn,shardmill={level},task={level},aws_config=error");
    #[cfg(feature = "local")]
    let default = format!("{default},{}", shardmill_local::DYNAMODB_LOG_DIRECTIVE);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color.is_for(std::io::stderr().is_terminal()))
        .fmt_fields(GuardedFields::default())
        .init();
}

/// Writes messages and fields as `tracing` does, but escapes invisible characters. Newlines are kept, because reasons have
/// several lines; no continuation line looks like the beginning of a log line.
#[derive(Debug, Default)]
struct GuardedFields(DefaultFields);

impl<'writer> FormatFields<'writer> for GuardedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut written = String::new();
        self.0.format_fields(Writer::new(&mut written), fields)?;
        writer.write_str(&text::entry(&written))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(kept.clone())
            .with_ansi(ansi)
            .without_time()
            .fmt_fields(GuardedFields::default())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGED: &str = "a\u{1b}[2J\u{7}\u{202e}\u{2028}\n2026-01-01T00:00:00Z ERROR shardmill: b\u{9b}31m";

    #[test]
    fn no_hidden_character_gets_into_the_log_in_a_message_a_field_or_a_span() {
        let log = logged(false, || {
            let span = tracing::info_span!("job", name = FORGED, later = tracing::field::Empty);
            span.record("later", tracing::field::display(FORGED));
            let _entered = span.enter();
            tracing::info!(field = FORGED, shown = %FORGED, debugged = ?FORGED, "{FORGED}");
        });
        assert!(!log.chars().any(|it| text::is_hidden(it) && it != '\n'), "{log:?}");
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines[1..].iter().all(|line| line.starts_with("  ")), "{log}");
        assert!(log.contains(r"a\u{1b}[2J\u{7}\u{202e}\u{2028}"), "{log}");
    }

    #[test]
    fn colours_are_the_hosts_own() {
        let log = logged(true, || tracing::warn!(field = FORGED, "{FORGED}"));
        assert!(log.contains("\u{1b}[33m WARN\u{1b}[0m"), "{log:?}");
        assert!(!log.contains("\u{1b}[2J") && !log.contains('\u{9b}'), "{log:?}");
    }
}
