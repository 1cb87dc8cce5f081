//! The Windows program under Wine: its tests from outside (`windows.rs`, `windows_processes`), old clients over pipes
//! (`conformance`), and the units that only Windows compiles.
//!
//! What Wine does not do is not tested here but told by `winstead-agent selftest` on a real Windows: refusals by rights,
//! jobs' limits, the event log, restarts by the service manager.

#![cfg(target_os = "linux")]

use std::path::Path;

use winstead_testing::{Executable, Wine};

/// What is built beside the units.
const TESTS: [&str; 3] = ["conformance", "windows", "windows_processes"];

/// One test: its Windows takes ten seconds and 700 MB to make.
#[test]
fn the_windows_program_does_what_the_linux_one_does() {
    // Wine hands down no rights from folders to files: those of a new file are what this mask leaves, and an agent uses
    // no key that everybody may read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let Some(wine) = Wine::or_skip(env!("CARGO_TARGET_TMPDIR")) else { return };
    let mut package = vec!["--package", env!("CARGO_PKG_NAME"), "--lib"];
    package.extend(TESTS.iter().flat_map(|name| ["--test", name]));
    let built = wine.build(&["test", "--no-run"], &package);
    let tests: Vec<&Executable> = built.iter().filter(|executable| executable.is_test).collect();
    assert_eq!(tests.len(), 1 + TESTS.len(), "{built:?}");
    for test in tests {
        let output = wine.run(Path::new(env!("CARGO_MANIFEST_DIR")), &test.path, ["--test-threads=1"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}{}", test.name, String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(" passed; 0 failed; 0 ignored"), "{}: {said}", test.name);
        assert!(!said.contains(" 0 passed"), "{}: {said}", test.name);
    }
}
