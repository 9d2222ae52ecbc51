//! What a job begins with, and what a host makes of the deployment that it finds while it runs. Pure decisions; the host
//! reads, tries out and writes.

use super::Deployment;
use crate::module::ModuleId;

/// An admitted module of the task directory, when a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub module: ModuleId,
    /// Whether it is to be rolled out in waves.
    pub has_waves: bool,
    /// Whether it was offered before: it ran, or was left on purpose.
    pub had_its_chance: bool,
}

/// What a job begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing was ever deployed: the offered module is the first version.
    First,
    /// The offered module is new, and nothing runs yet that it would have to be compared with: it takes over if it starts,
    /// and otherwise the deployment's versions run.
    TakeOver,
    /// The deployment's versions run.
    Resume(Then),
    /// There is nothing to run.
    Nothing,
}

/// What becomes of the offered module once the deployment's versions run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is one of them, had its chance, or there is none.
    Nothing,
    /// It is tried out and rolled out.
    Deploy,
    /// It was rolled back before; the reason.
    Refuse(String),
}

/// What a job begins with, given what is written down and the module that the task directory offers. What the deployment
/// calls current runs until something better is admitted.
#[must_use]
pub fn begin(holds: Option<&Deployment>, offer: Option<Offer>) -> Begin {
    let Some(holds) = holds else {
        return if offer.is_some() { Begin::First } else { Begin::Nothing };
    };
    let Some(offer) = offer else { return Begin::Resume(Then::Nothing) };
    if let Some(reason) = holds.quarantine(offer.module) {
        return Begin::Resume(Then::Refuse(format!("it was rolled back before: {reason}")));
    }
    let runs = holds.current == offer.module || holds.candidate.as_ref().is_some_and(|it| it.module == offer.module);
    if runs || offer.had_its_chance {
        return Begin::Resume(Then::Nothing);
    }
    // A candidate that runs on some shards is not cut short by a start.
    if offer.has_waves || holds.candidate.is_some() {
        return Begin::Resume(Then::Deploy);
    }
    Begin::TakeOver
}

/// What a host does about the deployment that it finds written down while its job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is alive at a time; a box would only add an allocation")]
pub enum Found {
    /// Nothing changed.
    Same,
    /// Another host of the job changed it: follow.
    Newer,
    /// What was written down is lost, or older than what runs, as after a restored backup: write this.
    Lost(Deployment),
}

/// Compares what a job runs with what is written down. Hosts that lost the same directory, with whatever they knew, come to
/// one deployment: the later revision wins, and of two that differ the one that is written again as a later one.
#[must_use]
pub fn found(runs: &Deployment, written: Option<&Deployment>) -> Found {
    match written {
        None => Found::Lost(runs.clone()),
        Some(written) if written.revision > runs.revision => Found::Newer,
        Some(written) if written == runs => Found::Same,
        Some(written) if written.revision < runs.revision => Found::Lost(runs.clone()),
        Some(_) => Found::Lost(Deployment { revision: runs.revision + 1, ..runs.clone() }),
    }
}
