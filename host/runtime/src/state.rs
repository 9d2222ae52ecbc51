//! The host's data of one task instance, kept in its store. Owns the state of a call (what may be sent, what was
//! requested); knows nothing of how guests are called.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardmill_core::config::{Grants, Limits};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use crate::capabilities::{self, FileBudget, FileUsage, MAX_HEADER_BYTES};
use crate::error::CallError;
use crate::http::{HttpClient, Requests};
use crate::interrupt::{CallTime, Ticker};
use crate::journal::{Journal, LogSink};
use crate::limits::{LimitHits, MemoryLimiter};
use crate::outputs::{Mark, OutputStreams, Outputs};
use crate::own_files::Claim;

/// Host resources (streams, pollables) that a guest may hold at the same time.
const MAX_RESOURCES: usize = 10_000;

/// The identity, configuration, limits and grants of a task instance.
#[derive(Clone)]
pub struct TaskSpec {
    /// `job.name`.
    pub job_name: String,
    /// `job.id`.
    pub job_id: String,
    /// The name of the task instance, unique in the job.
    pub task_name: String,
    /// The sources that exist from the start; their indexes are those of `envelope.source`.
    pub sources: Vec<Source>,
    /// Shared by the instances of a job.
    pub outputs: Arc<OutputStreams>,
    /// The entries that the task can read with `config.get`.
    pub config: BTreeMap<String, String>,
    pub limits: Limits,
    pub grants: Grants,
    /// What is in the directories that may be written to; clones share it, as the instances of a job share the
    /// directories.
    pub file_usage: FileUsage,
    /// Sends the requests to the granted origins; none is sent without it.
    pub http_client: Option<Arc<dyn HttpClient>>,
    pub log: Arc<dyn LogSink>,
    /// Counters for the operator of the job.
    pub hits: Arc<LimitHits>,
}

/// Where envelopes come from: Samza's SystemStreamPartition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub system: String,
    pub stream: String,
    /// The shard of a Kinesis stream.
    pub partition: String,
}

/// The data of an instance's store.
pub(crate) struct State {
    pub(crate) spec: TaskSpec,
    pub(crate) module_id: String,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) call: Call,
    pub(crate) journal: Journal,
    pub(crate) memory: MemoryLimiter,
    pub(crate) requests: Requests,
    http: WasiHttpCtx,
    wasi: WasiCtx,
    table: ResourceTable,
    /// The claims of the granted directories.
    _granted: Vec<Claim>,
}

/// The current call, or the last one.
#[derive(Default)]
pub(crate) struct Call {
    /// The caller's buffer during a call that may send.
    pub(crate) outputs: Outputs,
    /// The start of this call's messages in `outputs`.
    pub(crate) mark: Option<Mark>,
    /// The number of streams that the job had named at this call's last look-up.
    pub(crate) streams: u32,
    pub(crate) attempt: u32,
    pub(crate) time: CallTime,
    pub(crate) files: FileBudget,
    /// The first name that this call requested and that is not a valid output.
    pub(crate) unknown_output: Option<String>,
    pub(crate) commit: bool,
    pub(crate) shutdown: Option<String>,
}

impl State {
    pub(crate) fn new(
        spec: &TaskSpec,
        module_id: String,
        ticker: Ticker,
        memory: MemoryLimiter,
    ) -> Result<Self, CallError> {
        let journal = Journal::new(spec, &module_id);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_HEADER_BYTES);
        let (wasi, claims) = capabilities::wasi(&journal, &spec.grants).map_err(CallError::Grant)?;
        Ok(Self {
            requests: Requests::new(spec, journal.clone()),
            http,
            module_id,
            sources: spec.sources.iter().cloned().map(Arc::new).collect(),
            call: Call { time: CallTime::new(ticker), files: FileBudget::new(spec), ..Call::default() },
            memory,
            wasi,
            _granted: claims,
            table,
            journal,
            spec: spec.clone(),
        })
    }
}

impl State {
    /// The WASI context, and the current call.
    pub(crate) fn calling(&mut self) -> (&Call, WasiCtxView<'_>) {
        (&self.call, WasiCtxView { ctx: &mut self.wasi, table: &mut self.table })
    }
}

impl State {
    /// The HTTP context of the current call.
    pub(crate) fn requesting(&mut self) -> WasiHttpCtxView<'_> {
        self.requests.set_time(&self.call.time);
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.requests }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
