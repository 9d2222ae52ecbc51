//! Any bytes as a sequence number, a checkpoint or a stream's identifier.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::position(input));
