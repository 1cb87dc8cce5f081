//! A Linux guest of busybox and dropbear: boots in seconds where Debian takes a quarter of a minute, under the same
//! kernel, the same initial RAM disk and the same seed.
//!
//! dropbear, not OpenSSH: its key exchange is the smallest part of a login under emulation, and it starts at once. It
//! cannot read OpenSSH's host keys, so the guest converts its key at boot.

mod agent;
mod packages;
mod tree;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::{OPTIONAL_MODULES, REQUIRED_MODULES, ROOT_LABEL, collect_modules, initrd, uncompressed};
use winstead_process::Command;
use winstead_spec::{DirectKernel, DiskFormat, FileRecipe, GuestOs, Image, Recipe, SeedKind};

use crate::kept;

pub use agent::tiny_image_with_agent;

/// The tiny guest as an image document named `tiny`, its files kept in `cache` (see [`crate::lab_folder`]).
///
/// The first call takes some seconds and the network; several at once wait for one another. What the product's own
/// functions make of the kept files, kernel and initial RAM disk, is made each time: tests must not pass on old ones.
///
/// # Errors
/// When it cannot be made; see [`tiny_image_or_skip`].
pub async fn tiny_image(cache: &Path) -> anyhow::Result<Image> {
    let folder = cache.join(format!("tiny-{:016x}", revision()));
    let lock = kept::lock(cache, "tiny").await?;
    kept::fill(&folder, gather).await.context("gather what the tiny guest is made of")?;
    make(&folder).context("make the tiny guest")?;
    drop(lock);
    Ok(image(&folder))
}

/// The tiny guest; `None`, with the reason told, where a tool or the configured Debian mirror is missing.
///
/// # Panics
/// When it cannot be made for another reason: that is a fault of ours, and no reason to skip.
pub async fn tiny_image_or_skip(cache: &Path) -> Option<Image> {
    kept::or_skip(tiny_image(cache).await)
}

/// What is kept is what these sources make.
fn revision() -> u64 {
    let mut hasher = DefaultHasher::new();
    [include_str!("mod.rs"), include_str!("packages.rs"), include_str!("tree.rs"), include_str!("../apt.rs")]
        .hash(&mut hasher);
    hasher.finish()
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
        agent: false,
    }
}

/// Leaves `vmlinuz`, `busybox`, `modules.tar` and `tiny.ext4` in `folder`: what takes time or the network.
async fn gather(folder: &Path) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let packages = packages::unpack(folder, &stop).await?;
    let version = single_entry(&packages.join("usr/lib/modules"))?;
    packages::modules_archive(&version, folder)?;
    fs::copy(packages.join("usr/bin/busybox"), folder.join("busybox"))?;
    fs::copy(packages.join("boot").join(format!("vmlinuz-{}", file_name(&version))), folder.join("vmlinuz"))?;
    let root = folder.join("root");
    tree::lay_out(&packages, &root)?;
    make_disk(&root, &folder.join("tiny.ext4"), &stop).await?;
    for leftover in [&packages, &root] {
        fs::remove_dir_all(leftover)?;
    }
    Ok(())
}

/// Leaves `vmlinux` and `initrd`, made by the product from what was gathered.
fn make(folder: &Path) -> anyhow::Result<()> {
    let modules = collect_modules(&folder.join("modules.tar"), REQUIRED_MODULES, OPTIONAL_MODULES)?;
    replace(&folder.join("initrd"), &initrd(fs::read(folder.join("busybox"))?, modules))?;
    replace(&folder.join("vmlinux"), &uncompressed(&fs::read(folder.join("vmlinuz"))?)?)
}

/// Writes a file that other tests may be reading, unless it is the same.
fn replace(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let half = path.with_extension("half");
    fs::write(&half, contents)?;
    Ok(fs::rename(half, path)?)
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
