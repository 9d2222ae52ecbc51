//! The whole path over the local backend: records in, a task, messages out, positions in the lease table. One module
//! per promise; the job runs in process, except where a process has to die.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod admission;
mod aggregate;
mod back_pressure;
mod balance;
mod conformance;
mod crash;
mod credentials;
mod fail_points;
mod failures;
mod fanout;
mod faults;
mod fleet;
mod fleets;
mod host_memory;
mod job;
mod lease_loss;
mod outages;
mod path;
mod positions;
mod process;
mod reshard;
mod shared_table;
mod signals;
mod swap;
mod swap_canary;
mod swap_fleet;
mod swap_fleets;
mod swap_kills;
mod swap_outputs;
mod swap_stuck;
mod take_over;
mod unread;
