//! Output systems: where the messages that tasks send go. Owns the line format and what "durable" means for each
//! system; knows nothing of tasks or positions.

mod console;
mod destination;
mod file;
mod lines;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use shardmill_core::config::{Job, Output};
use shardmill_runtime::own_files::{self, Claim, Role};
use shardmill_runtime::{OutputStreams, Outputs};

use console::Console;
use file::AppendedFile;

pub(crate) use record::Records;

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
    /// The directories of their files, which no task is granted meanwhile.
    claims: Vec<Claim>,
    /// The first failed write: from then on nothing is taken, and the next flush tells.
    failed: Option<String>,
}

impl OutputSystems {
    /// Opens every output system of a job. Blocking.
    ///
    /// # Errors
    /// When a file cannot be opened for appending, or lies where a task may write.
    pub(crate) fn open(job: &Job, records: &Records) -> Result<Self> {
        let mut this = Self { systems: BTreeMap::new(), claims: Vec::new(), failed: None };
        for (name, output) in &job.outputs {
            let system: Box<dyn OutputSystem> = match output {
                Output::Console => Box::new(Console::open()),
                Output::File { path, operators } => {
                    let failed = || format!("failed to open output system {name}: {}", path.display());
                    this.claims.extend(claim(job, name, path).with_context(failed)?);
                    Box::new(AppendedFile::open(path, operators, records).with_context(failed)?)
                }
            };
            this.systems.insert(name.clone(), system);
        }
        Ok(this)
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
        self.claims.clear();
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

/// The places of a job's outputs that are the host's own, and so are granted to no task.
pub(crate) fn places(job: &Job) -> impl Iterator<Item = (Role, PathBuf)> + '_ {
    job.outputs.iter().filter_map(|(system, output)| match output {
        Output::Console => None,
        Output::File { path, .. } => place(job, system, path),
    })
}

fn place(job: &Job, system: &str, path: &Path) -> Option<(Role, PathBuf)> {
    let path = std::path::absolute(path).ok()?;
    let role = Role::Output { job: job.name.clone(), system: system.to_owned() };
    Some((role, path.parent()?.to_owned()))
}

fn claim(job: &Job, system: &str, path: &Path) -> Result<Option<Claim>> {
    let Some((role, directory)) = place(job, system, path) else { return Ok(None) };
    Ok(Some(own_files::keep(role, &directory)?))
}
