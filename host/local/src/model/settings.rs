//! Streams as things: create, delete, describe, and the settings that can be changed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use super::hash::uniform;
use super::reshard::{SHARDS_MAX, check_active};
use super::stream::{Distribution, Mode, Status, Stream, StreamState};
use super::{Error, Millis, Model, StreamRef, is_gone, lock, names, read, write};

/// Shards of a new on-demand stream.
const ON_DEMAND_SHARDS: u32 = 4;
const RETENTION_HOURS_MIN: u32 = 24;
const RETENTION_HOURS_MAX: u32 = 8760;
const RECORD_KIB_MIN: u32 = 1024;
const RECORD_KIB_MAX: u32 = 10_240;
const TAGS_MAX: usize = 50;

/// A `CreateStream` call.
#[derive(Debug, Clone, Default)]
pub struct CreateStream {
    /// Letters, digits and `_.-`, at most 128.
    pub name: String,
    /// Provisioned streams must say it; on-demand streams have four.
    pub shard_count: Option<u32>,
    /// Provisioned by default.
    pub mode: Mode,
    /// Largest record in KiB, 1024 (the default) to 10240.
    pub max_record_kib: Option<u32>,
    /// On-demand streams only: [`Distribution::Auto`].
    pub distribution: Distribution,
    /// At most 50.
    pub tags: BTreeMap<String, String>,
}

/// A stream as `DescribeStreamSummary` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its state now.
    pub status: Status,
    /// Its capacity mode.
    pub mode: Mode,
    /// How records find their shard.
    pub distribution: Distribution,
    /// How long records stay.
    pub retention_hours: u32,
    /// When it was created.
    pub created: Millis,
    /// Open shards.
    pub open_shards: usize,
    /// Registered consumers.
    pub consumers: usize,
    /// Largest record in KiB.
    pub max_record_kib: u32,
}

impl Stream {
    pub(crate) fn info(&self, now: Millis) -> StreamInfo {
        let state = read(&self.state);
        StreamInfo {
            name: self.name.clone(),
            arn: self.arn.clone(),
            status: state.status(now),
            mode: state.mode,
            distribution: state.distribution,
            retention_hours: state.retention_hours,
            created: self.created,
            open_shards: state.open.len(),
            consumers: state.consumers.len(),
            max_record_kib: state.max_record_kib,
        }
    }
}

impl Model {
    /// Creates a stream.
    ///
    /// # Errors
    /// An illegal name, count or setting; a stream of that name is there.
    pub fn create_stream(&self, now: Millis, request: CreateStream) -> Result<(), Error> {
        names::check_name("streamName", &request.name)?;
        let shards = shard_count(&request)?;
        let max_record_kib = request.max_record_kib.unwrap_or(RECORD_KIB_MIN);
        check_record_size(max_record_kib)?;
        check_distribution(request.distribution, request.mode)?;
        check_tags(&request.tags)?;

        let mut streams = write(&self.streams);
        if streams.get(&request.name).is_some_and(|stream| !is_gone(stream, now)) {
            return Err(Error::in_use(format!(
                "Stream {} under account {} already exists.",
                request.name,
                names::ACCOUNT
            )));
        }
        let mut state = StreamState {
            transition: Some((Status::Creating, now + self.config.state_delay)),
            mode: request.mode,
            distribution: request.distribution,
            retention_hours: RETENTION_HOURS_MIN,
            max_record_kib,
            tags: request.tags,
            consumers: Vec::new(),
            shards: Vec::new(),
            open: Vec::new(),
        };
        // Not the numbers of an earlier stream of this name: who still has a position of that one must notice.
        let after = lock(&self.newest).get(&request.name).copied();
        for range in uniform(shards) {
            state.add_shard_after(now, range, &[], after);
        }
        let stream = Stream {
            arn: names::stream_arn(&self.config.region, &request.name),
            name: request.name.clone(),
            created: now,
            turn: AtomicU64::new(0),
            state: RwLock::new(state),
        };
        self.note(&stream, &read(&stream.state))?;
        streams.insert(request.name, Arc::new(stream));
        Ok(())
    }

    /// Deletes a stream with its records; its readers find it gone.
    ///
    /// # Errors
    /// No such stream; it has consumers and `with_consumers` is not set.
    pub fn delete_stream(&self, now: Millis, stream: &StreamRef<'_>, with_consumers: bool) -> Result<(), Error> {
        let stream = self.stream(now, stream)?;
        {
            let mut state = write(&stream.state);
            if !state.consumers.is_empty() && !with_consumers {
                return Err(Error::in_use(format!(
                    "Stream {} under account {} has consumers registered; set EnforceConsumerDeletion or deregister them",
                    stream.name,
                    names::ACCOUNT
                )));
            }
            state.transition = Some((Status::Deleting, now + self.config.state_delay));
            state.consumers.clear();
            state.shards.iter().for_each(|shard| lock(&shard.log).wake());
            let newest = state.shards.iter().map(|shard| shard.space.created).max().unwrap_or_default();
            lock(&self.newest).insert(stream.name.clone(), newest);
            self.note_gone(&stream.name, newest)?;
        }
        if is_gone(&stream, now) {
            let mut streams = write(&self.streams);
            if streams.get(&stream.name).is_some_and(|s| Arc::ptr_eq(s, &stream)) {
                streams.remove(&stream.name);
            }
        }
        Ok(())
    }

    /// A stream as it is now.
    ///
    /// # Errors
    /// No such stream.
    pub fn describe(&self, now: Millis, stream: &StreamRef<'_>) -> Result<StreamInfo, Error> {
        Ok(self.stream(now, stream)?.info(now))
    }

    /// Makes records stay longer (`longer`) or shorter.
    ///
    /// # Errors
    /// No such stream; outside 24 to 8760 hours; not a change in that direction.
    pub fn set_retention(&self, now: Millis, stream: &StreamRef<'_>, hours: u32, longer: bool) -> Result<(), Error> {
        self.change(now, stream, |_, state| {
            if !(RETENTION_HOURS_MIN..=RETENTION_HOURS_MAX).contains(&hours) {
                return Err(Error::invalid(format!(
                    "Requested retention period {hours} hours is out of range: it must be between {RETENTION_HOURS_MIN} and {RETENTION_HOURS_MAX} hours"
                )));
            }
            let current = state.retention_hours;
            if longer && hours < current {
                return Err(Error::invalid(format!(
                    "Requested retention period ({hours} hours) must be longer than existing retention period ({current} hours)"
                )));
            }
            if !longer && hours > current {
                return Err(Error::invalid(format!(
                    "Requested retention period ({hours} hours) must be shorter than existing retention period ({current} hours)"
                )));
            }
            state.retention_hours = hours;
            Ok(())
        })
    }

    /// Switches between provisioned and on-demand.
    ///
    /// # Errors
    /// No such stream; a stream that distributes records itself cannot be provisioned.
    pub fn set_mode(&self, now: Millis, stream: &StreamRef<'_>, mode: Mode) -> Result<(), Error> {
        self.change(now, stream, |_, state| {
            check_distribution(state.distribution, mode)?;
            state.mode = mode;
            Ok(())
        })
    }

    /// Sets how records find their shard.
    ///
    /// # Errors
    /// No such stream; [`Distribution::Auto`] on a provisioned stream.
    pub fn set_distribution(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        distribution: Distribution,
    ) -> Result<(), Error> {
        self.change(now, stream, |_, state| {
            check_distribution(distribution, state.mode)?;
            state.distribution = distribution;
            Ok(())
        })
    }

    /// Sets the largest record, in KiB.
    ///
    /// # Errors
    /// No such stream; outside 1024 to 10240.
    pub fn set_max_record_size(&self, now: Millis, stream: &StreamRef<'_>, kib: u32) -> Result<(), Error> {
        self.change(now, stream, |_, state| {
            check_record_size(kib)?;
            state.max_record_kib = kib;
            Ok(())
        })
    }

    /// Adds or replaces tags.
    ///
    /// # Errors
    /// No such stream; more than 50; a key or value that is too long.
    pub fn add_tags(&self, now: Millis, stream: &StreamRef<'_>, tags: BTreeMap<String, String>) -> Result<(), Error> {
        let stream = self.stream(now, stream)?;
        let mut state = write(&stream.state);
        let mut all = state.tags.clone();
        all.extend(tags);
        check_tags(&all)?;
        state.tags = all;
        self.note(&stream, &state)
    }

    /// Removes tags; one that is not there is not an error.
    ///
    /// # Errors
    /// No such stream.
    pub fn remove_tags(&self, now: Millis, stream: &StreamRef<'_>, keys: &[&str]) -> Result<(), Error> {
        let stream = self.stream(now, stream)?;
        let mut state = write(&stream.state);
        state.tags.retain(|key, _| !keys.contains(&key.as_str()));
        self.note(&stream, &state)
    }

    /// All tags, by key.
    ///
    /// # Errors
    /// No such stream.
    pub fn tags(&self, now: Millis, stream: &StreamRef<'_>) -> Result<BTreeMap<String, String>, Error> {
        Ok(read(&self.stream(now, stream)?.state).tags.clone())
    }

    /// Open shards over all streams, and how many streams are on-demand.
    pub fn usage(&self, now: Millis) -> (usize, usize) {
        let streams = read(&self.streams);
        let infos = streams.values().filter(|s| !is_gone(s, now)).map(|s| s.info(now));
        infos.fold((0, 0), |(open, on_demand), info| {
            (open + info.open_shards, on_demand + usize::from(info.mode == Mode::OnDemand))
        })
    }

    fn change(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        change: impl FnOnce(&Stream, &mut StreamState) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let stream = self.stream(now, stream)?;
        let mut state = write(&stream.state);
        check_active(&stream, &state, now)?;
        change(&stream, &mut state)?;
        state.transition = Some((Status::Updating, now + self.config.state_delay));
        self.note(&stream, &state)
    }
}

fn shard_count(request: &CreateStream) -> Result<u32, Error> {
    match (request.mode, request.shard_count) {
        (Mode::OnDemand, None) => Ok(ON_DEMAND_SHARDS),
        (Mode::OnDemand, Some(_)) => Err(Error::invalid("ShardCount is not allowed for a stream in On-Demand mode.")),
        (Mode::Provisioned, None) => Err(Error::invalid("ShardCount is required for a stream in Provisioned mode.")),
        (Mode::Provisioned, Some(0)) => {
            Err(Error::constraint("'0'", "shardCount", "Member must have value greater than or equal to 1"))
        }
        (Mode::Provisioned, Some(n)) if n > SHARDS_MAX => Err(Error::limit(format!(
            "This request would exceed the shard limit for the account {} in this region: {SHARDS_MAX}.",
            names::ACCOUNT
        ))),
        (Mode::Provisioned, Some(n)) => Ok(n),
    }
}

fn check_record_size(kib: u32) -> Result<(), Error> {
    let bound = match kib {
        RECORD_KIB_MIN..=RECORD_KIB_MAX => return Ok(()),
        n if n < RECORD_KIB_MIN => "greater than or equal to 1024",
        _ => "less than or equal to 10240",
    };
    Err(Error::constraint(&format!("'{kib}'"), "maxRecordSizeInKiB", &format!("Member must have value {bound}")))
}

fn check_distribution(distribution: Distribution, mode: Mode) -> Result<(), Error> {
    if distribution == Distribution::Auto && mode == Mode::Provisioned {
        return Err(Error::invalid("RecordDistributionStrategy AUTO is only supported for streams in On-Demand mode."));
    }
    Ok(())
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        return Err(Error::limit(format!("a stream can have {TAGS_MAX} tags at most")));
    }
    let too_long =
        |(key, value): (&String, &String)| key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256;
    if tags.iter().any(too_long) {
        return Err(Error::invalid("a tag's key must have 1 to 128 characters and its value at most 256"));
    }
    let legal = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_./=+-%@:".contains(c);
    if tags.iter().any(|(key, value)| !key.chars().chain(value.chars()).all(legal)) {
        return Err(Error::invalid(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @ :.",
        ));
    }
    Ok(())
}
