//! What operators ask of the versions of a job that is down: the deployment is changed where it is kept, whatever keeps the
//! job from running, and a job that waits for a change starts with it.

use shardmill_core::jobs;
use shardmill_core::rollout::{AtRest, WriteError, at_rest};
use tracing::info;

use super::versions::kept_version;
use super::{Done, Host, Reply, Work};
use crate::deployments::Deployments;
use crate::settings;

/// What is asked.
pub(super) enum Ask {
    RollBack {
        version: Option<String>,
    },
    /// By the first digits of its hash.
    SwitchTo(String),
    Promote,
}

impl Host {
    pub(super) fn at_rest(&mut self, name: String, ask: Ask, reply: Reply) {
        let entry = self.entry(&name);
        let keep_warm = entry.job.as_ref().map_or(0, |job| settings::rollout(job).keep_warm);
        let (kept, state) = (entry.kept.clone(), self.settings.state.clone());
        let warm_until = self.now() + keep_warm;
        self.work.spawn_blocking(Work::ChangeDeployment(name.clone()), move || {
            let kept = kept.map_or_else(|| only_one(&state, &name), Ok);
            let result = kept.and_then(|kept| change(&kept, &name, ask, warm_until));
            Done::AtRest { name, result, reply }
        });
    }

    pub(super) fn rested(&mut self, name: String, result: Result<bool, String>, reply: Reply) {
        if result == Ok(true) {
            info!(job = name, "what is to run was changed by an operator");
            self.tell(jobs::Event::DeploymentChanged { name });
        }
        // Who asked may be gone.
        drop(reply.send(result.map(|_| ())));
    }
}

/// The job's part of the state, where its configuration does not tell which it is.
fn only_one(state: &std::path::Path, name: &str) -> Result<Deployments, String> {
    let all = Deployments::all(state, name).map_err(|error| error.to_string())?;
    match <[_; 1]>::try_from(all) {
        Ok([(_, kept)]) => Ok(kept),
        Err(_) => Err(format!("{name} cannot be configured, so it is not known which of its jobs is meant")),
    }
}

/// Returns whether anything changed. Blocking.
fn change(kept: &Deployments, name: &str, ask: Ask, warm_until: u64) -> Result<bool, String> {
    let asked = match ask {
        Ask::RollBack { version } => AtRest::RollBack { version },
        Ask::SwitchTo(to) => AtRest::SwitchTo(kept_version(kept, name, &to).map_err(|error| format!("{error:#}"))?),
        Ask::Promote => AtRest::Promote,
    };
    let holds = kept.read().map_err(|error| error.to_string())?;
    let holds = holds.ok_or_else(|| format!("{name} never ran: nothing was deployed"))?;
    let Some(next) = at_rest(&holds, &asked, warm_until)? else { return Ok(false) };
    match kept.write(&next) {
        Ok(()) => Ok(true),
        Err(WriteError::Changed(_)) => Err("another host changed what is to run; ask again".to_owned()),
        Err(WriteError::Failed(reason)) => Err(reason),
    }
}
