//! Leases: the right to read and checkpoint one shard, as rows of a table that workers share. Owns the row, the
//! conditional writes and the machine that decides on them; knows nothing of DynamoDB's API.

mod audit;
mod cleanup;
mod creations;
mod held;
mod leader;
mod message;
mod row;
mod sync;
mod table;
mod taker;
mod upkeep;
mod worker;

pub use message::{Action, Cleanup, Epoch, Event, Loss, Millis, Settings};
pub use row::{Lease, Outcome, Scan, Write};
pub use worker::{START_ATTEMPTS_MAX, Worker};

#[cfg(test)]
mod tests;
