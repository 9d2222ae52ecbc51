//! Leases: the right to read and checkpoint one shard, as rows of a table that workers share. Owns the row, the
//! conditional writes and the machine that decides on them; knows nothing of DynamoDB's API.

mod assignment;
mod audit;
mod bootstrap;
mod context;
mod crosscheck;
mod holdings;
mod leader;
mod limits;
mod message;
mod next_scan;
mod notice;
mod row;
mod scan;
mod standing;
mod sync;
mod table;
mod vanished;
mod waiting;
mod worker;

pub use limits::START_ATTEMPTS_MAX;
pub use message::{Action, Cleanup, Epoch, Event, Loss, Settings};
pub use notice::{Notice, Unread, UnreadReason};
pub use row::{Lease, Outcome, Scan, Write};
pub use worker::Worker;

#[cfg(test)]
mod tests;
