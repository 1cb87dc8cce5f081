//! The old configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::wins_config(data));
