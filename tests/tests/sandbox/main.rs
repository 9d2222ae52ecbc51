//! The sandbox holds: whatever a component does, the host gets an error that names the reason, nothing of the failed
//! call leaves, and the next instance works.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]
#![allow(clippy::unwrap_used, reason = "a test panics")]

mod admission;
mod atomic;
mod closed;
mod damaged;
mod files;
mod fuzz;
mod hostile;
mod http;
mod limits;
mod trial;
mod waits;
