//! The parts that run beside a job's coordinator, and what the end of one means to it.

use std::fmt;

use shardmill_core::coordinator::{Event, InputId};
use shardmill_core::run_loop::{Generation, SourceId};
use shardmill_core::service::ServiceError;

use super::TASK;
use crate::tasks::{Panicked, Tasks};

/// What a job is made of, beside its coordinator.
#[derive(Clone, Debug)]
pub(in crate::job) enum Part {
    TaskThread,
    LeaseWorker {
        input: InputId,
        name: String,
    },
    /// Of the consumer of an input, by its name.
    Registration(String),
    Reader {
        source: SourceId,
        generation: Generation,
        name: String,
    },
}

/// The parts that run. Each ends with the job, and the coordinator hears of the end of each.
pub(in crate::job) type Parts = Tasks<Part, Result<(), ServiceError>>;

impl Part {
    /// What the coordinator has to hear of a part's end: that a reader failed, or that one panicked. The others end when
    /// they are asked to, and have said so.
    pub(super) fn event(self, ended: Result<Result<(), ServiceError>, Panicked>) -> Option<Event> {
        match (self, ended) {
            (Self::Reader { source, generation, .. }, Ok(Err(error))) => {
                Some(Event::ReaderFailed { source, generation, error })
            }
            (_, Ok(_)) => None,
            (Self::TaskThread, Err(panicked)) => Some(Event::TaskGone { task: TASK, reason: panicked.to_string() }),
            (Self::LeaseWorker { input, .. }, Err(panicked)) => {
                Some(Event::LeaseWorkerGone { input, reason: panicked.to_string() })
            }
            (Self::Registration(_) | Self::Reader { .. }, Err(panicked)) => Some(gone(&panicked)),
        }
    }
}

/// A part panicked of which the coordinator knows nothing but that the job cannot go on without it.
pub(super) fn gone(panicked: &Panicked) -> Event {
    Event::PartGone { reason: panicked.to_string() }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TaskThread => f.write_str("the task thread"),
            Self::LeaseWorker { name, .. } => write!(f, "the lease worker of input {name}"),
            Self::Registration(name) => write!(f, "the registration of the consumer of input {name}"),
            Self::Reader { name, .. } => write!(f, "the reader of {name}"),
        }
    }
}
