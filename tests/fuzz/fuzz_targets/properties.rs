//! Any bytes as a configuration: a job, or problems with their places.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::properties(input));
