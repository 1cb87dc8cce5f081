//! The main job: up, get, exec, reset, down.

use crate::lab::{Lab, pool, ram, system};

#[test]
fn machines_live_in_ram_go_back_to_golden_and_go_away() {
    let lab = Lab::new();
    let file = lab.file(&pool("life", 2, &ram("24MiB")));
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready", "Ready"]);
    let config = lab.home().join("ssh/config").display().to_string();
    assert_eq!(
        system(&["ssh", "-F", &config, "life-1", "hostname"]).unwrap(),
        "life-1\n",
        "any ssh knows them"
    );
    assert_eq!(lab.exec("life-1", "hostname").stdout, "life-1\n");

    let before = lab.machine("life-0");
    assert_eq!(lab.exec("life-0", "echo kept > /root/note && sync").code, Some(0));
    lab.ok(&["reset", "life-0"]);
    let after = lab.machine("life-0");
    assert_eq!(lab.exec("life-0", "cat /root/note").code, Some(1), "the file survived the reset");
    for stays in ["/metadata/uid", "/status/ssh", "/status/image/digest"] {
        assert_eq!(before.pointer(stays), after.pointer(stays), "{stays}");
    }
    assert_eq!((&before["status"]["generation"], &after["status"]["generation"]), (&1.into(), &2.into()));

    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn up_again_changes_nothing_and_an_edit_changes_the_least() {
    let lab = Lab::new();
    let file = lab.file(&pool("edit", 1, &ram("24MiB")));
    // Nobody reads what it says, as after `| true`: it does all its work none the less.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut unread = lab.command(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(unread.stdout(writer).output().unwrap().status.code(), Some(0));
    assert!(lab.home().join("ssh/config").exists());
    let first = lab.machine("edit-0");
    lab.up(&file);
    assert_eq!(lab.machine("edit-0")["status"]["startedAt"], first["status"]["startedAt"]);

    let larger = lab.file(&pool("edit", 1, &ram("48MiB")));
    let shown = lab.run(&["plan", "-f", larger.to_str().unwrap(), "--exit-code"]);
    assert_eq!(shown.code, Some(10), "{shown:?}");
    assert!(shown.stdout.contains("cap 24 MiB → 48 MiB"), "{}", shown.stdout);
    lab.up(&larger);
    let grown = lab.machine("edit-0");
    assert_eq!(grown["status"]["disk"]["capBytes"], 48 << 20);
    assert_eq!(grown["status"]["startedAt"], first["status"]["startedAt"], "a larger cap needs no restart");

    lab.up(&lab.file(&pool("edit", 0, &ram("48MiB"))));
    lab.assert_nothing_left();
}

#[test]
fn exec_passes_bytes_and_exit_codes_through() {
    let lab = Lab::new();
    lab.up(&lab.file(&pool("pass", 1, &ram("24MiB"))));
    assert_eq!(lab.exec("pass-0", "exit 7").code, Some(7));
    let quoted = lab.run(&["exec", "pass-0", "--", "printf", "%s|", "a b", "$HOME", "'", "--", "*"]);
    assert_eq!(quoted.stdout, "a b|$HOME|'|--|*|");

    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let input = lab.folder().join("bytes");
    fs_err::write(&input, &every_byte).unwrap();
    let mut command = lab.command(&["exec", "pass-0", "--", "cat"]);
    let output = command.stdin(fs_err::File::open(&input).unwrap().into_parts().0).output().unwrap();
    assert!(output.stdout == every_byte, "{} bytes came back", output.stdout.len());

    assert_eq!(lab.run(&["exec", "pass-9", "--", "true"]).code, Some(255));
    let (there, back) = (input.to_str().unwrap(), lab.folder().join("back"));
    lab.ok(&["cp", there, "pass-0:/root/bytes"]);
    lab.ok(&["cp", "pass-0:/root/bytes", back.to_str().unwrap()]);
    assert!(fs_err::read(back).unwrap() == every_byte);
}

#[test]
fn disk_overlays_take_the_same_road() {
    let lab = Lab::new();
    lab.up(&lab.file(&pool("slow", 1, "disk: {store: disk, cap: 24MiB}")));
    assert_eq!(lab.mounts(), [] as [String; 0]);
    assert_eq!(lab.machine("slow-0")["status"]["disk"]["store"], "disk");
    lab.ok(&["reset", "slow-0"]);
    for (disk, store) in [(ram("24MiB"), "ram"), ("disk: {store: disk, cap: 24MiB}".to_owned(), "disk")] {
        lab.up(&lab.file(&pool("slow", 1, &disk)));
        assert_eq!(
            lab.machine("slow-0")["status"]["disk"]["store"],
            store,
            "another store is a fresh overlay there"
        );
    }
    lab.ok(&["down", "slow"]);
    lab.assert_nothing_left();
}

/// Windows itself cannot run here; its machine can: secure boot, TPM, its own network card and disk. What the firmware
/// says is the hypervisor crate's test.
#[test]
fn a_machine_shaped_for_windows_starts_and_leaves_nothing() {
    let lab = Lab::new();
    let disk = lab.folder().join("windows.raw");
    fs_err::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let text = format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {{name: win}}\nspec:\n  os: windows\n  file: {{path: {}, \
         format: raw}}\n---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: win}}\nspec:\n  image: win\n  \
         machine: {{cpus: 1, memory: 512MiB, disk: {{store: ram, cap: 16MiB}}}}\n  ready: {{probe: started, deadline: 60s}}\n",
        disk.display()
    );
    let file = lab.folder().join("windows.yaml");
    fs_err::write(&file, text).unwrap();
    lab.up(&file);
    let machine = lab.machine("win-0");
    assert_eq!(
        (&machine["spec"]["os"], &machine["status"]["ssh"]["user"]),
        (&"windows".into(), &"Administrator".into())
    );
    assert_eq!(lab.processes().len(), 3, "QEMU, its TPM and the supervisor");
    lab.ok(&["reset", "win-0"]);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}
