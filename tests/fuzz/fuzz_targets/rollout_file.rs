//! Any bytes as what is said beside a module of how it gets its shards.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::rollout_file(input));
