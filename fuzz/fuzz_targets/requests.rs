//! Requests of the agent's own protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::requests(data));
