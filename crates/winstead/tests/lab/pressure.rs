//! A host whose RAM is overcommitted: machines count as measured, and those that grow are held before it runs out.
//!
//! The host here is the computer of the test, and others use it: what is written is several times what they take and
//! give back meanwhile.

use std::{path::PathBuf, process::Child};

use rustix::process::Signal;
use winstead_spec::ByteSize;

use crate::{
    faults::supervisor,
    lab::{Lab, eventually, kill, pool, ram},
};

/// What the greedy machine takes.
const TAKEN_MIB: u64 = 4096;
/// After how much of it the host is at its limit.
const LEFT_MIB: u64 = TAKEN_MIB / 2;

fn host(keeps_mib: u64, reserve_mib: u64) -> String {
    format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: local}}\nspec:\n  memory: {{reserve: {keeps_mib}MiB}}\n  \
         growth: {{reserve: 8MiB, step: 1MiB}}\n  overcommit: {{measured: true, reserve: {reserve_mib}MiB}}\n---\n"
    )
}

fn available_mib() -> u64 {
    winstead_store::host_memory().expect("the host's memory").available.bytes() >> 20
}

/// Fills the guest's RAM. The command itself may not come back before its machine, when that is held meanwhile.
fn take(lab: &Lab, machine: &str, mib: u64) -> Child {
    let script = format!(
        "mkdir -p /run/full && mount -t tmpfs -o size=100% tmpfs /run/full && \
         (setsid dd if=/dev/zero of=/run/full/data bs=1M count={mib} >/dev/null 2>&1 &)"
    );
    lab.command(&["exec", machine, "--", "sh", "-c", &script]).spawn().expect("start winstead")
}

fn has_taken(lab: &Lab, machine: &str, mib: u64) -> bool {
    let size = lab.exec(machine, "stat -c %s /run/full/data").stdout;
    size.trim() == (mib << 20).to_string()
}

#[test]
fn who_takes_the_hosts_last_memory_is_held_and_goes_on_when_there_is_room() {
    if available_mib() < 2 * TAKEN_MIB {
        return winstead_testing::skip("8 GiB of free memory are needed to take 4 of them");
    }
    let lab = Lab::new();
    let machines = pool("mem", 2, &ram("5MiB")).replace("128MiB", "6GiB");
    let file = |keeps, reserve| lab.file(&(host(keeps, reserve) + &machines));
    // The first machine is measured; the second is admitted as what the first one was.
    let one = machines.replace("replicas: 2", "replicas: 1");
    lab.up(&lab.file(&(host(64, 64) + &one)));
    let planned = lab.ok(&["plan", "-f", file(64, 64).to_str().unwrap()]);
    assert!(planned.contains("as measured of its largest"), "{planned}");
    lab.up(&file(64, 64));
    is_held_until_the_host_keeps_less(&lab, &file);
    is_held_until_another_one_gives_back(&lab, &file);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// The first machine. `file` takes what the host keeps and what machines may take beyond what was measured, in MiB.
fn is_held_until_the_host_keeps_less(lab: &Lab, file: &impl Fn(u64, u64) -> PathBuf) {
    // Half of what it takes must be free again before it goes on: others do not give back so much meanwhile.
    let keeps = available_mib() - LEFT_MIB;
    lab.up(&file(keeps, TAKEN_MIB));
    let mut first = take(lab, "mem-0", TAKEN_MIB);
    let held = lab.wait_for("mem-0", "Held");
    let message = held["status"]["message"].as_str().expect("a message").to_owned();
    let kept = format!("left and keeps {} for itself", ByteSize::from_mib(keeps));
    assert!(message.starts_with("the host has ") && message.contains(&kept), "{message}");
    assert!(message.contains("`winstead reset mem-0`"), "{message}");

    // The reason outlives the supervisor, and `up` tells it.
    kill(supervisor(lab), Signal::KILL).expect("end the supervisor");
    let again = lab.run(&["up", "-f", file(keeps, TAKEN_MIB).to_str().expect("a path in UTF-8")]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains(&message), "{again:?}");
    assert_eq!(lab.phases(), ["Held", "Ready"], "whoever is at rest is left alone");
    assert_eq!(lab.machine("mem-0")["status"]["message"], message.as_str());

    // What the host keeps for itself is less now.
    lab.up(&file(64, 64));
    assert_eq!(lab.phases(), ["Ready", "Ready"]);
    eventually("mem-0 goes on with what it wrote", || has_taken(lab, "mem-0", TAKEN_MIB));
    assert!(first.wait().expect("its end").success());
}

/// The second machine. Half of what the first one took is beyond what the host keeps: nothing can be taken until all of it
/// is given back.
fn is_held_until_another_one_gives_back(lab: &Lab, file: &impl Fn(u64, u64) -> PathBuf) {
    lab.up(&file(available_mib() + LEFT_MIB, 64));
    let mut second = take(lab, "mem-1", LEFT_MIB / 4);
    lab.wait_for("mem-1", "Held");
    lab.ok(&["reset", "mem-0"]);
    lab.wait_for("mem-1", "Ready");
    eventually("mem-1 goes on with what it wrote", || has_taken(lab, "mem-1", LEFT_MIB / 4));
    assert!(second.wait().expect("its end").success());
}
