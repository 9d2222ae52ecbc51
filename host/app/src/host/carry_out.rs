//! Carries out what `core::jobs` wants: looks up what is written down, admits, starts, deploys and stops, and tells it what
//! came of that.

use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use shardmill_core::jobs::{self, Action, Cause, End, Known, Recalled};
use shardmill_core::module::ModuleId;
use tokio::sync::oneshot;
use tracing::{Instrument, error, error_span, info, warn};

use super::actor::{self, Command, JobActor, Outcome, Proposal};
use super::versions::{NotDeployed, Versions};
use super::{Done, Host, Settings, Unusable, Work};
use crate::admit::{Admission, Rejected};
use crate::deployments::{Deployments, RejectedModule};
use crate::task_files::Contents;

/// The release that rejects modules: another one may know better.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// What was found in a job's part of the state directory.
pub(super) enum Recollection {
    Found {
        kept: Deployments,
        current: Option<ModuleId>,
        rejected: Vec<RejectedModule>,
    },
    /// Nothing can be kept there.
    Unusable(String),
    /// It is not known what is to run.
    Unknown(String),
}

/// Why a module was not admitted.
pub(super) enum NotAdmitted {
    Bad(String),
    /// The module may be good: this machine could not tell.
    NotNow(Rejected),
}

impl Host {
    pub(super) fn tell(&mut self, event: jobs::Event) {
        for action in self.jobs.on(self.settings.clock.now(), event) {
            match action {
                Action::Recall { name } => self.recall(name),
                Action::Admit { name, id } => self.admit(name, id),
                Action::Start { name, offer } => self.start(name, offer),
                Action::Deploy { name, id } => {
                    if let Some(proposal) = self.entry(&name).proposal(id) {
                        self.pass_on(&name, Command::Deploy(proposal));
                    }
                }
                Action::Stop { name } => self.pass_on(&name, Command::Stop),
            }
        }
        let mut forgot = false;
        for (name, entry) in &mut self.entries {
            if entry.module.is_some() && self.jobs.get(name).is_none() {
                info!(job = name, "forgotten: its module is gone");
                entry.forget();
                forgot = true;
            }
        }
        if forgot {
            self.configure_waiting();
        }
        self.give_up_if_stuck();
    }

    /// Without other jobs there is nothing to wait for.
    fn give_up_if_stuck(&mut self) {
        let Some(only) = self.settings.only.clone().filter(|_| self.failure.is_none()) else { return };
        let Some(job) = self.jobs.get(&only).filter(|job| job.is_stuck()) else { return };
        let file = self.settings.tasks.join(format!("{only}.wasm"));
        let failure = match (job.rejected(), job.put_off()) {
            (Some((_, reason)), _) => Unusable::Module { file, reason: reason.to_owned() }.into(),
            (None, Some(reason)) => anyhow!("{reason}"),
            (None, None) => {
                Unusable::Module { file, reason: "there is no such file, and nothing was deployed before".to_owned() }
                    .into()
            }
        };
        self.give_up(failure);
    }

    pub(super) fn pass_on(&mut self, name: &str, command: Command) {
        self.entry(name).command(command);
    }

    /// What follows for a job from a rejected module.
    pub(super) fn then(&self, name: &str) -> &'static str {
        let runs = self.entries.get(name).is_some_and(|entry| entry.actor.is_some());
        if runs { "the running version goes on" } else { "what was deployed before runs, if anything" }
    }

    fn recall(&mut self, name: String) {
        let state = self.settings.state.clone();
        let entry = self.entry(&name);
        let (config, had_it) = (entry.version(), entry.kept.is_some());
        // The machine asks for a job that is configured.
        let Some(identity) = entry.identity() else { return };
        entry.recalling_since = Some(Instant::now());
        self.work.spawn_blocking(Work::Recall { name: name.clone(), config }, move || {
            let recollection = match Deployments::open(&state, &name, &identity) {
                Ok(kept) => look_up(kept),
                // It was there a moment ago.
                Err(error) if had_it => Recollection::Unknown(format!("what is to run cannot be looked up: {error}")),
                Err(error) => Recollection::Unusable(error.to_string()),
            };
            Done::Recalled { name, config, recollection }
        });
    }

    pub(super) fn recalled(&mut self, name: String, config: u64, recollection: Recollection) {
        let state = self.settings.state.display().to_string();
        let entry = self.entry(&name);
        entry.recalling_since = None;
        let recalled = match recollection {
            Recollection::Found { kept, current, rejected } => {
                let fingerprint = entry.fingerprint();
                (entry.kept, entry.unkept) = (Some(kept), None);
                let known = rejected.into_iter().filter_map(|rejected| known(rejected, fingerprint.as_deref()));
                Recalled { config, current, rejected: known.collect() }
            }
            Recollection::Unusable(error) => {
                let unkept = format!(
                    "what is deployed is forgotten at the end, for {state} cannot be used: {error}; --state names another \
                     directory"
                );
                if entry.unkept.as_ref() != Some(&unkept) {
                    warn!(job = name, "{unkept}");
                }
                entry.unkept = Some(unkept);
                Recalled { config, ..Recalled::default() }
            }
            Recollection::Unknown(reason) if self.settings.only.is_some() => return self.give_up(anyhow!("{reason}")),
            Recollection::Unknown(reason) => {
                error!(job = name, "not started: {reason}");
                return self.tell(jobs::Event::NotRecalled { name, reason });
            }
        };
        self.tell(jobs::Event::Recalled { name, recalled });
    }

    pub(super) fn admit(&mut self, name: String, id: ModuleId) {
        let module = self.entry(&name).module.as_ref().filter(|module| module.id == id);
        let Some(contents) = module.and_then(|module| module.contents.clone()) else {
            // It was rejected before, and is to be checked again.
            self.entry(&name).is_read_again = true;
            return self.begin_reading(format!("{name}.wasm"));
        };
        info!(job = name, module = %id.of_job(&name), bytes = contents.bytes.len(), "checking the module");
        let (admission, admissions) = (self.settings.admission.clone(), Arc::clone(&self.admissions));
        self.work.spawn(Work::Admit { name: name.clone(), id }, async move {
            // Never closed.
            let _turn = admissions.acquire().await;
            let began = Instant::now();
            let result = look_at(&admission, &name, id, contents).await;
            Done::Admitted { name, id, took: began.elapsed(), result }
        });
    }

    pub(super) fn admitted(&mut self, name: String, id: ModuleId, result: Result<Proposal, NotAdmitted>) {
        if self.jobs.get(&name).is_none() {
            return;
        }
        match result {
            // It was taken back meanwhile.
            Ok(_) if self.jobs.get(&name).and_then(jobs::Job::admitting) != Some(&id) => {}
            Ok(admitted) => {
                let entry = self.entry(&name);
                entry.drop_contents(id);
                entry.admitted = Some(admitted);
                self.tell(jobs::Event::Admitted { name, id });
            }
            Err(NotAdmitted::Bad(reason)) => self.rejected(name, id, reason, Cause::Bytes),
            Err(NotAdmitted::NotNow(failed)) => {
                warn!(job = name, module = %id.of_job(&name), "not checked, tried again: {failed}");
                self.tell(jobs::Event::NotAdmitted { name, id, reason: failed.to_string() });
            }
        }
    }

    /// A module does not run, for a reason that holds.
    pub(super) fn rejected(&mut self, name: String, id: ModuleId, reason: String, cause: Cause) {
        warn!(job = name, module = %id.of_job(&name), "rejected, {}: {reason}", self.then(&name));
        let entry = self.entry(&name);
        entry.counts.rejected += 1;
        entry.drop_contents(id);
        // Its bytes may be many, and its file has them.
        entry.admitted.take_if(|admitted| admitted.id == id);
        self.remember(&name, id, &reason, cause);
        self.tell(jobs::Event::Rejected { name, id, reason, cause });
    }

    /// So that a restart says the same.
    fn remember(&mut self, name: &str, id: ModuleId, reason: &str, cause: Cause) {
        let entry = self.entry(name);
        let Some(kept) = entry.kept.clone() else { return };
        let configuration = if cause == Cause::Configuration { entry.fingerprint() } else { None };
        let (reason, release) = (reason.to_owned(), RELEASE.to_owned());
        let is_withdrawn = cause == Cause::Withdrawn;
        let rejected = RejectedModule { module: id, reason, release, configuration, is_withdrawn };
        let name = name.to_owned();
        self.work.spawn_blocking(Work::Note(name.clone()), move || {
            if let Err(error) = kept.reject(rejected) {
                warn!(job = name, "what was rejected is forgotten at the end: {error}");
            }
            Done::Noted
        });
    }

    fn start(&mut self, name: String, offer: Option<ModuleId>) {
        let Settings { clock, admission, .. } = &self.settings;
        let entry = self.entries.entry(name.clone()).or_default();
        // The machine starts what has a configuration, and offers what was admitted.
        let Some(job) = entry.job.clone() else { return };
        let offer = offer.and_then(|id| entry.proposal(id));
        let kept = entry.kept.clone().filter(|_| entry.unkept.is_none());
        let versions = Versions::new(&name, &job, admission.clone(), kept, *clock);
        let (actor, mailbox) = JobActor::new(self.outcomes.0.clone());
        entry.actor = Some(actor);
        entry.last = None;
        entry.counts.starts += 1;
        if entry.is_paused {
            // Nobody waits for the answer.
            entry.command(Command::Pause(oneshot::channel().0));
        }
        let clock = *clock;
        // Of the level that is never left out: whatever is logged for the job says so.
        let span = error_span!("job", name);
        let run = actor::run(job, versions, offer, clock, mailbox).instrument(span);
        self.work.spawn(Work::Job(name.clone()), async move { Done::Ended { name, end: run.await } });
    }

    /// What a job made of a module that it was given.
    pub(super) fn told(&mut self, Outcome { job: name, id, result }: Outcome) {
        let reason = match result {
            Ok(()) => return self.taken(name, id),
            Err(reason) => reason,
        };
        match reason {
            NotDeployed::Unfit(reason) => self.rejected(name, id, reason, Cause::Configuration),
            NotDeployed::Refused(reason) => self.rejected(name, id, reason, Cause::Withdrawn),
            NotDeployed::NotNow(reason) => {
                warn!(job = name, module = %id.of_job(&name), "not rolled out, tried again: {reason}");
                self.tell(jobs::Event::NotDeployed { name, id, reason });
            }
            // The next start takes it up.
            NotDeployed::Stopping => {}
        }
    }

    fn taken(&mut self, name: String, id: ModuleId) {
        let entry = self.entry(&name);
        if let Some(proposal) = entry.proposal(id) {
            entry.taken = Some(proposal);
        }
        if let Some(kept) = entry.kept.clone() {
            let job = name.clone();
            self.work.spawn_blocking(Work::Note(job.clone()), move || {
                if let Err(error) = kept.forgive(id) {
                    warn!(job, "that it runs is not noted: {error}");
                }
                Done::Noted
            });
        }
        self.tell(jobs::Event::Settled { name, id });
    }

    pub(super) fn ended(&mut self, name: String, end: End) {
        self.entry(&name).ended();
        match &end {
            End::Stopped => info!(job = name, "stopped"),
            End::Failed(reason) | End::TaskFailed(reason) => error!(job = name, "stopped: {reason}"),
        }
        if self.settings.only.is_none() {
            return self.tell(jobs::Event::Ended { name, end });
        }
        let failure = match &end {
            End::Stopped => None,
            End::Failed(reason) | End::TaskFailed(reason) => Some(anyhow!("{reason}")),
        };
        self.tell(jobs::Event::Stop);
        self.tell(jobs::Event::Ended { name, end });
        self.failure = self.failure.take().or(failure);
    }
}

/// Blocking.
fn look_up(kept: Deployments) -> Recollection {
    let current = match kept.read() {
        Ok(deployment) => deployment.map(|deployment| deployment.current),
        Err(error) => return Recollection::Unknown(format!("what is to run cannot be looked up: {error}")),
    };
    let rejected = kept.rejected().unwrap_or_else(|error| {
        warn!("what was rejected before cannot be read: {error}");
        Vec::new()
    });
    Recollection::Found { kept, current, rejected }
}

/// What was rejected before, as far as it holds for this release and configuration.
fn known(rejected: RejectedModule, fingerprint: Option<&str>) -> Option<Known> {
    let RejectedModule { module, reason, release, configuration, is_withdrawn } = rejected;
    let holds = release == RELEASE && (configuration.is_none() || configuration.as_deref() == fingerprint);
    let cause = match (configuration, is_withdrawn) {
        (Some(_), _) => Cause::Configuration,
        (None, true) => Cause::Withdrawn,
        (None, false) => Cause::Bytes,
    };
    holds.then_some(Known { id: module, reason, cause })
}

/// Checks a module's file.
async fn look_at(
    admission: &Admission,
    name: &str,
    id: ModuleId,
    contents: Arc<Contents>,
) -> Result<Proposal, NotAdmitted> {
    match admission.admit(name, contents.bytes.clone()).await {
        Ok(admitted) => Ok(Proposal { id, module: admitted.module, file: contents }),
        Err(rejected) if rejected.is_final() => Err(NotAdmitted::Bad(rejected.to_string())),
        Err(failed) => Err(NotAdmitted::NotNow(failed)),
    }
}
