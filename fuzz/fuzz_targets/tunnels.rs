//! Whole sessions of old clients' tunnels.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::tunnels(data));
