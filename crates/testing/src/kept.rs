//! What is slow to make: made once, kept between test runs, by one test while the others wait.

use std::{path::Path, time::Duration};

use anyhow::Context;
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use winstead_process::CommandError;

use crate::apt::NoMirror;

/// A mirror may fail once in a while; that is no reason for every test of a laboratory to fail.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(5);

/// Waits until nobody else makes `name` in `cache`. The others wait until the returned file is dropped.
pub(crate) async fn lock(cache: &Path, name: &str) -> anyhow::Result<fs::File> {
    fs::create_dir_all(cache)?;
    let path = cache.join(name).with_extension("lock");
    let lock = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let waiting = tokio::task::spawn_blocking(move || {
        flock(&lock, FlockOperation::LockExclusive)?;
        anyhow::Ok(lock)
    });
    waiting.await?
}

/// Makes `folder` with what `gather` puts into it, whole or not at all. Does nothing when it is there.
pub(crate) async fn fill(
    folder: &Path,
    gather: impl AsyncFn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut filled = try_to_fill(folder, &gather).await;
    for _ in 1..ATTEMPTS {
        if filled.is_err() {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            filled = try_to_fill(folder, &gather).await;
        }
    }
    filled
}

async fn try_to_fill(
    folder: &Path,
    gather: &impl AsyncFn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let beside = folder.parent().context("a folder to build in")?;
    let building = tempfile::Builder::new().prefix(".half-").tempdir_in(beside)?;
    gather(building.path()).await?;
    Ok(fs::rename(building.keep(), folder)?)
}

/// What was made; `None`, with the reason told, where a tool or the configured Debian mirror is missing.
///
/// # Panics
/// When it could not be made for another reason: that is a fault of ours, and no reason to skip.
pub(crate) fn or_skip<T>(made: anyhow::Result<T>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(error) => {
            assert!(is_lacking(&error), "{error:#}");
            crate::skip(&format!("{error:#}"));
            None
        }
    }
}

/// Whether this computer lacks what a thing is made with, or of.
fn is_lacking(error: &anyhow::Error) -> bool {
    let missing = |cause: &CommandError| cause.is_not_found();
    error.is::<NoMirror>() || error.chain().any(|cause| cause.downcast_ref().is_some_and(missing))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use winstead_process::Command;

    use super::*;

    #[tokio::test]
    async fn only_a_missing_tool_or_mirror_is_a_reason_to_skip() {
        let stop = CancellationToken::new();
        let run = async |program| Command::new(program).run(&stop).await;
        let missing = run("no-such-tool").await.context("make the tiny guest").unwrap_err();
        assert!(is_lacking(&missing));
        let unreachable = run("false").await.context(NoMirror).context("make the tiny guest").unwrap_err();
        assert!(is_lacking(&unreachable));
        let broken = run("false").await.context("make the tiny guest").unwrap_err();
        assert!(!is_lacking(&broken), "a fault of ours would never be seen");
        assert!(!is_lacking(&anyhow::anyhow!("no init in busybox")));
    }

    #[tokio::test]
    async fn what_is_kept_is_whole_and_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("kept");
        let _lock = lock(cache.path(), "kept").await.unwrap();
        fill(&folder, async |into: &Path| Ok(fs::write(into.join("file"), "first")?)).await.unwrap();
        fill(&folder, async |_: &Path| anyhow::bail!("made again")).await.unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "first");
        let names: Vec<_> =
            fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "half of something was left: {names:?}");
    }
}
