//! Lists in one argument: what is split joins to what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use winstead_agent::wins::lists::{exposes, publishes, split};

fuzz_target!(|text: &str| {
    if let Ok(items) = split(text) {
        assert_eq!(items.join(" "), text);
    }
    drop(exposes(text));
    drop(publishes(text));
});
