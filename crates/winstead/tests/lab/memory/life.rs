//! A machine that started from memory lives like any other.

use super::{DRAW, WARM, file, keepers, lab, look, templates};
use crate::lab::{Lab, eventually, system};

#[test]
fn a_clone_is_reset_from_memory_and_reboots_as_itself() {
    let Some(lab) = lab() else { return };
    lab.up(&file(&lab, 1, &[WARM, DRAW], "ssh"));
    let first = look(&lab, "mem-0");
    assert!(first.has_started_from_memory(), "{first:?}");
    assert_eq!(lab.exec("mem-0", "echo old >/root/note && sync").code, Some(0));

    lab.ok(&["reset", "mem-0"]);
    let second = look(&lab, "mem-0");
    assert!(second.has_started_from_memory(), "{second:?}");
    for stays in ["host name", "machine-id", "product", "hardware address", "host key"] {
        assert_eq!(first.get(stays), second.get(stays), "{stays}");
    }
    for changes in ["boot", "random numbers", "drawn"] {
        assert_ne!(first.get(changes), second.get(changes), "{changes}");
    }
    let reboot = "test ! -e /root/note || exit 9; echo new >/root/note; sync; (sleep 1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &";
    assert_eq!(lab.exec("mem-0", reboot).code, Some(0), "the file survived the reset");

    // What was in RAM is gone, what was on disk is not.
    eventually("it is back", || has_booted(&lab));
    let third = look(&lab, "mem-0");
    for stays in ["host name", "machine-id", "journal", "product", "hardware address", "host key"] {
        assert_eq!(second.get(stays), third.get(stays), "{stays}");
    }
    assert_ne!(second.get("boot"), third.get("boot"));
    assert_eq!(lab.exec("mem-0", "cat /root/note").stdout, "new\n");

    assert_eq!((keepers(&lab).len(), templates(&lab).len()), (1, 1));
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// Asks again soon: a connection that the reboot has cut may wait for a minute until it notices.
fn has_booted(lab: &Lab) -> bool {
    let config = lab.home().join("ssh/config").display().to_string();
    let patience = ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5"];
    let words = [&["ssh", "-F", &config][..], &patience, &["mem-0", "test ! -e /run/warmed"]].concat();
    system(&words).is_ok()
}
