//! The local backend's conformance suite: one binary, one module per concern, one case per promise.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod dynamodb;
mod fanout;
mod faults;
mod http;
mod listing;
mod properties;
mod put;
mod read;
mod reshard;
mod streams;
mod tailing;
mod world;
