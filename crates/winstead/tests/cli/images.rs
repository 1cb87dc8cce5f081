//! `image verify` and `image rm`, on images that cannot be used: no build is needed.

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
    assert!(!sandbox.ok(&["image", "list"]).contains("0123456789ab"));
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
