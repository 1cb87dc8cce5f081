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
    /// `./x fuzz`.
    Fuzz,
    /// The comparison with libvirt.
    Libvirt,
    /// The comparison with fio.
    Fio,
    /// The comparison with socat.
    Socat,
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
    /// What is skipped without it, where something can be: not every system has it.
    skipped: Option<&'static str>,
}

const fn package(name: &'static str, sign: Sign, need: Need, why: &'static str) -> Package {
    Package { name, sign, why, need, skipped: None }
}

const MINGW: &str = "x86_64-w64-mingw32-gcc";

impl Package {
    /// One without which the task goes on.
    const fn or_skip(self, skipped: &'static str) -> Self {
        Self { skipped: Some(skipped), ..self }
    }
}

const WINDOWS_PROGRAM: &str = "the tests of the Windows programs";

/// Names are the same on Debian 12, 13 and Ubuntu 24.04, but for Chromium, which is a snap on Ubuntu. Package managers of
/// other systems are not driven.
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
    )
    .or_skip("the tests of reports in a browser"),
    package("gcc-mingw-w64-x86-64-win32", Sign::Program(MINGW), Need::Packages, "links Windows programs")
        .or_skip(WINDOWS_PROGRAM),
    package("wine64", Sign::AnyFile(&["/usr/lib/wine/wine64"]), Need::Tests, "runs them")
        .or_skip(WINDOWS_PROGRAM),
    package("wixl", Sign::Program("wixl"), Need::Packages, "makes the agent's MSI")
        .or_skip("the test of the MSI"),
    package("swtpm", Sign::Program("swtpm"), Need::Tests, "is the TPM of Windows machines"),
    package("fio", Sign::Program("fio"), Need::Fio, "is what the probe is compared with"),
    package("g++", Sign::Program("c++"), Need::Fuzz, "compiles the fuzzer"),
    package("socat", Sign::Program("socat"), Need::Socat, "is what the agent's streams are compared with"),
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

/// Makes sure of all packages that one of `needs` wants; does nothing when they are there. Where one cannot be had that the
/// task can do without, it says what will be skipped.
///
/// # Errors
/// When one that the task cannot do without is missing and cannot be installed; the error holds the command to run by hand.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = missing(needs, &search_path());
    if missing.is_empty() {
        return Ok(());
    }
    report::heading("missing packages");
    for package in &missing {
        report::line(format_args!("  {package}"));
    }
    for skip in obtain(&missing, &install_and_find)? {
        report::line(skip);
    }
    Ok(())
}

/// Obtains what cannot be done without together, and the rest one by one: apt-get installs nothing at all where it lacks one
/// of the names. Returns what will be skipped, a line for each package that could not be had.
fn obtain(
    missing: &[Package],
    install: &dyn Fn(&[Package]) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<String>> {
    let (needed, others): (Vec<Package>, Vec<Package>) =
        missing.iter().partition(|package| package.skipped.is_none());
    if !needed.is_empty() {
        install(&needed)?;
    }
    let skip = |package: &Package| {
        let why = install(&[*package]).err()?;
        Some(format!("{}: {why}; {} will be skipped", package.name, package.skipped?))
    };
    Ok(others.iter().filter_map(skip).collect())
}

fn install_and_find(packages: &[Package]) -> anyhow::Result<()> {
    let is_offered = packages.iter().all(|package| package.skipped.is_none() || is_offered(package.name));
    anyhow::ensure!(is_offered, "apt-get does not offer it");
    install(&names(packages))?;
    let path = search_path();
    let lost: Vec<Package> =
        packages.iter().filter(|package| !is_there(package.sign, &path)).copied().collect();
    anyhow::ensure!(lost.is_empty(), "installed, but still not found: {}", names(&lost).join(" "));
    Ok(())
}

fn names(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().map(|package| package.name).collect()
}

/// Whether apt-get would install it. Asked without rights, so that nobody types a password for what is not to be had.
fn is_offered(name: &str) -> bool {
    let asked = || apt(false, &["install", "--simulate", name]).quiet();
    lists_are_missing() || asked().is_ok_and(|(ended, _)| ended.status.success())
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
    use std::cell::RefCell;

    use super::*;

    fn of(need: Need) -> Vec<Package> {
        PACKAGES.iter().filter(|package| package.need == need).copied().collect()
    }

    #[test]
    fn an_empty_path_misses_every_program_and_only_what_is_asked_for() {
        let names = |needs: &[Need]| names(&missing(needs, &[]));
        assert!(names(&[Need::Product]).contains(&"qemu-system-x86"));
        assert!(!names(&[Need::Product]).contains(&"swtpm"));
        assert_eq!(names(&[Need::Rootless]), ["uidmap"]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn what_can_be_done_without_is_asked_for_alone_and_its_lack_is_told_in_a_line() {
        let asked = RefCell::new(Vec::new());
        let install = |packages: &[Package]| {
            let names = names(packages);
            asked.borrow_mut().push(names.join(" "));
            anyhow::ensure!(names != ["chromium"], "apt-get does not offer it");
            Ok(())
        };
        let skipped = obtain(&of(Need::Tests), &install).unwrap();
        assert_eq!(
            skipped,
            ["chromium: apt-get does not offer it; the tests of reports in a browser will be skipped"]
        );
        let asked = asked.into_inner();
        assert!(asked[0].starts_with("xorriso dnsmasq-base ") && !asked[0].contains("chromium"), "{asked:?}");
        assert_eq!(asked[1..], ["chromium", "wine64"]);
    }

    #[test]
    fn what_cannot_be_done_without_ends_the_task() {
        let refuse = |_: &[Package]| anyhow::bail!("no mirror");
        assert_eq!(obtain(&of(Need::Rootless), &refuse).unwrap_err().to_string(), "no mirror");
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
