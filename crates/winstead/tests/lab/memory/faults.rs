//! What goes wrong with saved memory: machines are themselves all the same, from another template or by a boot.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{DRAW, WARM, file, keepers, lab, look, look_at, mistaken, templates};
use crate::lab::{Disk, Lab, Ran, eventually, kill, system};

/// The note of a command that could not use a template, or not make one.
const ANEW: &str = "made anew";
const BOOTS: &str = "mem: machines boot instead of starting from memory";

#[test]
fn a_template_that_is_lost_or_changed_is_made_anew_and_costs_no_disk() {
    let Some(lab) = lab() else { return };
    let file = file(&lab, 2, &[WARM, DRAW], "agent");
    lab.up(&file);
    assert_eq!(lab.exec("mem-1", "echo kept >/root/note && sync").code, Some(0));

    keepers(&lab).into_iter().for_each(|keeper| kill(keeper, Signal::KILL).unwrap());
    assert_reset(&lab, "mem-0", "the process that kept its memory is gone");
    let seen = look_at(&lab, 2);
    assert_eq!(mistaken(&lab, &seen), BTreeSet::new(), "{seen:#?}");

    // The other one's disk stands on the old template's, also in its next start.
    assert_eq!(templates(&lab).len(), 2);
    kill(qemu(&lab, "mem-1"), Signal::KILL).unwrap();
    lab.wait_for("mem-1", "Failed");
    lab.up(&file);
    // Its agent answers before its SSH does.
    eventually("it boots", || lab.exec("mem-1", "cat /root/note").stdout == "kept\n");
    assert!(!look(&lab, "mem-1").has_started_from_memory());

    change_the_state(&lab);
    assert_reset(&lab, "mem-1", "is not what was saved");
    assert!(look(&lab, "mem-1").has_started_from_memory());
    lab.ok(&["reset", "mem-0"]);
    let seen = look_at(&lab, 2);
    assert_eq!(mistaken(&lab, &seen), BTreeSet::new(), "{seen:#?}");
    assert_eq!((templates(&lab).len(), keepers(&lab).len()), (1, 1), "no machine stands on the others");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// Resets a machine whose template is not usable, for the reason that is told.
fn assert_reset(lab: &Lab, machine: &str, reason: &str) {
    let ran = lab.run(&["reset", machine]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for said in [ANEW, reason] {
        assert!(ran.stderr.contains(said), "{said:?} in {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("boot instead"), "{}", ran.stderr);
}

/// Changes a byte in the newest template's state, which only the superuser could.
fn change_the_state(lab: &Lab) {
    let disk = templates(lab).into_iter().max().expect("a template").join("disk");
    let state = disk.join("state");
    if lab.mounts().iter().any(|mount| mount.contains(&disk.display().to_string())) {
        fs_err::write(&state, "").expect_err("it is sealed");
        system(&["mount", "-o", "remount,rw", &disk.display().to_string()]).expect("make it writable");
    }
    fs_err::set_permissions(&state, std::fs::Permissions::from_mode(0o600)).expect("make it writable");
    let mut bytes = fs_err::read(&state).expect("the state");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&state, bytes).expect("change it");
}

fn qemu(lab: &Lab, machine: &str) -> u32 {
    let run = lab.home().join("machines").join(machine).join("run");
    let works_there = |pid: &u32| fs_err::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == run);
    lab.processes().into_iter().find(works_there).expect("its QEMU")
}

#[test]
fn machines_boot_when_a_warm_command_fails() {
    let Some(lab) = lab() else { return };
    let file = file(&lab, 1, &[WARM, "[sh, -c, 'echo no such luck >&2; exit 7']"], "ssh");
    let ran = lab.run(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for said in [BOOTS, "ended with 7", "no such luck"] {
        assert!(ran.stderr.contains(said), "{said:?} in {}", ran.stderr);
    }
    assert_eq!(lab.phases(), ["Ready"]);
    let seen = look(&lab, "mem-0");
    assert_eq!((seen.get("host name"), seen.has_started_from_memory()), ("mem-0", false), "{seen:?}");
    assert_eq!((templates(&lab), keepers(&lab)), (vec![], vec![]), "something of the template is left");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn an_up_killed_while_it_makes_or_uses_a_template_is_continued_by_the_next() {
    let Some(lab) = lab() else { return };
    let file = file(&lab, 2, &[WARM, DRAW], "agent");
    let machines = lab.home().join("machines");
    let in_template = |name: &str| templates(&lab).iter().any(|folder| folder.join(name).exists());

    up_killed_when(&lab, &file, || in_template("run/console.log"));
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();

    up_killed_when(&lab, &file, || in_template("run/console.log"));
    up_killed_when(&lab, &file, || in_template("keeper.log"));
    up_killed_when(&lab, &file, || machines.join("mem-0/run/console.log").exists());
    lab.up(&file);
    let seen = look_at(&lab, 2);
    assert_eq!(mistaken(&lab, &seen), BTreeSet::new(), "{seen:#?}");
    assert_eq!((templates(&lab).len(), keepers(&lab).len()), (1, 1));
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// Kills `up` as soon as `it_is_time`, which it looks at much more often than anything is journalled.
fn up_killed_when(lab: &Lab, file: &Path, it_is_time: impl Fn() -> bool) {
    let mut command = lab.command(&["up", "-f", file.to_str().expect("a path in UTF-8")]);
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("start winstead");
    let until = Instant::now() + Duration::from_secs(300);
    while !it_is_time() && up.try_wait().expect("its state").is_none() && Instant::now() < until {
        #[expect(clippy::disallowed_methods, reason = "a test that polls another process from outside")]
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(up.id(), Signal::KILL).expect("kill it");
    let ran = Ran::of(&up.wait_with_output().expect("its end"));
    assert_eq!(ran.code, None, "killed, not ended: {ran:?}");
}

#[test]
fn two_pools_that_ask_at_once_share_one_template_until_qemu_is_another() {
    let Some(lab) = lab() else { return };
    let named = |name: &str| {
        let text = fs_err::read_to_string(file(&lab, 1, &[WARM], "agent")).expect("the file");
        let path = lab.folder().join(name);
        fs_err::write(&path, text.replace("name: mem", &format!("name: {name}"))).expect("write a file");
        path.display().to_string()
    };
    let (one, two) = (named("one"), named("two"));
    let mut ups = [one, two].map(|file| lab.command(&["up", "-f", &file]).spawn().expect("start winstead"));
    assert!(ups.iter_mut().all(|up| up.wait().expect("its end").success()));
    assert_eq!((lab.phases().len(), templates(&lab).len(), keepers(&lab).len()), (2, 1, 1));

    let newer = newer_qemu(&lab);
    let reset = |machine: &str| {
        let output = lab.command(&["reset", machine]).env("PATH", &newer).output().expect("start winstead");
        let ran = Ran::of(&output);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(look(&lab, machine).has_started_from_memory(), "{ran:?}");
    };
    reset("one-0");
    assert_eq!(templates(&lab).len(), 2, "the other machine still stands on the first");
    reset("two-0");
    assert_eq!((templates(&lab).len(), keepers(&lab).len()), (1, 1));

    // An image that somebody deletes: the machine that stands on it works on, and nothing else starts from it.
    let images = lab.home().join("images");
    fs_err::rename(&images, lab.folder().join("deleted")).expect("delete the images");
    let refused = lab.run(&["reset", "one-0"]);
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    assert_eq!(lab.phases(), ["Ready", "Ready"]);
    assert_eq!(lab.exec("one-0", "hostname").stdout, "one-0\n");
    fs_err::remove_dir_all(&images)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .expect("what was made in their place");
    fs_err::rename(lab.folder().join("deleted"), &images).expect("bring them back");
    reset("one-0");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// A `PATH` in which the same QEMU says that it is a newer one: all that another version changes for a template's name.
fn newer_qemu(lab: &Lab) -> String {
    #[expect(clippy::disallowed_methods, reason = "the test is the user's shell")]
    let path = std::env::var("PATH").expect("PATH");
    let real = std::env::split_paths(&path).map(|folder| folder.join("qemu-system-x86_64"));
    let real = real.into_iter().find(|program| program.is_file()).expect("QEMU");
    let folder = lab.folder().join("bin");
    fs_err::create_dir(&folder).expect("a folder");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|-version) {real} --version | sed -E 's/(version [0-9]+\\.[0-9]+)\\.[0-9]+/\\1.77/' ;; *) exec {real} \"$@\" ;; esac\n",
        real = real.display()
    );
    let program = folder.join("qemu-system-x86_64");
    fs_err::write(&program, script).expect("write the program");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("let it be run");
    format!("{}:{path}", folder.display())
}

#[test]
fn a_store_that_is_full_when_memory_is_saved_is_told_and_room_mends_it() {
    let Some(lab) = Lab::as_root().and_then(super::prepared) else { return };
    let store = lab.folder().join("store");
    let disk = Disk::mounted(&store, "300m");
    let host = format!(
        "---\napiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {{name: local}}\nspec: {{stores: {{disk: {}}}, \
         growth: {{reserve: 8MiB, step: 1MiB}}}}\n",
        store.display()
    );
    let file = file(&lab, 1, &[WARM, "[sleep, '10']"], "agent");
    let text = fs_err::read_to_string(&file).expect("the file");
    let on_disk = text.replace("store: ram, cap: 256MiB", "store: disk, cap: 64MiB");
    fs_err::write(&file, on_disk + &host).expect("write the file");

    let path = file.to_str().expect("a path in UTF-8");
    let up = lab.command(&["up", "-f", path]).stderr(Stdio::piped()).spawn().expect("start winstead");
    eventually("the template warms up", || {
        let machines = lab.machines();
        let is_ready = |machine: &&serde_json::Value| machine["status"]["phase"] == "Ready";
        machines.iter().find(is_ready).is_some_and(|machine| {
            machine["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("template-"))
        })
    });
    let filler = store.join("filler");
    let filled = std::io::copy(&mut std::io::repeat(1), &mut fs_err::File::create(&filler).expect("a file"));
    assert_eq!(filled.expect_err("it is full").kind(), std::io::ErrorKind::StorageFull);
    let ran = Ran::of(&up.wait_with_output().expect("its end"));
    // Whoever meets it first says so: the guest that writes, or we who save. What half a template gives back may be enough for
    // a machine to boot.
    let says = |text: &str| ran.stderr.contains(text);
    let is_full = says("is full; free space there") || says("No space left on device");
    assert!(says(BOOTS) && is_full, "{}", ran.stderr);
    assert_eq!((templates(&lab), keepers(&lab)), (vec![], vec![]), "half a template is left");

    fs_err::remove_file(&filler).expect("free the space");
    lab.ok(&["down", "--all"]);
    lab.up(&file);
    assert!(look(&lab, "mem-0").has_started_from_memory());
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    drop(disk);
}
