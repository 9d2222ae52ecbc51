//! Calls on their way: how long they take, which of them fail, and how. A call may be carried out although its caller
//! never hears of it, or long after the caller gave it up, or twice.

use shardmill_core::kinesis::shard::{ShardFilter, ShardId};
use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::leases::{self, Write};
use shardmill_core::position::StartingPosition;
use shardmill_core::service::{ErrorKind, ServiceError};
use shardmill_core::time::Millis;
use shardmill_local::model::Subscription;

use crate::dice::Dice;

/// A write that was given up may still happen within this time: the network is slow, not a warehouse.
const LATE_MAX: Millis = 10_000;
const SLOW_MAX: Millis = 15_000;

#[derive(Clone)]
pub(crate) enum Call {
    Scan { is_consistent: bool },
    List(ShardFilter),
    Write(Box<Write>),
    Iterator(ShardId, StartingPosition),
    Records { iterator: String, limit: u32 },
    Subscribe(ShardId, StartingPosition),
    FindConsumer,
}

pub(crate) enum Answer {
    Leases(Box<leases::Event>),
    Poll(polling::Event),
    FanOut(fan_out::Event),
    Subscribed(Box<Subscription>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    /// The service refuses it.
    Refused(ErrorKind),
    /// Carried out, but the answer is lost.
    Lost,
    /// The caller gives it up before it is carried out.
    Late,
    /// Carried out twice; the second answer counts, as when a client repeats a request by itself.
    Twice,
    /// Carried out, and nobody waits for the answer any more.
    Unheard,
    /// A listing of two moments, if it is one.
    Torn,
}

#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) fault_percent: u64,
    pub(crate) slow_percent: u64,
    /// Until then no service can be reached.
    pub(crate) away_until: Millis,
}

impl Network {
    pub(crate) const CALM: Self = Self { fault_percent: 0, slow_percent: 0, away_until: 0 };

    pub(crate) fn any(dice: &mut Dice, created: Millis) -> Self {
        Self {
            fault_percent: [0, 2, 10, 30][dice.index(4)],
            slow_percent: [0, 0, 5][dice.index(3)],
            away_until: created,
        }
    }

    pub(crate) fn delay(self, dice: &mut Dice) -> Millis {
        match dice.chance(self.slow_percent) {
            true => dice.below(SLOW_MAX),
            false => 1 + dice.below(20),
        }
    }

    pub(crate) fn late(dice: &mut Dice) -> Millis {
        dice.below(LATE_MAX)
    }

    pub(crate) fn fate(self, now: Millis, dice: &mut Dice, call: &Call) -> Fate {
        if now < self.away_until {
            return Fate::Refused(ErrorKind::Unavailable);
        }
        if !dice.chance(self.fault_percent) {
            return Fate::Served;
        }
        let is_write = matches!(call, Call::Write(_));
        match dice.below(6) {
            0 => Fate::Refused(ErrorKind::Throttled),
            1 => Fate::Refused(ErrorKind::Unavailable),
            2 if is_write => Fate::Late,
            3 if is_write => Fate::Twice,
            4 if matches!(call, Call::List(_)) => Fate::Torn,
            _ => Fate::Lost,
        }
    }
}

impl Call {
    /// The answer to a call that failed, or whose answer was lost.
    pub(crate) fn failed(self, kind: ErrorKind) -> Answer {
        let error = |operation| ServiceError { kind, operation, message: "simulated".to_owned() };
        match self {
            Self::Scan { .. } => Answer::Leases(Box::new(leases::Event::Scanned(Err(error("Scan"))))),
            Self::List(_) => Answer::Leases(Box::new(leases::Event::Listed(Err(error("ListShards"))))),
            Self::Write(write) => {
                Answer::Leases(Box::new(leases::Event::Written { write: *write, result: Err(error("UpdateItem")) }))
            }
            Self::Iterator(..) => Answer::Poll(polling::Event::Iterator(Err(error("GetShardIterator")))),
            Self::Records { .. } => Answer::Poll(polling::Event::Fetched(Err(error("GetRecords")))),
            Self::Subscribe(..) => Answer::FanOut(fan_out::Event::Subscribed(Err(error("SubscribeToShard")))),
            Self::FindConsumer => Answer::FanOut(fan_out::Event::Consumer(Err(error("DescribeStreamConsumer")))),
        }
    }
}
