//! Writing: `PutRecord` and `PutRecords`.

use std::sync::atomic::Ordering;

use super::hash::hash_key;
use super::image::RecordImage;
use super::log::{Log, WRITE_BYTES_PER_SECOND, WRITE_RECORDS_PER_SECOND};
use super::stream::{Distribution, Shard, Status, Stream, StreamState};
use super::{Error, ErrorKind, Millis, Model, SequenceNumber, StreamRef, lock, names, read};

/// Records of one `PutRecords`.
pub(crate) const RECORDS_MAX: usize = 500;
/// Bytes of one `PutRecords`, partition keys included.
pub(crate) const REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;
const PARTITION_KEY_MAX: usize = 256;

/// One record to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct PutEntry<'a> {
    /// The body.
    pub data: &'a [u8],
    /// Chooses the shard; may be absent in a stream of [`Distribution::Auto`] only.
    pub partition_key: Option<&'a str>,
    /// A decimal hash key, instead of the partition key's.
    pub explicit_hash_key: Option<&'a str>,
}

/// A record written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The shard that took it.
    pub shard_id: String,
    /// Its number, 56 decimal digits.
    pub sequence_number: String,
}

impl Model {
    /// Writes one record. `ordering` is the number of the same producer's record before it; numbers grow anyway.
    ///
    /// # Errors
    /// No such stream; an illegal entry; the shard's write limit.
    pub fn put_record(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        entry: PutEntry<'_>,
        ordering: Option<&str>,
    ) -> Result<Written, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        check_writable(&stream, &state, now)?;
        if let Some(number) = ordering
            && SequenceNumber::parse(number).is_none()
        {
            return Err(Error::invalid(format!(
                "ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream {} under account {} is invalid.",
                stream.name,
                names::ACCOUNT
            )));
        }
        check_entry(&state, &entry, None)?;
        let shard = place(&stream, &state, &entry)?;
        let mut log = lock(&shard.log);
        log.trim(now.saturating_sub(state.retention()));
        let written = self.append(now, &stream, shard, &mut log, &entry)?;
        self.flush()?;
        Ok(written)
    }

    /// Writes up to 500 records; each is taken or refused for itself. Records of one shard keep their order.
    ///
    /// # Errors
    /// No such stream; an illegal entry; too many or too large together. Nothing is written then.
    pub fn put_records(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        entries: &[PutEntry<'_>],
    ) -> Result<Vec<Result<Written, Error>>, Error> {
        check_request(entries)?;
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        check_writable(&stream, &state, now)?;
        for (i, entry) in entries.iter().enumerate() {
            check_entry(&state, entry, Some(i))?;
        }
        let shards = entries.iter().map(|entry| place(&stream, &state, entry)).collect::<Result<Vec<_>, _>>()?;
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|i| shards[*i].index);

        let mut results = vec![None; entries.len()];
        for run in order.chunk_by(|a, b| shards[*a].index == shards[*b].index) {
            let shard = shards[run[0]];
            let mut log = lock(&shard.log);
            for i in run {
                results[*i] = Some(self.append(now, &stream, shard, &mut log, &entries[*i]));
            }
            log.trim(now.saturating_sub(state.retention()));
        }
        self.flush()?;
        Ok(results.into_iter().flatten().collect())
    }

    fn append(
        &self,
        now: Millis,
        stream: &Stream,
        shard: &Shard,
        log: &mut Log,
        entry: &PutEntry<'_>,
    ) -> Result<Written, Error> {
        let size = (entry.data.len() + entry.partition_key.map_or(0, str::len)) as u64;
        if self.config.limits {
            let limits = &mut log.limits;
            if !limits.write_bytes.fits(now, size) || !limits.write_records.fits(now, 1) {
                return Err(write_limit(stream, shard));
            }
            limits.write_bytes.add(size);
            limits.write_records.add(1);
        }
        let digits = log.append(now, entry.data, entry.partition_key);
        if let Some(keep) = &self.keep {
            let (stream, shard) = (stream.name.as_str(), shard.index);
            let (counter, arrival, key) = (log.tip(), log.last_arrival(), entry.partition_key);
            keep.record(RecordImage { stream, shard, counter, arrival, key, data: entry.data });
        }
        log.wake();
        Ok(Written {
            shard_id: names::shard_id(shard.index),
            sequence_number: String::from_utf8_lossy(&digits).into_owned(),
        })
    }
}

fn write_limit(stream: &Stream, shard: &Shard) -> Error {
    Error::new(
        ErrorKind::ProvisionedThroughputExceeded,
        format!(
            "Rate exceeded for shard {} in stream {} under account {} (limits: {WRITE_BYTES_PER_SECOND} bytes and {WRITE_RECORDS_PER_SECOND} records a second).",
            names::shard_id(shard.index),
            stream.name,
            names::ACCOUNT
        ),
    )
}

fn check_writable(stream: &Stream, state: &StreamState, now: Millis) -> Result<(), Error> {
    match state.status(now) {
        Status::Active | Status::Updating => Ok(()),
        Status::Creating | Status::Deleting => {
            Err(Error::not_found(format!("Stream {} under account {} not found.", stream.name, names::ACCOUNT)))
        }
    }
}

fn check_request(entries: &[PutEntry<'_>]) -> Result<(), Error> {
    if entries.is_empty() {
        return Err(Error::constraint("[]", "records", "Member must have length greater than or equal to 1"));
    }
    if entries.len() > RECORDS_MAX {
        return Err(Error::constraint(
            &format!("[{} records]", entries.len()),
            "records",
            "Member must have length less than or equal to 500",
        ));
    }
    let size: usize = entries.iter().map(|e| e.data.len() + e.partition_key.map_or(0, str::len)).sum();
    if size > REQUEST_BYTES_MAX {
        return Err(Error::invalid("Records size exceeds 10 MB limit"));
    }
    Ok(())
}

/// `index` is the entry's place in a `PutRecords`.
fn check_entry(state: &StreamState, entry: &PutEntry<'_>, index: Option<usize>) -> Result<(), Error> {
    let member = |name: &str| match index {
        Some(i) => format!("records.{}.member.{name}", i + 1),
        None => name.to_owned(),
    };
    match entry.partition_key {
        None if state.distribution == Distribution::UserPartitionKey => {
            return Err(Error::missing(&member("partitionKey")));
        }
        Some("") => {
            return Err(Error::constraint(
                "''",
                &member("partitionKey"),
                "Member must have length greater than or equal to 1",
            ));
        }
        Some(key) if key.chars().count() > PARTITION_KEY_MAX => {
            return Err(Error::constraint(
                &format!("'{key}'"),
                &member("partitionKey"),
                "Member must have length less than or equal to 256",
            ));
        }
        _ => {}
    }
    let size = entry.data.len() + entry.partition_key.map_or(0, str::len);
    let max = state.max_record_kib as usize * 1024;
    if size > max {
        return Err(Error::constraint(
            &format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", entry.data.len()),
            &member("data"),
            &format!("Member must have length less than or equal to {max}"),
        ));
    }
    Ok(())
}

fn place<'a>(stream: &Stream, state: &'a StreamState, entry: &PutEntry<'_>) -> Result<&'a Shard, Error> {
    if state.distribution == Distribution::Auto {
        let turn = stream.turn.fetch_add(1, Ordering::Relaxed) as usize;
        return Ok(&state.shards[state.open[turn % state.open.len()] as usize]);
    }
    let key = match entry.explicit_hash_key {
        Some(text) => text.parse().map_err(|_| {
            Error::invalid(format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
            ))
        })?,
        None => hash_key(entry.partition_key.unwrap_or_default()),
    };
    Ok(state.shard_of(key))
}
