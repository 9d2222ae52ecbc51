//! The run loop: single cases, written as the actions that each event leads to, and random histories against a model
//! in `model`.

mod bench;
mod commits;
mod failures;
mod model;
mod order;
mod routes;
mod stops;

use super::*;

const SETTINGS: Settings = Settings {
    call_max_records: 10,
    call_max_bytes: 1_000,
    commit_interval: None,
    retry: Retry { max_attempts: 3, backoff: 100, backoff_max: 1_000 },
};
