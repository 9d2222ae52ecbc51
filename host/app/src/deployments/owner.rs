//! Whose a directory of the shared state is. Two jobs may run one module, with different positions, inputs and outputs:
//! neither may be rolled back to what the other ran.

use std::fs;
use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use super::Deployments;
use crate::bounded_file::{self, SMALL_MAX_BYTES};
use crate::task_files::replace;

/// Between a job's name and its id, of which neither may contain it.
const SEPARATOR: char = '+';

/// What tells jobs apart that run one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `job.name`.
    pub name: String,
    /// `job.id`.
    pub id: String,
}

impl Deployments {
    /// Who claimed the directory; `None` if no job did.
    pub(super) fn owner(&self) -> io::Result<Option<Identity>> {
        let path = self.directory.join("job.json");
        match bounded_file::read(&path, SMALL_MAX_BYTES) {
            Ok(content) => serde_json::from_slice(&content.bytes).map(Some).map_err(|error| {
                let text = format!("{} is damaged: {error}; remove it", path.display());
                io::Error::new(ErrorKind::InvalidData, text)
            }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
        }
    }

    /// Makes the directory the job's, if it is of a module's first job and nobody's.
    pub(super) fn claim(&self) -> io::Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let path = self.directory.join("job.json");
        if fs::exists(&path)? {
            return Ok(());
        }
        // Whoever is first: a link is not made over another file.
        let ours = self.directory.join(format!(".{}.json", uuid::Uuid::new_v4().simple()));
        let claimed = replace(&self.directory, &ours, &serde_json::to_vec(owner)?).and_then(|()| {
            match fs::hard_link(&ours, &path) {
                // A file system without links.
                Err(error) if error.kind() != ErrorKind::AlreadyExists => fs::rename(&ours, &path),
                _ => Ok(()),
            }
        });
        // After a rename it is gone.
        drop(fs::remove_file(&ours));
        match claimed.map_err(|error| error.kind()) {
            // What may not be written may be read: as before there were owners, it is everybody's.
            Err(ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) | Ok(()) => Ok(()),
            Err(kind) => Err(io::Error::new(kind, format!("failed to write {}", path.display()))),
        }
    }

    /// The directory of another job than the one that this belongs to.
    pub(super) fn of_another(&self, job: &Identity) -> Self {
        let directory = self.directory.join("jobs").join(format!("{}{SEPARATOR}{}", job.name, job.id));
        Self { state: self.state.clone(), directory, owner: None, held: std::sync::Arc::default() }
    }

    /// The other jobs that have a directory.
    pub(super) fn others(&self) -> io::Result<Vec<Identity>> {
        let entries = match fs::read_dir(self.directory.join("jobs")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut others = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some((name, id)) = name.to_str().and_then(|name| name.split_once(SEPARATOR)) {
                others.push(Identity { name: name.to_owned(), id: id.to_owned() });
            }
        }
        others.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(others)
    }
}
