//! Shadow replay: the running version and a new one process the same records, each in a new instance; outputs are
//! discarded. Owns the measurements and the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use shardmill_core::envelope::Batch;

use super::{apart, logged};
use crate::error::{CallError, TaskError};
use crate::instance::{Failed, Instance};
use crate::journal::{LogLine, LogSink};
use crate::module::{Module, Shape};
use crate::outputs::Outputs;
use crate::state::TaskSpec;

/// The time limit of the replay for one version.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Traps after which no new instance is made.
const TRAPS_MAX: u64 = 3;
/// With fewer calls than this, times are not compared.
const CALLS_MIN: usize = 20;
/// By how much the slow calls of the new version may be slower: a factor, and a difference.
const SLOWER_TIMES: u32 = 3;
const SLOWER_BY: Duration = Duration::from_millis(10);
/// How many replays must find the new version slow: on a busy machine a single one may.
const SLOW_REPLAYS: usize = 3;

/// Envelopes of one source that the running version has processed.
#[derive(Clone, Debug)]
pub struct Recent {
    /// The index in [`TaskSpec::sources`].
    pub source: u32,
    pub batch: Arc<Batch>,
    pub range: Range<usize>,
}

/// How two versions processed the same envelopes.
#[derive(Clone, Debug)]
pub struct ShadowReport {
    pub old: Observed,
    pub new: Observed,
    /// Where their outputs begin to differ, which is not a regression in itself.
    pub difference: Option<Difference>,
}

/// How one version processed them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Why the version did not start, with its log.
    pub start_failed: Option<String>,
    /// A failure of the host, which makes the observations meaningless.
    pub host_failed: Option<String>,
    /// The number of envelopes that the version received.
    pub envelopes: u64,
    /// The number of failed envelopes, by class: `retry`, `reject`, `fatal`, `other`, `invalid`, or the reason of a trap.
    pub failed: BTreeMap<String, u64>,
    pub traps: u64,
    /// The first failure, in full.
    pub first_failure: Option<String>,
    pub messages: u64,
    pub bytes: u64,
    /// Time per envelope: the median and the 99th percentile.
    pub p50: Duration,
    pub p99: Duration,
    pub calls: usize,
    /// The replay was aborted: too many traps, or its time was up.
    pub cut_short: bool,
    /// A digest of the messages sent for each [`Recent`].
    digests: Vec<[u8; 32]>,
}

/// The first envelopes for which the two versions sent different messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub source: u32,
    /// The sequence number of the first of them.
    pub sequence: String,
}

/// Replays `recent` in a new instance of `old` and of `new`. All messages are discarded.
#[must_use]
pub fn shadow(old: &Module, new: &Module, spec: &TaskSpec, recent: &[Recent]) -> ShadowReport {
    unless_slow_again(|| replay(old, new, spec, recent))
}

/// The first report that does not find the new version slow, or the last one.
fn unless_slow_again(mut replay: impl FnMut() -> ShadowReport) -> ShadowReport {
    let mut report = replay();
    for _ in 1..SLOW_REPLAYS {
        if report.slowness().is_none() {
            break;
        }
        report = replay();
    }
    report
}

fn replay(old: &Module, new: &Module, spec: &TaskSpec, recent: &[Recent]) -> ShadowReport {
    let old = observe(old, spec, recent);
    // Only the part that the old version has processed can be compared.
    let new = observe(new, spec, &recent[..if old.cut_short { old.digests.len() } else { recent.len() }]);
    let pairs = recent.iter().zip(old.digests.iter().zip(&new.digests));
    let difference = pairs.filter(|(_, (old, new))| old != new).map(|(recent, _)| Difference {
        source: recent.source,
        sequence: recent.batch.envelope(recent.range.start).sequence.to_owned(),
    });
    ShadowReport { difference: difference.take(1).next(), old, new }
}

impl ShadowReport {
    /// The failure of the host that makes the replay meaningless, if there was one.
    #[must_use]
    pub fn host_failure(&self) -> Option<&str> {
        self.old.host_failed.as_deref().or(self.new.host_failed.as_deref())
    }

    /// Regressions of the new version; empty if none.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let Self { old, new, .. } = self;
        if let Some(reason) = &new.start_failed {
            return vec![format!("it does not start: {reason}")];
        }
        let mut problems = Vec::new();
        if new.failures() > old.failures() {
            let classes: Vec<_> = new.failed.iter().map(|(class, count)| format!("{class}: {count}")).collect();
            let first = new.first_failure.as_deref().unwrap_or_default();
            problems.push(format!(
                "it failed on {} of {} envelopes ({}), the running version on {}; the first time: {first}",
                new.failures(),
                new.envelopes,
                classes.join(", "),
                old.failures(),
            ));
        }
        problems.extend(self.slowness());
        problems
    }

    fn slowness(&self) -> Option<String> {
        let Self { old, new, .. } = self;
        let enough = new.calls >= CALLS_MIN && old.calls >= CALLS_MIN;
        if enough && new.p99 > old.p99 * SLOWER_TIMES + SLOWER_BY {
            return Some(format!(
                "it is slow: 99 of 100 envelopes take up to {:?}, those of the running version {:?}",
                new.p99, old.p99
            ));
        }
        let is_late = new.cut_short && !old.cut_short && new.traps < TRAPS_MAX && new.start_failed.is_none();
        is_late.then(|| format!("it is slow: it did not finish in {TIME_MAX:?}, the running version did"))
    }
}

impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |it: &Observed| {
            format!(
                "{} envelopes, {} failed, {} messages of {} bytes, p50 {:?}, p99 {:?}",
                it.envelopes,
                it.failures(),
                it.messages,
                it.bytes,
                it.p50,
                it.p99
            )
        };
        writeln!(f, "running: {}\nnew:     {}", line(&self.old), line(&self.new))?;
        match &self.difference {
            None => write!(f, "the same output"),
            Some(at) => write!(f, "different output from source {}, sequence number {} on", at.source, at.sequence),
        }
    }
}

impl Observed {
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn note(&mut self, error: &CallError, envelopes: u64) {
        if error.is_hosts() {
            self.host_failed.get_or_insert_with(|| error.to_string());
        }
        let class = match error {
            CallError::Task(TaskError::Retry(_)) => "retry".to_owned(),
            CallError::Task(TaskError::Reject(_)) => "reject".to_owned(),
            CallError::Task(TaskError::Fatal(_)) => "fatal".to_owned(),
            CallError::Task(TaskError::Other(_)) => "other".to_owned(),
            CallError::InvalidResult(_) => "invalid".to_owned(),
            CallError::Grant(_) => "grant".to_owned(),
            CallError::TooLarge { .. } => "memory limit".to_owned(),
            CallError::Trap { reason, .. } | CallError::Ended(reason) => reason.to_string(),
        };
        *self.failed.entry(class).or_default() += envelopes;
        self.traps += u64::from(error.is_trap());
        self.first_failure.get_or_insert_with(|| error.to_string());
    }
}

/// Discards the log: the running version has logged the same before.
struct Silent;

impl LogSink for Silent {
    fn write(&self, _line: &LogLine<'_>) {}
}

/// The replay of one version.
struct Replay<'a> {
    module: &'a Module,
    spec: TaskSpec,
    /// `None` when the instance has ended and no other one could be started.
    instance: Option<Instance>,
    outputs: Outputs,
    /// The time per envelope of each call.
    times: Vec<Duration>,
    seen: Observed,
}

fn observe(module: &Module, spec: &TaskSpec, recent: &[Recent]) -> Observed {
    // The records have already been written to these directories.
    let spec = apart(spec, Arc::new(Silent), spec.grants.read_only());
    let began = Instant::now();
    let instance = match started(module, &spec) {
        Ok(instance) => Some(instance),
        Err(NotStarted { reason, by_host }) => {
            let host_failed = by_host.then(|| reason.clone());
            return Observed { start_failed: Some(reason), host_failed, cut_short: true, ..Observed::default() };
        }
    };
    let outputs = Outputs::default();
    let mut replay = Replay { module, spec, instance, outputs, times: Vec::new(), seen: Observed::default() };
    for recent in recent {
        if began.elapsed() > TIME_MAX || !replay.take(recent) {
            replay.seen.cut_short = true;
            break;
        }
    }
    replay.finish()
}

/// An instance of the version did not start.
struct NotStarted {
    reason: String,
    /// Whether the host caused it.
    by_host: bool,
}

fn started(module: &Module, spec: &TaskSpec) -> Result<Instance, NotStarted> {
    // Repeat the start with a log only if the first one failed.
    let fail = |error: CallError| NotStarted {
        by_host: error.is_hosts(),
        reason: super::start(module, spec)
            .map_or_else(|it| it.error.to_string() + &logged(&it.log), |_| error.to_string()),
    };
    let mut instance = Instance::new(module, spec).map_err(fail)?;
    instance.init().map_err(fail)?;
    Ok(instance)
}

impl Replay<'_> {
    /// Whether the replay may continue.
    fn take(&mut self, recent: &Recent) -> bool {
        let mut digest = Sha256::new();
        let mut start = recent.range.start;
        while start < recent.range.end {
            // A task is called once per envelope anyway; calling it separately allows each call to be timed.
            let end = if self.module.shape() == Shape::Task { start + 1 } else { recent.range.end };
            start = self.call(recent, start..end, &mut digest);
            if self.seen.traps >= TRAPS_MAX || !self.is_alive() {
                return false;
            }
        }
        self.seen.digests.push(digest.finalize().into());
        true
    }

    /// Calls the task for a range; returns where to continue.
    fn call(&mut self, recent: &Recent, range: Range<usize>, digest: &mut Sha256) -> usize {
        self.outputs.clear();
        let began = Instant::now();
        let Some(instance) = &mut self.instance else { return recent.range.end };
        let called = instance.process(recent.source, &recent.batch, range.clone(), 1, &mut self.outputs);
        let took = began.elapsed();
        let (next, done) = match called {
            Ok(done) => (range.start + done.processed, done.processed),
            Err(Failed { culprit: Some(culprit @ 1..), .. }) => {
                // The envelopes before the failed one are good: process them alone, then the failed one is the first of a call.
                return self.call(recent, range.start..range.start + culprit, digest);
            }
            Err(Failed { error, culprit: Some(0), .. }) => {
                self.seen.note(&error, 1);
                (range.start + 1, 1)
            }
            Err(Failed { error, culprit: None, .. }) => {
                self.seen.note(&error, range.len() as u64);
                (range.end, range.len())
            }
        };
        self.times.push(took / u32::try_from(done.max(1)).unwrap_or(u32::MAX));
        self.seen.envelopes += done as u64;
        self.seen.messages += self.outputs.len() as u64;
        self.seen.bytes += self.outputs.bytes() as u64;
        for out in self.outputs.iter() {
            let stream = self.spec.outputs.get(out.output);
            let name = stream.map(|stream| format!("{}.{}", stream.system, stream.stream)).unwrap_or_default();
            for part in [Some(name.as_bytes()), out.key.map(str::as_bytes), Some(out.message)] {
                // The lengths distinguish "ab", "c" from "a", "bc".
                digest.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
                digest.update(part.unwrap_or_default());
            }
        }
        next
    }

    /// Whether there is an instance to continue with; starts a new one after a trap.
    fn is_alive(&mut self) -> bool {
        if self.instance.as_ref().is_some_and(|instance| !instance.has_ended()) {
            return true;
        }
        // Drop the old instance first, to release its memory.
        self.instance = None;
        match started(self.module, &self.spec) {
            Ok(instance) => self.instance = Some(instance),
            Err(NotStarted { reason, by_host }) => {
                self.seen.host_failed = self.seen.host_failed.take().or_else(|| by_host.then(|| reason.clone()));
                self.seen.start_failed = Some(reason);
            }
        }
        self.seen.start_failed.is_none()
    }

    fn finish(mut self) -> Observed {
        self.times.sort_unstable();
        let percentile = |percent: usize| self.times.get(self.times.len() * percent / 100).copied().unwrap_or_default();
        Observed { p50: percentile(50), p99: percentile(99), calls: self.times.len(), ..self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(calls: usize, p99_ms: u64) -> Observed {
        Observed { calls, p99: Duration::from_millis(p99_ms), ..Observed::default() }
    }

    fn problems(old: Observed, new: Observed) -> String {
        ShadowReport { old, new, difference: None }.problems().join("; ")
    }

    #[test]
    fn slow_means_much_slower_in_both_ways_and_often_enough() {
        assert_eq!(problems(observed(20, 1), observed(20, 13)), "", "a millisecond is noise");
        assert_eq!(
            problems(observed(20, 1), observed(20, 14)),
            "it is slow: 99 of 100 envelopes take up to 14ms, those of the running version 1ms"
        );
        assert_eq!(problems(observed(20, 100), observed(20, 310)), "");
        assert!(problems(observed(20, 100), observed(20, 311)).contains("it is slow"));
        assert_eq!(problems(observed(20, 1), observed(19, 5000)), "", "too few to tell");
    }

    #[test]
    fn a_version_that_is_slow_once_is_not_slow() {
        for (slow_replays, is_slow) in [(0, false), (1, false), (2, false), (3, true)] {
            let mut replays = 0;
            let report = unless_slow_again(|| {
                replays += 1;
                let p99_ms = if replays <= slow_replays { 100 } else { 1 };
                ShadowReport { old: observed(20, 1), new: observed(20, p99_ms), difference: None }
            });
            assert_eq!((!report.problems().is_empty(), replays), (is_slow, 3.min(slow_replays + 1)));
        }
    }

    #[test]
    fn a_version_that_does_not_finish_is_slow_unless_the_other_did_not_either() {
        let cut = || Observed { cut_short: true, ..observed(5, 900) };
        assert!(problems(observed(100, 1), cut()).contains("it did not finish in 5s"));
        assert_eq!(problems(cut(), cut()), "");
    }
}
