//! Real mounts, which need root, and shared folders.

#![expect(clippy::disallowed_methods, reason = "tests play the world outside with plain std")]

use std::{os::unix::fs::MetadataExt, path::Path, time::Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, DiskFormat, Sha256};
use winstead_store::*;
use winstead_testing::skip;

#[expect(clippy::disallowed_macros, reason = "a measured number is for whoever runs the test")]
fn median(what: &str, mut micros: Vec<u128>) {
    micros.sort_unstable();
    eprintln!("{what}: median {} µs", micros[micros.len() / 2]);
}

async fn spec(home: &Path) -> Option<OverlaySpec> {
    let spec = any_spec(home, &CancellationToken::new()).await;
    if !spec.features.can_mount {
        skip("mounting a tmpfs needs root");
        return None;
    }
    Some(spec)
}

async fn any_spec(home: &Path, stop: &CancellationToken) -> OverlaySpec {
    let features = probe(home, stop).await.expect("the probe reads /proc");
    let location = Location {
        placement: Placement::OwnTmpfs,
        disk: home.join("a machine/disk"),
        tag: "winstead:0a1b2c3d".to_owned(),
        name: "m-0".to_owned(),
    };
    let (cap, size) = (ByteSize::from_mib(8), ByteSize::from_mib(4096));
    let base = "../../base.raw".into();
    OverlaySpec {
        location,
        cap,
        base,
        base_format: DiskFormat::Raw,
        size,
        owner: Some((65534, 65534)),
        features,
    }
}

#[tokio::test]
async fn every_operation_can_run_twice_and_growth_is_seen() {
    let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let Some(spec) = spec(home.path()).await else { return };
    let at = &spec.location;
    for _ in 0..2 {
        create(&spec, &stop).await.unwrap();
        assert_eq!(exists(at), Presence::Present);
    }
    std::fs::write(at.disk.join("fill"), vec![1; 9 << 20]).unwrap_err();
    grow(at, ByteSize::from_mib(24)).unwrap();
    assert_eq!(usage(at).unwrap().cap, Some(ByteSize::from_mib(24)));
    let many = Mounts::read().unwrap();
    assert_eq!(survey(at, &many), (Presence::Present, usage(at).unwrap().used));
    assert_eq!(survey(at, &Mounts::default()), (Presence::Absent, ByteSize::default()));
    for _ in 0..2 {
        remove(at).await.unwrap();
        create(&spec, &stop).await.unwrap();
        let now = usage(at).unwrap();
        assert_eq!(now.cap, Some(spec.cap));
        assert!(now.used < ByteSize::from_mib(1));
    }
    let mut grown = Vec::new();
    for step in 0..1000 {
        let start = Instant::now();
        grow(at, spec.cap + ByteSize::from_bytes(step * 4096)).unwrap();
        grown.push(start.elapsed().as_micros());
    }
    median("grow", grown);
    unmount(&at.disk, UnmountFlags::empty()).unwrap();
    assert_eq!(exists(at), Presence::Absent);
    for _ in 0..2 {
        remove(at).await.unwrap();
    }
    let mut created = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        create(&spec, &stop).await.unwrap();
        created.push(start.elapsed().as_micros());
        remove(at).await.unwrap();
    }
    median("create", created);
}

#[tokio::test]
async fn a_sealed_disk_is_read_by_others_and_written_by_nobody() {
    let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let Some(spec) = spec(home.path()).await else { return };
    let at = &spec.location;
    assert!(matches!(seal(at), Err(StoreError::Absent { .. })));
    create(&spec, &stop).await.unwrap();
    let open = std::fs::OpenOptions::new().write(true).open(at.overlay()).unwrap();
    seal(at).unwrap_err();
    drop(open);
    let outside = home.path().join("outside");
    std::fs::write(&outside, "").unwrap();
    std::os::unix::fs::symlink(&outside, at.disk.join("link")).unwrap();
    for _ in 0..2 {
        seal(at).unwrap();
    }
    let refused = std::fs::OpenOptions::new().write(true).open(at.overlay()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::metadata(at.overlay()).unwrap().mode() & 0o777, 0o444);
    assert_ne!(std::fs::metadata(&outside).unwrap().mode() & 0o777, 0o444, "a link was followed");
    assert_eq!(std::fs::metadata(&at.disk).unwrap().mode() & 0o777, 0o711);
    remove(at).await.unwrap();
}

#[tokio::test]
async fn a_foreign_mount_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let Some(spec) = spec(home.path()).await else { return };
    let at = &spec.location;
    std::fs::create_dir_all(&at.disk).unwrap();
    mount("theirs", &at.disk, "tmpfs", MountFlags::empty(), None).unwrap();
    let base = mounted_base(&at.disk);
    let answers =
        (exists(at), remove(at).await, grow(at, spec.cap), create(&spec, &CancellationToken::new()).await);
    unmount(&at.disk, UnmountFlags::empty()).unwrap();
    assert!(matches!(base, Ok(None)));
    assert!(matches!(answers.0, Presence::Foreign(_)));
    assert!(matches!(answers.1, Err(StoreError::Foreign { .. })));
    assert!(matches!(answers.2, Err(StoreError::Foreign { .. })));
    assert!(matches!(answers.3, Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn a_base_with_another_digest_leaves_nothing_and_the_right_one_is_kept() {
    let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let Some(OverlaySpec { features, .. }) = spec(home.path()).await else { return };
    let source = home.path().join("disk.raw");
    let contents = pages_and_a_tail();
    std::fs::write(&source, &contents).unwrap();
    let folder = home.path().join("bases/abc");
    let target = BaseLocation { placement: Placement::OwnTmpfs, folder, size: ByteSize::from_mib(1) };
    let wrong = place_base(&source, &target, &Sha256::from([0; 32]), &features, &stop).await;
    let Err(StoreError::WrongDigest { found, .. }) = wrong else { panic!("{wrong:?}") };
    assert!(!target.folder.exists());
    for _ in 0..2 {
        let copy = place_base(&source, &target, &found, &features, &stop).await.unwrap();
        assert!(std::fs::read(&copy).unwrap() == contents);
        assert_eq!(std::fs::metadata(&copy).unwrap().blocks(), 3 * 4096 / 512, "holes stay holes");
        std::fs::write(target.folder.join("x"), "x").unwrap_err();
        // As after a kill before the mount was made read-only.
        mount_remount(&target.folder, MountFlags::empty(), "noswap").unwrap();
        std::fs::write(target.folder.join("x"), "x").unwrap();
    }
    assert_eq!(mounted_base(&home.path().join("bases")).unwrap(), None);
    let found = mounted_base(&target.folder).unwrap().expect("the mount says what it is");
    assert_eq!(found.folder, target.folder);
    remove_base(&found).await.unwrap();
    assert_eq!(mounted_base(&target.folder).unwrap(), None);
    remove_base(&target).await.unwrap();
    assert!(!target.folder.exists());
}

/// Eight pages, of which the first, the third and the odd tail are not zero; the third in its last byte alone.
fn pages_and_a_tail() -> Vec<u8> {
    let mut contents = vec![0; 7 * 4096 + 5];
    (contents[0], contents[3 * 4096 - 1], contents[7 * 4096 + 4]) = (1, 2, 3);
    contents
}

#[tokio::test]
async fn growth_repeats_what_the_kernel_wants_repeated() {
    let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let Some(mut spec) = spec(home.path()).await else { return };
    for noswap in [false, spec.features.noswap] {
        spec.features.noswap = noswap;
        create(&spec, &stop).await.unwrap();
        grow(&spec.location, ByteSize::from_mib(9)).unwrap();
        assert_eq!(usage(&spec.location).unwrap().cap, Some(ByteSize::from_mib(9)));
        remove(&spec.location).await.unwrap();
    }
}

#[tokio::test]
async fn a_shared_folder_works_and_a_link_in_its_place_is_refused() {
    let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let mut spec = any_spec(home.path(), &stop).await;
    let shared = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::create_dir_all(spec.location.disk.parent().unwrap()).unwrap();
    spec.owner = None;
    spec.location.placement = Placement::SharedRam { folder: shared.path().join("w") };
    create(&spec, &stop).await.unwrap();
    create(&spec, &stop).await.unwrap();
    assert_eq!(exists(&spec.location), Presence::Present);
    assert!(usage(&spec.location).unwrap().used < ByteSize::from_mib(1));
    remove(&spec.location).await.unwrap();
    remove(&spec.location).await.unwrap();
    assert_eq!(exists(&spec.location), Presence::Absent);
    std::fs::remove_dir(shared.path().join("w")).unwrap();
    std::os::unix::fs::symlink(home.path(), shared.path().join("w")).unwrap();
    assert!(matches!(create(&spec, &stop).await, Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn a_folder_for_ram_that_is_none_is_refused_and_not_made() {
    let (home, stop) = (tempfile::tempdir_in("/var/tmp").unwrap(), CancellationToken::new());
    let mut spec = any_spec(home.path(), &stop).await;
    spec.owner = None;
    spec.location.placement = Placement::SharedRam { folder: home.path().join("w") };
    match create(&spec, &stop).await {
        Ok(()) => return skip("/var/tmp is in RAM here"),
        Err(refused) => assert!(matches!(refused, StoreError::NotRam { .. }), "{refused}"),
    }
    spec.location.placement = Placement::SharedRam { folder: "/dev/shm/winstead-no-such/w".into() };
    create(&spec, &stop).await.unwrap_err();
    assert!(!Path::new("/dev/shm/winstead-no-such").exists());
}
