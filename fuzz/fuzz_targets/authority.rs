//! An old client's HTTP/2.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::authority(data));
