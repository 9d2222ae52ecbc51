//! Transitions of the rollout one by one, written as the actions that each event leads to; and in `sim` the rollout
//! together with the run loop and a store, killed at every step.

mod beginnings;
mod bench;
mod canary;
mod hosts;
mod probation;
mod sim;
mod stores;
