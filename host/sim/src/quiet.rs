//! What a fleet may do that has nothing to do: renew, and look at the table at the protocol's pace. And by then everybody
//! has a fair share.

use std::collections::BTreeMap;

use shardmill_core::kinesis::shard::ShardFilter;
use shardmill_core::leases::Write;
use shardmill_core::position::Checkpoint;
use shardmill_core::time::Millis;

use crate::network::Call;
use crate::node::Node;
use crate::world::World;

/// Failover times within which everybody has a fair share, at one stolen lease a cycle.
const BALANCED_WITHIN: Millis = 40;
/// The table is read so often at most.
const LOOK_MIN: Millis = 800;
/// For so long calls are counted.
const MEASURED: Millis = 60_000;

pub(crate) struct Quiet {
    from: Millis,
    /// By node and kind.
    calls: BTreeMap<(usize, &'static str), u64>,
}

impl Quiet {
    /// All was done at `now`.
    pub(crate) fn after(now: Millis, failover: Millis) -> Self {
        Self { from: now + BALANCED_WITHIN * failover, calls: BTreeMap::new() }
    }

    pub(crate) fn is_over(&self, now: Millis) -> bool {
        now >= self.from + MEASURED
    }
}

impl World {
    pub(crate) fn count_when_quiet(&mut self, node: usize, call: &Call) {
        let Some(quiet) = self.quiet.as_mut().filter(|quiet| self.out.now >= quiet.from) else { return };
        let kind = match call {
            Call::Scan { .. } => "scan",
            Call::List(ShardFilter::All) => "list",
            Call::Write(write) => match write.as_ref() {
                Write::Delete { .. } => "delete",
                Write::Renew { .. } => "renew",
                other => {
                    return self.out.audit.require(false, || format!("{other:?} in a quiet fleet"));
                }
            },
            _ => return,
        };
        *quiet.calls.entry((node, kind)).or_default() += 1;
    }

    /// Once all is done and balanced, workers only renew and look at the table at the protocol's pace.
    pub(crate) fn check_quiet(&mut self) -> Result<(), String> {
        let Some(Quiet { calls, .. }) = self.quiet.take() else { return Ok(()) };
        let held = |name: &str| {
            let rows = self.out.table.rows.values();
            rows.filter(|row| row.checkpoint != Checkpoint::ShardEnd && row.owner.as_deref() == Some(name)).count()
        };
        let minute_of = |interval: Millis| MEASURED / interval + 2;
        for ((node, kind), count) in calls {
            let held = held(&self.nodes[node].name) as u64;
            let most = match kind {
                "scan" => minute_of(LOOK_MIN),
                // Children that nothing was written to keep their parents' rows, of which the leader asks the stream.
                "list" => 2,
                // A generation of finished shards a look.
                "delete" => 20,
                _ => held * minute_of(self.failover / 3 - 25),
            };
            if count > most {
                return Err(format!("{count} {kind} calls a minute of a worker that holds {held} leases"));
            }
        }
        let unread = self.nodes.iter().filter(|node| node.is_alive()).find(|node| !node.unread().is_empty());
        if let Some(node) = unread {
            return Err(format!("{} says that nobody reads {:?}", node.name, node.unread()));
        }
        self.check_versions()?;
        if self.limit.is_some() {
            // Who may hold more, does.
            return Ok(());
        }
        let alive = self.nodes.iter().filter(|node| node.is_alive());
        let loads: Vec<usize> = alive.map(|node| held(&node.name)).collect();
        let (least, most) = (loads.iter().min(), loads.iter().max());
        match most.zip(least) {
            Some((most, least)) if most - least > 1 => Err(format!("out of balance: {loads:?}")),
            _ => Ok(()),
        }
    }

    /// Every node runs what is written down, and nothing is half rolled out.
    fn check_versions(&self) -> Result<(), String> {
        let written = &self.out.versions.deployment;
        if let Some(candidate) = &written.candidate {
            return Err(format!("version {} is a candidate for ever", candidate.module));
        }
        let differs = |node: &&Node| node.is_alive() && node.rollout().deployment() != written;
        match self.nodes.iter().find(differs) {
            Some(node) => {
                Err(format!("{} runs {:?}, and {written:?} is written", node.name, node.rollout().deployment()))
            }
            None => Ok(()),
        }
    }
}
