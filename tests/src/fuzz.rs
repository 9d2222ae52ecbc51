//! What must hold for any bytes where something foreign is read: it does not panic, what it says of them is bounded and fit
//! for a terminal, and what it takes is what it writes. Plain functions of bytes: `tests/fuzz.rs` calls them with seeded
//! inputs for every `cargo test`, the fuzz targets beside it with what a fuzzer finds. That crate includes this file, so
//! it knows only `core` and `aws`.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use shardmill_aws::dynamodb::read_row;
use shardmill_aws::kinesis::decode_response;
use shardmill_core::config::{self, Source};
use shardmill_core::control::{self, Ask};
use shardmill_core::envelope::{Batch, BatchBuilder, Envelope};
use shardmill_core::http_origin::HttpOrigin;
use shardmill_core::kinesis::aggregate::deaggregate;
use shardmill_core::kinesis::shard::HashRange;
use shardmill_core::kinesis::stream::StreamIdentifier;
use shardmill_core::module::ModuleId;
use shardmill_core::position::{Checkpoint, Position, SequenceNumber, compare_sequence};
use shardmill_core::rollout::{Deployment, Manner};
use shardmill_core::text;

use shardmill_testkit::kpl;

/// A reader of foreign bytes.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs that are good, or nearly: what others are made of.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "properties", run: properties, seeds: properties_seeds },
    Target { name: "aggregate", run: aggregate, seeds: aggregate_seeds },
    Target { name: "lease_row", run: lease_row, seeds: lease_row_seeds },
    Target { name: "deployment", run: deployment, seeds: deployment_seeds },
    Target { name: "rollout_file", run: rollout_file, seeds: || texts(&[&format!("{HASH}  canary\n"), "all all"]) },
    Target { name: "ask", run: ask, seeds: ask_seeds },
    Target { name: "http_origin", run: http_origin, seeds: http_origin_seeds },
    Target { name: "position", run: position, seeds: position_seeds },
    Target { name: "decode", run: decode, seeds: decode_seeds },
    Target { name: "shown", run: shown, seeds: || texts(&["a\nb\u{1b}[2J\u{202e}", "ü名前\u{2028}"]) },
];

const HASH: &str = "5f1c0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
/// A message may repeat what it is about, some times, and be as long as this besides.
const SAID_MAX_BYTES: usize = 16 << 10;
const REPEATED_MAX: usize = 64;

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_owned()).collect()
}

/// What is said of an input has a bound and steers no terminal.
fn assert_fit(said: &str, input: &[u8]) {
    assert!(said.len() <= SAID_MAX_BYTES + REPEATED_MAX * input.len(), "{} bytes of {}", said.len(), input.len());
    let hidden = said.chars().find(|&it| text::is_hidden(it) && it != '\n' && it != '\t');
    assert_eq!(hidden, None, "{said:?}");
}

/// A configuration, as a file and as a single setting.
pub fn properties(input: &[u8]) {
    let content = String::from_utf8_lossy(input).into_owned();
    let file = Source::File { name: "job.properties".to_owned(), text: content.clone() };
    let env = BTreeMap::from([("AWS_REGION".to_owned(), "eu-west-1".to_owned())]);
    for lenient in [false, true] {
        for sources in [vec![file.clone()], vec![file.clone(), Source::Override(content.clone())]] {
            let _is_job = config::names_a_task(&sources);
            match config::load(&sources, &env, lenient) {
                // Its values are the job's own; what is printed of them passes the gate of what prints.
                Ok(loaded) => assert!(!loaded.job.name.is_empty()),
                Err(errors) => {
                    assert!(!errors.problems().is_empty());
                    let said = errors.to_string();
                    assert!(said.len() <= SAID_MAX_BYTES + REPEATED_MAX * 4 * input.len(), "{} bytes", said.len());
                }
            }
        }
    }
}

fn properties_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "job.name=orders\ntask.class=orders\ntask.inputs=kinesis.orders\nsystems.kinesis.samza.factory=kinesis\n\
         systems.kinesis.aws.region=eu-west-1\nsystems.kinesis.streams.orders.aws.kcl.TableName=orders\n\
         systems.kinesis.streams.orders.aws.kcl.InitialPositionInStream=TRIM_HORIZON\ntask.commit.ms=1000\n\
         task.grant.http=https://api.example.com\ntask.grant.dir=/data::/data:rw\ntask.memory.max.mb=64\n",
        "task.inputs = kinesis.a , kinesis.b \\\n   , kinesis.c\n# a comment\n! another\nkey\\ with\\:blanks : value\\u00fc\n",
        "sensitive.systems.k.streams.s.aws.secretKey=SECRET\nsystems.k.streams.s.aws.accessKey=AKIA\njob.nmae=x\n",
        "\u{feff}job.name=\u{202e}x\r\ntask.window.ms=99999999999999999999\rtask.rollout.waves=1,10%,100%\n",
    ])
}

/// A record's data, as an aggregate of the Kinesis Producer Library and as the message within one.
pub fn aggregate(input: &[u8]) {
    for message in [input.to_vec(), kpl::frame(input)] {
        for range in [None, Some(HashRange { start: 0, end: u128::MAX / 2 })] {
            let (batch, report) = deaggregate(batch_of(&message), range.as_ref());
            let envelopes: Vec<_> = batch.envelopes(0..batch.len()).collect();
            // A user record has a tag and a length at least; what is no aggregate stays one record.
            assert!(envelopes.len() <= message.len() + 2, "{} of {} bytes", envelopes.len(), message.len());
            assert!(report.aggregates + report.malformed <= 2);
            let ours = envelopes.iter().filter(|envelope| envelope.sequence == "1");
            for (index, envelope) in ours.enumerate() {
                assert_eq!(envelope.sub_sequence as usize, index);
                assert!(envelope.message.len() <= message.len());
            }
            assert_eq!(envelopes.last().map(|envelope| envelope.message), Some(b"plain".as_slice()));
        }
    }
}

fn batch_of(message: &[u8]) -> Batch {
    let mut builder = BatchBuilder::default();
    builder.push(Envelope { sequence: "1", sub_sequence: 0, key: Some("key"), message, arrival_ms: 1 });
    builder.push(Envelope { sequence: "2", sub_sequence: 0, key: None, message: b"plain", arrival_ms: 2 });
    builder.finish()
}

fn aggregate_seeds() -> Vec<Vec<u8>> {
    let mut explicit = kpl::UserRecord::new("b", b"second");
    explicit.explicit_hash_key = Some(u128::MAX.to_string());
    let records = [kpl::UserRecord::new("a", b"first"), explicit, kpl::UserRecord::new("a", b"")];
    vec![kpl::aggregate(&records), kpl::message(&records), kpl::aggregate(&[]), b"no aggregate".to_vec()]
}

/// A row of a lease table: attributes of a name, a type and a value each, as the bytes have it.
pub fn lease_row(input: &[u8]) {
    let row = row_of(input);
    let stream: StreamIdentifier = "123456789012:orders:1".parse().expect("an identifier");
    for of in [None, Some(&stream)] {
        match read_row(&row, of) {
            Ok(Some(lease)) => {
                // What fencing is built on.
                assert!(lease.counter.checked_add(1).is_some() || lease.counter == u64::MAX);
                assert!(!lease.key.is_empty() || of.is_none());
            }
            Ok(None) => {}
            Err(said) => assert!(said.len() <= text::REASON_MAX_BYTES && !said.chars().any(is_hidden_in_text)),
        }
    }
}

fn is_hidden_in_text(character: char) -> bool {
    text::is_hidden(character) && character != '\n' && character != '\t'
}

const ATTRIBUTES: [&str; 15] = [
    "leaseKey",
    "leaseOwner",
    "leaseCounter",
    "ownerSwitchesSinceCheckpoint",
    "checkpoint",
    "checkpointSubSequenceNumber",
    "parentShardId",
    "childShardIds",
    "startingHashKey",
    "endingHashKey",
    "checkpointOwner",
    "entityType",
    "streamName",
    "shardId",
    "shardmillLatestSince",
];

/// Each attribute: an index, a type, a length, so many bytes.
fn row_of(mut input: &[u8]) -> HashMap<String, AttributeValue> {
    let mut row = HashMap::new();
    while let [name, kind, length, rest @ ..] = input {
        let (value, after) = rest.split_at(rest.len().min(usize::from(*length)));
        let text = String::from_utf8_lossy(value).into_owned();
        let value = match kind % 6 {
            0 => AttributeValue::S(text),
            1 => AttributeValue::N(text),
            2 => AttributeValue::Ss(text.split(',').map(str::to_owned).collect()),
            3 => AttributeValue::Bool(!text.is_empty()),
            4 => AttributeValue::Null(true),
            _ => AttributeValue::Ns(vec![text]),
        };
        row.insert(ATTRIBUTES[usize::from(*name) % ATTRIBUTES.len()].to_owned(), value);
        input = after;
    }
    row
}

fn lease_row_seeds() -> Vec<Vec<u8>> {
    let row = |attributes: &[(u8, u8, &str)]| {
        let bytes = attributes.iter().flat_map(|(name, kind, value)| {
            let length = u8::try_from(value.len()).expect("a short value");
            [&[*name, *kind, length], value.as_bytes()].concat()
        });
        bytes.collect::<Vec<u8>>()
    };
    let plain = [(0, 0, "shardId-000000000000"), (1, 0, "worker"), (2, 1, "17"), (4, 0, "TRIM_HORIZON"), (5, 1, "0")];
    let shared = [(0, 0, "123456789012:orders:1:shardId-000000000000"), (12, 0, "123456789012:orders:1")];
    let huge =
        [(0, 0, "\u{1b}[2J"), (2, 1, "18446744073709551615"), (4, 0, "4957\u{202e}"), (8, 0, "-1"), (9, 0, "1e9")];
    vec![row(&plain), row(&[&shared[..], &plain[1..]].concat()), row(&huge), row(&[(11, 0, "LEADER")])]
}

/// What a host finds in the directory that it shares: which versions run.
pub fn deployment(input: &[u8]) {
    let Ok(read) = serde_json::from_slice::<Deployment>(input) else { return };
    assert!((1..=3).contains(&read.modules().count()));
    let module = read.module_of("orders shardId-000000000000");
    assert!(read.modules().any(|of| of == module));
    let _why = read.quarantine(module);
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Deployment>(&written).expect("and read again"), read);
}

fn deployment_seeds() -> Vec<Vec<u8>> {
    let candidate = format!(
        r#"{{"revision":18446744073709551615,"current":"{HASH}","previous":{{"module":"{HASH}","warm_until":1}},
        "candidate":{{"module":"{HASH}","wave":9,"since":0,"shards":["orders shardId-000000000000"]}},
        "quarantined":[{{"module":"{HASH}","reason":"\u001b[2J"}}],"later":{{}}}}"#
    );
    texts(&[&format!(r#"{{"revision":0,"current":"{HASH}"}}"#), &candidate, "{}", "null"])
}

/// What is said beside a module of how it gets its shards.
pub fn rollout_file(input: &[u8]) {
    let module = HASH.parse().expect("a module's identity");
    let said = Manner::said_of(module, &String::from_utf8_lossy(input));
    match said.word() {
        None => assert_eq!(said, Manner::Configured),
        Some(word) => assert_eq!(Manner::said_of(module, &format!("{HASH}  {word}\n")), said),
    }
    assert_eq!(Manner::said_of(ModuleId::of_sha256([0; 32]), &format!("{HASH}  canary")), Manner::Configured);
}

/// A line that a client of the control socket sends.
pub fn ask(input: &[u8]) {
    match serde_json::from_slice::<Ask>(input) {
        Ok(ask) => {
            let written = serde_json::to_vec(&ask).expect("what was read can be written");
            assert!(!written.contains(&b'\n'), "one line asks");
            assert_eq!(serde_json::from_slice::<Ask>(&written).expect("and read again"), ask);
        }
        Err(error) => {
            let said = control::not_understood(&error);
            assert!(said.len() < 2_000 && !said.contains('\n'), "{said}");
            assert_fit(&said, &[]);
        }
    }
}

fn ask_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"ask":"report"}"#,
        r#"{"ask":"rollback","job":"orders","to":"5f1c","version":null}"#,
        r#"{"ask":"drain","job":"\u202e"}"#,
        r#"{"job":"a","ask":"pause","job":"b"}"#,
        "{\"ask\":\"\u{1b}[2J\u{202e}\"}",
    ])
}

/// An origin as `task.grant.http` has it.
pub fn http_origin(input: &[u8]) {
    let written = String::from_utf8_lossy(input);
    match HttpOrigin::parse(&written) {
        Ok(origin) => {
            let again = HttpOrigin::parse(&origin.to_string()).expect("what is shown can be read");
            assert_eq!(again, origin);
            assert_fit(&origin.to_string(), input);
            let covered = origin.covers("https", "example.com", None) && origin.covers("http", "example.com", None);
            assert!(!covered, "one scheme is granted");
            assert!(!origin.covers("ftp", "example.com", None));
        }
        Err(said) => assert_fit(said, &[]),
    }
    if let Ok(origin) = HttpOrigin::parse("https://api.example.com") {
        let is_it = ["api.example.com", "api.example.com."].iter().any(|it| written.eq_ignore_ascii_case(it));
        assert!(is_it || !origin.covers("https", &written, None), "{written:?}");
    }
}

fn http_origin_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "https://api.example.com",
        "http://*.example.org:8080",
        "http://[::1]:80",
        "https://127.0.0.1",
        "HTTPS://Example.COM:443",
        "https://a@b",
        "http://0x7f.1",
        "https://\u{202e}moc",
    ])
}

/// A position as a row, a file or a service has it.
pub fn position(input: &[u8]) {
    let content = String::from_utf8_lossy(input);
    let (digits, sub_sequence) = content.split_once('/').unwrap_or((&content, "0"));
    let sub_sequence = sub_sequence.parse().unwrap_or(u64::MAX);
    match SequenceNumber::parse(digits) {
        Ok(sequence) => {
            let text = sequence.as_str();
            assert!(text == "0" || !text.starts_with('0'));
            assert!(compare_sequence(text, text).is_eq() && compare_sequence("0", text).is_le());
            assert_eq!(SequenceNumber::parse(text).as_ref(), Ok(&sequence));
            let larger = format!("1{text}");
            assert!(compare_sequence(text, &larger).is_lt() && compare_sequence(&larger, text).is_gt());
            let at = Checkpoint::At(Position { sequence, sub_sequence });
            assert!(Checkpoint::Latest < at && at < Checkpoint::ShardEnd);
        }
        Err(error) => {
            assert!(error.to_string().len() < 1_000, "{error}");
            assert_fit(&error.to_string(), &[]);
        }
    }
    if let Ok(checkpoint) = Checkpoint::from_row(&content, sub_sequence) {
        let row = (checkpoint.sequence_text(), checkpoint.sub_sequence());
        assert_eq!(Checkpoint::from_row(row.0, row.1).as_ref(), Ok(&checkpoint));
    }
    if let Ok(stream) = content.parse::<StreamIdentifier>() {
        assert_eq!(stream.shard_of(&stream.lease_key("shard")).as_deref(), Some("shard"));
    }
}

fn position_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "49590338271490256608559692538361571095921575989136588898",
        "000017/3",
        "TRIM_HORIZON",
        "SHARD_END",
        "123456789012:orders:1",
        "-1",
        "\u{1b}[2J",
    ])
}

/// The body of an answer to GetRecords: refused, or readable to the last record.
pub fn decode(input: &[u8]) {
    let Ok(decoded) = decode_response(&Bytes::copy_from_slice(input)) else { return };
    for envelope in decoded.batch.envelopes(0..decoded.batch.len()) {
        let digits = envelope.sequence.as_bytes();
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit), "{envelope:?}");
        assert!(digits.len() == 1 || digits[0] != b'0', "{envelope:?}");
        assert!(envelope.message.len() + envelope.key.map_or(0, str::len) < input.len(), "{envelope:?}");
    }
}

/// CBOR of `{"MillisBehindLatest": 0, "NextShardIterator": "i", "Records": [{"Data": 'a', "PartitionKey": "k",
/// "SequenceNumber": "12"}]}`.
fn decode_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| [&[0x60 + u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let long = |text: &str| [&[0x78, u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let record = [
        vec![0xa3],
        text("Data"),
        vec![0x41, b'a'],
        text("PartitionKey"),
        text("k"),
        text("SequenceNumber"),
        text("12"),
    ];
    let body = [vec![0xa3], text("MillisBehindLatest"), vec![0], text("NextShardIterator"), text("i"), text("Records")];
    let empty = [vec![0xa1], long("Records"), vec![0x80]];
    vec![[body.concat(), vec![0x81], record.concat()].concat(), empty.concat()]
}

/// Foreign text on its way to people and programs.
pub fn shown(input: &[u8]) {
    let foreign = String::from_utf8_lossy(input);
    assert!(!text::shown(&foreign).chars().any(text::is_hidden));
    assert!(text::reason(&foreign).len() <= text::REASON_MAX_BYTES);
    for fit in [text::shown_lines(&foreign), text::guarded(&foreign), text::entry(&foreign)] {
        assert!(!fit.chars().any(is_hidden_in_text), "{fit:?}");
    }
    let raw = serde_json::to_string(&foreign).expect("a text can be written");
    let read: String = serde_json::from_str(&text::json(&raw)).expect("and read");
    assert_eq!(read, foreign);
}
