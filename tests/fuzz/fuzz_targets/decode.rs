//! Any bytes as the body of an answer to GetRecords: refused, or readable to the last record.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use shardmill_aws::kinesis::decode_response;

fuzz_target!(|body: &[u8]| -> Corpus {
    let Ok(decoded) = decode_response(&Bytes::copy_from_slice(body)) else {
        return Corpus::Keep;
    };
    for envelope in decoded.batch.envelopes(0..decoded.batch.len()) {
        let digits = envelope.sequence.as_bytes();
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit), "{envelope:?}");
        assert!(digits.len() == 1 || digits[0] != b'0', "{envelope:?}");
        assert!(envelope.message.len() + envelope.key.map_or(0, str::len) < body.len(), "{envelope:?}");
    }
    Corpus::Keep
});
