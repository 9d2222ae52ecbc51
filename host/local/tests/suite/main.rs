//! The local backend's conformance suite: one binary, one module per concern.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod dynamodb;
mod http;
