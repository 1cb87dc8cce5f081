//! Builds the real thing from the configured mirror. Needs mmdebstrap and rights; says so when it cannot.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::{BuildProgress, Catalog, Depth, Fault, VerifyError, Version};
use winstead_process::Command;
use winstead_spec::{ByteSize, DebianRecipe, GuestOs, Image, Recipe, SeedKind};

fn debian(packages: &[&str]) -> Image {
    let packages = packages.iter().map(|name| (*name).to_owned()).collect();
    Image {
        name: "debian".parse().unwrap(),
        os: GuestOs::Linux,
        recipe: Recipe::Debian(DebianRecipe { suite: "trixie".into(), packages }),
        disk: Some(ByteSize::from_mib(2048)),
        seed: SeedKind::FwCfg,
        agent: false,
    }
}

/// The line that the test command counts. (`winstead-testing` has it too, but depends on this crate.)
#[expect(clippy::disallowed_macros, reason = "the test command reads it on stderr")]
fn skip(reason: &Fault) {
    eprintln!("skipped: {reason}");
}

/// Every path below `folder`.
fn all_paths(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() && !path.is_symlink() {
                [all_paths(&path), vec![path]].concat()
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn an_interrupted_build_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&place.path().join("images"), &place.path().join("cache"), None);
    let stop = CancellationToken::new();
    let scratch = Mutex::new(Vec::new());
    // In the middle of unpacking: processes, mounts and a tree are there.
    let listen = |progress: BuildProgress| {
        if progress.step.contains("installing essential") {
            *scratch.lock().unwrap() = scratch_folders(&place.path().join("images/debian"));
            stop.cancel();
        }
    };
    let error = catalog.build(&debian(&[]), &listen, &stop).await.unwrap_err();
    if matches!(error.fault, Fault::MissingTools(_) | Fault::NoSubordinateIds { .. }) {
        return skip(&error.fault);
    }
    assert!(matches!(error.fault, Fault::Interrupted), "{:?}", error.fault);
    let left: Vec<PathBuf> =
        all_paths(&place.path().join("images")).into_iter().filter(|path| !path.ends_with(".lock")).collect();
    assert_eq!(left, [place.path().join("images/debian")]);
    nothing_names(place.path());
    let scratch = scratch.into_inner().unwrap();
    assert!(scratch.len() == 2 && scratch.iter().all(|folder| !folder.exists()), "{scratch:?}");
}

/// The folders that the one running build works in, of which some are outside its own.
fn scratch_folders(image: &Path) -> Vec<PathBuf> {
    let mut notes = all_paths(image).into_iter().filter(|path| path.ends_with("scratch-folders"));
    let note = fs::read_to_string(notes.next().unwrap()).unwrap();
    note.lines().map(PathBuf::from).collect()
}

/// No process has the folder in its arguments, or something mounted in it.
fn nothing_names(place: &Path) {
    let place = place.to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
        for name in ["cmdline", "mountinfo"] {
            // A process that ended meanwhile has none.
            let text = fs::read(process.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains(place), "{}/{name}: {text}", process.display());
        }
    }
}

/// A build whose owner is gone: like one that was killed, it cleans nothing up.
async fn abandon_a_build(catalog: &Catalog) {
    let (stop, unpacking) = (CancellationToken::new(), tokio::sync::Notify::new());
    let listen = |progress: BuildProgress| {
        if progress.step.contains("installing essential") {
            unpacking.notify_one();
        }
    };
    let image = debian(&["nano"]);
    tokio::select! {
        _ = catalog.build(&image, &listen, &stop) => {}
        () = unpacking.notified() => {}
    }
}

/// What `debugfs` says, reading the root file system without mounting it.
async fn debugfs(disk: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(disk);
    output.run(&CancellationToken::new()).await.unwrap().text()
}

#[tokio::test]
async fn a_debian_image_is_built_once_and_holds_nothing_unique() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().to_owned();
    let catalog = Catalog::open(&place.join("images"), &place.join("cache"), None);
    let (stop, steps) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let listen = |progress: BuildProgress| steps.lock().unwrap().push(progress.step);
    abandon_a_build(&catalog).await;
    let version = match catalog.build(&debian(&["nano"]), &listen, &stop).await {
        Ok(version) => version,
        Err(error) => match error.fault {
            Fault::MissingTools(_) | Fault::NoSubordinateIds { .. } => return skip(&error.fault),
            fault => panic!("{fault}: {fault:?}"),
        },
    };
    nothing_names(&place);
    let folders = fs::read_dir(place.join("images/debian")).unwrap().map(|entry| entry.unwrap().file_name());
    let folders: Vec<_> = folders.filter(|name| name != ".lock").collect();
    assert_eq!(folders, [version.digest.short()], "the abandoned build is gone");
    let silent = |progress: BuildProgress| panic!("built before: {progress:?}");
    assert_eq!(catalog.build(&debian(&["nano"]), &silent, &stop).await.unwrap(), version);
    assert_eq!(catalog.find(&debian(&[])).unwrap(), None);
    assert!(
        steps.lock().unwrap().iter().any(|step| step.contains("installing remaining packages")),
        "{steps:?}"
    );
    assert!(version.kernel.as_ref().unwrap().kernel.ends_with("vmlinux"), "{version:?}");
    assert!(version.size_on_disk < ByteSize::from_mib(600), "{}", version.size_on_disk);
    nothing_unique(&version, &place).await;
    catalog.verify(&version, Depth::Full, &stop).await.unwrap();
    damage_is_found(&catalog, &version, &stop).await;
}

async fn nothing_unique(version: &Version, place: &Path) {
    let raw = place.join("disk.raw");
    let convert = Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&version.disk).arg(&raw);
    convert.run(&CancellationToken::new()).await.unwrap();
    let root = place.join("root.ext4");
    let cut = Command::new("dd").args(["bs=1M", "skip=65", "conv=sparse", "status=none"]);
    let cut = cut.arg(format!("if={}", raw.display())).arg(format!("of={}", root.display()));
    cut.run(&CancellationToken::new()).await.unwrap();
    fs::remove_file(raw).unwrap();
    assert_eq!(debugfs(&root, "cat /etc/machine-id").await, "");
    let ssh = debugfs(&root, "ls /etc/ssh").await;
    assert!(ssh.contains("sshd_config") && !ssh.contains("ssh_host"), "{ssh}");
    assert!(!debugfs(&root, "ls /var/lib/systemd").await.contains("random-seed"));
    assert!(!debugfs(&root, "ls /etc").await.contains("resolv.conf"));
    assert!(debugfs(&root, "cat /etc/shadow").await.contains("root:*:"));
    for folder in ["/tmp", "/var/lib/apt/lists", "/var/cache/apt", "/var/log/apt", "/boot", "/proc", "/sys"] {
        let names = debugfs(&root, &format!("ls -p {folder}")).await;
        let names: Vec<&str> = names
            .lines()
            .filter_map(|line| line.split('/').nth(5))
            .filter(|n| *n != "." && *n != "..")
            .collect();
        assert!(names.is_empty(), "{folder}: {names:?}");
    }
    let owner = debugfs(&root, "stat /usr/bin/nano").await;
    assert!(owner.contains("User:     0   Group:     0"), "{owner}");
    fs::remove_file(root).unwrap();
}

async fn damage_is_found(catalog: &Catalog, version: &Version, stop: &CancellationToken) {
    let kernel = version.kernel.clone().unwrap().kernel;
    let good = fs::read(&kernel).unwrap();
    let mut bad = good.clone();
    bad[1000] ^= 1;
    fs::write(&kernel, bad).unwrap();
    let error = catalog.verify(version, Depth::Quick, stop).await.unwrap_err();
    assert!(matches!(error, VerifyError::Damaged { .. }), "{error}");
    fs::write(&kernel, good).unwrap();
    catalog.verify(version, Depth::Quick, stop).await.unwrap();
}
