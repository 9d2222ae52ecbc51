//! Kinesis and DynamoDB as the state machines of `shardmill-core` want them: thin adapters that turn a request into one
//! service call and the answer into core's types, configured by core's types. Owns wire formats, time-outs and the naming of errors; decides
//! nothing and retries nothing beyond what the SDK does inside a call.

mod client;
pub mod dynamodb;
mod error;
pub mod kinesis;

pub use dynamodb::{Ensured, LeaseTable};
pub use kinesis::{Kinesis, PutFailure, Subscription};
