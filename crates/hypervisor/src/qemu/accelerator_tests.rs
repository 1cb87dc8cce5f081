//! What is remembered, and what a QEMU that only acts as one is believed.

use std::{path::PathBuf, time::Duration};

use super::*;

fn subject_of(release: &str) -> Subject {
    let qemu = Version { major: 7, minor: 2, micro: 22 };
    Subject { trial: TRIAL, kernel_release: release.to_owned(), qemu, processor: "EPYC".to_owned() }
}

#[test]
fn an_answer_is_recalled_for_its_own_subject_only() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("accelerator.json");
    let choice = AcceleratorChoice { accelerator: Accelerator::Kvm, reason: "a kernel booted".to_owned() };
    assert_eq!(recall(&cache, &subject_of("6.1")), None);
    remember(&cache, &Remembered { subject: subject_of("6.1"), choice: choice.clone() }).unwrap();
    assert_eq!(recall(&cache, &subject_of("6.1")), Some(choice));
    assert_eq!(recall(&cache, &subject_of("6.18")), None);
    fs_err::write(&cache, "{\"subject\":").unwrap();
    assert_eq!(recall(&cache, &subject_of("6.1")), None);
}

#[test]
fn the_processor_is_read() {
    assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n"), "AMD EPYC 7B13");
    assert_eq!(model(""), "unknown");
}

/// Stands for QEMU: a script that says what it is told to under each accelerator. It is not written here: a program
/// that another test's child still has open for writing does not start.
struct Fake {
    folder: tempfile::TempDir,
    qemu: Qemu,
    stop: CancellationToken,
}

impl Fake {
    fn that_says(under_kvm: &str, under_tcg: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("under-kvm"), under_kvm).unwrap();
        fs_err::write(folder.path().join("under-tcg"), under_tcg).unwrap();
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake-qemu");
        let version = Version { major: 7, minor: 2, micro: 22 };
        let qemu = Qemu { binary, version, features: crate::qemu::Features::of(version) };
        Self { folder, qemu, stop: CancellationToken::new() }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("accelerator.json")
    }

    /// Silence is expected after a first line only: nothing else here depends on time.
    async fn choose(&self) -> AcceleratorChoice {
        let mut trial = Trial::new(&self.qemu, None);
        (trial.limits.first_line, trial.limits.start) = (Duration::from_mins(2), Duration::from_millis(100));
        let kernel = self.folder.path().join("vmlinux");
        choose(&trial, Some(&kernel), &self.cache(), &self.stop).await.unwrap()
    }
}

const BEGUN: &str = "echo '[    0.000000] Linux version 6.12.48'";

#[tokio::test]
async fn a_kernel_that_misses_only_its_disk_proves_kvm() {
    let fake = Fake::that_says(
        &format!(
            "{BEGUN}; echo '[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'"
        ),
        "exit 1",
    );
    let choice = fake.choose().await;
    assert_eq!(
        (choice.accelerator, choice.reason.as_str()),
        (Accelerator::Kvm, "a Linux kernel booted under KVM")
    );
    assert!(fake.cache().exists());
}

#[tokio::test]
async fn a_kernel_that_stands_still_under_kvm_only_is_remembered() {
    let fake = Fake::that_says(&format!("{BEGUN}; exec sleep 1000"), &format!("{BEGUN}; exec sleep 1000"));
    let choice = fake.choose().await;
    assert_eq!(
        (choice.accelerator, choice.reason.as_str()),
        (
            Accelerator::Tcg,
            "/dev/kvm opens but does not run guests: a Linux kernel began to boot and did not get far; guests are translated"
        )
    );
    assert!(fake.cache().exists());
}

#[tokio::test]
async fn another_panic_is_no_proof_and_is_quoted() {
    let panic = "Kernel panic - not syncing: IO-APIC + timer does not work!";
    let fake = Fake::that_says(&format!("{BEGUN}; echo '[    0.3] {panic}'; exec sleep 1000"), BEGUN);
    let choice = fake.choose().await;
    assert_eq!(choice.accelerator, Accelerator::Tcg);
    assert!(choice.reason.contains(&format!("a Linux kernel panicked: {panic};")), "{}", choice.reason);
}

#[tokio::test]
async fn what_starts_nowhere_blames_kvm_for_this_time_only() {
    let fake = Fake::that_says("head -c 3000000 /dev/urandom", "echo 'no kernel'");
    let choice = fake.choose().await;
    assert_eq!(choice.accelerator, Accelerator::Tcg);
    assert!(choice.reason.contains("this is tried again next time"), "{}", choice.reason);
    assert!(!fake.cache().exists(), "a swamped host or a broken kernel was remembered as broken KVM");
}

#[tokio::test]
async fn answers_of_an_older_trial_do_not_count() {
    let fake = Fake::that_says("exit 1", "exit 1");
    let old = serde_json::json!({
        "subject": {"kernelRelease": "6.1", "qemu": {"major": 7, "minor": 2, "micro": 22}, "processor": "EPYC"},
        "choice": {"accelerator": "tcg", "reason": "only root may open it"},
    });
    fs_err::write(fake.cache(), old.to_string()).unwrap();
    assert_eq!(recall(&fake.cache(), &subject_of("6.1")), None);
}
