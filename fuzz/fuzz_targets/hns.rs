//! What Windows says of container networks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::hns(data));
