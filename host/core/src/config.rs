//! Configuration in Apache Samza's properties format: texts in, one typed and validated [`Job`] out.
//!
//! The stages are the files, in order: `source` (texts to entries with their origin), `check` (every entry against the
//! table of known keys in `keys`), `resolve` (entries to the types of `job`), then `show` and `reference` for people.
//! All problems are reported at once, each with its place. It must not know the file system, the environment (it comes
//! in as a map), the clock or AWS.

mod job;
mod problem;
mod secret;

pub use job::{
    BatchLimits, BillingMode, ClientSettings, InitialPosition, Input, Job, Limits, Output, Retry, StaticCredentials,
    Wire,
};
pub use problem::{Code, Errors, Notice, Origin, Problem};
pub use secret::Secret;
