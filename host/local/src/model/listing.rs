//! Listings: streams and shards, with every shard filter and with pages.

use super::stream::{Shard, ShardInfo, StreamState};
use super::token::PageToken;
use super::{Error, ErrorKind, Millis, Model, StreamInfo, StreamRef, is_gone, names, read};

/// Items of one page unless the caller asks for fewer.
pub(crate) const SHARDS_PER_PAGE: usize = 1000;
const LIST_MAX: usize = 10_000;
/// Life of a page token.
const TOKEN_TTL: Millis = 300_000;

/// Which shards to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFilter<'a> {
    /// Those after this one.
    AfterShardId(&'a str),
    /// Those that were open at the trim horizon: a complete hash range, no parent with its child.
    AtTrimHorizon,
    /// All within the retention period.
    FromTrimHorizon,
    /// The open ones.
    AtLatest,
    /// Those that were open at this time: a complete hash range, no parent with its child.
    AtTimestamp(Millis),
    /// Those that were open at this time or later.
    FromTimestamp(Millis),
}

/// A `ListShards` call.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListShards<'a> {
    /// Which shards; all within the retention period if none is given.
    pub filter: Option<ShardFilter<'a>>,
    /// Those after this one.
    pub exclusive_start: Option<&'a str>,
    /// Size of a page, at most 1,000.
    pub max_results: Option<usize>,
}

/// A page of shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardPage {
    /// In the order of their ids.
    pub shards: Vec<ShardInfo>,
    /// Gets the next page; none on the last one.
    pub next_token: Option<String>,
}

/// A page of streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPage {
    /// In the order of their names.
    pub streams: Vec<StreamInfo>,
    /// Whether more follow.
    pub has_more: bool,
}

/// A filter with its time settled, so that all pages of a listing agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    All,
    OpenAt(Millis),
    OpenSince(Millis),
    Open,
}

impl Model {
    /// The streams after `after`, by name.
    pub fn list_streams(&self, now: Millis, after: Option<&str>, limit: usize) -> StreamPage {
        let streams = read(&self.streams);
        let mut found = streams
            .values()
            .filter(|stream| !is_gone(stream, now) && after.is_none_or(|after| stream.name.as_str() > after))
            .map(|stream| stream.info(now));
        let page = found.by_ref().take(limit).collect();
        StreamPage { streams: page, has_more: found.next().is_some() }
    }

    /// Shards of a stream.
    ///
    /// # Errors
    /// No such stream; an illegal page size; a shard id that is none.
    pub fn list_shards(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        request: ListShards<'_>,
    ) -> Result<ShardPage, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        let mut after = request.exclusive_start;
        let horizon = now.saturating_sub(state.retention()).max(stream.created);
        let settled = match request.filter {
            None | Some(ShardFilter::FromTrimHorizon) => Settled::All,
            Some(ShardFilter::AfterShardId(id)) => {
                after = Some(id);
                Settled::All
            }
            Some(ShardFilter::AtTrimHorizon) => Settled::OpenAt(horizon),
            Some(ShardFilter::AtLatest) => Settled::Open,
            Some(ShardFilter::AtTimestamp(time)) => Settled::OpenAt(time.max(horizon)),
            Some(ShardFilter::FromTimestamp(time)) => Settled::OpenSince(time.max(horizon)),
        };
        let after = after.map(parse_shard).transpose()?;
        let page = Page { stream: &stream.name, created: stream.created, settled, after };
        page.list(now, &state, request.max_results)
    }

    /// The next page of a `list_shards`.
    ///
    /// # Errors
    /// A token that is not ours or is older than five minutes; the stream is gone.
    pub fn list_shards_next(
        &self,
        now: Millis,
        next_token: &str,
        max_results: Option<usize>,
    ) -> Result<ShardPage, Error> {
        let invalid = || Error::invalid("Invalid NextToken.");
        let token = PageToken::decode(next_token).ok_or_else(invalid)?;
        let settled = Settled::decode(&token.filter).ok_or_else(invalid)?;
        if now.saturating_sub(token.issued) > TOKEN_TTL {
            return Err(Error::new(
                ErrorKind::ExpiredNextToken,
                format!("NextToken expired. It was issued at {} and lives {TOKEN_TTL} milliseconds.", token.issued),
            ));
        }
        let stream = self.stream(now, &StreamRef::from(&token.stream))?;
        if stream.created != token.stream_created {
            return Err(invalid());
        }
        let state = read(&stream.state);
        let page =
            Page { stream: &stream.name, created: stream.created, settled, after: Some(parse_shard(&token.after)?) };
        page.list(now, &state, max_results)
    }

    /// One shard.
    ///
    /// # Errors
    /// No such stream or shard.
    pub fn shard(&self, now: Millis, stream: &StreamRef<'_>, shard_id: &str) -> Result<ShardInfo, Error> {
        let stream = self.stream(now, stream)?;
        let state = read(&stream.state);
        state.shard(now, &stream.name, shard_id).map(Shard::info)
    }

    /// Shards as `DescribeStream` shows them: at most `limit`, and whether more follow.
    ///
    /// # Errors
    /// No such stream; a shard id that is none.
    pub fn describe_shards(
        &self,
        now: Millis,
        stream: &StreamRef<'_>,
        exclusive_start: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ShardInfo>, bool), Error> {
        let request = ListShards { exclusive_start, max_results: Some(limit), filter: None };
        let page = self.list_shards(now, stream, request)?;
        Ok((page.shards, page.next_token.is_some()))
    }
}

struct Page<'a> {
    stream: &'a str,
    created: Millis,
    settled: Settled,
    after: Option<u32>,
}

impl Page<'_> {
    fn list(&self, now: Millis, state: &StreamState, max_results: Option<usize>) -> Result<ShardPage, Error> {
        let size = page_size(max_results)?;
        let from = self.after.map_or(0, |index| index as usize + 1).min(state.shards.len());
        let mut found =
            state.shards[from..].iter().filter(|shard| !state.is_expired(shard, now) && self.settled.has(shard));
        let shards: Vec<_> = found.by_ref().take(size).collect();
        let next_token = shards.last().filter(|_| found.next().is_some()).map(|last| {
            PageToken {
                stream: self.stream.to_owned(),
                stream_created: self.created,
                after: last.index.to_string(),
                filter: self.settled.encode(),
                issued: now,
            }
            .encode()
        });
        Ok(ShardPage { shards: shards.into_iter().map(Shard::info).collect(), next_token })
    }
}

impl Settled {
    fn has(self, shard: &Shard) -> bool {
        let closed = shard.closed.map(|c| c.at);
        match self {
            Self::All => true,
            Self::Open => closed.is_none(),
            // A child is created at the very ms its parent closes: half-open, or both would be "open" then.
            Self::OpenAt(time) => shard.created <= time && closed.is_none_or(|at| time < at),
            Self::OpenSince(time) => closed.is_none_or(|at| time <= at),
        }
    }

    fn encode(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Open => "open".to_owned(),
            Self::OpenAt(time) => format!("at {time}"),
            Self::OpenSince(time) => format!("since {time}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "all" => Some(Self::All),
            None if text == "open" => Some(Self::Open),
            Some(("at", time)) => time.parse().ok().map(Self::OpenAt),
            Some(("since", time)) => time.parse().ok().map(Self::OpenSince),
            _ => None,
        }
    }
}

fn page_size(max_results: Option<usize>) -> Result<usize, Error> {
    let bound = match max_results {
        None => return Ok(SHARDS_PER_PAGE),
        Some(0) => "greater than or equal to 1",
        Some(n) if n > LIST_MAX => "less than or equal to 10000",
        Some(n) => return Ok(n.min(SHARDS_PER_PAGE)),
    };
    Err(Error::constraint(
        &format!("'{}'", max_results.unwrap_or_default()),
        "maxResults",
        &format!("Member must have value {bound}"),
    ))
}

fn parse_shard(id: &str) -> Result<u32, Error> {
    names::shard_index(id).ok_or_else(|| Error::invalid(format!("{id} is not a shard id")))
}
