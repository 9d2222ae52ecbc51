//! The directories that belong to a host, and whether a job's grants overlap with them. The runtime does the comparison,
//! and repeats it whenever a directory is opened for a task.

use std::path::Path;

use shardmill_core::config::Job;
use shardmill_core::own_files::Overlap;
use shardmill_runtime::own_files::{self, Claim, Role};

use crate::{admin, outputs};

/// Reserves a host's directories until the claims are dropped.
///
/// # Errors
/// When a task of this process has been granted one of them.
pub(crate) fn keep(tasks: &Path, state: &Path, module_cache: &Path) -> Result<Vec<Claim>, Overlap> {
    let mut places = vec![
        (Role::Tasks, tasks.to_owned()),
        (Role::State, state.to_owned()),
        (Role::ModuleCache, module_cache.to_owned()),
    ];
    places.extend(admin::directories().into_iter().map(|path| (Role::ControlSockets, path)));
    places.iter().map(|(role, path)| own_files::keep(role.clone(), path)).collect()
}

/// Checks that no granted directory of a job overlaps with the host's own files or the job's outputs, as far as that is
/// known before the job starts.
///
/// # Errors
/// The first directory that overlaps, and why, in words for people.
pub fn check_grants(job: &Job) -> Result<(), String> {
    let planned: Vec<_> = outputs::places(job).collect();
    for directory in &job.grants.directories {
        own_files::check(&directory.host, &planned).map_err(|reason| format!("{reason} (task.grant.dir)"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
