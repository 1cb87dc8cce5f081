//! Full overlays: they grow while nobody runs a command, and hold their machine when the reserve is gone.

use crate::lab::{Lab, pool, ram};

fn host(reserve: &str, step: &str) -> String {
    format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: local}}\nspec:\n  growth: {{reserve: {reserve}, step: {step}}}\n---\n"
    )
}

/// Incompressible, read back and compared in the guest: what was written is what is there.
const WRITE: &str = "dd if=/dev/urandom of=/root/data bs=64k count=200 2>/dev/null && sync && md5sum /root/data > /root/sum \
    && echo 3 > /proc/sys/vm/drop_caches && md5sum -c /root/sum && ! dmesg | grep -i 'I/O error'";

#[test]
fn a_full_overlay_grows_and_the_guest_never_sees_an_error() {
    let lab = Lab::new();
    let file = lab.file(&format!("{}{}", host("64MiB", "1MiB"), pool("grow", 1, &ram("5MiB"))));
    lab.up(&file);
    let wrote = lab.exec("grow-0", WRITE);
    assert_eq!(wrote.code, Some(0), "{wrote:?}{}", lab.logs());
    let machine = lab.machine("grow-0");
    assert_eq!(machine["status"]["phase"], "Ready");
    assert!(machine["status"]["disk"]["capBytes"].as_u64() > Some(12 << 20), "{machine:#}");
    lab.ok(&["reset", "grow-0"]);
    assert_eq!(lab.machine("grow-0")["status"]["disk"]["capBytes"], 5 << 20, "a reset gives its growth back");
}

#[test]
fn a_machine_is_held_when_the_reserve_is_gone_and_a_larger_one_frees_it() {
    let lab = Lab::new();
    let files = |reserve| format!("{}{}", host(reserve, "1MiB"), pool("held", 1, &ram("5MiB")));
    lab.up(&lab.file(&files("2MiB")));
    let mut writer = lab.command(&["exec", "held-0", "--", "sh", "-c", WRITE]).spawn().unwrap();
    let held = lab.wait_for("held-0", "Held");
    let message = held["status"]["message"].as_str().unwrap();
    assert!(message.contains("`winstead reset held-0`"), "{message}");
    let again = lab.run(&["up", "-f", lab.file(&files("2MiB")).to_str().unwrap()]);
    assert_eq!(again.code, Some(1), "a held machine is not what the file asks for: {again:?}");
    lab.up(&lab.file(&files("64MiB")));
    assert_eq!(lab.phases(), ["Ready"]);
    assert!(writer.wait().unwrap().success(), "the write went on where it was held");
}

#[test]
fn a_store_that_is_full_while_the_guest_boots_grows_as_well() {
    let lab = Lab::new();
    let documents = format!("{}{}", host("64MiB", "128KiB"), pool("boot", 1, &ram("1MiB")));
    lab.up(&lab.file_booting("tiny.write", &documents));
    let history = lab.history("boot-0");
    let grown = history.iter().find(|line| line["numbers"]["growMicros"].is_u64());
    assert_eq!(grown.expect("it grew")["to"], "Booting", "{history:#?}");
    assert_eq!(lab.exec("boot-0", "dmesg | grep -i 'I/O error'").code, Some(1));
    assert_eq!(lab.phases(), ["Ready"]);
}

#[test]
fn a_thousand_growths_in_a_row_are_invisible_to_the_guest() {
    let lab = Lab::new();
    // 4 KiB is a page, the least that a tmpfs can grow by; a 4 MiB file then takes about a thousand steps.
    let file = lab.file(&format!("{}{}", host("64MiB", "4KiB"), pool("many", 1, &ram("2MiB"))));
    lab.up(&file);
    let wrote = lab.exec("many-0", &WRITE.replace("count=200", "count=100"));
    assert_eq!(wrote.code, Some(0), "{wrote:?}{}", lab.logs());
    let times = growths(&lab, "many-0");
    assert!(times.len() >= 1000, "only {} growths", times.len());
    let mut sorted = times.clone();
    sorted.sort_unstable();
    // Told, not asserted: a time limit would fail on a busy computer. `./x bench` holds it against its goal.
    assert_eq!(lab.phases(), ["Ready"], "{} growths, median {} us", times.len(), sorted[sorted.len() / 2]);
}

/// How long each growth took from QEMU's stop to the guest's going on, in microseconds, from the journal.
fn growths(lab: &Lab, machine: &str) -> Vec<u64> {
    lab.history(machine).iter().filter_map(|line| line["numbers"]["growMicros"].as_u64()).collect()
}
