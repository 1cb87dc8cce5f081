//! Tests that the host cannot run say so; `cargo xtask test` counts them.

/// Says why a test does nothing. The caller returns right after it.
#[expect(clippy::disallowed_macros, reason = "the one line that the test command looks for on stderr")]
pub fn skip(reason: &str) {
    // Written by `eprintln!`, the test harness would swallow it for tests that pass; the count needs it.
    use std::io::Write;
    if writeln!(std::io::stderr(), "skipped: {reason}").is_err() {
        eprintln!("skipped: {reason}");
    }
}
