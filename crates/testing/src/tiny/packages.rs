//! Debian packages, downloaded and unpacked without root, without touching apt's own state.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::{host_mirror, keyring};
use winstead_process::Command;

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
    "kernel/net/core/failover.ko.xz:",
    "kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz",
    "kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz",
];
const DEADLINE: Duration = Duration::from_secs(300);

/// The configured Debian mirror does not give us what we need.
#[derive(Debug)]
pub(super) struct NoMirror;

impl fmt::Display for NoMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("download from the configured Debian mirror")
    }
}

/// Downloads below `folder` and returns the folder that everything is unpacked into.
pub(super) async fn unpack(folder: &Path, stop: &CancellationToken) -> anyhow::Result<PathBuf> {
    let apt = folder.join("apt");
    for part in ["lists/partial", "archives/partial", "debs"] {
        fs::create_dir_all(apt.join(part))?;
    }
    let (mirror, keyring) = (host_mirror().context(NoMirror)?, keyring());
    fs::write(apt.join("sources.list"), format!("deb [signed-by={keyring}] {mirror} {SUITE} main\n"))?;
    fs::write(apt.join("status"), "")?;
    let update = apt_tool("apt-get", &apt).args(["-q", "update"]).deadline(DEADLINE);
    update.run(stop).await.context(NoMirror)?;
    let depends =
        apt_tool("apt-cache", &apt).args(["depends", "linux-image-cloud-amd64"]).run(stop).await?.text();
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let kernel = kernel.context("linux-image-cloud-amd64 depends on no kernel")?;
    let debs = apt.join("debs");
    let download = apt_tool("apt-get", &apt).args(["-q", "download"]).args(PACKAGES).arg(kernel);
    download.folder(&debs).deadline(DEADLINE).run(stop).await.context(NoMirror)?;
    let unpacked = folder.join("packages");
    for deb in fs::read_dir(&debs)? {
        Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&unpacked).run(stop).await?;
    }
    fs::remove_dir_all(apt)?;
    Ok(unpacked)
}

/// apt with every folder that it would write to, and every setting of other archives, replaced.
fn apt_tool(program: &str, apt: &Path) -> Command {
    let at = |name: &str| apt.join(name).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("archives")),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ];
    options.iter().fold(Command::new(program), |command, option| command.arg("-o").arg(option))
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
