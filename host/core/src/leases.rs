//! Leases: the right to read and checkpoint one shard, as rows of a table that workers share. Owns the row, the
//! conditional writes and the machine that decides on them; knows nothing of DynamoDB's API.

mod held;
mod row;
mod sync;
mod table;
mod worker;

pub use row::{Lease, Outcome, Scan, Write};
pub use worker::{Action, Epoch, Event, Millis, START_ATTEMPTS_MAX, Settings, Worker};
