//! The bytes of versions: kept by their content, read only if they are what their name says, held open while they run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use shardmill_core::module::ModuleId;
use shardmill_core::rollout::Deployment;
use shardmill_runtime::module_id;

use super::Deployments;
use crate::bounded_file::{self, MODULE_MAX_BYTES};
use crate::task_files::replace;

/// Versions whose bytes are kept for each job, besides those that the deployment names.
const VERSIONS_KEPT: usize = 3;

/// A version whose bytes are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub module: ModuleId,
    pub bytes: u64,
    /// When it was first seen.
    pub since: SystemTime,
}

impl Deployments {
    /// Keeps the bytes of a version; nothing is written if they are there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, wasm: &[u8]) -> io::Result<ModuleId> {
        let module = module_id(wasm);
        let path = self.module_file(module);
        // A file that is cut short is replaced.
        let is_there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == wasm.len() as u64);
        if !is_there {
            self.make()?;
            replace(&self.modules(), &path, wasm)?;
        }
        self.hold(module);
        Ok(module)
    }

    /// The bytes of a version; `None` when they are not here.
    ///
    /// # Errors
    /// When they cannot be read, or are not what their name says.
    pub fn module(&self, module: ModuleId) -> io::Result<Option<Vec<u8>>> {
        let path = self.module_file(module);
        match bounded_file::read(&path, MODULE_MAX_BYTES) {
            Ok(content) if module_id(&content.bytes) == module => {
                self.hold(module);
                Ok(Some(content.bytes))
            }
            Ok(_) => Err(io::Error::new(ErrorKind::InvalidData, format!("{} is damaged; remove it", path.display()))),
            Err(error) if error.is_not_found() => Ok(self.held(module)),
            Err(error) => Err(error.into()),
        }
    }

    /// The versions that are here, the newest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn versions(&self) -> io::Result<Vec<Version>> {
        let mut versions = Vec::new();
        for entry in fs::read_dir(self.modules())? {
            let entry = entry?;
            let name = entry.file_name();
            let module =
                name.to_str().and_then(|name| name.strip_suffix(".wasm")).and_then(|digits| digits.parse().ok());
            let Some(module) = module else { continue };
            // Another host may remove one at any time.
            let Ok(metadata) = entry.metadata() else { continue };
            let since = metadata.modified()?;
            versions.push(Version { module, bytes: metadata.len(), since });
        }
        versions.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.module.cmp(&b.module)));
        Ok(versions)
    }

    pub(super) fn prune(&self, deployment: &Deployment) -> io::Result<()> {
        let named = |version: &Version| deployment.modules().any(|module| module == version.module);
        let unnamed = self.versions()?.into_iter().filter(|version| !named(version));
        for old in unnamed.skip(VERSIONS_KEPT) {
            match fs::remove_file(self.module_file(old.module)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps the bytes of a deployment's versions again, as far as they are at hand.
    pub(super) fn keep_held(&self, deployment: &Deployment) -> io::Result<()> {
        for module in deployment.modules() {
            let path = self.module_file(module);
            if !fs::exists(&path)?
                && let Some(wasm) = self.held(module)
            {
                replace(&self.modules(), &path, &wasm)?;
                self.hold(module);
            }
        }
        Ok(())
    }

    /// Lets go of versions that the deployment does not name.
    pub(super) fn hold_only(&self, deployment: &Deployment) {
        if let Ok(mut held) = self.held.lock() {
            held.retain(|module, _| deployment.modules().any(|named| named == *module));
        }
    }

    /// Holds the file of a version open: its bytes stay at hand when it is removed, and cost no memory.
    fn hold(&self, module: ModuleId) {
        if let (Ok((file, _)), Ok(mut held)) = (bounded_file::open(&self.module_file(module)), self.held.lock()) {
            held.insert(module, file);
        }
    }

    fn held(&self, module: ModuleId) -> Option<Vec<u8>> {
        let mut held = self.held.lock().ok()?;
        let wasm = read_again(held.get_mut(&module)?).ok()?;
        (module_id(&wasm) == module).then_some(wasm)
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.directory.join("modules")
    }

    fn module_file(&self, module: ModuleId) -> PathBuf {
        self.modules().join(format!("{module}.wasm"))
    }
}

fn read_again(file: &mut File) -> Result<Vec<u8>, bounded_file::Error> {
    file.seek(SeekFrom::Start(0))?;
    let metadata = file.metadata()?;
    Ok(bounded_file::read_opened(file, &metadata, MODULE_MAX_BYTES)?.bytes)
}
