//! Any attributes as a row of a lease table: a lease, none, or a reason.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::lease_row(input));
