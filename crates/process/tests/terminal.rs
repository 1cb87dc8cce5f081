//! A terminal that is lent comes back.

use std::process::Stdio;

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use winstead_process::Raw;

const CHILD: &str = "WINSTEAD_TEST_PANICS";

fn is_usual(terminal: impl std::os::fd::AsFd) -> bool {
    tcgetattr(terminal).expect("it is a terminal").local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this very test at a terminal, whose end is waited for")]
fn a_panic_puts_it_back_though_nothing_is_dropped() {
    if std::env::var_os(CHILD).is_some() {
        assert!(is_usual(std::io::stdin()));
        // As with `panic = "abort"`, where no destructor runs.
        std::mem::forget(Raw::enter().expect("it can be set").expect("it is a terminal"));
        assert!(is_usual(std::io::stdin()), "it is lent");
    }
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("its name");
    let slave = fs_err::OpenOptions::new().read(true).write(true).open(name.to_str().expect("text"));
    let slave = slave.expect("it is there");
    let output = std::process::Command::new(std::env::current_exe().expect("it has a name"))
        .args(["--exact", "a_panic_puts_it_back_though_nothing_is_dropped", "--nocapture"])
        .env(CHILD, "yes")
        .stdin(Stdio::from(slave.file().try_clone().expect("a descriptor")))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("it is lent"), "{said}");
    assert!(is_usual(&slave), "it was put back");
}
