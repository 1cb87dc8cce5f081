//! The old configuration file: read or refused with at least one problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use winstead_spec::parse_wins;

fuzz_target!(|text: &str| {
    match parse_wins("config", text) {
        Ok(config) => drop(winstead_agent::wins::rules(&config)),
        Err(problems) => assert!(!problems.0.is_empty()),
    }
});
