//! A guest that talks without end must not fill the host's disk.

use std::time::{Duration, Instant};

use crate::lab::{Lab, pause, pool, ram};

#[test]
fn a_console_log_that_grows_too_long_is_cut_and_goes_on() {
    let lab = Lab::new();
    lab.up(&lab.file(&pool("flood", 1, &ram("24MiB"))));
    let log = lab.home().join("machines/flood-0/run/console.log");
    // What a guest would need minutes to write under emulation.
    fs_err::OpenOptions::new().write(true).open(&log).unwrap().set_len(17 << 20).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while fs_err::metadata(&log).unwrap().len() > 16 << 20 {
        assert!(Instant::now() < until, "nobody cut it{}", lab.logs());
        pause();
    }
    assert_eq!(lab.exec("flood-0", "echo still here >/dev/console").code, Some(0));
    while !lab.ok(&["logs", "flood-0"]).contains("still here") {
        assert!(Instant::now() < until, "the console went silent{}", lab.logs());
        pause();
    }
    assert!(fs_err::metadata(&log).unwrap().len() < 1 << 20, "what comes next is not at its new end");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}
