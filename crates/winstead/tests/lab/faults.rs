//! What goes wrong on real computers, done to the real product: afterwards one command is enough.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
};

use rustix::process::Signal;

use crate::lab::{Lab, Ran, eventually, kill, pool, ram, system};

/// Whether the product can be killed where it journals something; if not, the reason is told.
pub(crate) fn can_be_killed() -> bool {
    let can = cfg!(feature = "faults");
    if !can {
        winstead_testing::skip("winstead is built without its feature `faults`");
    }
    can
}

/// Kills `winstead ARGUMENTS` at every point where it journals something, one run each, until a run survives.
/// Returns how many points there were.
pub(crate) fn killed_everywhere(lab: &Lab, arguments: &[&str], mut between: impl FnMut(u64)) -> u64 {
    for point in 0.. {
        let output = lab.command(arguments).env("WINSTEAD_FAULT_KILL_AT", point.to_string()).output();
        let ran = Ran::of(&output.expect("start winstead"));
        if ran.code == Some(0) {
            return point;
        }
        assert_eq!(ran.code, None, "killed by a signal at point {point}, not by an error: {ran:?}");
        between(point);
    }
    unreachable!("no run ever came to its end")
}

#[test]
fn a_command_killed_at_any_transition_is_continued_by_the_next() {
    if !can_be_killed() {
        return;
    }
    let lab = Lab::new();
    let file = lab.file(&pool("kill", 1, &ram("24MiB")));
    let file = file.to_str().unwrap();
    // `up` is killed at its first point, continued by another `up` that is killed at its second, and so on: every
    // point is reached with whatever mess the ones before it left.
    let ups = killed_everywhere(&lab, &["up", "-f", file], |point| {
        if point % 3 == 2 {
            lab.ok(&["down", "--all"]);
            lab.assert_nothing_left();
        }
    });
    assert!(ups > 10, "only {ups} points were passed");
    assert_eq!(lab.phases(), ["Ready"]);
    assert_eq!(lab.exec("kill-0", "hostname").stdout, "kill-0\n");

    let downs = killed_everywhere(&lab, &["down", "--all"], |_| {});
    assert!(downs > 4, "only {downs} points were passed");
    lab.assert_nothing_left();
}

#[test]
fn a_reset_killed_at_any_transition_is_done_by_the_next() {
    if !can_be_killed() {
        return;
    }
    let lab = Lab::new();
    lab.up(&lab.file(&pool("reset", 1, &ram("24MiB"))));
    assert_eq!(lab.exec("reset-0", "echo old > /root/note && sync").code, Some(0));
    let resets = killed_everywhere(&lab, &["reset", "reset-0"], |_| {});
    assert!(resets > 3, "only {resets} points were passed");
    assert_eq!(lab.phases(), ["Ready"]);
    assert_eq!(lab.exec("reset-0", "cat /root/note").code, Some(1), "the file survived the reset");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn a_killed_qemu_is_noticed_and_started_again_on_its_disk() {
    let lab = Lab::new();
    let file = lab.file(&pool("dead", 1, &ram("24MiB")));
    lab.up(&file);
    assert_eq!(lab.exec("dead-0", "echo kept > /root/note && sync").code, Some(0));
    let qemu = qemu(&lab);
    kill(qemu, Signal::KILL).unwrap();
    let failed = lab.wait_for("dead-0", "Failed");
    assert!(failed["status"]["message"].as_str().unwrap().contains("QEMU ended"), "{failed:#}");
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready"]);
    assert_eq!(lab.exec("dead-0", "cat /root/note").stdout, "kept\n");
    // Its root was not unmounted. The tiny guest has nothing to check it with, and says so.
    let console = lab.ok(&["logs", "dead-0"]);
    assert!(console.contains("it has no /sbin/e2fsck"), "{console}");
}

#[test]
fn a_start_killed_at_any_transition_never_costs_the_disk() {
    let lab = Lab::new();
    let file = lab.file(&pool("keep", 1, &ram("24MiB")));
    with_a_journal(&lab, &file);
    lab.up(&file);
    assert_eq!(lab.exec("keep-0", "echo kept > /root/note && sync").code, Some(0));
    kill(qemu(&lab), Signal::KILL).unwrap();
    lab.wait_for("keep-0", "Failed");
    let points = killed_everywhere(&lab, &["up", "-f", file.to_str().unwrap()], |_| {});
    assert!(points > 8, "only {points} points were passed");
    assert_eq!(lab.phases(), ["Ready"]);
    assert_eq!(lab.exec("keep-0", "cat /root/note").stdout, "kept\n");
    assert_eq!(lab.machine("keep-0")["status"]["generation"], 1);
}

/// Gives the image of a lab's file a journal: a guest that is killed again and again while it writes its first files needs
/// one, or a check, which the tiny guest has not.
fn with_a_journal(lab: &Lab, file: &Path) {
    let text = fs_err::read_to_string(file).expect("the file");
    let image = text.lines().find_map(|line| line.trim().strip_prefix("path: ")).expect("an image");
    let copy = lab.folder().join("journal.ext4");
    fs_err::copy(image, &copy).expect("copy it");
    system(&["tune2fs", "-j", "-J", "size=1", copy.to_str().expect("a path in UTF-8")])
        .expect("give it a journal");
    fs_err::write(file, text.replace(image, copy.to_str().expect("a path in UTF-8")))
        .expect("write the file");
}

#[test]
fn a_store_unmounted_under_a_machine_is_noticed_and_made_anew() {
    let Some(lab) = Lab::as_root() else { return };
    let file = lab.file(&pool("gone", 1, &ram("24MiB")));
    lab.up(&file);
    let disk = lab.home().join("machines/gone-0/disk");
    system(&["umount", "--lazy", disk.to_str().unwrap()]).unwrap();
    let failed = lab.wait_for("gone-0", "Failed");
    assert!(failed["status"]["message"].as_str().unwrap().contains("disk is gone"), "{failed:#}");
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready"]);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn a_killed_supervisor_is_replaced() {
    let lab = Lab::new();
    let file = lab.file(&pool("watch", 1, &ram("24MiB")));
    lab.up(&file);
    let supervisor = supervisor(&lab);
    kill(supervisor, Signal::KILL).unwrap();
    eventually("its end is noticed", || lab.ok(&["get", "machines", "-o", "json"]).contains("NoSupervisor"));
    lab.up(&file);
    assert!(!lab.ok(&["get", "machines", "-o", "json"]).contains("NoSupervisor"));
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// A supervisor that dies between pausing a guest and letting it go on leaves it paused.
#[test]
fn a_guest_that_a_dead_supervisor_paused_goes_on() {
    let lab = Lab::new();
    let file = lab.file(&pool("still", 1, "disk: {store: disk, cap: 24MiB}"));
    lab.up(&file);
    kill(supervisor(&lab), Signal::KILL).unwrap();
    qmp(&lab, "still-0", "stop");
    assert_eq!(qmp(&lab, "still-0", "query-status")["status"], "paused");
    lab.up(&file);
    eventually("it goes on", || qmp(&lab, "still-0", "query-status")["status"] == "running");
    assert_eq!(lab.exec("still-0", "hostname").stdout, "still-0\n");
}

#[test]
fn what_a_lost_journal_knew_is_taken_away_all_the_same() {
    // Without a mount of its own nothing says that a copy of an image is ours.
    let Some(lab) = Lab::as_root() else { return };
    lab.up(&lab.file(&pool("lost", 1, &ram("24MiB"))));
    for entry in fs_err::read_dir(lab.home()).unwrap().flatten() {
        // SQLite has files beside its own.
        if entry.file_name().to_string_lossy().starts_with("journal.sqlite") {
            fs_err::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(lab.phases(), [] as [String; 0]);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn two_ups_at_once_make_one_pool() {
    let lab = Lab::new();
    let file = lab.file(&pool("both", 1, &ram("24MiB")));
    let arguments = ["up", "-f", file.to_str().unwrap()];
    let mut runs = [lab.command(&arguments).spawn().unwrap(), lab.command(&arguments).spawn().unwrap()];
    for run in &mut runs {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(lab.phases(), ["Ready"]);
    assert_eq!(lab.machine("both-0")["status"]["generation"], 1);
}

#[test]
fn a_taken_port_is_replaced_by_another() {
    let lab = Lab::new();
    let file = lab.file(&pool("port", 1, &ram("24MiB")));
    lab.up(&file);
    let port = |lab: &Lab| lab.machine("port-0")["status"]["ssh"]["port"].as_u64().unwrap();
    let first = port(&lab);
    kill(qemu(&lab), Signal::KILL).unwrap();
    lab.wait_for("port-0", "Failed");
    let taken = TcpListener::bind(("127.0.0.1", u16::try_from(first).unwrap())).unwrap();
    lab.up(&file);
    assert_ne!(port(&lab), first);
    assert_eq!(lab.exec("port-0", "hostname").stdout, "port-0\n");
    drop(taken);
}

#[test]
fn a_corrupted_image_is_found_before_a_machine_starts_from_it() {
    let lab = Lab::new();
    let file = lab.file(&pool("rot", 1, &ram("24MiB")));
    lab.ok(&["image", "build", "-f", file.to_str().unwrap()]);
    let disk = disks(&lab.home().join("images")).pop().expect("the built disk");
    let mut bytes = fs_err::read(&disk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    writable(&disk);
    fs_err::write(&disk, bytes).unwrap();
    let refused = lab.run(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("sha256:"), "{}", refused.stderr);
    assert_eq!(lab.processes(), [] as [u32; 0]);
}

#[test]
fn a_reset_refuses_a_corrupted_image_and_leaves_the_machine_alone() {
    let lab = Lab::new();
    lab.up(&lab.file(&pool("rust", 1, "disk: {store: disk, cap: 24MiB}")));
    let before = lab.machine("rust-0");
    let disk = disks(&lab.home().join("images")).pop().expect("the built disk");
    let mut bytes = fs_err::read(&disk).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    writable(&disk);
    fs_err::write(&disk, bytes).unwrap();
    let refused = lab.run(&["reset", "rust-0"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("sha256:"), "{}", refused.stderr);
    assert_eq!(lab.machine("rust-0")["status"]["startedAt"], before["status"]["startedAt"]);
}

#[test]
fn an_image_has_one_copy_also_when_the_stores_were_edited() {
    let Some(lab) = Lab::as_root() else { return };
    lab.up(&lab.file(&pool("place", 1, &ram("24MiB"))));
    let host = "---\napiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {name: local}\nspec: {stores: {ram: /dev/shm}}\n";
    lab.up(&lab.file(&format!("{}{host}", pool("place", 2, &ram("24MiB")))));
    assert_eq!(lab.phases(), ["Ready", "Ready"]);
    let bases = fs_err::read_dir(lab.home().join("bases")).unwrap().count();
    assert_eq!(bases, 1, "two machines in two places share one copy");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn a_kernel_panic_in_boot_ends_the_wait_with_its_text() {
    let lab = Lab::new();
    // Without its initial RAM disk's init the kernel has no root.
    let file = lab.file_booting("rdinit=/none", &pool("boots", 1, &ram("24MiB")));
    let ran = lab.run(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "it failed at once; at the deadline the code is 4: {ran:?}");
    let said = "Kernel panic - not syncing: VFS: Unable to mount root fs";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn a_store_that_is_too_small_is_refused_with_its_sum() {
    let Some(lab) = Lab::as_root() else { return };
    let small = lab.folder().join("small");
    fs_err::create_dir(&small).unwrap();
    system(&["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small.to_str().unwrap()]).unwrap();
    let host = format!(
        "---\napiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: local}}\nspec: {{stores: {{ram: {}}}}}\n",
        small.display()
    );
    let file = lab.file(&format!("{}{host}", pool("small", 2, &ram("48MiB"))));
    let refused = lab.run(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for said in [small.to_str().unwrap(), "2 × 48 MiB overlay cap", "reserve for growing overlays"] {
        assert!(refused.stderr.contains(said), "{said} in {}", refused.stderr);
    }
    lab.assert_nothing_left();
    system(&["umount", small.to_str().unwrap()]).unwrap();
}

#[test]
fn a_kernel_panic_of_a_ready_machine_is_noticed_with_its_text() {
    let lab = Lab::new();
    let file = lab.file(&pool("panic", 1, &ram("24MiB")));
    lab.up(&file);
    // The connection dies with the guest.
    lab.run(&[
        "exec",
        "panic-0",
        "--",
        "sh",
        "-c",
        "(sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &",
    ]);
    let failed = lab.wait_for("panic-0", "Failed");
    assert!(failed["status"]["message"].as_str().unwrap().contains("panic"), "{failed:#}");
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready"]);
}

#[test]
fn ctrl_c_stops_cleanly_and_the_next_up_goes_on() {
    let lab = Lab::new();
    let file = lab.file(&pool("stop", 1, &ram("24MiB")));
    lab.ok(&["image", "build", "-f", file.to_str().unwrap()]);
    let mut up = lab.command(&["up", "-f", file.to_str().unwrap()]);
    let mut up = up.stderr(Stdio::null()).spawn().unwrap();
    eventually("it boots", || lab.phases() == ["Booting"]);
    kill(up.id(), Signal::INT).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(130));
    lab.up(&file);
    assert_eq!(
        lab.machine("stop-0")["status"]["generation"],
        1,
        "the machine that was booting was waited for"
    );
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// The second finds it wherever it is by then; that it does not wait is the command line's test.
#[test]
fn ctrl_c_twice_leaves_nothing_that_the_next_command_does_not_find() {
    let lab = Lab::new();
    let file = lab.file(&pool("twice", 1, &ram("24MiB")));
    lab.ok(&["image", "build", "-f", file.to_str().unwrap()]);
    for phase in ["Provisioning", "Booting"] {
        let mut up = lab.command(&["up", "-f", file.to_str().unwrap()]);
        let mut up = up.stderr(Stdio::piped()).spawn().unwrap();
        let history = || lab.run(&["describe", "twice-0", "-o", "json"]).stdout;
        eventually("it gets there", || history().contains(&format!("\"to\": \"{phase}\"")));
        kill(up.id(), Signal::INT).unwrap();
        let said = BufReader::new(up.stderr.take().unwrap());
        let said = said.lines().map_while(Result::ok);
        let told = said.inspect(|line| {
            if line.contains("press Ctrl-C again") {
                kill(up.id(), Signal::INT).unwrap();
            }
        });
        assert!(told.count() > 0);
        assert_eq!(up.wait().unwrap().code(), Some(130));
        lab.ok(&["down", "--all"]);
        lab.assert_nothing_left();
    }
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready"]);
}

#[test]
fn a_full_disk_under_the_journal_is_one_clear_error_and_free_space_mends_it() {
    let Some(lab) = Lab::as_root() else { return };
    let lab = lab.on_a_disk_of("512m");
    lab.up(&lab.file(&pool("full", 1, &ram("24MiB"))));
    let more = lab.file(&pool("full", 2, &ram("24MiB")));
    let rest = fill(&lab);
    for arguments in [&["up", "-f", more.to_str().unwrap()][..], &["down", "--all"]] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for word in ["error: failed to read or write the journal", "hint: free space"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
    }
    drop(rest);
    assert_eq!(lab.exec("full-0", "hostname").stdout, "full-0\n", "machines do not stand on this disk");
    lab.ok(&["down", "--all"]);
    assert_eq!(lab.mounts().len(), 1, "only the home itself: {:?}", lab.mounts());
}

/// Fills the disk of the home, until what is returned is dropped.
fn fill(lab: &Lab) -> tempfile::NamedTempFile {
    let mut rest = tempfile::NamedTempFile::new_in(lab.home()).expect("a file");
    let full = std::io::copy(&mut std::io::repeat(1), &mut rest).expect_err("the disk gets full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    rest
}

#[test]
fn without_qemu_the_package_is_named() {
    let lab = Lab::new();
    let file = lab.file(&pool("bare", 1, &ram("24MiB")));
    lab.ok(&["image", "build", "-f", file.to_str().unwrap()]);
    let empty = lab.folder().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let without = |arguments: &[&str]| {
        Ran::of(&lab.command(arguments).env("PATH", &empty).output().expect("start winstead"))
    };
    let refused = without(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("qemu-system-x86"), "{}", refused.stderr);

    // Somebody may remove the package while machines run: they can still be taken away.
    lab.up(&file);
    let gone = without(&["down", "--all"]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    lab.assert_nothing_left();
}

/// Asks a machine's QEMU directly.
fn qmp(lab: &Lab, machine: &str, command: &str) -> serde_json::Value {
    let socket = lab.home().join("machines").join(machine).join("run/qmp.sock");
    let mut monitor = UnixStream::connect(socket).expect("connect to QEMU");
    let answers = BufReader::new(monitor.try_clone().expect("a second handle")).lines();
    for command in ["qmp_capabilities", command] {
        writeln!(monitor, "{{\"execute\": \"{command}\"}}").expect("ask QEMU");
    }
    let mut returned = answers.filter_map(|line| {
        let answer: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        answer.get("return").cloned()
    });
    returned.nth(1).expect("an answer")
}

pub(crate) fn qemu(lab: &Lab) -> u32 {
    by_command(lab, "qemu-system")
}

pub(crate) fn supervisor(lab: &Lab) -> u32 {
    by_command(lab, "supervise")
}

fn by_command(lab: &Lab, word: &str) -> u32 {
    let named = |pid: &u32| {
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(word)
    };
    lab.processes().into_iter().find(named).unwrap_or_else(|| panic!("no {word} runs"))
}

fn disks(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| {
        let path = entry.path();
        let is_disk = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("disk."));
        if path.is_dir() {
            disks(&path)
        } else if is_disk {
            vec![path]
        } else {
            Vec::new()
        }
    });
    found.collect()
}

fn writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("make it writable");
}
