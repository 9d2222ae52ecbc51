//! Changes of the deployment of a job that is down: an operator may go back, go on or promote whatever keeps it from
//! running. Without instances nothing has to be built or routed first.

use super::Deployment;
use super::requests::{BY_HAND, NO_CANDIDATE, NO_PREVIOUS};
use crate::module::ModuleId;
use crate::time::Millis;

/// What an operator asks of a job that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// The candidate is to go; without one, the version before is to come back. If `version`, by its first digits, is named
    /// and is neither the candidate nor the current one, it is gone already.
    RollBack { version: Option<String> },
    /// This version is to run, also if it was found bad before.
    SwitchTo(ModuleId),
    /// The candidate is to take over.
    Promote,
}

/// The deployment after the request; `None` if it is so already. What is before stays warm until `warm_until`.
///
/// # Errors
/// When there is nothing to go back to or to promote.
pub fn at_rest(holds: &Deployment, asked: &AtRest, warm_until: Millis) -> Result<Option<Deployment>, String> {
    let mut next = holds.clone();
    match asked {
        AtRest::SwitchTo(module) => next.take_over(*module, warm_until),
        AtRest::Promote => match &holds.candidate {
            Some(candidate) => next.take_over(candidate.module, warm_until),
            None => return Err(NO_CANDIDATE.to_owned()),
        },
        AtRest::RollBack { version } => {
            let bad = holds.candidate.as_ref().map_or(holds.current, |candidate| candidate.module);
            if version.as_ref().is_some_and(|version| !bad.starts_with(version.as_str())) {
                return Ok(None);
            }
            if holds.candidate.is_none() && holds.previous.is_none() {
                return Err(NO_PREVIOUS.to_owned());
            }
            next.roll_back(bad, BY_HAND);
        }
    }
    if next == *holds {
        return Ok(None);
    }
    next.revision += 1;
    Ok(Some(next))
}
