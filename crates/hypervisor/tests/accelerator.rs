//! The accelerator is tried, not asked: on real hosts, of which some open `/dev/kvm` and run nothing.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use winstead_hypervisor::qemu::{self, Accelerator, AcceleratorError, Qemu};
use winstead_spec::Recipe;

/// Says why a test does nothing, and gives it nothing to do.
fn skip<T>(reason: &str) -> Option<T> {
    winstead_testing::skip(reason);
    None
}

async fn qemu_here() -> Option<Qemu> {
    match qemu::find(&CancellationToken::new()).await {
        Ok(qemu) => Some(qemu),
        Err(error) => skip(&error.to_string()),
    }
}

/// The kernel of the tiny guest; the one that images have.
async fn kernel() -> Option<PathBuf> {
    let image = winstead_testing::tiny_image_or_skip(&winstead_testing::lab_folder()).await?;
    match image.recipe {
        Recipe::File(file) => Some(file.kernel?.kernel),
        _ => skip("the tiny guest has no kernel of its own"),
    }
}

#[tokio::test]
async fn the_choice_is_made_in_time_told_in_one_line_and_remembered() {
    let Some(qemu) = qemu_here().await else { return };
    let Some(kernel) = kernel().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("accelerator.json");
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let choice = qemu::choose_accelerator(&qemu, None, Some(&kernel), &cache, &stop).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(!choice.reason.is_empty() && !choice.reason.contains('\n'), "{choice:?}");
    // On a swamped host the answer is doubted, and not remembered.
    if Path::new("/dev/kvm").exists() && !choice.reason.contains("tried again next time") {
        // Tried again, a kernel that is not there would give another answer.
        let missing = Path::new("/no/such/kernel");
        let again = qemu::choose_accelerator(&qemu, None, Some(missing), &cache, &stop).await.unwrap();
        assert_eq!(again, choice);
    }
    let left: Vec<_> =
        fs_err::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "accelerator.json"), "{left:?}");
}

#[tokio::test]
async fn without_a_kernel_the_answer_is_weak_and_not_remembered() {
    let Some(qemu) = qemu_here().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("accelerator.json");
    let choice =
        qemu::choose_accelerator(&qemu, None, None, &cache, &CancellationToken::new()).await.unwrap();
    assert!(!choice.reason.is_empty() && !choice.reason.contains('\n'), "{choice:?}");
    assert!(!cache.exists());
}

#[tokio::test]
async fn a_kernel_that_is_none_does_not_prove_kvm() {
    let Some(qemu) = qemu_here().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    fs_err::write(&kernel, "this is no kernel").unwrap();
    let cache = folder.path().join("accelerator.json");
    let choice = qemu::choose_accelerator(&qemu, None, Some(&kernel), &cache, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(choice.accelerator, Accelerator::Tcg, "{choice:?}");
}

#[tokio::test]
async fn an_interrupted_trial_is_no_answer() {
    let Some(qemu) = qemu_here().await else { return };
    if fs_err::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return skip("/dev/kvm does not open").unwrap_or_default();
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("accelerator.json");
    let stop = CancellationToken::new();
    stop.cancel();
    let tried = qemu::choose_accelerator(&qemu, None, None, &cache, &stop).await;
    assert!(matches!(tried, Err(AcceleratorError::Cancelled)), "{tried:?}");
    assert!(!cache.exists());
}
