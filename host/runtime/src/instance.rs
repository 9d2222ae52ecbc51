//! A live instance of a task. Owns its store and the atomicity of calls: each call's messages and requests take effect
//! only if it returns ok. Knows nothing of retries, commits or where envelopes come from.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::Limits;
use shardmill_core::envelope::{self, Batch};
use shardmill_core::memory_budget::Short;
use shardmill_core::text;
use wasmtime::Store;

use crate::bindings::exports::shardmill::task::{batch_processor, lifecycle, processor, windowing};
use crate::bindings::shardmill::task::types;
use crate::engine::ticks;
use crate::error::{self, CallError, TaskError, TrapReason};
use crate::interrupt::{self, Interrupter};
use crate::limits::{Limit, LimitHits, MemoryLimiter, hostcall_bytes};
use crate::module::{Inner, Module, Processor};
use crate::outputs::Outputs;
use crate::state::{Call, Source, State, TaskSpec};

/// Component handles (borrowed and owned resources) that a guest may hold at the same time.
const MAX_HANDLES: usize = 10_000;

/// A sandboxed task, alive until it traps. Use it from one thread at a time, and never from one that runs async code.
pub struct Instance {
    store: Store<State>,
    processor: Guest,
    lifecycle: Option<lifecycle::Guest>,
    windowing: Option<windowing::Guest>,
    limits: Limits,
    ended: Option<TrapReason>,
}

// Its owner creates it on one thread and calls it on another.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Instance>();
};

enum Guest {
    Task(processor::Guest),
    BatchTask(batch_processor::Guest),
}

/// Calls returned ok.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The number of processed envelopes of the range. Fewer than all if the task requested something: handle the request
    /// first, then call for the rest.
    pub processed: usize,
    /// The task requested a commit.
    pub commit_requested: bool,
    /// The task requested a stop of the job, for this reason.
    pub shutdown_requested: Option<String>,
}

/// A call did not return ok.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// The number of processed envelopes at the start of the range; their messages are in the outputs.
    pub processed: usize,
    /// The envelope that failed, counted from the start of the range; `None` if the call had several and the task did not
    /// name one. For a batch task the envelopes before it are good but **not** processed, because nothing of a failed
    /// call takes effect: call again with only those, then continue with this one.
    pub culprit: Option<usize>,
    #[source]
    pub error: CallError,
}

impl Instance {
    /// Instantiates a module; does not call [`Instance::init`].
    pub fn new(module: &Module, spec: &TaskSpec) -> Result<Self, CallError> {
        let module = module.inner();
        let limits = spec.limits.clone();
        let memory = memory(module, spec)?;
        let state = State::new(spec, module.version.to_string(), module.ticker.clone(), memory)?;
        let mut store = Store::new(module.instance.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(hostcall_bytes(&limits));
        store.set_max_component_handles(MAX_HANDLES);
        interrupt::watch(&mut store);
        begin(&mut store, limits.init_timeout, None);
        let hits = Arc::clone(&spec.hits);
        let linked = module.instance.instantiate(&mut store).and_then(|instance| {
            let processor = match &module.processor {
                Processor::Task(indices) => Guest::Task(indices.load(&mut store, &instance)?),
                Processor::BatchTask(indices) => Guest::BatchTask(indices.load(&mut store, &instance)?),
            };
            let lifecycle = module.lifecycle.as_ref().map(|indices| indices.load(&mut store, &instance));
            let windowing = module.windowing.as_ref().map(|indices| indices.load(&mut store, &instance));
            Ok((processor, lifecycle.transpose()?, windowing.transpose()?))
        });
        let journal = &store.data().journal;
        journal.end();
        let (processor, lifecycle, windowing) = linked.map_err(|error| {
            let error = error::trap(&error, limits.init_timeout, &journal.stderr_tail());
            count(&hits, &error, Limit::InitTime);
            error
        })?;
        Ok(Self { store, processor, lifecycle, windowing, limits, ended: None })
    }

    /// Memory in use: linear memories, tables, and the contexts of the core instances.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Whether a call trapped: the instance has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// A handle by which another thread can end the calls of this instance.
    pub fn set_interrupter(&mut self, interrupter: Interrupter) {
        self.store.data_mut().call.time.set_interrupter(interrupter);
    }

    /// Adds a source; returns its index, for [`Instance::process`].
    pub fn add_source(&mut self, source: Source) -> u32 {
        let sources = &mut self.store.data_mut().sources;
        sources.push(Arc::new(source));
        u32::try_from(sources.len() - 1).expect("a job has far fewer shards")
    }

    /// Calls `init`, if the task has it. It cannot send.
    pub fn init(&mut self) -> Result<(), CallError> {
        let Some(guest) = self.lifecycle.clone() else { return Ok(()) };
        let answer = self.call(Limit::InitTime, None, |store| guest.call_init(store)).and_then(|answer| {
            answer.map_err(|reason| CallError::Task(TaskError::Fatal(text::reason(&format!("init: {reason}")))))
        });
        answer.map_err(|error| self.explained(error))
    }

    /// Passes envelopes of one source to the task, in order. `attempt` is 1 for the first try at them.
    ///
    /// The messages of calls that return ok are appended to `out`. A task is called once for each envelope, until a call
    /// fails or requests something; a batch task is called once for the range.
    ///
    /// # Panics
    /// When `range` is not within `batch`.
    pub fn process(
        &mut self,
        source: u32,
        batch: &Batch,
        range: Range<usize>,
        attempt: u32,
        out: &mut Outputs,
    ) -> Result<Done, Failed> {
        if range.is_empty() {
            return Ok(Done::default());
        }
        self.store.data_mut().call.attempt = attempt;
        let result = self.lending(out, |instance| match &instance.processor {
            Guest::Task(guest) => {
                let guest = guest.clone();
                instance.process_each(&guest, source, batch, range)
            }
            Guest::BatchTask(guest) => {
                let guest = guest.clone();
                instance.process_batch(&guest, source, batch, range)
            }
        });
        self.store.data_mut().call.attempt = 1;
        result
    }

    /// Calls `window` for the window from `start_ms` to before `end_ms` (Unix time), if the task has it.
    pub fn window(&mut self, start_ms: u64, end_ms: u64, out: &mut Outputs) -> Result<Done, CallError> {
        let Some(guest) = self.windowing.clone() else { return Ok(Done::default()) };
        self.lending(out, |instance| {
            instance.atomic(None, |store| {
                Ok(guest.call_window(store, start_ms, end_ms)?.map_err(|error| CallError::Task(error.into())))
            })
        })
    }

    /// Calls `before-stop`, if the task has it: the last call of an instance that shuts down gracefully.
    pub fn before_stop(&mut self, out: &mut Outputs) -> Result<Done, CallError> {
        let Some(guest) = self.lifecycle.clone() else { return Ok(Done::default()) };
        self.lending(out, |instance| {
            instance.atomic(None, |store| {
                let answer = guest.call_before_stop(store)?;
                Ok(answer.map_err(|reason| {
                    CallError::Task(TaskError::Other(text::reason(&format!("before-stop: {reason}"))))
                }))
            })
        })
    }

    fn process_each(
        &mut self,
        guest: &processor::Guest,
        source: u32,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<Done, Failed> {
        for (processed, envelope) in batch.envelopes(range.clone()).enumerate() {
            let call = self.atomic(Some((source, envelope)), |store| {
                Ok(guest.call_process(store, lowered(source, envelope))?.map_err(|error| CallError::Task(error.into())))
            });
            match call {
                Ok(done) if done.commit_requested || done.shutdown_requested.is_some() => {
                    return Ok(Done { processed: processed + 1, ..done });
                }
                Ok(_) => {}
                Err(error) => return Err(Failed { processed, culprit: Some(processed), error }),
            }
        }
        Ok(Done { processed: range.len(), ..Done::default() })
    }

    fn process_batch(
        &mut self,
        guest: &batch_processor::Guest,
        source: u32,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<Done, Failed> {
        let count = range.len();
        let first = batch.envelope(range.start);
        let mut culprit = (count == 1).then_some(0);
        let views: Vec<_> = batch.envelopes(range).map(|envelope| lowered(source, envelope)).collect();
        let call = self.atomic(Some((source, first)), |store| {
            let Err(types::BatchError { index, error }) = guest.call_process_batch(store, &views)? else {
                return Ok(Ok(()));
            };
            if index as usize >= count {
                let text = format!(
                    "returned error index {index} for a batch of {count}, with the error: {}",
                    TaskError::from(error)
                );
                return Ok(Err(CallError::InvalidResult(text)));
            }
            culprit = Some(index as usize);
            Ok(Err(CallError::Task(error.into())))
        });
        match call {
            Ok(done) => Ok(Done { processed: count, ..done }),
            Err(error) => Err(Failed { processed: 0, culprit, error }),
        }
    }

    /// Lends the caller's buffer to the guest during `calls`.
    fn lending<R>(&mut self, out: &mut Outputs, calls: impl FnOnce(&mut Self) -> R) -> R {
        std::mem::swap(out, &mut self.store.data_mut().call.outputs);
        let result = calls(self);
        std::mem::swap(out, &mut self.store.data_mut().call.outputs);
        result
    }

    /// One call whose messages and requests take effect only if it returns ok.
    fn atomic(
        &mut self,
        at: At<'_>,
        guest: impl FnOnce(&mut Store<State>) -> wasmtime::Result<Result<(), CallError>>,
    ) -> Result<Done, CallError> {
        let call = &mut self.store.data_mut().call;
        let mark = call.outputs.mark();
        call.mark = Some(mark);
        call.commit = false;
        call.shutdown = None;
        let answer = self.call(Limit::CallTime, at, guest).flatten();
        let Call { outputs, mark: sending, commit, shutdown, .. } = &mut self.store.data_mut().call;
        *sending = None;
        match answer {
            Ok(()) => Ok(Done { processed: 0, commit_requested: *commit, shutdown_requested: shutdown.take() }),
            Err(error) => {
                outputs.take_back_to(mark);
                Err(self.explained(error))
            }
        }
    }

    /// Adds what the host knows about the cause to the last call's error: the contract reports to the task only that an output
    /// is unknown.
    fn explained(&self, error: CallError) -> CallError {
        let State { call, spec, .. } = self.store.data();
        match &call.unknown_output {
            Some(name) => error.with_note(&spec.outputs.explain_unknown(name)),
            None => error,
        }
    }

    /// One call within its time limit, either that of `init` or that of other calls; a trap ends the instance.
    fn call<R>(
        &mut self,
        time: Limit,
        at: At<'_>,
        guest: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        if let Some(reason) = self.ended {
            return Err(CallError::Ended(reason));
        }
        let timeout = if time == Limit::InitTime { self.limits.init_timeout } else { self.limits.call_timeout };
        begin(&mut self.store, timeout, at);
        let answer = guest(&mut self.store);
        let State { journal, call, spec, .. } = self.store.data();
        journal.end();
        answer.map_err(|error| {
            let mut error = error::trap(&error, timeout, &journal.stderr_tail());
            if call.time.is_interrupted() {
                error = error.interrupted();
            }
            count(&spec.hits, &error, time);
            self.ended = if let CallError::Trap { reason, .. } = &error { Some(*reason) } else { None };
            error
        })
    }
}

/// Counts the limit that ended a call; `time` is the one of its time limit.
fn count(hits: &LimitHits, error: &CallError, time: Limit) {
    let CallError::Trap { reason, .. } = error else { return };
    match reason {
        TrapReason::Timeout => hits.count(time),
        TrapReason::Memory => hits.count(Limit::Memory),
        TrapReason::Tables => hits.count(Limit::Tables),
        TrapReason::Stack => hits.count(Limit::Stack),
        TrapReason::HostcallLimit => hits.count(Limit::HostCall),
        TrapReason::Unreachable | TrapReason::Interrupted | TrapReason::HostMemory | TrapReason::Other => {}
    }
}

/// The memory accounting of a new instance, if there is room for one.
fn memory(module: &Inner, spec: &TaskSpec) -> Result<MemoryLimiter, CallError> {
    let (footprint, max_bytes) = (module.description.footprint, spec.limits.memory_max_bytes);
    if footprint.total() > max_bytes as u64 {
        spec.hits.count(Limit::Memory);
        return Err(CallError::TooLarge { footprint, max_bytes });
    }
    // Memories and tables are counted when the engine creates them.
    let share = module.memory.instance(&format!("{}#{}", spec.job_name, spec.job_id), footprint.contexts);
    let short = |short: Short| CallError::Trap { reason: TrapReason::HostMemory, message: short.to_string() };
    // Not more than the limit, so it fits.
    let contexts = usize::try_from(footprint.contexts).unwrap_or(usize::MAX);
    Ok(MemoryLimiter::new(max_bytes, contexts, share.map_err(short)?))
}

/// The source and the first envelope of a call for envelopes.
type At<'a> = Option<(u32, envelope::Envelope<'a>)>;

/// Starts the guest's time limit, and sets the position that its log shows.
fn begin(store: &mut Store<State>, timeout: Duration, at: At<'_>) {
    interrupt::begin(store, ticks(timeout));
    let State { call, journal, sources, requests, .. } = store.data_mut();
    call.files.refill();
    call.unknown_output = None;
    requests.begin();
    journal.begin(at.and_then(|(source, envelope)| {
        Some((sources.get(source as usize)?, envelope.sequence, envelope.sub_sequence))
    }));
}

fn lowered(source: u32, envelope: envelope::Envelope<'_>) -> types::Envelope<'_> {
    types::Envelope {
        source,
        sequence: envelope.sequence,
        sub_sequence: envelope.sub_sequence,
        key: envelope.key,
        message: envelope.message,
        arrival_ms: envelope.arrival_ms,
    }
}
