//! Any bytes as the body of an answer to GetRecords: refused, or readable to the last record.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::decode(input));
