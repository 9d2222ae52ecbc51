//! The versions of one job: found, tried out and kept, before they run and when they are wanted back. The shell between
//! the task directory, the directory that the hosts of the job share, and the job's rollout.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use shardmill_core::config::Job;
use shardmill_core::rollout::{self, Deployment, ModuleId, Previous, WriteError};
use shardmill_runtime::{Module, TaskSpec};
use tracing::warn;

use super::actor::Proposal;
use crate::admit::Admission;
use crate::clock::Clock;
use crate::deployments::Deployments;
use crate::job::{Deployed, DeploymentStore, JobHandle, Refused};
use crate::settings;

/// The fewest digits of a module's hash that name it.
const NAME_DIGITS_MIN: usize = 6;

/// Looks at what holds when other hosts of the job begin at the same time.
const BEGINNINGS_MAX: usize = 10;

/// One job's versions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Versions {
    name: Arc<str>,
    admission: Admission,
    /// `None`: what is deployed is forgotten at the end.
    kept: Option<Deployments>,
    spec: Arc<TaskSpec>,
    rollout: rollout::Settings,
    clock: Clock,
}

/// What a job begins with.
pub(super) struct Begun {
    pub(super) deployed: Deployed,
    /// The module of the task directory is still to be rolled out.
    pub(super) is_to_deploy: bool,
    /// Why it will not be.
    pub(super) refused: Option<String>,
}

/// Why a module does not run.
pub(super) enum NotDeployed {
    Refused(String),
    Stopping,
}

impl DeploymentStore for Deployments {
    fn write(&self, deployment: &Deployment) -> Result<(), WriteError> {
        Self::write(self, deployment)
    }
}

impl Versions {
    pub(super) fn new(name: &str, job: &Job, admission: Admission, kept: Option<Deployments>, clock: Clock) -> Self {
        let (spec, rollout) = (Arc::new(settings::task_spec(job)), settings::rollout(job));
        Self { name: name.into(), admission, kept, spec, rollout, clock }
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
        let Some(kept) = self.kept.clone() else {
            return Ok(Begun::with(Deployed::once(first.module.clone())));
        };
        let (file, id) = (Arc::clone(&first.file), first.module.id().hex());
        let is_known = self
            .blocking(move |kept| {
                kept.keep(&file.bytes)?;
                kept.is_proposed(&id)
            })
            .await?;
        for _ in 0..BEGINNINGS_MAX {
            if let Some(begun) = self.try_to_begin(first, !is_known, &kept).await? {
                if !begun.is_to_deploy {
                    self.note(&first.module).await;
                }
                return Ok(begun);
            }
        }
        bail!("other hosts of the job changed what is to run {BEGINNINGS_MAX} times meanwhile");
    }

    /// `None`: another host of the job wrote first, and what it wrote holds.
    async fn try_to_begin(&self, first: &Proposal, is_new: bool, kept: &Deployments) -> Result<Option<Begun>> {
        let id = first.module.id().hex();
        let Some(holds) = self.blocking(|kept| kept.read()).await? else {
            let deployment = Deployment::first(id);
            let deployed = Deployed {
                deployment: deployment.clone(),
                modules: vec![first.module.clone()],
                store: Arc::new(kept.clone()),
            };
            return Ok(self.write(deployment).await?.then(|| Begun::with(deployed)));
        };
        let runs = holds.current == id || holds.candidate.as_ref().is_some_and(|candidate| candidate.module == id);
        let refused = holds.quarantine(&id).map(|reason| format!("it was rolled back before: {reason}"));
        let is_wanted = is_new && !runs && refused.is_none();
        if is_wanted && self.rollout.waves.is_empty() && holds.candidate.is_none() {
            return self.take_over(holds, first, kept).await;
        }
        let modules = self.modules(&holds).await?;
        let deployed = Deployed { deployment: holds, modules, store: Arc::new(kept.clone()) };
        Ok(Some(Begun { deployed, is_to_deploy: is_wanted, refused }))
    }

    /// Nothing runs yet, so a new module may as well begin; unless it does not start. There is a way back as after any
    /// other rollout.
    async fn take_over(&self, holds: Deployment, first: &Proposal, kept: &Deployments) -> Result<Option<Begun>> {
        let mut refused = None;
        let mut deployment = holds;
        match self.admission.try_out(&first.module, &self.spec, None).await {
            Ok(_) => {
                let warm_until = self.clock.now() + self.rollout.keep_warm;
                let previous = Some(Previous { module: deployment.current.clone(), warm_until });
                let revision = deployment.revision + 1;
                deployment = Deployment { revision, current: first.module.id().hex(), previous, ..deployment };
                if !self.write(deployment.clone()).await? {
                    return Ok(None);
                }
            }
            Err(rejected) => refused = Some(rejected.to_string()),
        }
        let modules = self.modules(&deployment).await?;
        let deployed = Deployed { deployment, modules, store: Arc::new(kept.clone()) };
        Ok(Some(Begun { deployed, is_to_deploy: false, refused }))
    }

    /// Tries a module out beside the running version and rolls it out.
    pub(super) async fn deploy(&self, job: &JobHandle, proposal: Proposal) -> Result<(), NotDeployed> {
        let module = proposal.module.clone();
        let deployed = self.try_to_deploy(job, proposal).await;
        if !matches!(deployed, Err(NotDeployed::Stopping)) {
            self.note(&module).await;
        }
        deployed
    }

    async fn try_to_deploy(&self, job: &JobHandle, proposal: Proposal) -> Result<(), NotDeployed> {
        let Proposal { module, file, .. } = proposal;
        if self.kept.is_some() {
            let kept = self.blocking(move |kept| kept.keep(&file.bytes)).await;
            kept.map_err(|error| NotDeployed::Refused(format!("{error:#}")))?;
        }
        let lately = job.lately().await.ok_or(NotDeployed::Stopping)?;
        if lately.module.id() != module.id() {
            let spec = TaskSpec { sources: lately.sources, ..(*self.spec).clone() };
            let tried = self.admission.try_out(&module, &spec, Some((lately.module, lately.recent))).await;
            tried.map_err(|rejected| NotDeployed::Refused(rejected.to_string()))?;
        }
        job.deploy(module).await.map_err(|refused| match refused {
            Refused::Because(reason) => NotDeployed::Refused(reason),
            Refused::Stopping => NotDeployed::Stopping,
        })
    }

    /// Remembers that it is settled whether this module runs. Not before: a host that dies while it tries a module out
    /// has to begin again with it.
    async fn note(&self, module: &Module) {
        if self.kept.is_none() {
            return;
        }
        let id = module.id().hex();
        if let Err(error) = self.blocking(move |kept| kept.propose(&id)).await {
            let (job, module) = (&self.name, module.id());
            warn!(%job, %module, error = format!("{error:#}"), "the next start will try this module out again");
        }
    }

    /// Goes back, or on, to a version that is kept, at once. It is named by the first digits of its hash, as lists show
    /// them.
    pub(super) async fn switch_to(&self, job: &JobHandle, to: &str) -> Result<(), String> {
        let module = self.named(to).await.map_err(|error| format!("{error:#}"))?;
        job.switch_to(module).await.map_err(|refused| refused.to_string())
    }

    async fn named(&self, to: &str) -> Result<Module> {
        let digits = to.rsplit('@').next().unwrap_or(to).to_ascii_lowercase();
        if digits.len() < NAME_DIGITS_MIN {
            bail!("{to} is too short to name a version: at least {NAME_DIGITS_MIN} digits of its hash are needed");
        }
        let versions = self.blocking(|kept| kept.versions()).await?;
        let mut found = versions.into_iter().filter(|version| version.module.starts_with(&digits));
        match (found.next(), found.next()) {
            (Some(version), None) => self.module(&version.module).await,
            (Some(_), Some(_)) => bail!("{to} names more than one version: give more digits"),
            (None, _) => bail!("{to} is not kept here; `shardmill versions {}` shows those that are", self.name),
        }
    }

    /// What another host has written since a revision, with the modules of it that are here.
    pub(super) async fn written_after(&self, revision: u64) -> Result<Option<(Deployment, Vec<Module>)>> {
        if self.kept.is_none() {
            return Ok(None);
        }
        let written = self.blocking(|kept| kept.read()).await?;
        let Some(deployment) = written.filter(|written| written.revision > revision) else { return Ok(None) };
        let modules = self.modules(&deployment).await?;
        Ok(Some((deployment, modules)))
    }

    /// The modules that a deployment names. Whether one that is not here is needed, the job knows.
    async fn modules(&self, deployment: &Deployment) -> Result<Vec<Module>> {
        let mut modules = Vec::new();
        for id in deployment.modules() {
            match self.module(id).await {
                Ok(module) => modules.push(module),
                Err(error) => {
                    warn!(job = %self.name, module = id, error = format!("{error:#}"), "a version is not here")
                }
            }
        }
        Ok(modules)
    }

    async fn module(&self, id: &ModuleId) -> Result<Module> {
        let wanted = id.clone();
        let wasm = self.blocking(move |kept| kept.module(&wanted)).await?;
        let wasm = wasm.with_context(|| format!("the bytes of version {id} are not kept here"))?;
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
