//! The adapters against services: the local backend, and answers that no well-behaved service gives.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod canned;
mod client;
mod credentials;
mod fanout;
mod harness;
mod leases;
mod new_table;
mod outages;
mod proxy;
mod server;
mod shared_table;
mod streams;
