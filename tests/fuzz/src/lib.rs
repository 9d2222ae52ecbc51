//! The functions that the targets call: those that the tests of the workspace call, too.

#[path = "../../src/fuzz.rs"]
pub mod fuzz;
