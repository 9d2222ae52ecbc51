//! Any bytes as the file that says which versions run.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::deployment(input));
