//! Leases: the right to read and checkpoint one shard, as rows of a table that workers share. Owns the row, the
//! conditional writes and the machine that decides on them; knows nothing of DynamoDB's API.

mod audit;
mod cleanup;
mod contradiction;
mod creations;
mod held;
mod leader;
mod message;
mod names;
mod notice;
mod row;
mod sync;
mod table;
mod taker;
mod upkeep;
mod vanished;
mod waiting;
mod worker;

pub use message::{Action, Cleanup, Epoch, Event, Loss, Settings};
pub use notice::{Notice, Unread, UnreadReason};
pub use row::{Lease, Outcome, Scan, Write};
pub use worker::{START_ATTEMPTS_MAX, Worker};

#[cfg(test)]
mod tests;
