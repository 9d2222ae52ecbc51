//! Kinesis and DynamoDB for the state machines of `shardmill-core`: thin adapters that turn a request into one service
//! call and the response into core's types. Owns wire formats, time-outs and the classification of errors; decides
//! nothing, and retries nothing beyond the SDK's own retries inside a call.

pub mod client;
pub mod dynamodb;
mod error;
pub mod kinesis;

pub use client::{
    ClientSettings, Connections, Credentials, Headers, Proxy, ProxyLogin, RetryBudget, RetryMode, Role,
    StaticCredentials, Wire,
};
pub use dynamodb::{Billing, Ensured, LeaseTable, NewTable};
pub use kinesis::{ConsumerId, Kinesis, PutFailure, Records, Subscription, SubscriptionEvent};
