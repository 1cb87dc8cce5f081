//! The `debian:` recipe: a Debian system made by mmdebstrap, on a disk that boots by UEFI and by direct kernel.
//!
//! Steps: install the packages (mmdebstrap, a process of its own, which also writes the root file system, see
//! [`hook`]); make our initial RAM disk; add the partition table and the EFI system partition; convert to qcow2.
//! Works as root and, in a user name space, as a normal user; the two differ in [`Workshop`] only.

mod agent;
mod archives;
mod files;
mod hook;
pub(crate) mod leftovers;
mod sources;
mod workshop;

use std::path::{Path, PathBuf};

use fs_err as fs;
use winstead_process::Command;
use winstead_spec::{ByteSize, DebianRecipe, DirectKernel, DiskFormat, Sha256};

use crate::{
    build::{Building, Produced},
    convert,
    disk::{self, BootFiles, Layout},
    error::{Fault, Need},
    initrd::{self, OPTIONAL_MODULES, REQUIRED_MODULES, ROOT_LABEL},
    kernel, modules,
    tools::{self, Tool},
};
pub(crate) use agent::ingredients as agent_ingredients;
pub use archives::keyring;
use archives::{Line, Proxies};
use sources::{Archives, without_passwords};
use workshop::Workshop;

/// What every image has: init, logins, the guest agent, a kernel; `busybox-static` and `systemd-boot-efi` go into the
/// initial RAM disk and the boot partition; `e2fsprogs` checks a root that was not unmounted.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "qemu-guest-agent",
    "systemd-boot-efi",
    "systemd-sysv",
    "udev",
];
/// Documentation that nobody reads in a guest without a terminal; copyright files stay.
const EXCLUDED: &[&str] = &[
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/bash-completion/*",
    "path-exclude=/usr/share/zsh/*",
];
/// Size of the disk unless the image says another.
pub(crate) const DEFAULT_SIZE: ByteSize = ByteSize::from_mib(4096);
/// Tree, root file system, disk and qcow2 of the base system side by side.
pub(crate) const ROOM: ByteSize = ByteSize::from_mib(1536);
/// A slow mirror on a busy computer; a healthy build takes half a minute.
const INSTALL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(1800);

/// Kernel command line of direct boot and of the boot loader's entry. `quiet`: an emulated serial line is slow; a
/// panic is printed all the same. `damon_stat`: statistics that cost a quarter of an idle virtual CPU since 6.12.
fn command_line() -> String {
    format!("root=LABEL={ROOT_LABEL} rw quiet console=ttyS0 damon_stat.enabled=0")
}

/// Everything that a recipe's image holds without being named in it: part of the recipe's digest.
pub(crate) fn ingredients() -> Sha256 {
    let parts = format!(
        "{PACKAGES:?} {EXCLUDED:?} {:?} {} {} {REQUIRED_MODULES:?} {OPTIONAL_MODULES:?} {}",
        files::tree_files(),
        hook::HOOK,
        initrd::INIT,
        command_line(),
    );
    crate::digest::of_bytes(parts.as_bytes())
}

/// Makes the image in the folder of `building`.
///
/// # Errors
/// When the recipe is unusable, a tool is missing or fails, or the disk is full.
pub(crate) async fn produce(recipe: &DebianRecipe, building: &Building<'_>) -> Result<Produced, Fault> {
    check(recipe)?;
    let size = building.image.disk.unwrap_or(DEFAULT_SIZE);
    let layout = Layout::of(size).filter(|_| size >= hook::SMALLEST);
    let layout = layout.ok_or(Fault::TooSmall { size, smallest: hook::SMALLEST })?;
    tools::require(&needed_tools())?;
    crate::build::require_room(&building.folder, ROOM)?;
    let packages = Origin::of(recipe, building).await?;
    // After a failure it is removed with the building folder, which names it.
    let workshop = Workshop::open(building)?;
    crate::build::require_room(&workshop.scratch, ROOM)?;
    let installed = install(recipe, &packages, &layout, &workshop, building).await;
    installed.map_err(|fault| fault.full_in(&workshop.scratch, Some(Need::AtLeast(ROOM))))?;
    workshop.bring_home(building).await?;
    workshop.close(building.stop).await?;
    let made = assemble(&layout, building).await?;
    Ok(Produced { provenance: provenance(&packages, building).await?, ..made })
}

fn needed_tools() -> Vec<Tool> {
    let mut needed = vec![
        Tool { program: "mmdebstrap", package: "mmdebstrap" },
        Tool { program: "mke2fs", package: "e2fsprogs" },
        Tool { program: "sfdisk", package: "fdisk" },
        Tool { program: "mformat", package: "mtools" },
        Tool { program: "qemu-img", package: "qemu-utils" },
        Tool { program: keyring(), package: "debian-archive-keyring" },
    ];
    if !rustix::process::geteuid().is_root() {
        needed.push(Tool { program: "newuidmap", package: "uidmap" });
    }
    needed
}

/// apt reads words like `name=version`, `./file.deb` and `?pattern` too; a recipe names packages only.
fn check(recipe: &DebianRecipe) -> Result<(), Fault> {
    let plain = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        text.bytes().all(allowed) && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    let bad = std::iter::once(&recipe.suite).chain(&recipe.packages).find(|word| !plain(word));
    bad.map_or(Ok(()), |word| Err(Fault::NotAPackage(word.clone())))
}

/// Where packages come from, and how they are reached.
#[derive(Debug)]
struct Origin {
    /// Empty: mmdebstrap knows Debian's own archives.
    lines: Vec<Line>,
    proxies: Proxies,
}

impl Origin {
    async fn of(recipe: &DebianRecipe, building: &Building<'_>) -> Result<Self, Fault> {
        let proxies = Proxies::of_host(building.stop).await;
        let Some(archives) = host_archives(building.artifacts)? else {
            return Ok(Self { lines: Vec::new(), proxies });
        };
        building.step("looking for updates of the suite");
        let missing = |line: &Line| {
            let uri = without_passwords(&line.uri);
            building.step(&format!("leaving out {}, which {uri} does not have", line.suite));
        };
        let wanted = archives::wanted(&archives, &recipe.suite);
        Ok(Self { lines: archives::present(wanted, &proxies, missing).await, proxies })
    }
}

/// A file `debian-mirror` among the artefacts wins: for computers that are no Debian and reach a mirror of their own.
fn host_archives(artifacts: Option<&Path>) -> Result<Option<Archives>, Fault> {
    if let Some(setting) = artifacts.map(|folder| folder.join("debian-mirror"))
        && setting.is_file()
    {
        let main = fs::read_to_string(setting)?.trim().trim_end_matches('/').to_owned();
        return Ok(Some(Archives { main, updates: None, security: None }));
    }
    Ok(sources::archives(Path::new("/etc/apt")))
}

/// The Debian mirror that this computer's apt is set up with.
#[must_use]
pub fn host_mirror() -> Option<String> {
    sources::archives(Path::new("/etc/apt")).map(|archives| archives.main)
}

async fn install(
    recipe: &DebianRecipe,
    origin: &Origin,
    layout: &Layout,
    workshop: &Workshop,
    building: &Building<'_>,
) -> Result<(), Fault> {
    let log = building.folder.join(leftovers::LOG);
    let files = building.folder.join("files.tar");
    let tree: Vec<_> = files::tree_files().into_iter().chain(agent::files(building)?).collect();
    fs::write(&files, files::archive(&tree)?)?;
    workshop.write_hook(&hook::customize(&workshop.exchange, layout))?;
    let place = Place { building: &building.folder, files: &files, workshop };
    let command = origin.proxies.apply(mmdebstrap(recipe, &origin.lines, &place));
    building.step("installing packages");
    let told = crate::log::follow(&log, |line| building.step(&without_passwords(line)));
    let done = tokio::select! {
        done = command.run(building.stop) => done,
        never = told => match never {},
    };
    done.map(drop).map_err(|mut error| {
        error.said = without_passwords(&crate::log::last_words(&log));
        Fault::from(error)
    })
}

/// Where mmdebstrap finds and leaves things.
struct Place<'a> {
    building: &'a Path,
    files: &'a Path,
    workshop: &'a Workshop,
}

fn mmdebstrap(recipe: &DebianRecipe, lines: &[Line], place: &Place<'_>) -> Command {
    let mut packages: Vec<&str> =
        PACKAGES.iter().copied().chain(recipe.packages.iter().map(String::as_str)).collect();
    packages.sort_unstable();
    packages.dedup();
    let files = winstead_process::shown([place.files]);
    let command = place
        .workshop
        .mode
        .command()
        .arg(format!("--mode={}", place.workshop.mode.name()))
        .args(["--variant=minbase", "--format=null", "--architectures=amd64"])
        .arg(leftovers::mark(place.building))
        .arg(format!("--include={}", packages.join(",")))
        .args(EXCLUDED.iter().map(|option| format!("--dpkgopt={option}")))
        .args([r#"--aptopt=Acquire::Retries "3""#, r#"--aptopt=Acquire::Languages "none""#])
        .arg(format!("--customize-hook=tar-in {files} /"))
        .arg(format!("--customize-hook={}", place.workshop.hook().display()))
        .env("TMPDIR", &place.workshop.scratch)
        // The kernel's package would make Debian's initial RAM disk, which we do not use: five seconds.
        .env("INITRD", "No")
        .deadline(INSTALL_DEADLINE);
    let target = ["--", recipe.suite.as_str(), "/dev/null"];
    if lines.is_empty() {
        return command.arg(format!("--keyring={}", keyring())).args(target);
    }
    command.args(target).arg("-").input(archives::sources_list(lines, keyring()))
}

/// From the hook's files to an image: everything in the building folder.
async fn assemble(layout: &Layout, building: &Building<'_>) -> Result<Produced, Fault> {
    let at = |name: &str| building.folder.join(name);
    building.step("making the initial RAM disk");
    let vmlinux = boot_files(&building.folder)?;
    building.step("making the disk bootable");
    let raw = at(hook::DISK);
    let files = BootFiles {
        loader: &at(hook::BOOT_LOADER),
        kernel: &at(hook::KERNEL),
        initrd: &at("initrd"),
        command_line: &command_line(),
    };
    disk::make_bootable(&raw, layout, &files, &building.folder, building.stop).await?;
    building.step("converting the disk to qcow2");
    convert::to_qcow2(&raw, DiskFormat::Raw, &at("disk.qcow2"), building.stop).await?;
    for name in [
        hook::DISK,
        hook::BOOT_LOADER,
        hook::BUSYBOX,
        hook::MODULES,
        "files.tar",
        "loader.conf",
        "winstead.conf",
        leftovers::LOG,
        leftovers::NOTE,
    ] {
        fs::remove_file(at(name))?;
    }
    if vmlinux == "vmlinux" {
        fs::remove_file(at(hook::KERNEL))?;
    }
    Ok(Produced {
        disk: "disk.qcow2".to_owned(),
        format: DiskFormat::Qcow2,
        virtual_size: layout.size,
        kernel: Some(DirectKernel {
            kernel: PathBuf::from(vmlinux),
            initrd: Some(PathBuf::from("initrd")),
            command_line: command_line(),
        }),
        provenance: crate::version::Provenance::default(),
    })
}

/// Writes `initrd` and, when the kernel has a PVH entry, `vmlinux`; returns the name of the kernel to start.
fn boot_files(folder: &Path) -> Result<&'static str, Fault> {
    let modules = modules::collect(&folder.join(hook::MODULES), REQUIRED_MODULES, OPTIONAL_MODULES)?;
    fs::write(folder.join("initrd"), initrd::initrd(fs::read(folder.join(hook::BUSYBOX))?, modules))?;
    match kernel::uncompressed(&fs::read(folder.join(hook::KERNEL))?) {
        Ok(elf) => {
            fs::write(folder.join("vmlinux"), elf)?;
            Ok("vmlinux")
        }
        Err(error) => {
            tracing::warn!(%error, "the packed kernel is used: guests start more slowly");
            Ok(hook::KERNEL)
        }
    }
}

async fn provenance(origin: &Origin, building: &Building<'_>) -> Result<crate::version::Provenance, Fault> {
    let packages = building.folder.join(hook::PACKAGES);
    Ok(crate::version::Provenance {
        source: format!("debian {}", archives::shown(&origin.lines)),
        builder: crate::version::BUILDER.to_owned(),
        tools: tools::versions(
            &[("mmdebstrap", "--version"), ("mke2fs", "-V"), ("qemu-img", "--version")],
            building.stop,
        )
        .await,
        packages: Some(crate::digest::of_bytes(&fs::read(packages)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(suite: &str, packages: &[&str]) -> DebianRecipe {
        DebianRecipe {
            suite: suite.into(),
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn mmdebstrap_is_asked_for_exactly_this() {
        let workshop = Workshop {
            mode: workshop::Mode::Unshare,
            scratch: "/var/tmp/s".into(),
            exchange: "/var/tmp/e".into(),
        };
        let place =
            Place { building: Path::new("/b"), files: Path::new("/b/files.tar"), workshop: &workshop };
        let line = Line { uri: "http://ana:secret@mirror.example/debian".into(), suite: "trixie".into() };
        let command = mmdebstrap(&recipe("trixie", &["curl", "dbus"]), &[line], &place);
        insta::assert_snapshot!(command.shown().replace(" '", "\n'"), @r#"
        mmdebstrap
        '--mode=unshare'
        '--variant=minbase'
        '--format=null'
        '--architectures=amd64'
        '--logfile=/b/mmdebstrap.log'
        '--include=busybox-static,ca-certificates,curl,dbus,e2fsprogs,iproute2,kmod,linux-image-cloud-amd64,openssh-server,procps,qemu-guest-agent,systemd-boot-efi,systemd-sysv,udev'
        '--dpkgopt=path-exclude=/usr/share/doc/*'
        '--dpkgopt=path-include=/usr/share/doc/*/copyright'
        '--dpkgopt=path-exclude=/usr/share/man/*'
        '--dpkgopt=path-exclude=/usr/share/info/*'
        '--dpkgopt=path-exclude=/usr/share/locale/*'
        '--dpkgopt=path-exclude=/usr/share/bash-completion/*'
        '--dpkgopt=path-exclude=/usr/share/zsh/*'
        '--aptopt=Acquire::Retries "3"'
        '--aptopt=Acquire::Languages "none"'
        '--customize-hook=tar-in /b/files.tar /'
        '--customize-hook=/var/tmp/s/hook' -- trixie /dev/null -
        "#);
        let of_its_own = mmdebstrap(&recipe("trixie", &[]), &[], &place).shown();
        assert!(
            of_its_own.contains("--keyring=/") && of_its_own.ends_with(" -- trixie /dev/null"),
            "{of_its_own}"
        );
    }

    #[test]
    fn recipes_that_apt_would_read_as_something_else_are_refused() {
        check(&recipe("trixie", &["g++", "libstdc++6", "python3.13"])).unwrap();
        for word in ["", "-o=x", "./x.deb", "?essential", "a,b", "x=1", "x/sid", "A"] {
            assert!(check(&recipe("trixie", &[word])).is_err(), "{word:?}");
            assert!(check(&recipe(word, &[])).is_err(), "{word:?}");
        }
    }
}
