//! `image` without guests: versions that cannot be used, and builds from a small file.

use crate::sandbox::Sandbox;

/// A home with versions whose descriptions are damaged.
fn damaged(digits: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    for digits in digits {
        let folder = sandbox.home().join("images/debian").join(digits);
        fs_err::create_dir_all(&folder).expect("a folder of the test");
        fs_err::write(folder.join("image.json"), "{").expect("a file of the test");
    }
    sandbox
}

#[test]
fn every_damaged_version_is_told_with_the_command_that_removes_it() {
    let sandbox = damaged(&["0123456789ab", "0fff00000000"]);
    let ran = sandbox.run(&["image", "verify"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for digits in ["0123456789ab", "0fff00000000"] {
        assert!(ran.stderr.contains(&format!("image rm debian --digest {digits}")), "{ran:?}");
    }
}

#[test]
fn damaged_versions_are_listed_as_such() {
    let sandbox = damaged(&["0123456789ab"]);
    insta::assert_snapshot!(sandbox.ok(&["image", "list"]), @"
    NAME     DIGEST         OS   SIZE   ON DISK   BUILT   USED BY   TEMPLATES   NOTE
    debian   0123456789ab   -    -      -         -       -         -           damaged
    ");
    let wide = sandbox.ok(&["get", "images", "debian", "-o", "wide"]);
    assert!(wide.contains("damaged: read [FOLDER]/home/images/debian/0123456789ab/image.json"), "{wide}");
    let list: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["image", "list", "-o", "json"])).expect("JSON");
    let status = &list["items"][0]["status"];
    assert_eq!(status["versions"], serde_json::json!([]), "nothing starts from it");
    assert_eq!(status["damaged"][0]["digest"], "0123456789ab");
}

#[test]
fn a_dry_run_and_a_removal_decide_the_same() {
    let sandbox = damaged(&["0123456789ab", "0fff00000000"]);
    for dry_run in [&["--dry-run"][..], &[]] {
        for digits in ["0", "7"] {
            let arguments = [&["image", "rm", "debian", "--digest", digits], dry_run].concat();
            let ran = sandbox.run(&arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        }
    }
    let arguments = ["image", "rm", "debian", "--digest", "01", "-o", "json"];
    let announced = sandbox.ok(&[&arguments[..], &["--dry-run"]].concat());
    assert!(sandbox.home().join("images/debian/0123456789ab").exists());
    assert_eq!(sandbox.ok(&arguments), announced);
    insta::assert_snapshot!(announced, @r#"
    {
      "apiVersion": "winstead.dev/v1alpha1",
      "kind": "RemovedList",
      "items": [
        {
          "image": "debian",
          "digest": "0123456789ab"
        }
      ]
    }
    "#);
    assert!(!sandbox.home().join("images/debian/0123456789ab").exists());
    assert!(sandbox.home().join("images/debian/0fff00000000").exists());
}

/// A sandbox with a file whose image is made of a disk of zeros.
fn zeros() -> Sandbox {
    let sandbox = Sandbox::new();
    fs_err::write(sandbox.path("zeros.raw"), vec![0_u8; 1 << 20]).expect("a file of the test");
    sandbox.write(
        "disk.yaml",
        "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {name: disk}\n\
         spec: {file: {path: zeros.raw, format: raw}}\n",
    );
    sandbox
}

const DRY_RUN: [&str; 5] = ["image", "build", "-f", "disk.yaml", "--dry-run"];

#[test]
fn a_dry_run_of_a_build_says_what_is_to_be_built_and_what_is_there() {
    let sandbox = zeros();
    assert_eq!(sandbox.ok(&DRY_RUN), "+ disk, to be built\n");
    assert!(!sandbox.home().join("images/disk").exists());
    // A build needs qemu-img.
    let mut build = sandbox.command(&["image", "build", "-f", "disk.yaml", "-o", "json"]);
    let built = sandbox.ended(&build.env("PATH", "/usr/bin:/bin").output().expect("start winstead"));
    let built: serde_json::Value = serde_json::from_str(&built.stdout).expect("JSON");
    let version = &built["items"][0]["status"]["versions"][0];
    let (digest, built_at) = (version["digest"].as_str().unwrap(), version["builtAt"].as_str().unwrap());
    let line = format!("= disk {} built {}Z\n", &digest["sha256:".len()..][..12], &built_at[..19]);
    assert_eq!(sandbox.ok(&DRY_RUN), line);
    let announced: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&[&DRY_RUN[..], &["-o", "json"]].concat())).expect("JSON");
    let expected = serde_json::json!({
        "apiVersion": "winstead.dev/v1alpha1",
        "kind": "PlannedBuildList",
        "items": [{"action": "keep", "image": "disk", "digest": digest, "builtAt": built_at}],
    });
    assert_eq!(announced, expected);
    insta::assert_snapshot!(sandbox.ok(&[&DRY_RUN[..], &["--fresh", "-o", "yaml"]].concat()), @r"
    apiVersion: winstead.dev/v1alpha1
    kind: PlannedBuildList
    items:
    - action: build
      image: disk
    ");
}

#[test]
fn a_dry_run_of_a_build_waits_for_nobody() {
    let sandbox = zeros();
    sandbox.ok(&DRY_RUN);
    fs_err::create_dir(sandbox.home().join("images/disk")).expect("a folder of the test");
    let locks = ["lock", "images/disk/.lock"].map(|name| {
        let lock = fs_err::File::create(sandbox.home().join(name)).expect("a file of the test");
        lock.file().lock().expect("nobody else has it");
        lock
    });
    // Who waits for the home waits for minutes.
    let mut command = sandbox.command(&DRY_RUN);
    let ran = command.timeout(std::time::Duration::from_secs(120)).output().expect("start winstead");
    assert_eq!(sandbox.ended(&ran).whole(), "exit code 0\n+ disk, to be built\n");
    drop(locks);
}
