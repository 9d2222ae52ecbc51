//! What happened, in words; kept only when a history is played again to show why it failed.

use shardmill_core::time::Millis;

/// The last lines tell why, most of the time.
const TAIL: usize = 80;
const LINE_MAX: usize = 300;

#[derive(Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
    pub(crate) started: Millis,
}

impl Trace {
    pub(crate) fn kept() -> Self {
        Self { lines: Some(Vec::new()), started: 0 }
    }

    pub(crate) fn say(&mut self, now: Millis, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        let since = now.saturating_sub(self.started);
        let mut line = format!("{:4}.{:03} {}", since / 1_000, since % 1_000, line());
        if let Some((end, _)) = line.char_indices().nth(LINE_MAX) {
            line.truncate(end);
        }
        lines.push(line);
    }

    pub(crate) fn tail(&self) -> String {
        let lines = self.lines.as_deref().unwrap_or_default();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    pub(crate) fn whole(&self) -> String {
        self.lines.as_deref().unwrap_or_default().join("\n")
    }
}
