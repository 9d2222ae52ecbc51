//! Leases: the right to read and checkpoint one shard, as rows of a table that workers share. Owns the row, the
//! conditional writes and the machine that decides on them; knows nothing of DynamoDB's API.

mod row;

pub use row::{Lease, Outcome, Scan, Write};
