//! What a job runs, as it is written down before it takes effect: the version, its candidate, the one before, and those
//! that are never tried again. Passive data and the pure changes of it; when a change is due is decided elsewhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::module::ModuleId;
use crate::time::Millis;

/// The longest reason that is written down.
const REASON_MAX_BYTES: usize = 8 << 10;

/// Bad versions that are remembered; the oldest is forgotten first.
const QUARANTINED_MAX: usize = 32;

/// Which versions of its module a job runs, and where. All hosts of the job share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Grows by one with every change: whoever writes must have seen the one before.
    pub revision: u64,
    /// The version that processes every shard that is not the candidate's.
    pub current: ModuleId,
    #[serde(default)]
    pub previous: Option<Previous>,
    #[serde(default)]
    pub candidate: Option<Candidate>,
    /// Versions that were rolled back.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
}

/// The version before the current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub module: ModuleId,
    /// Until then an instance of it is kept ready, and the current version is on probation. Unix time in milliseconds.
    pub warm_until: Millis,
}

/// A version that processes some shards while the current one processes the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub module: ModuleId,
    /// Index of the wave that it is in.
    pub wave: usize,
    /// When the wave began. Unix time in milliseconds.
    pub since: Millis,
    /// The shards that it processes, by the names that the hosts give them.
    pub shards: BTreeSet<String>,
    /// The other shards that hosts named: with those above, what a wave is a share of.
    #[serde(default)]
    pub others: BTreeSet<String>,
}

impl Candidate {
    /// Whether it is decided which version processes a shard.
    pub(super) fn knows(&self, shard: &str) -> bool {
        self.shards.contains(shard) || self.others.contains(shard)
    }

    /// A shard goes where all of its parents are; where they are not together, it is the current version's.
    pub(super) fn inherit(&mut self, child: &str, parents: &[String]) {
        let inherits = !parents.is_empty() && parents.iter().all(|parent| self.shards.contains(parent));
        if self.knows(child) {
            return;
        }
        // They count no more, so that a wave does not grow by a reshard. Those above are kept: a parent may be read again.
        self.others.retain(|shard| !parents.contains(shard));
        let side = if inherits { &mut self.shards } else { &mut self.others };
        side.insert(child.to_owned());
    }
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A version that was found bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub module: ModuleId,
    pub reason: String,
}

impl Deployment {
    /// A job that never ran another version.
    #[must_use]
    pub fn first(module: ModuleId) -> Self {
        Self { revision: 0, current: module, previous: None, candidate: None, quarantined: Vec::new() }
    }

    /// Every version that a host needs to run this.
    pub fn modules(&self) -> impl Iterator<Item = ModuleId> {
        let candidate = self.candidate.iter().map(|candidate| candidate.module);
        let previous = self.previous.iter().map(|previous| previous.module);
        std::iter::once(self.current).chain(candidate).chain(previous)
    }

    /// The version that processes a shard.
    #[must_use]
    pub fn module_of(&self, shard: &str) -> ModuleId {
        match &self.candidate {
            Some(candidate) if candidate.shards.contains(shard) => candidate.module,
            _ => self.current,
        }
    }

    /// Why a version is not to be tried again.
    #[must_use]
    pub fn quarantine(&self, module: ModuleId) -> Option<&str> {
        let found = self.quarantined.iter().find(|quarantined| quarantined.module == module)?;
        Some(&found.reason)
    }

    /// A new candidate begins, with the wave and the shards of one that it replaces.
    pub(super) fn begin(&mut self, now: Millis, module: ModuleId) {
        self.forgive(module);
        let earlier = self.candidate.take();
        let (wave, shards, others) = earlier.map(|it| (it.wave, it.shards, it.others)).unwrap_or_default();
        self.candidate = Some(Candidate { module, wave, since: now, shards, others });
    }

    /// A version takes over every shard.
    pub(super) fn take_over(&mut self, module: ModuleId, warm_until: Millis) {
        self.forgive(module);
        self.candidate = None;
        if module != self.current {
            let previous = std::mem::replace(&mut self.current, module);
            self.previous = Some(Previous { module: previous, warm_until });
        }
    }

    /// A version goes: a candidate for the current one, the current one for the one before it.
    pub(super) fn roll_back(&mut self, bad: ModuleId, reason: &str) {
        if self.candidate.take_if(|candidate| candidate.module == bad).is_none() {
            let Some(previous) = self.previous.take_if(|_| self.current == bad) else {
                return;
            };
            self.current = previous.module;
        }
        self.forgive(bad);
        let reason = cut(reason, REASON_MAX_BYTES).to_owned();
        self.quarantined.push(Quarantined { module: bad, reason });
        let over = self.quarantined.len().saturating_sub(QUARANTINED_MAX);
        self.quarantined.drain(..over);
    }

    fn forgive(&mut self, module: ModuleId) {
        self.quarantined.retain(|quarantined| quarantined.module != module);
    }
}
