//! The system's packages: finds out what is missing, says what for, installs it with apt-get, and asks for rights only
//! for that one command, only when something is missing.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use fs_err as fs;

use crate::{command::Command, place, report};

/// Which task needs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Everything: the product cannot do its main job without it.
    Product,
    /// Only a normal user's `mmdebstrap`, which maps user ids.
    Rootless,
    /// Features that the tests exercise and the demo does not.
    Tests,
    /// `./x package`, and its tests.
    Packages,
    /// The comparison with libvirt.
    Libvirt,
    /// The comparison with fio.
    Fio,
}

/// How one sees that it is there.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Program(&'static str),
    /// A program that has several names.
    AnyProgram(&'static [&'static str]),
    /// A program that must not need shared libraries: it becomes part of an initrd.
    Static(&'static str),
    AnyFile(&'static [&'static str]),
}

/// A package of Debian and Ubuntu.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    name: &'static str,
    sign: Sign,
    why: &'static str,
    need: Need,
}

const fn package(name: &'static str, sign: Sign, need: Need, why: &'static str) -> Package {
    Package { name, sign, why, need }
}

const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// Names are the same on Debian 12, 13 and Ubuntu 24.04. Package managers of other systems are not driven.
const PACKAGES: &[Package] = &[
    package("qemu-system-x86", Sign::Program("qemu-system-x86_64"), Need::Product, "runs the machines"),
    package("qemu-utils", Sign::Program("qemu-img"), Need::Product, "makes overlays and converts images"),
    package("openssh-client", Sign::Program("ssh"), Need::Product, "logs in to machines"),
    package("mmdebstrap", Sign::Program("mmdebstrap"), Need::Product, "builds Debian images"),
    package("busybox-static", Sign::Static("busybox"), Need::Product, "is the images' own initrd"),
    package("e2fsprogs", Sign::Program("mke2fs"), Need::Product, "makes the images' file systems"),
    package("fdisk", Sign::Program("sfdisk"), Need::Product, "makes the images' partition tables"),
    package("mtools", Sign::Program("mcopy"), Need::Product, "makes the EFI partition, without mounting it"),
    package(
        "debian-archive-keyring",
        Sign::AnyFile(&[
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ]),
        Need::Product,
        "proves that Debian's packages are Debian's",
    ),
    package("uidmap", Sign::Program("newuidmap"), Need::Rootless, "lets mmdebstrap work without root"),
    package("xorriso", Sign::Program("xorriso"), Need::Tests, "makes seeds for others' cloud images"),
    package("dnsmasq-base", Sign::Program("dnsmasq"), Need::Tests, "gives addresses and names on a bridge"),
    package("nftables", Sign::Program("nft"), Need::Tests, "lets machines on a bridge reach the outside"),
    package("iproute2", Sign::Program("ip"), Need::Tests, "makes bridges, taps and network namespaces"),
    package("cpio", Sign::Program("cpio"), Need::Tests, "is what our initrd archives are compared with"),
    package("procps", Sign::Program("pgrep"), Need::Tests, "looks for processes that should be gone"),
    package(
        "ovmf",
        Sign::AnyFile(&["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"]),
        Need::Tests,
        "is the UEFI firmware",
    ),
    package(
        "chromium",
        Sign::AnyProgram(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]),
        Need::Tests,
        "opens reports as their readers do",
    ),
    package(
        "gcc-mingw-w64-x86-64-win32",
        Sign::Program(MINGW),
        Need::Tests,
        "links the Windows programs of the probe and the agent",
    ),
    package("wine64", Sign::AnyFile(&["/usr/lib/wine/wine64"]), Need::Tests, "runs them"),
    package("gcc-mingw-w64-x86-64-win32", Sign::Program(MINGW), Need::Packages, "links the Windows agent"),
    package("wixl", Sign::Program("wixl"), Need::Packages, "makes the MSI"),
    package("swtpm", Sign::Program("swtpm"), Need::Tests, "is the TPM of Windows machines"),
    package("fio", Sign::Program("fio"), Need::Fio, "is what the probe is compared with"),
    package("libvirt-daemon", Sign::Program("libvirtd"), Need::Libvirt, "is what Winstead is compared with"),
    package(
        "libvirt-daemon-system",
        Sign::AnyFile(&["/usr/share/doc/libvirt-daemon-system/copyright"]),
        Need::Libvirt,
        "makes the user that libvirt's machines run as",
    ),
    package("libvirt-clients", Sign::Program("virsh"), Need::Libvirt, "drives it"),
    package(
        "libvirt-daemon-driver-qemu",
        Sign::AnyFile(&["/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"]),
        Need::Libvirt,
        "lets it run QEMU",
    ),
];

impl fmt::Display for Package {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<24} {}", self.name, self.why)
    }
}

/// Makes sure of all packages that one of `needs` wants; does nothing when they are there.
///
/// # Errors
/// When they are missing and cannot be installed; the error holds the command to run by hand.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = missing(needs, &search_path());
    if missing.is_empty() {
        return Ok(());
    }
    report::heading("missing packages");
    for package in &missing {
        report::line(format_args!("  {package}"));
    }
    install(&missing.iter().map(|package| package.name).collect::<Vec<_>>())?;
    let still = self::missing(needs, &search_path());
    let names: Vec<&str> = still.iter().map(|package| package.name).collect();
    anyhow::ensure!(names.is_empty(), "installed, but still not found: {}", names.join(" "));
    Ok(())
}

fn missing(needs: &[Need], path: &[PathBuf]) -> Vec<Package> {
    PACKAGES
        .iter()
        .filter(|package| needs.contains(&package.need) && !is_there(package.sign, path))
        .copied()
        .collect()
}

fn is_there(sign: Sign, path: &[PathBuf]) -> bool {
    let find = |program: &str| path.iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    match sign {
        Sign::Program(program) => find(program).is_some(),
        Sign::AnyProgram(programs) => programs.iter().any(|program| find(program).is_some()),
        Sign::Static(program) => find(program).is_some_and(|file| is_static(&file)),
        Sign::AnyFile(files) => files.iter().any(|file| Path::new(file).exists()),
    }
}

/// Whether an ELF file names no dynamic loader, which would stand near its beginning.
fn is_static(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| {
        let head = &bytes[..bytes.len().min(8192)];
        head.starts_with(b"\x7fELF")
            && !head.windows(6).any(|window| window == b"ld-lin" || window == b"ld-mus")
    })
}

/// A user's `PATH` often lacks the folders where Debian keeps `mke2fs` and `nft`.
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).collect()
}

fn install(names: &[&str]) -> anyhow::Result<()> {
    let sudo = !place::is_root();
    let install = apt(sudo, &[&["install", "-y", "--no-install-recommends"], names].concat());
    let by_hand =
        format!("install them as root, then run this again: apt-get install -y {}", names.join(" "));
    let have = |program| is_there(Sign::Program(program), &search_path());
    anyhow::ensure!(
        have("apt-get"),
        "this system has no apt-get; install by its own means: {}",
        names.join(" ")
    );
    anyhow::ensure!(!sudo || have("sudo"), "not root, and there is no sudo; {by_hand}");
    if sudo {
        report::line("sudo is needed for the following command only:");
    }
    if lists_are_missing() {
        run_apt(&apt(sudo, &["update"])).with_context(|| by_hand.clone())?;
        return run_apt(&install).context(by_hand);
    }
    // Old lists name versions that a mirror no longer has; fresh ones cure that, and cost nothing when they are not needed.
    run_apt(&install).or_else(|_| {
        run_apt(&apt(sudo, &["update"]))?;
        run_apt(&install).context(by_hand)
    })
}

fn run_apt(command: &Command) -> anyhow::Result<()> {
    report::line(format_args!("$ {command}"));
    command.run().map(drop)
}

fn apt(sudo: bool, arguments: &[&str]) -> Command {
    let prefix: &[&str] = if sudo { &["sudo"] } else { &[] };
    let fixed = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"];
    let argv = prefix.iter().chain(&fixed).chain(arguments).copied();
    Command::new(argv).deadline(Duration::from_mins(15)).foreground()
}

fn lists_are_missing() -> bool {
    let Ok(mut entries) = fs::read_dir("/var/lib/apt/lists") else { return true };
    !entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_misses_every_program_and_only_what_is_asked_for() {
        let names =
            |needs: &[Need]| missing(needs, &[]).iter().map(|package| package.name).collect::<Vec<_>>();
        assert!(names(&[Need::Product]).contains(&"qemu-system-x86"));
        assert!(!names(&[Need::Product]).contains(&"swtpm"));
        assert_eq!(names(&[Need::Rootless]), ["uidmap"]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn a_program_is_found_in_any_folder_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("newuidmap"), "").unwrap();
        assert!(
            missing(&[Need::Rootless], &[PathBuf::from("/nowhere"), folder.path().to_owned()]).is_empty()
        );
    }

    #[test]
    fn a_busybox_with_a_dynamic_loader_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("busybox");
        fs::write(&file, b"\x7fELF....../lib64/ld-linux-x86-64.so.2").unwrap();
        assert!(!is_there(Sign::Static("busybox"), &[folder.path().to_owned()]));
        fs::write(&file, b"\x7fELF......").unwrap();
        assert!(is_there(Sign::Static("busybox"), &[folder.path().to_owned()]));
    }

    #[test]
    fn sudo_stands_before_apt_get_and_nowhere_else() {
        let shown = apt(true, &["install", "-y", "cpio"]).to_string();
        assert_eq!(
            shown,
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y cpio"
        );
        assert!(!apt(false, &["update"]).to_string().contains("sudo"));
    }
}
