//! The live instances of a job, and the calls into them. Owns what a call counts as; when which instance is called is the
//! run loop's business.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardmill_core::envelope::Batch;
use shardmill_core::run_loop::{CallFailure, FailureClass, InstanceId, RebuildFailure, Returned, SourceId};
use shardmill_runtime::{
    CallError, Failed, Instance, Interrupter, Module, Outputs, Shape, Source, TaskError, TaskSpec,
};
use tracing::{info, warn};

use crate::outputs::OutputSystems;
use crate::status::Status;

/// How long a task is called for one envelope after the other before anything else gets its turn.
const TURN: Duration = Duration::from_millis(50);
/// Envelopes between two looks at the clock, at most.
const STEP_MAX: usize = 64;

/// A version that was built away from the task thread, ready for its first envelope.
pub(crate) struct Ready {
    pub(crate) module: Module,
    /// It knows no source yet.
    pub(crate) instance: Instance,
    /// Ends the calls of this instance, and of those that are built in its place.
    pub(crate) interrupter: Interrupter,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ready({})", self.module.version())
    }
}

/// A place for an instance of a version.
struct Place {
    module: Module,
    /// None from its death until another one is built: what it had is given back meanwhile.
    instance: Option<Instance>,
    interrupter: Interrupter,
}

/// What the task thread calls.
pub(super) struct Instances {
    all: BTreeMap<InstanceId, Place>,
    spec: TaskSpec,
    systems: OutputSystems,
    status: Arc<Status>,
    outputs: Outputs,
}

/// A new instance, ready for its first envelope.
///
/// # Errors
/// When instantiation or `init` fails.
pub(crate) fn instantiate(module: &Module, spec: &TaskSpec) -> Result<Instance, CallError> {
    let mut instance = Instance::new(module, spec)?;
    instance.init()?;
    Ok(instance)
}

impl Instances {
    pub(super) fn new(spec: TaskSpec, systems: OutputSystems, status: Arc<Status>) -> Self {
        Self { all: BTreeMap::new(), spec, systems, status, outputs: Outputs::default() }
    }

    pub(super) fn add(&mut self, id: InstanceId, mut ready: Ready) {
        for source in &self.spec.sources {
            ready.instance.add_source(source.clone());
        }
        ready.instance.set_interrupter(ready.interrupter.clone());
        let Ready { module, instance, interrupter } = ready;
        self.all.insert(id, Place { module, instance: Some(instance), interrupter });
    }

    /// The shards that the guests know, by their index.
    pub(super) fn sources(&self) -> &[Source] {
        &self.spec.sources
    }

    pub(super) fn add_source(&mut self, source: Source) {
        for instance in self.all.values_mut().filter_map(|place| place.instance.as_mut()) {
            instance.add_source(source.clone());
        }
        self.spec.sources.push(source);
    }

    pub(super) fn drop(&mut self, id: InstanceId) {
        self.all.remove(&id);
    }

    /// The job is over: whoever hears of it finds the outputs as they stay.
    pub(super) fn close(&mut self) {
        self.systems.close();
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.systems.flush()
    }

    /// The old instance is dead; its memory is gone with it.
    pub(super) fn rebuild(&mut self, id: InstanceId) -> Result<(), RebuildFailure> {
        let dropped = || RebuildFailure::Task("the instance was dropped".to_owned());
        let place = self.all.get_mut(&id).ok_or_else(dropped)?;
        info!(task = self.spec.task_name, module = %place.module.version(), "building a new instance");
        let mut instance = instantiate(&place.module, &self.spec).map_err(|error| {
            let by = if error.is_hosts() { RebuildFailure::Host } else { RebuildFailure::Task };
            by(error.to_string())
        })?;
        instance.set_interrupter(place.interrupter.clone());
        place.instance = Some(instance);
        Ok(())
    }

    /// A task that fails to say goodbye loses what it wanted to send, and nothing else; unless it traps. Returns whether
    /// it did.
    pub(super) fn before_stop(&mut self, id: InstanceId) -> bool {
        self.outputs.clear();
        let Some(Place { module, instance: place, .. }) = self.all.get_mut(&id) else { return false };
        let Some(instance) = place else { return false };
        match instance.before_stop(&mut self.outputs) {
            Ok(_) => {
                self.systems.write(&self.outputs, &self.spec.outputs);
                self.status.update(|status| status.sent += self.outputs.len() as u64);
                false
            }
            Err(error) => {
                warn!(task = self.spec.task_name, module = %module.version(), %error, "before-stop failed");
                if error.is_trap() {
                    *place = None;
                }
                error.is_trap()
            }
        }
    }

    pub(super) fn call(
        &mut self,
        id: InstanceId,
        source: SourceId,
        batch: &Batch,
        range: Range<usize>,
        attempt: u32,
    ) -> Returned {
        self.outputs.clear();
        let started = Instant::now();
        let mut returned = self.process(id, source, batch, range, attempt, started);
        if let Some(class) = returned.error.as_ref().map(|error| error.class)
            && class.ends_instance()
            && let Some(place) = self.all.get_mut(&id)
        {
            place.instance = None;
        }
        self.systems.write(&self.outputs, &self.spec.outputs);
        // The flush of a commit tells, and it may be long until the next one.
        returned.commit |= self.systems.has_failed();
        let busy = started.elapsed();
        self.status.update(|status| {
            status.processed += returned.processed as u64;
            status.sent += self.outputs.len() as u64;
            status.failed_calls += u64::from(returned.error.is_some());
            status.traps += u64::from(returned.error.as_ref().is_some_and(|error| error.class == FailureClass::Trap));
            if let Some(shard) = status.shards.get_mut(&source) {
                shard.waiting = shard.waiting.saturating_sub(returned.processed as u64);
            }
            let health = status.health.entry(id).or_default();
            health.calls += 1;
            health.envelopes += returned.processed as u64;
            health.busy_us += u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
            // What the host failed to do, or ended for a rollout, is no fault of the version.
            if let Some(error) = returned.error.as_ref().filter(|error| error.class != FailureClass::Host) {
                health.failed_calls += 1;
                health.traps += u64::from(error.class == FailureClass::Trap);
            }
        });
        returned
    }

    /// Calls the instance for a range: a batch task once, a task for one envelope after the other until it has had its
    /// turn, so that a due commit or a stop need not wait for a long range of slow calls.
    fn process(
        &mut self,
        id: InstanceId,
        source: SourceId,
        batch: &Batch,
        range: Range<usize>,
        attempt: u32,
        started: Instant,
    ) -> Returned {
        let mut returned = Returned::default();
        let Some(Place { module, instance: Some(instance), .. }) = self.all.get_mut(&id) else {
            let message = "the instance was dropped".to_owned();
            returned.error = Some(CallFailure { class: FailureClass::Trap, message });
            return returned;
        };
        let mut step = match module.shape() {
            Shape::Task => 1,
            Shape::BatchTask => range.len(),
        };
        loop {
            let start = range.start + returned.processed;
            let end = range.end.min(start + step);
            match instance.process(source, batch, start..end, attempt, &mut self.outputs) {
                Ok(done) => {
                    returned.processed += done.processed;
                    returned.commit = done.commit_requested;
                    returned.shutdown = done.shutdown_requested;
                }
                Err(failed) => {
                    let known = self.spec.sources.get(source as usize);
                    tell_failure(known, module, &batch.position(start + blamed(&failed)).to_string(), attempt, &failed);
                    returned.failed_at = failed.culprit.map(|culprit| returned.processed + culprit);
                    returned.processed += failed.processed;
                    returned.error = Some(failure(&failed.error));
                }
            }
            let interrupted = returned.error.is_some() || returned.commit || returned.shutdown.is_some();
            if interrupted || range.start + returned.processed >= range.end || started.elapsed() >= TURN {
                return returned;
            }
            // The clock costs a tenth of a short call: look at it less and less often.
            step = (step * 2).min(STEP_MAX);
        }
    }
}

fn blamed(failed: &Failed) -> usize {
    failed.culprit.unwrap_or(failed.processed)
}

fn tell_failure(source: Option<&Source>, module: &Module, position: &str, attempt: u32, failed: &Failed) {
    let Some(Source { system, stream, partition }) = source else { return };
    let (module, error) = (module.version(), &failed.error);
    warn!(system, stream, shard = partition, %module, position, attempt, %error, "a call failed");
}

fn failure(error: &CallError) -> CallFailure {
    let class = match error {
        host if host.is_hosts() => FailureClass::Host,
        CallError::Task(TaskError::Retry(delay)) => FailureClass::Retry(*delay),
        CallError::Task(TaskError::Reject(_)) => FailureClass::Reject,
        CallError::Task(TaskError::Fatal(_)) | CallError::Grant(_) | CallError::TooLarge { .. } => FailureClass::Fatal,
        CallError::Task(TaskError::Other(_)) | CallError::InvalidResult(_) => FailureClass::Other,
        CallError::Trap { .. } | CallError::Ended(_) => FailureClass::Trap,
    };
    CallFailure { class, message: error.to_string() }
}
