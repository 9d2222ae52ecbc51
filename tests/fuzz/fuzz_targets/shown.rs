//! Any bytes as foreign text on its way to people.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::shown(input));
