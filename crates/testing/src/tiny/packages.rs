//! The Debian packages that the guest is made of, whatever the host is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::{host_mirror, keyring};
use winstead_process::Command;

use crate::apt;

/// The suite of the golden image, so that its kernel is tested.
const SUITE: &str = "trixie";
/// What the guest is made of; the libraries are those that dropbear asks for.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "dropbear-bin",
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "openssh-sftp-server",
    "zlib1g",
];
/// `modules.dep` is made by depmod when a kernel is installed; nothing is installed here, so these lines stand for it.
const DEPENDENCIES: &[&str] = &[
    "kernel/drivers/block/virtio_blk.ko.xz:",
    "kernel/drivers/firmware/qemu_fw_cfg.ko.xz:",
    "kernel/drivers/char/hw_random/virtio-rng.ko.xz:",
    "kernel/drivers/char/virtio_console.ko.xz:",
    "kernel/net/core/failover.ko.xz:",
    "kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz",
    "kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz",
];

/// Downloads below `folder` and returns the folder that everything is unpacked into.
pub(super) async fn unpack(folder: &Path, stop: &CancellationToken) -> anyhow::Result<PathBuf> {
    let apt = folder.join("apt");
    apt::make_folders(&apt)?;
    let (mirror, keyring) = (host_mirror().context(apt::NoMirror)?, keyring());
    fs::write(apt.join("sources.list"), format!("deb [signed-by={keyring}] {mirror} {SUITE} main\n"))?;
    apt::ask_mirror(tool("apt-get", &apt).args(["-q", "update"]), stop).await?;
    let depends =
        tool("apt-cache", &apt).args(["depends", "linux-image-cloud-amd64"]).run(stop).await?.text();
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let kernel = kernel.context("linux-image-cloud-amd64 depends on no kernel")?;
    let download = tool("apt-get", &apt).args(["-q", "download"]).args(PACKAGES).arg(kernel);
    apt::ask_mirror(download.folder(apt.join("debs")), stop).await?;
    let unpacked = folder.join("packages");
    apt::unpack(&apt, &unpacked, stop).await?;
    fs::remove_dir_all(apt)?;
    Ok(unpacked)
}

/// apt for the golden image's archive, whatever the host's own is.
fn tool(program: &str, apt: &Path) -> Command {
    let sources = format!("Dir::Etc::sourcelist={}", apt.join("sources.list").display());
    let options = [
        sources.as_str(),
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
    ];
    options.iter().fold(apt::tool(program, apt), |command, option| command.arg("-o").arg(option))
}

/// A tar archive like the one that an installed kernel's modules give.
pub(super) fn modules_archive(version: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("modules.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path)?);
    let mut dependencies = String::new();
    for line in DEPENDENCIES {
        let (module, _) = line.split_once(':').unwrap_or((line, ""));
        if version.join(module).exists() {
            archive.append_path_with_name(version.join(module), module)?;
            dependencies += &format!("{line}\n");
        }
    }
    archive.append_path_with_name(version.join("modules.builtin"), "modules.builtin")?;
    let list = folder.join("modules.dep");
    fs::write(&list, dependencies)?;
    archive.append_path_with_name(&list, "modules.dep")?;
    archive.into_inner()?;
    fs::remove_file(list)?;
    Ok(path)
}
