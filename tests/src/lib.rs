//! What the end-to-end tests share.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

pub mod account;
pub mod bombs;
pub mod echoes;
pub mod fuzz;
pub mod hostile_components;
pub mod http;
pub mod instances;
pub mod ledger;
pub mod process;
pub mod properties;
pub mod wait;
pub mod wat;

pub use shardmill_testkit::{dice, guests, kpl};
