//! `shardmill demo`: the whole path on this machine, from text to counted words.
use crate::cli::Demo;
use anyhow::Result;
pub(crate) fn demo(_args: &Demo) -> Result<()> {
    Ok(())
}
