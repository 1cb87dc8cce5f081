//! The Windows program under Wine: its tests from outside (`windows.rs`, `windows_processes`), old clients over pipes
//! (`conformance`), and the units that only Windows compiles.
//!
//! What Wine does not do is not tested here but told by `winstead-agent selftest` on a real Windows: refusals by rights,
//! jobs' limits, the event log, restarts by the service manager.

#![cfg(target_os = "linux")]

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use winstead_testing::{Executable, Typed, Wine};

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
    let named = |name: &str| built.iter().find(|executable| executable.name == name).expect("it was built");
    a_console_is_lent(&wine, &named("winstead-agent").path, &named("windows_processes").path);
}

/// From one console, that of the command line, to another one, that of the program; every key is that's, Ctrl-Z too.
fn a_console_is_lent(wine: &Wine, agent: &Path, program: &Path) {
    let agent = || {
        let mut command = wine.command();
        command.arg(agent).stdin(Stdio::null());
        command
    };
    let address = r"\\.\pipe\winstead-test-console";
    let mut daemon = agent();
    daemon.args(["serve", "--runtime", address, "--state", r"C:\console"]);
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let until = Instant::now() + Duration::from_secs(60);
    while !agent().args(["hello", "--address", address]).output().expect("it runs").status.success() {
        assert!(Instant::now() < until, "nobody answers");
    }
    let mut client = agent();
    client.args(["run", "-t", "--address", address, "-e", "WINSTEAD_TEST_ROLE=talk", "-e"]);
    client.arg("WINSTEAD_TEST_FILE=none").arg("--");
    client.arg(format!("Z:{}", program.display()).replace('/', r"\"));
    client.args(["--exact", "programs::as_a_program", "--nocapture"]);
    let mut typed = Typed::start(&client);
    typed.shows("ready");
    typed.types("one\r");
    typed.shows("heard <one>");
    typed.types("\u{1a}\r");
    typed.shows("heard <>");
    typed.types("bye\r");
    assert_eq!(typed.ends().code(), Some(3), "{}", typed.all());
    // All of this Windows ends with it.
    daemon.kill().and_then(|()| daemon.wait()).expect("it ran");
}
