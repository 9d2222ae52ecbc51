//! A small, exact model of Kinesis Data Streams.
//!
//! Pure and deterministic: time is an argument of every call, and there is no I/O, task, clock or randomness. It knows
//! nothing of HTTP or of a wire format (but a record is *stored* in one, see `model/record.rs`, because readers get it
//! unchanged). Each operation is one method of [`Model`]; their shared parts are in `model/stream.rs`.
//!
//! Locks are always acquired in this order: the streams, one stream's state, one shard's log. Assigning a record's
//! sequence number and appending the record is one step under the shard's lock: a reader that follows the tip can
//! neither miss a record nor see two of them swapped.

mod consumers;
mod error;
mod hash;
pub(crate) mod image;
mod limits;
mod listing;
mod log;
mod names;
mod put;
mod read;
mod record;
mod reshard;
mod sequence;
mod settings;
mod stream;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use consumers::{ConsumerInfo, ConsumerRef, Subscription, SubscriptionStep};
pub use error::{Error, ErrorKind};
pub use hash::{HashRange, hash_key};
pub use listing::{ListShards, ShardFilter, ShardPage, StreamPage};
pub use names::{ACCOUNT, StreamRef};
pub use put::{PutEntry, Written};
pub use read::{Batch, ChildShard, Position};
pub use record::StoredRecord;
pub use sequence::SequenceNumber;
pub use settings::{CreateStream, StreamInfo};
pub use stream::{Distribution, Mode, ShardInfo, Status};

pub(crate) use names::check_name;
pub(crate) use token::iterator_target;

use stream::Stream;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The constant settings of a model.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Whether to enforce the service's rate limits and quotas.
    pub limits: bool,
    /// How long a shard iterator can be used, in ms. Kinesis: 300,000.
    pub iterator_ttl: Millis,
    /// How long a subscription to a shard lives, in ms. Kinesis: 300,000.
    pub subscription_life: Millis,
    /// How long a stream or consumer stays CREATING, UPDATING or DELETING, in ms.
    pub state_delay: Millis,
    /// The region in ARNs.
    pub region: String,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            limits: true,
            iterator_ttl: 300_000,
            subscription_life: 300_000,
            state_delay: 0,
            region: "us-east-1".to_owned(),
        }
    }
}

/// The streams of one account in one region.
#[derive(Debug, Default)]
pub struct Model {
    config: ModelConfig,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    /// For deleted streams: the newest second that a shard's sequence numbers began with.
    newest: Mutex<BTreeMap<String, u64>>,
    keep: Option<Arc<dyn image::Keep>>,
}

impl Model {
    /// A model without streams.
    pub fn new(config: ModelConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The settings that it was created with.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn stream(&self, now: Millis, stream: &StreamRef<'_>) -> Result<Arc<Stream>, Error> {
        let name = stream.name();
        let found = read(&self.streams).get(name).cloned();
        found
            .filter(|stream| !is_gone(stream, now))
            .ok_or_else(|| Error::not_found(format!("Stream {name} under account {ACCOUNT} not found.")))
    }
}

/// Whether a stream's deletion is complete.
fn is_gone(stream: &Stream, now: Millis) -> bool {
    matches!(read(&stream.state).transition, Some((Status::Deleting, until)) if until <= now)
}

// Poison is ignored: a panic of another caller leaves no half-done change that could affect a later caller.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
