//! Everything outside of a node, as its parts see it when they have their turn.

use shardmill_core::time::Millis;

use crate::audit::Audit;
use crate::dice::Dice;
use crate::kinesis::Kinesis;
use crate::network::Network;
use crate::queue::Queue;
use crate::table::LeaseTable;
use crate::tasks::TaskFaults;
use crate::trace::Trace;
use crate::versions::Versions;

pub(crate) struct Outside {
    pub(crate) now: Millis,
    pub(crate) dice: Dice,
    pub(crate) queue: Queue,
    pub(crate) kinesis: Kinesis,
    pub(crate) table: LeaseTable,
    pub(crate) network: Network,
    pub(crate) task: TaskFaults,
    pub(crate) versions: Versions,
    pub(crate) audit: Audit,
    pub(crate) trace: Trace,
}
