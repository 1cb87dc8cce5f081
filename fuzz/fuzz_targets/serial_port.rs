//! Sessions on a serial port.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| winstead_agent::untrusted::serial_port(data));
