//! A Linux guest of busybox and dropbear: boots in seconds where Debian takes a quarter of a minute, under the same
//! kernel, the same initial RAM disk and the same seed.
//!
//! dropbear, not OpenSSH: its key exchange is the smallest part of a login under emulation, and it starts at once. It
//! cannot read OpenSSH's host keys, so the guest converts its key at boot.

mod packages;
mod tree;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;
use winstead_image::{OPTIONAL_MODULES, REQUIRED_MODULES, ROOT_LABEL, collect_modules, initrd, uncompressed};
use winstead_process::Command;
use winstead_spec::{DirectKernel, DiskFormat, FileRecipe, GuestOs, Image, Recipe, SeedKind};

/// Raised when what is made here changes, so that old caches are not taken.
const REVISION: u32 = 3;
/// A mirror may fail once in a while; that is no reason for every test of a laboratory to fail.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(5);

/// The tiny guest as an image document named `tiny`, its files kept in `cache` (see [`crate::lab_folder`]).
///
/// The first call takes some seconds and the network; several at once wait for one another.
///
/// # Errors
/// When a tool is missing or the configured Debian mirror cannot be reached: a reason to skip, not to fail.
pub async fn tiny_image(cache: &Path) -> anyhow::Result<Image> {
    fs::create_dir_all(cache)?;
    let folder = cache.join(format!("tiny-{REVISION}"));
    let lock = fs::OpenOptions::new().create(true).append(true).open(cache.join("tiny.lock"))?;
    let lock = tokio::task::spawn_blocking(move || {
        flock(&lock, FlockOperation::LockExclusive)?;
        anyhow::Ok(lock)
    });
    let lock = lock.await??;
    let mut made = build(&folder).await;
    for _ in 1..ATTEMPTS {
        if made.is_err() {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            made = build(&folder).await;
        }
    }
    drop(lock);
    made.context("make the tiny guest")?;
    Ok(image(&folder))
}

/// Does nothing when it is there.
async fn build(folder: &Path) -> anyhow::Result<()> {
    if folder.join("initrd").exists() {
        return Ok(());
    }
    let beside = folder.parent().context("a folder to build in")?;
    let building = tempfile::Builder::new().prefix(".tiny-").tempdir_in(beside)?;
    make(building.path()).await?;
    drop(fs::remove_dir_all(folder));
    Ok(fs::rename(building.keep(), folder)?)
}

fn image(folder: &Path) -> Image {
    let kernel = DirectKernel {
        kernel: folder.join("vmlinux"),
        initrd: Some(folder.join("initrd")),
        command_line: format!("root=LABEL={ROOT_LABEL} rw quiet console=ttyS0 damon_stat.enabled=0"),
    };
    let recipe = FileRecipe {
        path: folder.join("tiny.ext4"),
        format: Some(DiskFormat::Raw),
        sha256: None,
        kernel: Some(kernel),
    };
    Image {
        name: "tiny".parse().expect("`tiny` is a name"),
        os: GuestOs::Linux,
        recipe: Recipe::File(recipe),
        disk: None,
        seed: SeedKind::FwCfg,
    }
}

/// Leaves `vmlinux`, `initrd` and `tiny.ext4` in `folder`.
async fn make(folder: &Path) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let packages = packages::unpack(folder, &stop).await?;
    let version = single_entry(&packages.join("usr/lib/modules"))?;
    let busybox = fs::read(packages.join("usr/bin/busybox"))?;
    let archive = packages::modules_archive(&version, folder)?;
    let modules = collect_modules(&archive, REQUIRED_MODULES, OPTIONAL_MODULES)?;
    let kernel = packages.join("boot").join(format!("vmlinuz-{}", file_name(&version)));
    fs::write(folder.join("vmlinux"), uncompressed(&fs::read(kernel)?)?)?;
    let root = folder.join("root");
    tree::lay_out(&packages, &root)?;
    make_disk(&root, &folder.join("tiny.ext4"), &stop).await?;
    for leftover in [&packages, &root] {
        fs::remove_dir_all(leftover)?;
    }
    fs::remove_file(archive)?;
    // Last: its presence says that all is there.
    fs::write(folder.join("initrd"), initrd(busybox, modules))?;
    Ok(())
}

/// 64 MiB, without what would write in the background; see the Debian recipe.
async fn make_disk(root: &Path, disk: &Path, stop: &CancellationToken) -> anyhow::Result<()> {
    let options = ["-O", "^has_journal", "-E", "lazy_itable_init=0,root_owner=0:0", "-m", "0"];
    let command = Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", ROOT_LABEL]).args(options);
    command.arg("-d").arg(root).arg(disk).arg("64M").run(stop).await?;
    Ok(())
}

fn single_entry(folder: &Path) -> anyhow::Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next().with_context(|| format!("{} is empty", folder.display()))?;
    Ok(entry?.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
