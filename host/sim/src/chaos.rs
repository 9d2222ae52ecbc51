//! What befalls a history from outside: records, reshards, processes that come, stall, die and go. All of it is planned
//! when the history begins; then the world is calm, and everything must come to its end.

use shardmill_core::kinesis::shard::{Shard, ShardFilter, ShardId};
use shardmill_core::leases::Lease;
use shardmill_core::position::{Checkpoint, InitialPosition};
use shardmill_core::rollout::Manner;
use shardmill_core::run_loop::FailureClass;
use shardmill_core::time::Millis;

use crate::audit::Poison;
use crate::dice::Dice;
use crate::kpl::{UserRecord, aggregate};
use crate::network::Network;
use crate::outside::Outside;
use crate::queue::Item;
use crate::tasks::TaskFaults;
use crate::world::World;

/// Faults and reshards happen for so long.
pub(crate) const CHAOS: Millis = 90_000;
const PAUSE_MAX: Millis = 40_000;
/// Services that cannot be reached when the first process starts are back within this time.
const AWAY_MAX: Millis = 45_000;
const KEYS: usize = 12;
/// More shards than that make a history long and not more interesting.
const SHARDS_MAX: usize = 20;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Chaos {
    Put,
    Reshard,
    Kill,
    /// A new process; `true` for one that uses the name of one that is over.
    Join(bool),
    /// A process stands still; `true` when its clock does too.
    Pause(bool),
    Stop,
    /// Somebody deletes a row of the lease table by hand.
    DeleteRow,
    /// A version comes into the task directories of all hosts.
    Deploy,
    /// A host is asked to let the candidate take over, or to go back.
    Promote,
    RollBack,
    /// From here on nothing fails any more, and somebody is there to do the work.
    Calm,
}

impl Outside {
    pub(crate) fn plan_chaos(&mut self) {
        let start = self.now;
        self.queue.push(start, Item::Chaos(Chaos::Join(false)));
        self.queue.push(start + CHAOS, Item::Chaos(Chaos::Calm));
        if self.dice.chance(20) {
            self.network.away_until = start + self.dice.below(AWAY_MAX);
        }
        let kinds = [
            (30, Chaos::Put),
            (6, Chaos::Reshard),
            (2, Chaos::Kill),
            (2, Chaos::Join(false)),
            (2, Chaos::Join(true)),
            (2, Chaos::Pause(false)),
            (1, Chaos::Pause(true)),
            (1, Chaos::Stop),
            (2, Chaos::DeleteRow),
            (6, Chaos::Deploy),
            (1, Chaos::Promote),
            (2, Chaos::RollBack),
        ];
        for (most, kind) in kinds {
            for _ in 0..=self.dice.below(most) {
                let when = start + self.dice.below(CHAOS);
                self.queue.push(when, Item::Chaos(kind));
            }
        }
    }

    /// Puts some records of some keys, some of them aggregated.
    pub(crate) fn put(&mut self, most: u64) {
        for _ in 0..self.dice.below(most) {
            let key = self.dice.index(KEYS);
            let count = if self.dice.chance(15) { 2 + self.dice.index(4) } else { 1 };
            let first = self.audit.truth.records.len();
            let name = format!("key-{key}");
            let data = match count {
                1 => first.to_string().into_bytes(),
                _ => {
                    let record = |id: usize| UserRecord::new(&name, id.to_string().as_bytes());
                    aggregate(&(first..first + count).map(record).collect::<Vec<_>>())
                }
            };
            let Some((shard, sequence)) = self.kinesis.put(self.now, &name, &data) else { return };
            self.audit.truth.put(self.now, &shard, &sequence, key, count);
            if self.dice.chance(1) {
                let poison = poison(&mut self.dice);
                self.audit.truth.records[first].poison = Some(poison);
            }
        }
    }

    /// Splits or merges some open shards.
    pub(crate) fn reshard(&mut self) {
        let mut open = self.kinesis.shards(self.now, ShardFilter::AtLatest);
        open.sort_by_key(|shard| shard.hash_range.start);
        if self.audit.truth.shards.len() >= SHARDS_MAX {
            return;
        }
        let index = self.dice.index(open.len());
        match open.get(index + 1) {
            Some(next) if self.dice.chance(50) => self.kinesis.merge(self.now, &open[index], next),
            _ => self.kinesis.split(self.now, &open[index]),
        }
        self.note_shards();
    }

    pub(crate) fn note_shards(&mut self) {
        let shards: Vec<Shard> = self.kinesis.shards(self.now, ShardFilter::All);
        self.audit.truth.resharded(self.now, &shards);
        self.trace.say(self.now, || {
            let short = |id: &String| id.trim_start_matches("shardId-").trim_start_matches('0').to_owned();
            let parents = |shard: &Shard| shard.parents.iter().map(short).collect::<Vec<_>>().join("+");
            let name =
                |shard: &Shard| format!("{}<{}{}", short(&shard.id), parents(shard), if shard.open { "" } else { "|" });
            format!("the shards are {}", shards.iter().map(name).collect::<Vec<_>>().join(" "))
        });
    }
}

fn poison(dice: &mut Dice) -> Poison {
    let class = match dice.below(10) {
        0..3 => FailureClass::Other,
        3..5 => FailureClass::Retry(Some(1_500)),
        5..8 => FailureClass::Trap,
        8 => FailureClass::Reject,
        _ => FailureClass::Fatal,
    };
    Poison { class, times: 1 + u32::try_from(dice.below(5)).expect("a small number") }
}

impl World {
    pub(crate) fn befall(&mut self, chaos: Chaos) {
        let out = &mut self.out;
        out.trace.say(out.now, || format!("{chaos:?}"));
        let alive: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].is_alive()).collect();
        let victim = out.dice.pick(&alive).copied();
        match (chaos, victim) {
            (Chaos::Put, _) => out.put(60),
            (Chaos::Reshard, _) => out.reshard(),
            (Chaos::Kill, Some(victim)) => {
                out.trace.say(out.now, || format!("{} is killed", self.nodes[victim].name));
                self.nodes[victim].kill(out);
            }
            (Chaos::Pause(is_suspended), Some(victim)) => {
                let pause = out.dice.below(PAUSE_MAX);
                out.trace.say(out.now, || format!("{} pauses for {pause} ms", self.nodes[victim].name));
                self.nodes[victim].pause(out.now, pause, is_suspended);
            }
            (Chaos::Stop, Some(victim)) => {
                out.trace.say(out.now, || format!("{} is to stop", self.nodes[victim].name));
                self.nodes[victim].stop(out);
            }
            (Chaos::Join(again), _) => self.join(again),
            (Chaos::DeleteRow, _) => self.delete_row(),
            (Chaos::Deploy, _) => self.deploy(&alive),
            (Chaos::Promote, Some(victim)) => self.nodes[victim].promote(out),
            (Chaos::RollBack, Some(victim)) => self.nodes[victim].roll_back(out),
            (Chaos::Calm, _) => {
                (out.network, out.task) = (Network::CALM, TaskFaults::default());
                out.audit.truth.heal();
                out.versions.is_calm = true;
                let now = out.now;
                out.queue.push(now, Item::Look);
            }
            (Chaos::Kill | Chaos::Pause(_) | Chaos::Stop | Chaos::Promote | Chaos::RollBack, _) => {}
        }
    }

    /// Every host finds the version in its task directory.
    fn deploy(&mut self, alive: &[usize]) {
        let out = &mut self.out;
        let module = out.versions.pick(&mut out.dice);
        let how = [Manner::Configured, Manner::Canary, Manner::All, Manner::Forced][out.dice.index(4)];
        for &node in alive {
            self.nodes[node].deploy(out, module, how);
        }
    }

    /// Deletes a row of what a worker reads. Not with LATEST: if the holder dies before it puts the row back, and nobody
    /// else saw it, nobody can know where it was.
    fn delete_row(&mut self) {
        if self.initial == InitialPosition::Latest {
            return;
        }
        let is_reading = |name: &str| self.nodes.iter().any(|node| node.is_alive() && node.name == name);
        let is_held = |row: &&Lease| row.owner.as_deref().is_some_and(is_reading);
        let out = &mut self.out;
        let unfinished = out.table.rows.values().filter(|row| row.checkpoint != Checkpoint::ShardEnd);
        let known = unfinished.filter(|row| out.audit.truth.knows(&row.key) && !out.audit.was_deleted(&row.key));
        let rows: Vec<ShardId> = known.filter(is_held).map(|row| row.key.clone()).collect();
        if let Some(key) = out.dice.pick(&rows).cloned() {
            out.trace.say(out.now, || format!("the row of {key} is deleted"));
            let row = out.table.delete(out.now, &key);
            out.audit.row_deleted(out.now, &row);
        }
    }

    /// Rows as another application left them, which stopped long ago somewhere in the stream.
    pub(crate) fn take_over(&mut self) {
        let out = &mut self.out;
        for shard in out.kinesis.shards(out.now, ShardFilter::AtTrimHorizon) {
            let index = out.audit.truth.index(&shard.id);
            let done = out.dice.index(out.audit.truth.shards[index].records.len() + 1);
            out.audit.truth.done_before(index, done);
            let checkpoint: Checkpoint = out.audit.truth.checkpoint(index, done);
            out.table.leave(shard, checkpoint, &mut out.dice);
        }
    }
}
