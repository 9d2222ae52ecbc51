//! What the end-to-end tests share.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

pub mod account;
pub mod bombs;
#[path = "../../host/sim/src/dice.rs"]
pub mod dice;
pub mod echoes;
pub mod fuzz;
pub mod guests;
pub mod hostile_components;
pub mod http;
pub mod instances;
pub mod kpl;
pub mod ledger;
pub mod process;
pub mod properties;
pub mod wait;
pub mod wat;
