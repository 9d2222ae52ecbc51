//! What people, and the command that runs the host, ask of it: answered from what the host knows, or passed on to the
//! job.

use shardmill_core::jobs::{self, Cause};
use tokio::sync::oneshot;

use super::actor::Command;
use super::rest::Ask;
use super::{Host, HostReport};

/// What people, and the command that runs the host, may ask of it.
#[derive(Debug)]
pub enum Request {
    Report(oneshot::Sender<HostReport>),
    Drain(String, Reply),
    Resume(String, Reply),
    Promote(String, Reply),
    RollBack {
        job: String,
        /// The version to go to. `None`: the one before.
        to: Option<String>,
        /// The one to be rid of, by its first digits. If it is gone already, nothing is done.
        version: Option<String>,
        reply: Reply,
    },
    /// Call the task no more, but keep the leases.
    Pause(String, Reply),
    /// Stop all jobs gracefully, then end.
    Stop,
    /// Likewise, but wait for no task any longer.
    StopAtOnce,
}

/// Answers a request: done, or why not.
pub type Reply = oneshot::Sender<Result<(), String>>;

impl Host {
    pub(super) fn asked(&mut self, request: Request) {
        match request {
            // Whoever asked may be gone.
            Request::Report(reply) => drop(reply.send(self.report())),
            Request::Drain(name, reply) => {
                if let Some(reply) = self.of_known(&name, reply) {
                    self.tell(jobs::Event::Drain { name });
                    drop(reply.send(Ok(())));
                }
            }
            Request::Resume(name, reply) => {
                if let Some(reply) = self.of_known(&name, reply) {
                    self.resume(name, reply);
                }
            }
            Request::Promote(name, reply) => self.of_versions(name, reply, Ask::Promote, Command::Promote),
            Request::RollBack { job, to, version, reply } => self.roll_back(&job, to, version, reply),
            Request::Pause(name, reply) => {
                if let Some(reply) = self.of_known(&name, reply) {
                    self.pause(&name, reply);
                }
            }
            Request::Stop => self.tell(jobs::Event::Stop),
            Request::StopAtOnce => self.entries.values().for_each(|entry| entry.command(Command::StopAtOnce)),
        }
    }

    fn resume(&mut self, name: String, reply: Reply) {
        self.entry(&name).is_paused = false;
        if self.entry(&name).actor.is_some() {
            self.tell(jobs::Event::Resume { name: name.clone() });
            return self.pass_on(&name, Command::Resume(reply));
        }
        self.tell(jobs::Event::Resume { name: name.clone() });
        let result = match self.why_not(&name) {
            None => Ok(()),
            Some(reason) => Err(format!("{name} cannot run: {reason}")),
        };
        drop(reply.send(result));
    }

    /// Why a job that was resumed will not run before something changes.
    fn why_not(&self, name: &str) -> Option<String> {
        let job = self.jobs.get(name)?;
        let is_up = self.entries.get(name).is_some_and(|entry| entry.actor.is_some());
        let reason = job.misconfigured().map(|reason| format!("its configuration cannot be used: {reason}"));
        let reason = reason.filter(|_| self.entries.get(name).is_some_and(|entry| entry.job.is_none()));
        let stuck = job.is_stuck().then(|| match job.rejected() {
            Some((_, reason)) => reason.to_owned(),
            None => "there is no module, and nothing was deployed before".to_owned(),
        });
        reason.or(stuck).filter(|_| !is_up)
    }

    /// It stays paused when it is restarted, until somebody resumes it.
    fn pause(&mut self, name: &str, reply: Reply) {
        self.of_running(name, reply, Command::Pause);
        let entry = self.entry(name);
        entry.is_paused = entry.actor.is_some();
    }

    fn roll_back(&mut self, name: &str, to: Option<String>, version: Option<String>, reply: Reply) {
        // That was meant: the running version has done nothing wrong.
        if let Some(&id) = self.jobs.get(name).and_then(|job| job.admitting()) {
            let reason = "an operator rolled it back while it was being checked".to_owned();
            self.rejected(name.to_owned(), id, reason, Cause::Withdrawn);
            if to.is_none() {
                return drop(reply.send(Ok(())));
            }
        }
        let ask = match to.clone() {
            Some(to) => Ask::SwitchTo(to),
            None => Ask::RollBack { version: version.clone() },
        };
        self.of_versions(name.to_owned(), reply, ask, |reply| Command::RollBack { to, version, reply });
    }

    /// What is about versions is done by the running job, or to what is written down of one that is down.
    fn of_versions(&mut self, name: String, reply: Reply, at_rest: Ask, running: impl FnOnce(Reply) -> Command) {
        let Some(reply) = self.of_known(&name, reply) else { return };
        match self.entry(&name).actor.is_some() {
            true => self.pass_on(&name, running(reply)),
            false => self.at_rest(name, at_rest, reply),
        }
    }

    fn of_running(&mut self, name: &str, reply: Reply, command: impl FnOnce(Reply) -> Command) {
        let Some(reply) = self.of_known(name, reply) else { return };
        if self.entry(name).actor.is_none() {
            return drop(reply.send(Err(format!("{name} does not run; `shardmill status {name}` says why"))));
        }
        self.pass_on(name, command(reply));
    }

    /// Refuses what is asked of a job that there is not.
    fn of_known(&self, name: &str, reply: Reply) -> Option<Reply> {
        if self.jobs.get(name).is_some() {
            return Some(reply);
        }
        let names: Vec<&str> = self.jobs.iter().map(|(name, _)| name).collect();
        drop(reply.send(Err(format!("there is no job {name}; there are: {}", names.join(", ")))));
        None
    }
}
