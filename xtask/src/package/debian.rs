//! The `.deb`: a staged tree, packed by dpkg-deb. The same tree gives the same bytes.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::{command::Command, package, place};

const NAME: &str = "winstead-agent";
/// All times in the package: 2026-01-01. When it was built is nobody's business.
const EPOCH: &str = "1767225600";

/// Scripts that dpkg runs, by name.
const SCRIPTS: &[(&str, &str)] = &[
    ("postinst", include_str!("debian/postinst")),
    ("prerm", include_str!("debian/prerm")),
    ("postrm", include_str!("debian/postrm")),
];

/// What is in it besides the program: from the workspace, to the computer.
const FILES: &[(&str, &str)] = &[
    ("crates/agent/src/service/winstead-agent.service", "lib/systemd/system/winstead-agent.service"),
    ("docs/agent-service.md", "usr/share/doc/winstead-agent/agent-service.md"),
    ("LICENSE", "usr/share/doc/winstead-agent/copyright"),
];

/// What an administrator changes and an upgrade leaves alone: from the workspace, to the computer.
const CONFIGURATION: &[(&str, &str)] =
    &[("crates/agent/src/service/agent.yaml", "etc/winstead-agent/agent.yaml")];

/// Packs `program` into a package in `folder`; returns its path.
///
/// # Errors
/// When files cannot be written, or dpkg-deb fails.
pub(super) fn package(program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let stage = package::stage(folder, "deb")?;
    let bytes = fs::read(program)?;
    put(&stage.join("usr/bin/winstead-agent"), &bytes, 0o755)?;
    for (from, to) in FILES.iter().chain(CONFIGURATION) {
        put(&stage.join(to), &fs::read(place::root().join(from))?, 0o644)?;
    }
    let (architecture, library) = (architecture(), newest_glibc(&bytes));
    put(&stage.join("DEBIAN/control"), control(architecture, library.as_deref()).as_bytes(), 0o644)?;
    let kept: String = CONFIGURATION.iter().map(|(_, to)| format!("/{to}\n")).collect();
    put(&stage.join("DEBIAN/conffiles"), kept.as_bytes(), 0o644)?;
    for (name, script) in SCRIPTS {
        put(&stage.join("DEBIAN").join(name), script.as_bytes(), 0o755)?;
    }
    let path = folder.join(format!("{NAME}_{}_{architecture}.deb", package::version()));
    let (from, to) = (stage.display().to_string(), path.display().to_string());
    let build = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", from.as_str(), to.as_str()];
    Command::new(build).env("SOURCE_DATE_EPOCH", EPOCH).quiet_run()?;
    fs::remove_dir_all(stage)?;
    Ok(path)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    for folder in
        path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect::<Vec<_>>().iter().rev()
    {
        fs::create_dir(folder)?;
        // Whatever the umask of whoever builds it.
        fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
}

fn control(architecture: &str, library: Option<&str>) -> String {
    let depends = library.map_or_else(String::new, |version| format!("Depends: libc6 (>= {version})\n"));
    format!(
        "Package: {NAME}\nVersion: {}\nArchitecture: {architecture}\nMaintainer: Winstead <winstead@localhost>\n\
         {depends}Section: admin\nPriority: optional\n\
         Description: runs processes and tunnels for those whom a policy lets\n \
         The daemon on hosts and in guests. Old clients of rancher/wins talk to it, too.\n",
        package::version()
    )
}

/// As Debian calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The newest version of the C library that a program asks for: it is written in it as `GLIBC_2.34`. Nothing for one
/// that brings its own.
fn newest_glibc(program: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits = program.get(at + MARK.len()..)?.iter().take_while(|byte| byte.is_ascii_digit());
        let digits: String = digits.map(|byte| char::from(*byte)).collect();
        digits.parse::<u32>().ok()
    };
    let places = program.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    places.filter_map(|(at, _)| minor(at)).max().map(|minor| format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(argv: &[&str]) -> String {
        Command::new(argv.iter().copied()).read().expect("it succeeds")
    }

    #[test]
    fn the_newest_version_counts_and_not_the_longest_text() {
        assert_eq!(newest_glibc(b"GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.4\0").as_deref(), Some("2.34"));
        assert_eq!(newest_glibc(b"GLIBC_PRIVATE\0GLIBC_2."), None);
    }

    #[test]
    fn a_package_is_the_same_twice_holds_what_it_should_and_is_root_s() {
        let folder = tempfile::tempdir().unwrap();
        let program = Path::new("/bin/true");
        let path = package(program, folder.path()).unwrap();
        let first = fs::read(&path).unwrap();
        assert!(first == fs::read(package(program, folder.path()).unwrap()).unwrap(), "two builds differ");
        let path = path.display().to_string();
        let listed = say(&["dpkg-deb", "--contents", &path]);
        for (mode, name) in [
            ("-rwxr-xr-x root/root", "./usr/bin/winstead-agent"),
            ("-rw-r--r-- root/root", "./lib/systemd/system/winstead-agent.service"),
            ("-rw-r--r-- root/root", "./usr/share/doc/winstead-agent/copyright"),
            ("drwxr-xr-x root/root", "./usr/bin/"),
        ] {
            let there = listed.lines().any(|line| line.starts_with(mode) && line.ends_with(name));
            assert!(there, "{mode} {name}: {listed}");
        }
        let field = |name| say(&["dpkg-deb", "--field", &path, name]).trim().to_owned();
        assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
        assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    }

    #[test]
    fn a_package_is_installed_and_taken_away_without_a_trace() {
        if !place::is_root() {
            winstead_testing::skip("only root may install packages, also into a folder");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = package(Path::new("/bin/true"), folder.path()).unwrap().display().to_string();
        let root = folder.path().join("root");
        for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let flag = format!("--root={}", root.display());
        // Its scripts run outside of the folder and are told where it is; it holds no C library.
        let dpkg = |arguments: &[&str]| {
            let fixed = ["dpkg", flag.as_str(), "--force-script-chrootless", "--force-depends"];
            say(&[&fixed, arguments].concat())
        };
        dpkg(&["--install", &path]);
        let program = root.join("usr/bin/winstead-agent");
        assert!(program.exists() && root.join("lib/systemd/system/winstead-agent.service").exists());
        assert!(dpkg(&["--verify", NAME]).is_empty(), "files differ from the package");
        // What an administrator wrote stays, and what the agent keeps is no file of the package.
        let configuration = root.join("etc/winstead-agent/agent.yaml");
        fs::write(&configuration, "# mine\n").unwrap();
        let state = root.join("var/lib/winstead-agent");
        fs::create_dir_all(&state).unwrap();
        dpkg(&["--remove", NAME]);
        assert!(!program.exists() && state.exists() && configuration.exists());
        dpkg(&["--purge", NAME]);
        assert!(!state.exists() && !configuration.exists(), "purged, and something is there");
    }
}
