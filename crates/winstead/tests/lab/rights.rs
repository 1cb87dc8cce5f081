//! Root and a normal user: both do the whole job; root's guests run as nobody else.

use crate::lab::{Lab, eventually, pool, ram, system};

#[test]
fn without_root_everything_works_in_a_shared_folder() {
    let Some(lab) = Lab::as_root() else { return };
    let user = "65534";
    let lab = lab.through(&["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]);
    system(&["chown", "-R", user, lab.folder().to_str().unwrap()]).unwrap();
    let file = lab.file(&pool("plain", 1, &ram("6MiB")));
    lab.up(&file);
    let disk = fs_err::read_link(lab.home().join("machines/plain-0/disk")).unwrap();
    let shared = disk.parent().unwrap();
    assert!(shared.starts_with("/dev/shm") && shared.is_dir(), "{}", shared.display());
    assert_eq!(lab.mounts(), [] as [String; 0]);
    assert_eq!(lab.exec("plain-0", "hostname").stdout, "plain-0\n");
    // The folder has no cap of its own: the supervisor is the one who notices, and lets it grow.
    let wrote = lab.exec("plain-0", "dd if=/dev/urandom of=/root/data bs=64k count=100 2>/dev/null && sync");
    assert_eq!(wrote.code, Some(0));
    eventually("its cap grows", || {
        lab.machine("plain-0")["status"]["disk"]["capBytes"].as_u64() > Some(6 << 20)
    });
    lab.wait_for("plain-0", "Ready");
    lab.ok(&["reset", "plain-0"]);

    // With the last disk that lies there the folder goes, also when its machine stays.
    lab.up(&lab.file(&pool("plain", 1, "disk: {store: disk, cap: 6MiB}")));
    assert!(!shared.exists(), "{}", shared.display());
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

#[test]
fn roots_guests_run_as_users_of_their_own_in_a_sandbox() {
    let Some(lab) = Lab::as_root() else { return };
    lab.up(&lab.file(&pool("own", 2, &ram("24MiB"))));
    let mut users = Vec::new();
    for pid in lab.processes() {
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap();
        if !String::from_utf8_lossy(&command).contains("qemu-system") {
            continue;
        }
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        assert_eq!(
            (line("Seccomp:"), line("NoNewPrivs:"), line("CapEff:")),
            ("2".into(), "1".into(), "0000000000000000".into())
        );
        users.push(line("Uid:").split_whitespace().next().unwrap().to_owned());
    }
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 2, "{users:?}");
    assert!(!users.contains(&"0".to_owned()));
}

/// A script that holds a lock, or a CI job's pipe, must not hold it for as long as a machine lives.
#[test]
fn open_files_of_the_caller_do_not_stay_open_in_machines() {
    let lab = Lab::new();
    let file = lab.file(&pool("tidy", 1, &ram("24MiB")));
    let held = lab.folder().join("lock");
    let script = format!(
        "exec 9>{} && exec {} up -f {}",
        held.display(),
        env!("CARGO_BIN_EXE_winstead"),
        file.display()
    );
    let home = format!("WINSTEAD_HOME={}", lab.home().display());
    system(&["env", &home, "sh", "-c", &script]).unwrap();
    let processes = lab.processes();
    assert_eq!(processes.len(), 2, "QEMU and the supervisor");
    for pid in processes {
        let files = fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open = files.filter_map(|file| fs_err::read_link(file.path()).ok());
        assert!(open.into_iter().all(|path| path != held), "process {pid} has the caller's file open");
    }
}
