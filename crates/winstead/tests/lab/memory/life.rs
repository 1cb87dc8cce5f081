//! A machine that started from memory lives like any other.

use super::{DRAW, WARM, file, keepers, lab, look, templates};
use crate::{
    faults::{can_be_killed, killed_everywhere},
    lab::{Lab, eventually, system},
};

#[test]
fn a_clone_is_reset_from_memory_over_and_over_and_reboots_as_itself() {
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
    is_reset_often(&lab);
    let second = look(&lab, "mem-0");

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

/// How often a machine is reset until what that leaves behind would be seen.
const RESETS: u64 = 20;
/// What the processes of a home may hold more after as many resets: less than one QEMU holds.
const SLACK_MIB: u64 = 64;

/// What many resets, some of them killed, would leave behind would be seen in the end.
fn is_reset_often(lab: &Lab) {
    assert!(look(lab, "mem-0").has_started_from_memory());
    let before = held(lab);
    let killed = if can_be_killed() { killed_everywhere(lab, &["reset", "mem-0"], |_| {}) } else { 0 };
    for _ in killed..RESETS {
        lab.ok(&["reset", "mem-0"]);
    }
    // A login is what makes a guest hold most: before, there was one, too.
    let seen = look(lab, "mem-0");
    assert!(seen.has_started_from_memory(), "{seen:?}");
    let after = held(lab);
    assert!(after.mib <= before.mib + SLACK_MIB, "{before:?} became {after:?}");
    assert_eq!((after.processes, after.mounts), (before.processes, before.mounts));
}

/// What a home's processes and mounts hold.
#[derive(Debug)]
struct Held {
    mib: u64,
    processes: usize,
    mounts: usize,
}

fn held(lab: &Lab) -> Held {
    let processes = lab.processes();
    let kib = |pid: &u32| {
        let rollup = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next());
        pss.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
    };
    let mib = processes.iter().map(kib).sum::<u64>() / 1024;
    Held { mib, processes: processes.len(), mounts: lab.mounts().len() }
}
