//! A response to GetRecords and an encoder for it that supports every variant that CBOR allows. The fuzz targets use it,
//! too, so it uses only the crate's public interface.

use bytes::Bytes;
use shardmill_core::envelope::{Batch, Envelope};
use shardmill_core::kinesis::shard::ChildShard;

/// The keys of a map, and the functions that write the values.
pub(crate) type Entries<'a> = Vec<(&'a str, Box<dyn Fn(&mut Style) + 'a>)>;

/// The choices for the next items, used in rotation.
pub(crate) struct Style {
    choices: Vec<u8>,
    next: usize,
    pub(crate) out: Vec<u8>,
}

impl Style {
    pub(crate) fn new(choices: Vec<u8>) -> Self {
        Self { choices, next: 0, out: Vec::new() }
    }

    pub(crate) fn plain() -> Self {
        Self::new(vec![0])
    }

    fn choice(&mut self) -> u8 {
        self.next += 1;
        self.choices[self.next % self.choices.len()]
    }

    /// A head of the shortest width, or a wider one.
    fn head(&mut self, major: u8, argument: u64) {
        let widest = self.choice() % 8 == 7;
        let major = major << 5;
        match argument {
            _ if widest => {
                self.out.push(major | 27);
                self.out.extend(argument.to_be_bytes());
            }
            0..24 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend([major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend((argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend((argument as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend(argument.to_be_bytes());
            }
        }
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        if self.choice() % 4 != 3 {
            self.head(major, bytes.len() as u64);
            return self.out.extend_from_slice(bytes);
        }
        self.out.push(major << 5 | 31);
        for chunk in bytes.chunks(3) {
            self.head(major, chunk.len() as u64);
            self.out.extend_from_slice(chunk);
        }
        self.out.push(0xff);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.string(3, text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.string(2, bytes);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        let definite = self.choice().is_multiple_of(2);
        if definite {
            self.head(4, items.len() as u64)
        } else {
            self.out.push(0x9f)
        }
        items.iter().for_each(|item| write(self, item));
        if !definite {
            self.out.push(0xff);
        }
    }

    /// A map of the given entries, possibly with an additional unknown one.
    pub(crate) fn map(&mut self, entries: Entries<'_>) {
        let unknown = self.choice() % 4 == 1;
        let definite = self.choice().is_multiple_of(2);
        let len = entries.len() as u64 + u64::from(unknown);
        if definite {
            self.head(5, len)
        } else {
            self.out.push(0xbf)
        }
        if unknown {
            self.text("SomethingNew");
            // [1(-1), {"a": null}, 1.5, (_ h'01')]
            self.out.extend([0x84, 0xc1, 0x20, 0xa1, 0x61, b'a', 0xf6, 0xf9, 0x3e, 0x00, 0x5f, 0x41, 1, 0xff]);
        }
        for (key, write) in entries {
            self.text(key);
            write(self);
        }
        if !definite {
            self.out.push(0xff);
        }
    }

    fn integer(&mut self, value: u64) {
        self.head(0, value);
    }

    /// Milliseconds under tag 1, or bare, or as a float of seconds.
    fn time(&mut self, ms: u64) {
        match self.choice() % 4 {
            2 => self.integer(ms),
            3 => {
                self.head(6, 1);
                self.out.push(0xfb);
                self.out.extend((ms as f64 / 1000.0).to_be_bytes());
            }
            _ => {
                self.head(6, 1);
                self.integer(ms);
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TestRecord {
    pub(crate) sequence: String,
    pub(crate) key: Option<String>,
    pub(crate) data: Vec<u8>,
    pub(crate) arrival_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TestAnswer {
    pub(crate) records: Vec<TestRecord>,
    pub(crate) next: Option<String>,
    pub(crate) children: Vec<ChildShard>,
    pub(crate) behind: u64,
}

pub(crate) fn write(answer: &TestAnswer, style: &mut Style) -> Bytes {
    let mut entries: Entries<'_> = vec![
        ("Records", Box::new(|style| style.list(&answer.records, write_record))),
        ("MillisBehindLatest", Box::new(|style| style.integer(answer.behind))),
        ("ChildShards", Box::new(|style| style.list(&answer.children, write_child))),
    ];
    match &answer.next {
        Some(next) => entries.push(("NextShardIterator", Box::new(|style| style.text(next)))),
        None => entries.push(("NextShardIterator", Box::new(|style| style.out.push(0xf6)))),
    }
    style.map(entries);
    std::mem::take(&mut style.out).into()
}

fn write_record(style: &mut Style, record: &TestRecord) {
    let mut entries: Entries<'_> = vec![
        ("Data", Box::new(|style| style.bytes(&record.data))),
        ("SequenceNumber", Box::new(|style| style.text(&record.sequence))),
        ("ApproximateArrivalTimestamp", Box::new(|style| style.time(record.arrival_ms))),
    ];
    if let Some(key) = &record.key {
        entries.push(("PartitionKey", Box::new(|style| style.text(key))));
    }
    style.map(entries);
}

fn write_child(style: &mut Style, child: &ChildShard) {
    let range = &child.hash_range;
    style.map(vec![
        ("ShardId", Box::new(|style| style.text(&child.id))),
        ("ParentShards", Box::new(|style| style.list(&child.parents, |style, parent| style.text(parent)))),
        (
            "HashKeyRange",
            Box::new(|style| {
                style.map(vec![
                    ("StartingHashKey", Box::new(|style| style.text(&range.start.to_string()))),
                    ("EndingHashKey", Box::new(|style| style.text(&range.end.to_string()))),
                ]);
            }),
        ),
    ]);
}

pub(crate) fn read_back(batch: &Batch) -> Vec<TestRecord> {
    let record = |envelope: Envelope<'_>| TestRecord {
        sequence: envelope.sequence.to_owned(),
        key: envelope.key.map(str::to_owned),
        data: envelope.message.to_vec(),
        arrival_ms: envelope.arrival_ms,
    };
    batch.envelopes(0..batch.len()).map(record).collect()
}

pub(crate) fn without_leading_zeros(record: &TestRecord) -> TestRecord {
    let digits = record.sequence.trim_start_matches('0');
    TestRecord { sequence: if digits.is_empty() { "0" } else { digits }.to_owned(), ..record.clone() }
}
