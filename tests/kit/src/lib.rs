//! What the tests of several crates share. It knows none of the workspace's crates, so that each of them, `core` too, can
//! use it in its unit tests.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

pub mod dice;
pub mod guests;
pub mod kpl;
