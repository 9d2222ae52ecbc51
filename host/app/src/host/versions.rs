//! The versions of one job: found, tried out and kept, before they run and when they are wanted back. The shell between
//! the task directory, the directory that the hosts of the job share, and the job's rollout.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shardmill_core::config::Job;
use shardmill_core::leases::Millis;
use shardmill_core::module::shown;
use shardmill_core::rollout::{Deployment, Manner, ModuleId, Previous, Settings, WriteError};
use shardmill_runtime::{Module, TaskSpec};
use tracing::warn;

use super::actor::Proposal;
use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::job::{Deployed, DeploymentStore, JobHandle, Refused};
use crate::settings;

/// The fewest digits of a module's hash that name it.
const NAME_DIGITS_MIN: usize = 6;

/// Looks at what holds when other hosts of the job begin at the same time.
const BEGINNINGS_MAX: usize = 10;

/// How often the bytes of a version are looked for that another host began, and the pause between two looks: a network
/// file system may show its directories late.
const LOOKS_MAX: usize = 10;
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// One job's versions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Versions {
    name: Arc<str>,
    admission: Admission,
    /// `None`: what is deployed is forgotten at the end.
    kept: Option<Deployments>,
    spec: Arc<TaskSpec>,
    rollout: Settings,
    /// How long a call of the running version may hold up another one.
    drain: Duration,
    clock: Clock,
}

/// What a job begins with.
pub(super) struct Begun {
    pub(super) deployed: Deployed,
    /// The module of the task directory is still to be rolled out.
    pub(super) is_to_deploy: bool,
    /// Why it will not be.
    pub(super) refused: Option<NotDeployed>,
}

/// Why a module does not run.
#[derive(Debug)]
pub(super) enum NotDeployed {
    /// It does not go with the job's configuration, or is worse than the running version.
    Unfit(String),
    Refused(String),
    Stopping,
}

impl DeploymentStore for Versions {
    fn write(&self, deployment: &Deployment) -> Result<(), WriteError> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.write(deployment))
    }

    fn module(&self, id: &ModuleId) -> Result<Module, String> {
        // Asked for on threads that may wait.
        let runtime = tokio::runtime::Handle::current();
        let mut looks = 1;
        loop {
            match runtime.block_on(self.kept_module(id)) {
                Ok(module) => return Ok(module),
                Err(error) if looks == LOOKS_MAX => return Err(format!("{error:#}")),
                Err(_) => std::thread::sleep(LOOK_PAUSE),
            }
            looks += 1;
        }
    }

    fn output_records(&self) -> Option<PathBuf> {
        self.kept.as_ref().map(Deployments::outputs)
    }
}

impl Versions {
    pub(super) fn new(name: &str, job: &Job, admission: Admission, kept: Option<Deployments>, clock: Clock) -> Self {
        let (spec, rollout) = (Arc::new(settings::task_spec(job)), settings::rollout(job));
        Self { name: name.into(), admission, kept, spec, rollout, drain: job.rollout.drain, clock }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a job begins with, given the module of its task directory: what holds, as it was written down; or that
    /// module, if it is new and there is no reason to be careful with it.
    ///
    /// # Errors
    /// When what holds cannot be read or is not on this host: then it must not run anything else.
    pub(super) async fn begin(&self, first: &Proposal) -> Result<Begun> {
        if self.kept.is_none() {
            return Ok(Begun::with(Deployed::once(first.module.clone())));
        }
        for _ in 0..BEGINNINGS_MAX {
            if let Some(begun) = self.try_to_begin(first).await? {
                return Ok(begun);
            }
        }
        bail!("other hosts of the job changed what is to run {BEGINNINGS_MAX} times meanwhile");
    }

    /// `None`: another host of the job wrote first, and what it wrote holds.
    async fn try_to_begin(&self, first: &Proposal) -> Result<Option<Begun>> {
        let id = first.module.id().hex();
        let Some(holds) = self.blocking(|kept| kept.read()).await? else {
            self.keep(first).await?;
            let deployment = Deployment::first(id);
            if !self.write(deployment.clone()).await? {
                return Ok(None);
            }
            self.propose(first).await;
            return Ok(Some(Begun::with(self.deployed(deployment, vec![first.module.clone()]))));
        };
        if holds.modules().any(|module| *module == id) {
            // Somebody may have removed them.
            self.keep(first).await.unwrap_or_else(|error| warn!("{error:#}"));
            self.propose(first).await;
        }
        let refused = holds.quarantine(&id).map(|reason| NotDeployed::Refused(was_rolled_back(reason)));
        let runs = holds.current == id || holds.candidate.as_ref().is_some_and(|candidate| candidate.module == id);
        let wanted = id.clone();
        let is_wanted =
            !runs && refused.is_none() && !self.blocking(move |kept| kept.is_proposed(&wanted)).await.unwrap_or(false);
        if is_wanted && !self.has_waves(first.file.how) && holds.candidate.is_none() {
            return self.take_over(holds, first).await;
        }
        let modules = self.current(&holds, first).await?;
        Ok(Some(Begun { deployed: self.deployed(holds, modules), is_to_deploy: is_wanted, refused }))
    }

    /// Nothing runs yet, so a new module may as well begin; unless it does not start. The one before it is kept ready.
    async fn take_over(&self, holds: Deployment, first: &Proposal) -> Result<Option<Begun>> {
        let mut deployment = holds;
        let refused = match self.may_take_over(first).await {
            Ok(()) => {
                let warm_until: Millis = self.clock.now() + self.rollout.keep_warm;
                let previous = Some(Previous { module: deployment.current.clone(), warm_until });
                let revision = deployment.revision + 1;
                deployment = Deployment { revision, current: first.module.id().hex(), previous, ..deployment };
                if !self.write(deployment.clone()).await? {
                    return Ok(None);
                }
                None
            }
            Err(refused) => Some(refused),
        };
        self.propose(first).await;
        let modules = self.current(&deployment, first).await?;
        Ok(Some(Begun { deployed: self.deployed(deployment, modules), is_to_deploy: false, refused }))
    }

    async fn may_take_over(&self, first: &Proposal) -> Result<(), NotDeployed> {
        let tried = self.admission.try_out(&first.module, &self.spec, None).await;
        tried.map_err(|rejected| NotDeployed::Unfit(rejected.to_string()))?;
        self.keep(first).await.map_err(|error| NotDeployed::Refused(format!("{error:#}")))
    }

    fn has_waves(&self, how: Manner) -> bool {
        let is_canary = match how {
            Manner::Configured => self.rollout.is_canary,
            Manner::Canary => true,
            Manner::All | Manner::Forced => false,
        };
        is_canary && !self.rollout.waves.is_empty()
    }

    fn deployed(&self, deployment: Deployment, modules: Vec<Module>) -> Deployed {
        Deployed { deployment, modules, store: Arc::new(self.clone()) }
    }

    /// The module of the current version.
    async fn current(&self, deployment: &Deployment, first: &Proposal) -> Result<Vec<Module>> {
        if deployment.current == first.module.id().hex() {
            return Ok(vec![first.module.clone()]);
        }
        let current = shown(&self.name, &deployment.current);
        let found = self.kept_module(&deployment.current).await;
        Ok(vec![found.with_context(|| format!("{current} is to run, and this host does not have it"))?])
    }

    /// A start, and what the running version has had lately; only the start if that one is stuck in a call, for then
    /// another version is what it needs.
    async fn try_out(&self, job: &JobHandle, module: &Module) -> Result<Result<(), Rejected>, NotDeployed> {
        let (mut spec, mut running) = ((*self.spec).clone(), None);
        match tokio::time::timeout(self.drain, job.lately()).await {
            Ok(Some(lately)) if lately.module.id() == module.id() => return Ok(Ok(())),
            Ok(Some(lately)) => {
                spec.sources = lately.sources;
                running = Some((lately.module, lately.recent));
            }
            Ok(None) => return Err(NotDeployed::Stopping),
            Err(_) => {
                warn!(job = %self.name, "the running version is in a call: {} is not compared with it", module.id())
            }
        }
        Ok(self.admission.try_out(module, &spec, running).await.map(drop))
    }

    /// Tries a module out beside the running version and rolls it out. `handing_over` is called when the job gets it.
    pub(super) async fn deploy(
        &self,
        job: &JobHandle,
        proposal: &Proposal,
        handing_over: impl FnOnce(),
    ) -> Result<(), NotDeployed> {
        let module = &proposal.module;
        if let Err(rejected) = self.try_out(job, module).await? {
            // A restart does not try it again.
            self.propose(proposal).await;
            return Err(NotDeployed::Unfit(rejected.to_string()));
        }
        self.keep(proposal).await.map_err(|error| NotDeployed::Refused(format!("{error:#}")))?;
        handing_over();
        let result = job.deploy_as(module.clone(), proposal.file.how).await.map_err(|refused| match refused {
            Refused::Because(reason) => NotDeployed::Refused(reason),
            Refused::Stopping => NotDeployed::Stopping,
        });
        // Not before it is written down: what a crash or a stop cuts short, the next start takes up.
        if !matches!(result, Err(NotDeployed::Stopping)) {
            self.propose(proposal).await;
        }
        result
    }

    /// Goes back, or on, to a version that is kept, at once. It is named by the first digits of its hash, as lists show
    /// them.
    pub(super) async fn switch_to(&self, job: &JobHandle, to: &str) -> Result<(), String> {
        let module = self.named(to).await.map_err(|error| format!("{error:#}"))?;
        job.deploy_as(module, Manner::Forced).await.map_err(|refused| refused.to_string())
    }

    async fn named(&self, to: &str) -> Result<Module> {
        let digits = to.rsplit('@').next().unwrap_or(to).to_ascii_lowercase();
        if digits.len() < NAME_DIGITS_MIN {
            bail!("{to} is too short to name a version: at least {NAME_DIGITS_MIN} digits of its hash are needed");
        }
        let versions = self.blocking(|kept| kept.versions()).await?;
        let mut found = versions.into_iter().filter(|version| version.module.starts_with(&digits));
        match (found.next(), found.next()) {
            (Some(version), None) => self.kept_module(&version.module).await,
            (Some(_), Some(_)) => bail!("{to} names more than one version: give more digits"),
            (None, _) => bail!("{to} is not kept here; `shardmill versions {}` shows those that are", self.name),
        }
    }

    /// What another host has written since a revision.
    pub(super) async fn written_after(&self, revision: u64) -> Result<Option<Deployment>> {
        if self.kept.is_none() {
            return Ok(None);
        }
        let written = self.blocking(|kept| kept.read()).await?;
        Ok(written.filter(|written| written.revision > revision))
    }

    async fn kept_module(&self, id: &ModuleId) -> Result<Module> {
        let wanted = id.clone();
        let wasm = self.blocking(move |kept| kept.module(&wanted)).await?;
        let wasm = wasm.with_context(|| {
            let version = shown(&self.name, id);
            format!(
                "the bytes of {version} are not kept here; put them into the task directory, or deploy another version"
            )
        })?;
        Ok(self.admission.admit(&self.name, wasm).await?.module)
    }

    /// Whether it was written; not, if another host of the job was first.
    async fn write(&self, deployment: Deployment) -> Result<bool> {
        self.blocking(move |kept| match kept.write(&deployment) {
            Ok(()) => Ok(true),
            Err(WriteError::Changed(_)) => Ok(false),
            Err(WriteError::Failed(reason)) => Err(std::io::Error::other(reason)),
        })
        .await
    }

    async fn keep(&self, proposal: &Proposal) -> Result<()> {
        if self.kept.is_none() {
            return Ok(());
        }
        let file = Arc::clone(&proposal.file);
        let kept = self.blocking(move |kept| kept.keep(&file.bytes)).await;
        kept.map(drop).with_context(|| format!("{} cannot be kept for a way back", proposal.module.id()))
    }

    /// Notes that it had its chance. Without the note it is tried once more, which does no harm.
    async fn propose(&self, proposal: &Proposal) {
        if self.kept.is_none() {
            return;
        }
        let id = proposal.module.id().hex();
        if let Err(error) = self.blocking(move |kept| kept.propose(&id)).await {
            warn!(module = %proposal.module.id(), "{error:#}");
        }
    }

    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Deployments) -> std::io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let Some(kept) = self.kept.clone() else { bail!("no versions are kept: there is no state directory") };
        let done =
            tokio::task::spawn_blocking(move || work(&kept)).await.context("a look at the state directory panicked")?;
        done.context("failed to use the state directory")
    }
}

impl Begun {
    fn with(deployed: Deployed) -> Self {
        Self { deployed, is_to_deploy: false, refused: None }
    }
}

fn was_rolled_back(reason: &str) -> String {
    format!("it was rolled back before: {reason}")
}
