//! Who held which lease when, and whether what each holder wrote is what it should have: from the local backend's journal
//! and the outputs. Knows the lease table's attributes and nothing of who writes them.
//!
//! A *run* is one life of one process. Each run signs with an access key of its own and writes to a file of its own.
//! A *tenure* is the time between a run's taking of a lease and whatever ends it. A run whose renewals were not answered
//! in time lets a lease go and may find that nobody took it: it goes on from the checkpoint within the same tenure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shardmill_local::{Call, Record};

use crate::echoes::Echo;

/// The operations that the journal must have.
pub const OPERATIONS: &[&str] = &["PutItem", "UpdateItem", "DeleteItem", "GetShardIterator", "SubscribeToShard"];

/// What went in, what came out, and who did what in between.
pub struct Ledger<'a> {
    pub calls: &'a [Call],
    pub records: &'a [Record],
    /// By shard; shards without parents need not be there.
    pub parents: &'a BTreeMap<String, Vec<String>>,
    /// By run.
    pub outputs: &'a BTreeMap<String, Vec<Echo>>,
}

/// What the journal tells of one lease.
#[derive(Debug, Default)]
struct History {
    /// By the counter that they left.
    writes: BTreeMap<u64, Write>,
    /// Where in the journal its shard was sealed.
    sealed_at: Option<usize>,
}

#[derive(Debug)]
struct Write {
    run: String,
    owner: Option<String>,
    checkpoint: Option<String>,
}

#[derive(Debug)]
struct Tenure {
    run: String,
    /// How many records of the shard were committed: at the taking, then by each checkpoint.
    committed: Vec<usize>,
}

impl Tenure {
    fn from(&self) -> usize {
        self.committed[0]
    }

    fn to(&self) -> usize {
        *self.committed.last().expect("at the taking")
    }
}

impl Ledger<'_> {
    /// Every record left; each tenure began right after the checkpoint that it found, went on without a gap, began again
    /// after a checkpoint only, and wrote before it checkpointed; only the holder of a lease checkpointed, forward only; all is committed; a child was not
    /// read before its parents were committed to their ends, so that keys keep their order. Returns how many messages
    /// were repeats.
    ///
    /// # Panics
    /// When one of these is not so.
    #[must_use]
    pub fn assert_all_accounted_for(&self) -> usize {
        let mut by_shard: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in self.records {
            by_shard.entry(&record.shard_id).or_default().push(record);
        }
        let histories = self.histories();
        for (shard, records) in &by_shard {
            let history = histories.get(*shard).unwrap_or_else(|| panic!("{shard} never had a lease"));
            let places: BTreeMap<&str, usize> =
                records.iter().enumerate().map(|(place, record)| (record.sequence_number.as_str(), place)).collect();
            let tenures = tenures(shard, history, &places);
            let committed = tenures.last().map_or(0, Tenure::to);
            assert_eq!(committed, places.len(), "{shard} is not committed to its end: {tenures:?}");
            for run in self.outputs.keys() {
                self.assert_run_wrote(run, shard, &tenures, records);
            }
        }
        self.assert_parents_first(&histories);
        let messages: usize = self.outputs.values().map(Vec::len).sum();
        messages - self.records.len()
    }

    fn histories(&self) -> BTreeMap<String, History> {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        for (at, call) in self.calls.iter().enumerate() {
            if !matches!(call.operation.as_str(), "PutItem" | "UpdateItem") {
                continue;
            }
            let body: Value = serde_json::from_slice(&call.body).expect("DynamoDB's requests are JSON");
            let row = if call.operation == "PutItem" { &body["Item"] } else { &body["Key"] };
            let set = |attribute: &str| match call.operation.as_str() {
                "PutItem" => body["Item"].get(attribute),
                _ => assigned(&body, attribute),
            };
            let Some(counter) = set("leaseCounter").map(|counter| text(&counter["N"])) else { continue };
            let owner = set("leaseOwner").map(|owner| text(&owner["S"]));
            let checkpoint = set("checkpoint").map(|checkpoint| text(&checkpoint["S"]));
            let history = histories.entry(text(&row["leaseKey"]["S"])).or_default();
            if checkpoint.as_deref() == Some("SHARD_END") {
                history.sealed_at.get_or_insert(at);
            }
            let write = Write { run: call.caller.clone(), owner, checkpoint };
            let counter = counter.parse().expect("a counter is a number");
            let before = history.writes.insert(counter, write);
            assert!(before.is_none(), "two writes left the counter {counter}: {before:?} and {:?}", body);
        }
        histories
    }

    /// What `run` wrote of the shard is a number of stretches, each from a checkpoint of a tenure of its own, in their
    /// order; whatever a tenure committed is among it.
    fn assert_run_wrote(&self, run: &str, shard: &str, tenures: &[Tenure], records: &[&Record]) {
        let places: BTreeMap<&str, usize> =
            records.iter().enumerate().map(|(place, record)| (record.sequence_number.as_str(), place)).collect();
        let place = |echo: &Echo| {
            let place = *places.get(echo.sequence.as_str()).unwrap_or_else(|| panic!("{run} made up {echo:?}"));
            assert_eq!(*echo, Echo::from(records[place]), "{run} changed a record");
            place
        };
        let written: Vec<usize> = self.outputs[run].iter().filter(|echo| echo.shard == shard).map(place).collect();
        let mine: Vec<&Tenure> = tenures.iter().filter(|tenure| tenure.run == run).collect();
        let begins: Vec<usize> = mine.iter().flat_map(|tenure| &tenure.committed).copied().collect();
        let (mut next, mut begun) = (None, 0);
        for &place in &written {
            if next != Some(place) {
                // Not past it: nothing may have been committed until it began again.
                let found = begins[begun..].iter().position(|begin| *begin == place);
                let found = found.unwrap_or_else(|| {
                    panic!(
                        "{run} wrote {shard} from record {place} after {next:?}, where it had no checkpoint: {mine:?}"
                    )
                });
                begun += found;
            }
            next = Some(place + 1);
        }
        let written: BTreeSet<usize> = written.into_iter().collect();
        for tenure in mine {
            let (from, to) = (tenure.from(), tenure.to());
            let lost = (from..to).find(|place| !written.contains(place));
            assert_eq!(lost, None, "{run} committed records {from}..{to} of {shard} without having written this one");
        }
    }

    fn assert_parents_first(&self, histories: &BTreeMap<String, History>) {
        for (at, call) in self.calls.iter().enumerate() {
            let Some(shard) = call.shard.as_ref() else { continue };
            for parent in self.parents.get(shard).into_iter().flatten() {
                let sealed_at = histories.get(parent).and_then(|history| history.sealed_at);
                let is_sealed = sealed_at.is_some_and(|sealed| sealed < at);
                assert!(is_sealed, "{} read {shard} before {parent} was committed to its end", call.caller);
            }
        }
    }
}

fn tenures(shard: &str, history: &History, places: &BTreeMap<&str, usize>) -> Vec<Tenure> {
    let committed = |checkpoint: &str| match checkpoint {
        "TRIM_HORIZON" => 0,
        "SHARD_END" => places.len(),
        sequence => 1 + places.get(sequence).unwrap_or_else(|| panic!("{shard} is at {sequence}, which is no record")),
    };
    let (mut at, mut tenures): (usize, Vec<Tenure>) = (0, Vec::new());
    for (counter, Write { run, owner, checkpoint }) in &history.writes {
        if owner.is_some() {
            tenures.push(Tenure { run: run.clone(), committed: vec![at] });
        }
        let Some(checkpoint) = checkpoint else { continue };
        let to = committed(checkpoint);
        if let Some(tenure) = tenures.last_mut() {
            assert_eq!(*run, tenure.run, "{shard} was checkpointed (counter {counter}) by a run that did not hold it");
            tenure.committed.push(to);
        }
        assert!(to >= at, "{shard} was checkpointed back (counter {counter}): {checkpoint}");
        at = to;
    }
    tenures
}

/// The value that an UpdateItem sets an attribute to.
fn assigned<'b>(body: &'b Value, attribute: &str) -> Option<&'b Value> {
    let (_, assignments) = body["UpdateExpression"].as_str()?.split_once("SET ")?;
    let assignments = assignments.split(" REMOVE ").next()?.split(" ADD ").next()?;
    let mut pairs = assignments.split(',').filter_map(|assignment| assignment.split_once('='));
    let (_, name) = pairs.find(|(name, _)| name.trim() == attribute)?;
    body["ExpressionAttributeValues"].get(name.trim())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
