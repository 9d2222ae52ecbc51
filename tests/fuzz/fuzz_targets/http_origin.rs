//! Any bytes as an origin of `task.grant.http`: refused, or covering itself and no more.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::http_origin(input));
