//! The host's memory budget, shared by all instances and compilers of a process. Owns the one lock around the accountant
//! (taken on growth, never for a call) and notifies a compiler that it has to exit. The rules are in
//! [`shardmill_core::memory_budget`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardmill_core::memory_budget::{AccountId, Holder, MemoryBudget, Short};
use tokio::sync::Notify;

/// A compiler's initial share, before its first measurement.
const COMPILER_BYTES: u64 = 64 << 20;

/// The budget of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HostMemory(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    budget: MemoryBudget,
    /// The compilers, to be notified when their memory is needed.
    compilers: BTreeMap<AccountId, Arc<Notify>>,
}

/// One instance's share of the budget; released when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: HostMemory,
    id: AccountId,
}

/// One compiler's share of the budget; released when it is dropped.
#[derive(Debug)]
pub struct CompilerShare {
    share: Share,
    evicted: Arc<Notify>,
}

impl Default for HostMemory {
    /// A budget without a limit.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl HostMemory {
    /// A budget of `max` bytes for all instances and compilers together.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { budget: MemoryBudget::new(limit), compilers: BTreeMap::new() })))
    }

    /// Bytes used by all of them together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().budget.used()
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.lock().budget.limit()
    }

    /// A share for an instance of a job that begins with so many bytes.
    pub(crate) fn instance(&self, job: &str, bytes: u64) -> Result<Share, Short> {
        let id = self.lock().reserve(Holder::Instance(job.to_owned()), bytes)?;
        Ok(Share { memory: self.clone(), id })
    }

    /// A share for a compiler that is about to start.
    ///
    /// # Errors
    /// When there is not enough memory now.
    pub fn compiler(&self) -> Result<CompilerShare, Short> {
        let mut inner = self.lock();
        let id = inner.reserve(Holder::Compiler, COMPILER_BYTES)?;
        let evicted = Arc::new(Notify::new());
        inner.compilers.insert(id, Arc::clone(&evicted));
        Ok(CompilerShare { share: Share { memory: self.clone(), id }, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn reserve(&mut self, holder: Holder, bytes: u64) -> Result<AccountId, Short> {
        let (id, evicted) = self.budget.reserve(holder, bytes)?;
        self.evict(&evicted);
        Ok(id)
    }

    fn grow(&mut self, id: AccountId, bytes: u64) -> Result<(), Short> {
        let evicted = self.budget.grow(id, bytes)?;
        self.evict(&evicted);
        Ok(())
    }

    fn evict(&mut self, compilers: &[AccountId]) {
        for compiler in compilers.iter().filter_map(|id| self.compilers.remove(id)) {
            compiler.notify_one();
        }
    }
}

impl Share {
    /// Grows the share.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), Short> {
        self.memory.lock().grow(self.id, bytes)
    }

    /// Shrinks the share.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.memory.lock().budget.shrink(self.id, bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut inner = self.memory.lock();
        inner.budget.release(self.id);
        inner.compilers.remove(&self.id);
    }
}

impl CompilerShare {
    /// Sets the share to the measured memory of the process.
    ///
    /// # Errors
    /// When that exceeds the available memory: the process has to end.
    pub fn set(&self, bytes: u64) -> Result<(), Short> {
        let mut inner = self.share.memory.lock();
        let has = inner.budget.of(self.share.id).unwrap_or(0);
        inner.budget.shrink(self.share.id, has.saturating_sub(bytes));
        inner.grow(self.share.id, bytes.saturating_sub(has))
    }

    /// Waits until a job needs this memory and the process has to end. Cancel-safe.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_dropped_share_is_released() {
        let memory = HostMemory::new(400 * MIB);
        let instance = memory.instance("a", 100 * MIB).unwrap();
        instance.grow(50 * MIB).unwrap();
        let compiler = memory.compiler().unwrap();
        assert_eq!(memory.used(), 150 * MIB + COMPILER_BYTES);
        compiler.set(100 * MIB).unwrap();
        compiler.set(10 * MIB).unwrap();
        assert_eq!(memory.used(), 160 * MIB);
        assert!(compiler.set(400 * MIB).is_err());
        drop((instance, compiler));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn a_compiler_is_notified_when_an_instance_needs_its_memory() {
        let memory = HostMemory::new(400 * MIB);
        let compiler = memory.compiler().unwrap();
        compiler.set(200 * MIB).unwrap();
        let _instance = memory.instance("a", 200 * MIB).unwrap();
        // Also if no task was waiting yet.
        compiler.evicted().await;
        assert_eq!(memory.used(), 200 * MIB);
        compiler.set(300 * MIB).unwrap();
        assert_eq!(memory.used(), 200 * MIB, "it has been notified and will end");
    }
}
