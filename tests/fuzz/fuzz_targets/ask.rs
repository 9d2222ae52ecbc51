//! Any bytes as a line on the control socket: understood, or refused in few words.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardmill_fuzz::fuzz::ask(input));
