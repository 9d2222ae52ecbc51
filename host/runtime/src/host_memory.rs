//! The host's memory budget, shared by all instances and compilers of a process. Owns the one lock around the accountant
//! (taken when something grows, never for a call) and how a compiler learns that it has to go. The rules are in
//! [`shardmill_core::memory_budget`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardmill_core::memory_budget::{AccountId, Holder, MemoryBudget, Short};
use tokio::sync::Notify;

/// What a compiler has when it begins, before it is measured.
const COMPILER_BYTES: u64 = 64 << 20;

/// The budget of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HostMemory(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    budget: MemoryBudget,
    /// Woken when their memory is wanted.
    compilers: BTreeMap<AccountId, Arc<Notify>>,
}

/// What one instance has of the budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: HostMemory,
    id: AccountId,
}

/// What one compiler has of the budget; given back when it is dropped.
#[derive(Debug)]
pub struct CompilerShare {
    share: Share,
    evicted: Arc<Notify>,
}

impl Default for HostMemory {
    /// Without a limit.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl HostMemory {
    /// A budget of so many bytes for all instances and compilers together.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { budget: MemoryBudget::new(limit), compilers: BTreeMap::new() })))
    }

    /// Bytes that all have together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().budget.used()
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.lock().budget.limit()
    }

    /// For an instance of a job that begins with so much.
    pub(crate) fn instance(&self, job: &str, bytes: u64) -> Result<Share, Short> {
        let id = self.lock().reserve(Holder::Instance(job.to_owned()), bytes)?;
        Ok(Share { memory: self.clone(), id })
    }

    /// For a compiler that is about to start.
    ///
    /// # Errors
    /// When there is no memory for one now.
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
    /// So much more.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), Short> {
        self.memory.lock().grow(self.id, bytes)
    }

    /// So much less.
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
    /// What the process was measured to have now.
    ///
    /// # Errors
    /// When that is more than there is for it: it has to end.
    pub fn set(&self, bytes: u64) -> Result<(), Short> {
        let mut inner = self.share.memory.lock();
        let has = inner.budget.of(self.share.id).unwrap_or(0);
        inner.budget.shrink(self.share.id, has.saturating_sub(bytes));
        inner.grow(self.share.id, bytes.saturating_sub(has))
    }

    /// Waits until a job needs what it has: it has to end. Cancel-safe.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_dropped_is_given_back() {
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
    async fn a_compiler_is_told_when_an_instance_needs_its_memory() {
        let memory = HostMemory::new(400 * MIB);
        let compiler = memory.compiler().unwrap();
        compiler.set(200 * MIB).unwrap();
        let _instance = memory.instance("a", 200 * MIB).unwrap();
        // Also if nobody waited yet.
        compiler.evicted().await;
        assert_eq!(memory.used(), 200 * MIB);
        compiler.set(300 * MIB).unwrap();
        assert_eq!(memory.used(), 200 * MIB, "its end is on its way");
    }
}
