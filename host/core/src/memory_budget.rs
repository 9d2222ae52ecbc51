//! The memory of one host, as a pure accountant: what instances and compilers have now, who may have more, and which
//! compiler is killed when an instance needs what it has. It counts what is in use, not what anybody may use at most, so
//! that many small jobs fit. It must not know how memory is measured, nor what becomes of those that it refuses.
//!
//! One swap must always be possible: while a job's new version is tried out and warmed, it has two instances. So nothing
//! but a second instance of a job may take the last of the budget, as much as the largest instance has.

use std::collections::BTreeMap;

/// The part of the limit that is kept for a swap at most, so that one large job can still use most of the host.
const SWAP_SHARE: u64 = 4;

/// Names an instance or a compiler.
pub type AccountId = u64;

/// What has memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An instance of the job with this name.
    Instance(String),
    /// Can be killed and started again later.
    Compiler,
}

/// There is not enough memory in the host's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the host's memory is used up: {} MiB more are wanted, {} MiB are in use, {} MiB are kept for a new version, and all \
     jobs together may have {} MiB (host.memory.max.mb)",
    mib(*wanted), mib(*used), mib(*kept), mib(*limit)
)]
pub struct Short {
    pub wanted: u64,
    pub used: u64,
    /// For the swap of a job.
    pub kept: u64,
    pub limit: u64,
}

#[derive(Debug)]
struct Account {
    holder: Holder,
    used: u64,
}

/// See the module documentation. Figures are bytes.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    accounts: BTreeMap<AccountId, Account>,
    next: AccountId,
}

impl MemoryBudget {
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, accounts: BTreeMap::new(), next: 0 }
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What all have together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.accounts.values().fold(0, |sum, account| sum.saturating_add(account.used))
    }

    /// Opens an account for somebody who begins with so much. Also returns the compilers to kill, whose accounts are
    /// closed.
    ///
    /// # Errors
    /// When it does not fit; nothing has changed then.
    pub fn reserve(&mut self, holder: Holder, bytes: u64) -> Result<(AccountId, Vec<AccountId>), Short> {
        let evicted = self.make_room(&holder, self.is_swapping(&holder, 1), 0, bytes)?;
        let id = self.next;
        self.next += 1;
        self.accounts.insert(id, Account { holder, used: bytes });
        Ok((id, evicted))
    }

    /// Somebody wants so much more. Also returns the compilers to kill, whose accounts are closed. An account that was
    /// closed may grow: its end is on its way.
    ///
    /// # Errors
    /// When it does not fit; nothing has changed then.
    pub fn grow(&mut self, id: AccountId, bytes: u64) -> Result<Vec<AccountId>, Short> {
        let Some(Account { holder, used }) = self.accounts.get(&id) else { return Ok(Vec::new()) };
        let (holder, used) = (holder.clone(), *used);
        let evicted = self.make_room(&holder, self.is_swapping(&holder, 2), used, bytes)?;
        if let Some(account) = self.accounts.get_mut(&id) {
            account.used = account.used.saturating_add(bytes);
        }
        Ok(evicted)
    }

    /// Somebody has so much less.
    pub fn shrink(&mut self, id: AccountId, bytes: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.used = account.used.saturating_sub(bytes);
        }
    }

    /// What an account has; none when it was closed.
    #[must_use]
    pub fn of(&self, id: AccountId) -> Option<u64> {
        self.accounts.get(&id).map(|account| account.used)
    }

    /// Closes an account.
    pub fn release(&mut self, id: AccountId) {
        self.accounts.remove(&id);
    }

    /// Makes sure that `bytes` fit, beside what their holder has.
    fn make_room(&mut self, holder: &Holder, swaps: bool, has: u64, bytes: u64) -> Result<Vec<AccountId>, Short> {
        let after = if *holder == Holder::Compiler { 0 } else { has.saturating_add(bytes) };
        let kept = if swaps { 0 } else { self.swap_room(after) };
        let over = self.used().saturating_add(bytes).saturating_add(kept).saturating_sub(self.limit);
        // A compiler kills no other: it is killed itself.
        let compilers = if *holder == Holder::Compiler { Vec::new() } else { self.compilers() };
        let (mut freed, mut evicted) = (0_u64, Vec::new());
        for (id, used) in compilers {
            if freed >= over {
                break;
            }
            freed = freed.saturating_add(used);
            evicted.push(id);
        }
        if freed < over {
            return Err(Short { wanted: bytes, used: self.used(), kept, limit: self.limit });
        }
        evicted.iter().for_each(|id| self.release(*id));
        Ok(evicted)
    }

    /// The largest first: few are killed.
    fn compilers(&self) -> Vec<(AccountId, u64)> {
        let compilers = self.accounts.iter().filter(|(_, account)| account.holder == Holder::Compiler);
        let mut compilers: Vec<_> = compilers.map(|(&id, account)| (id, account.used)).collect();
        compilers.sort_by_key(|&(id, used)| (std::cmp::Reverse(used), id));
        compilers
    }

    /// What is kept for a swap when an instance has `at_least` so much.
    fn swap_room(&self, at_least: u64) -> u64 {
        let instances = self.accounts.values().filter(|account| account.holder != Holder::Compiler);
        let largest = instances.map(|account| account.used).max().unwrap_or(0);
        largest.max(at_least).min(self.limit / SWAP_SHARE)
    }

    /// Whether a job has more than one instance: with `count` of them, itself included.
    fn is_swapping(&self, holder: &Holder, count: usize) -> bool {
        *holder != Holder::Compiler
            && self.accounts.values().filter(|account| account.holder == *holder).count() >= count
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::{Dice, histories};

    const MIB: u64 = 1 << 20;

    fn job(name: &str) -> Holder {
        Holder::Instance(name.to_owned())
    }

    /// Each may have 256 MiB, together 6,400; what counts is what they have.
    #[test]
    fn twenty_five_jobs_of_60_mib_fit_into_three_quarters_of_4_gib() {
        let mut budget = MemoryBudget::new(3 << 30);
        for number in 0..25 {
            let (id, evicted) = budget.reserve(job(&format!("job-{number}")), 2 * MIB).unwrap();
            assert_eq!(budget.grow(id, 58 * MIB), Ok(vec![]));
            assert!(evicted.is_empty());
        }
        assert_eq!(budget.used(), 1500 * MIB);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures_and_changes_nothing() {
        let mut budget = MemoryBudget::new(100 * MIB);
        let (a, _) = budget.reserve(job("a"), 60 * MIB).unwrap();
        let short = budget.reserve(job("b"), 30 * MIB).unwrap_err();
        assert_eq!(
            short.to_string(),
            "the host's memory is used up: 30 MiB more are wanted, 60 MiB are in use, 25 MiB are kept for a new version, \
             and all jobs together may have 100 MiB (host.memory.max.mb)"
        );
        assert!(budget.grow(a, 16 * MIB).is_err());
        assert_eq!(budget.used(), 60 * MIB);
        budget.grow(a, 15 * MIB).unwrap();
        budget.shrink(a, 30 * MIB);
        budget.reserve(job("b"), 30 * MIB).unwrap();
        budget.release(a);
        assert_eq!((budget.used(), budget.of(a)), (30 * MIB, None));
    }

    #[test]
    fn a_second_instance_of_a_job_may_have_what_is_kept_for_a_swap() {
        let mut budget = MemoryBudget::new(100 * MIB);
        for name in ["a", "b", "c"] {
            budget.reserve(job(name), 25 * MIB).unwrap();
        }
        assert!(budget.reserve(job("d"), MIB).is_err(), "the last quarter is for a swap");
        let (new, _) = budget.reserve(job("a"), 5 * MIB).unwrap();
        budget.grow(new, 20 * MIB).unwrap();
        assert!(budget.grow(new, 1).is_err());
        assert!(budget.reserve(job("b"), MIB).is_err(), "one swap at a time, if there is no more");
    }

    #[test]
    fn compilers_go_first_the_largest_before_others() {
        let mut budget = MemoryBudget::new(100 * MIB);
        let (a, _) = budget.reserve(job("a"), 20 * MIB).unwrap();
        let (small, _) = budget.reserve(Holder::Compiler, 10 * MIB).unwrap();
        let (large, _) = budget.reserve(Holder::Compiler, 10 * MIB).unwrap();
        budget.grow(large, 20 * MIB).unwrap();
        assert!(budget.grow(large, 40 * MIB).is_err(), "it neither takes what is kept nor kills another");
        assert_eq!(budget.grow(a, 30 * MIB).unwrap(), [large], "one is enough");
        assert_eq!(budget.of(large), None);
        assert_eq!(budget.grow(large, MIB), Ok(vec![]), "its end is on its way");
        assert_eq!(budget.of(small), Some(10 * MIB));
        assert!(budget.reserve(job("b"), 40 * MIB).is_err());
        assert_eq!(budget.of(small), Some(10 * MIB), "nobody is killed in vain");
    }

    #[test]
    fn no_history_goes_beyond_the_limit_and_a_swap_of_any_job_of_a_quarter_always_begins() {
        histories(0..500, |seed| {
            let mut dice = Dice::new(seed);
            let limit = 1 + dice.below(1_000);
            let mut budget = MemoryBudget::new(limit);
            let mut open: Vec<AccountId> = Vec::new();
            for _ in 0..200 {
                let bytes = dice.below(limit / 4 + 2);
                // One job has one instance: no swap.
                match dice.below(4) {
                    0 => open.extend(budget.reserve(job(&format!("{}", open.len())), bytes).ok().map(|(id, _)| id)),
                    1 => drop(budget.reserve(Holder::Compiler, bytes)),
                    2 if !open.is_empty() => drop(budget.grow(open[dice.index(open.len())], bytes)),
                    _ if !open.is_empty() => budget.shrink(open[dice.index(open.len())], bytes),
                    _ => {}
                }
                assert!(budget.used() <= limit);
                let largest = open.iter().filter_map(|&id| budget.of(id)).max().unwrap_or(0).min(limit / 4);
                if !open.is_empty() {
                    let (swap, _) = budget.reserve(job("0"), largest).expect("room for one swap");
                    budget.release(swap);
                }
            }
        });
    }

    #[test]
    fn figures_do_not_wrap() {
        let mut budget = MemoryBudget::new(u64::MAX - 1);
        let (id, _) = budget.reserve(job("a"), u64::MAX / 2).unwrap();
        assert!(budget.grow(id, u64::MAX).is_err());
        budget.shrink(id, u64::MAX);
        assert_eq!(budget.used(), 0);
    }
}
