//! `log`: lines of the task's log. Linked by hand, so that a message over the limit is never copied.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use crate::bindings::shardmill::task::log::Level;
use crate::state::State;

const INTERFACE: &str = "shardmill:task/log@0.1.0";

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance(INTERFACE)?;
    instance.func_wrap("log", |cx: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)| {
        cx.data().journal.log(level.into(), &message.to_str(&cx)?);
        Ok(())
    })
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::TRACE,
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error => Self::ERROR,
        }
    }
}
