//! JSON lines on standard output.

use std::io::{self, Stdout};

use super::OutputSystem;
use super::lines::Lines;

pub(super) struct Console(Lines<Stdout>);

impl Console {
    pub(super) fn open() -> Self {
        Self(Lines::to(io::stdout()))
    }
}

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
