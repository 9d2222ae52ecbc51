//! The versions of one job: found, tried out and kept, before they run and when they are wanted back. The shell between
//! the task directory, the directory that the hosts of the job share, and the job's rollout.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shardmill_core::config::Job;
use shardmill_core::module::ModuleId;
use shardmill_core::rollout::{self, AtRest, Begin, Deployment, Manner, Offer, Settings, WriteError, at_rest};
use shardmill_core::time::Millis;
use shardmill_runtime::{Module, TaskSpec};
use tracing::warn;

use super::actor::Proposal;
use crate::admit::{Admission, Rejected};
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::job::{Deployed, DeploymentStore, JobHandle, Refused};
use crate::settings;
use crate::tasks::blocking;

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
    pub(super) then: Then,
}

/// What becomes of the module that the task directory offers.
pub(super) enum Then {
    /// It runs, or was left on purpose.
    Nothing,
    /// It is still to be rolled out.
    Deploy,
    /// It will not be.
    Refuse(NotDeployed),
}

/// Why a module does not run.
#[derive(Debug)]
pub(super) enum NotDeployed {
    /// It does not go with the job's configuration, or is worse than the running version.
    Unfit(String),
    /// An operator took it back, or it was rolled back before.
    Refused(String),
    /// This machine could not roll it out now.
    NotNow(String),
    Stopping,
}

impl DeploymentStore for Versions {
    fn write(&self, deployment: &Deployment) -> Result<(), WriteError> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.write(deployment))
    }

    fn module(&self, id: ModuleId) -> Result<Module, String> {
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

    /// What a job begins with, given the module that its task directory offers; see [`rollout::begin`].
    ///
    /// # Errors
    /// When what holds cannot be read or is not on this host: then it must not run anything else.
    pub(super) async fn begin(&self, offer: Option<&Proposal>) -> Result<Begun> {
        if self.kept.is_none() {
            let first = offer.context("nothing is kept of the job, and there is no module to begin with")?;
            return Ok(Begun::with(Deployed::once(first.module.clone())));
        }
        for _ in 0..BEGINNINGS_MAX {
            if let Some(begun) = self.try_to_begin(offer).await? {
                return Ok(begun);
            }
        }
        bail!("the deployment was changed {BEGINNINGS_MAX} times by other hosts of the job meanwhile");
    }

    /// `None`: another host of the job wrote first, and what it wrote holds.
    async fn try_to_begin(&self, offer: Option<&Proposal>) -> Result<Option<Begun>> {
        let holds = self.blocking(|kept| kept.read()).await?;
        if let Some(offer) = offer
            && holds.as_ref().is_some_and(|holds| holds.modules().any(|module| module == offer.module.id()))
        {
            // Somebody may have removed them.
            self.keep(offer).await.unwrap_or_else(|error| warn!("{error:#}"));
            self.propose(offer).await;
        }
        let offered = match offer {
            Some(offer) => {
                let (module, has_waves) = (offer.module.id(), self.has_waves(offer.file.how));
                let had_its_chance = self.blocking(move |kept| kept.is_proposed(module)).await.unwrap_or(false);
                Some(Offer { module, has_waves, had_its_chance })
            }
            None => None,
        };
        let then = match (rollout::begin(holds.as_ref(), offered), offer) {
            (Begin::First, Some(first)) => return self.begin_first(first).await,
            (Begin::Resume(rollout::Then::Nothing), _) => Then::Nothing,
            (Begin::Resume(rollout::Then::Deploy), _) => Then::Deploy,
            (Begin::Resume(rollout::Then::Refuse(reason)), _) => Then::Refuse(NotDeployed::Refused(reason)),
            (Begin::TakeOver, Some(offer)) => {
                let holds = holds.context("there is nothing to take over from")?;
                return self.take_over(holds, offer).await;
            }
            (Begin::Nothing | Begin::First | Begin::TakeOver, _) => bail!("nothing was ever deployed"),
        };
        let holds = holds.context("nothing was ever deployed")?;
        let modules = self.current(&holds, offer).await?;
        Ok(Some(Begun { deployed: self.deployed(holds, modules), then }))
    }

    async fn begin_first(&self, first: &Proposal) -> Result<Option<Begun>> {
        self.keep(first).await?;
        let deployment = Deployment::first(first.module.id());
        if !self.write(deployment.clone()).await? {
            return Ok(None);
        }
        self.propose(first).await;
        Ok(Some(Begun::with(self.deployed(deployment, vec![first.module.clone()]))))
    }

    /// Nothing runs yet, so a new module may as well begin; unless it does not start. The one before it is kept ready.
    async fn take_over(&self, holds: Deployment, offer: &Proposal) -> Result<Option<Begun>> {
        let (then, deployment) = match self.may_take_over(offer).await {
            Ok(()) => {
                let warm_until: Millis = self.clock.now() + self.rollout.keep_warm;
                let next = at_rest(&holds, &AtRest::SwitchTo(offer.module.id()), warm_until);
                let next = next.map_err(anyhow::Error::msg)?.unwrap_or(holds);
                if !self.write(next.clone()).await? {
                    return Ok(None);
                }
                self.propose(offer).await;
                (Then::Nothing, next)
            }
            Err(refused) => (Then::Refuse(refused), holds),
        };
        let modules = self.current(&deployment, Some(offer)).await?;
        Ok(Some(Begun { deployed: self.deployed(deployment, modules), then }))
    }

    async fn may_take_over(&self, offer: &Proposal) -> Result<(), NotDeployed> {
        let tried = self.admission.try_out(&offer.module, &self.spec, None).await;
        tried.map_err(|rejected| not_fit(&rejected))?;
        self.keep(offer).await.map_err(|error| NotDeployed::NotNow(format!("{error:#}")))
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
    async fn current(&self, deployment: &Deployment, offer: Option<&Proposal>) -> Result<Vec<Module>> {
        if let Some(offer) = offer.filter(|offer| deployment.current == offer.module.id()) {
            return Ok(vec![offer.module.clone()]);
        }
        let current = deployment.current.of_job(&self.name);
        let found = self.kept_module(deployment.current).await;
        Ok(vec![
            found.with_context(|| format!("module {current}, which the deployment calls current, cannot run here"))?,
        ])
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
                warn!(job = %self.name, "the running version is in a call: {} is not compared with it", module.version())
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
        self.try_out(job, module).await?.map_err(|rejected| not_fit(&rejected))?;
        self.keep(proposal).await.map_err(|error| NotDeployed::NotNow(format!("{error:#}")))?;
        handing_over();
        job.deploy_as(module.clone(), proposal.file.how).await.map_err(|refused| match refused {
            Refused::Because(reason) => NotDeployed::Refused(reason),
            Refused::Unfit(reason) => NotDeployed::Unfit(reason),
            Refused::NotNow(reason) => NotDeployed::NotNow(reason),
            Refused::Stopping => NotDeployed::Stopping,
        })?;
        // Not before it is written down: what a crash or a stop cuts short, the next start takes up.
        self.propose(proposal).await;
        Ok(())
    }

    /// Goes back, or on, to a version that is kept, at once. It is named by the first digits of its hash, as lists show
    /// them.
    pub(super) async fn switch_to(&self, job: &JobHandle, to: &str) -> Result<(), String> {
        let module = self.named(to).await.map_err(|error| format!("{error:#}"))?;
        job.deploy_as(module, Manner::Forced).await.map_err(|refused| refused.to_string())
    }

    async fn named(&self, to: &str) -> Result<Module> {
        let (name, to) = (Arc::clone(&self.name), to.to_owned());
        let module = self.blocking(move |kept| Ok(kept_version(kept, &name, &to))).await??;
        self.kept_module(module).await
    }

    /// What another host has written since; what is lost is written again.
    pub(super) async fn look(&self, runs: Deployment) -> Result<Option<Deployment>> {
        if self.kept.is_none() {
            return Ok(None);
        }
        self.blocking(move |kept| {
            if kept.restore(&runs)? {
                warn!(revision = runs.revision, "what is deployed was gone from the state directory: written again");
            }
            Ok(kept.read()?.filter(|written| written.revision > runs.revision))
        })
        .await
    }

    async fn kept_module(&self, id: ModuleId) -> Result<Module> {
        let wasm = self.blocking(move |kept| kept.module(id)).await?;
        let wasm = wasm.with_context(|| {
            let version = id.of_job(&self.name);
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
        kept.map(drop).with_context(|| format!("{} cannot be kept for a way back", proposal.module.version()))
    }

    /// Notes that it had its chance. Without the note it is tried once more, which does no harm.
    async fn propose(&self, proposal: &Proposal) {
        if self.kept.is_none() {
            return;
        }
        let id = proposal.module.id();
        if let Err(error) = self.blocking(move |kept| kept.propose(id)).await {
            warn!(module = %proposal.module.version(), "{error:#}");
        }
    }

    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Deployments) -> std::io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let Some(kept) = self.kept.clone() else { bail!("no versions are kept: there is no state directory") };
        let done = blocking("a look at the state directory", move || work(&kept)).await?;
        done.context("failed to use the state directory")
    }
}

impl Begun {
    fn with(deployed: Deployed) -> Self {
        Self { deployed, then: Then::Nothing }
    }
}

/// The version that is kept under these first digits of its hash, as lists show them. Blocking.
///
/// # Errors
/// When there is none, or more than one.
pub(super) fn kept_version(kept: &Deployments, name: &str, to: &str) -> Result<ModuleId> {
    let digits = to.rsplit('@').next().unwrap_or(to).to_ascii_lowercase();
    if digits.len() < NAME_DIGITS_MIN {
        bail!("{to} is too short to name a version: at least {NAME_DIGITS_MIN} digits of its hash are needed");
    }
    let versions = kept.versions().context("failed to use the state directory")?;
    let mut found = versions.into_iter().filter(|version| version.module.starts_with(&digits));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(version.module),
        (Some(_), Some(_)) => bail!("{to} names more than one version: give more digits"),
        (None, _) => bail!("{to} is not kept here; `shardmill versions {name}` shows those that are"),
    }
}

/// Whether a module is to blame for what its trial came to, or this machine.
fn not_fit(rejected: &Rejected) -> NotDeployed {
    match rejected.is_final() {
        true => NotDeployed::Unfit(rejected.to_string()),
        false => NotDeployed::NotNow(rejected.to_string()),
    }
}
