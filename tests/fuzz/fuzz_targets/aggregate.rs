//! Any bytes as a record of the Kinesis Producer Library: its user records, or one record as it is.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::aggregate(input));
