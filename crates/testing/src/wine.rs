//! Windows programs under Wine: built for it, and run in a Windows of their own that goes away.
//!
//! Wine does much of what Windows does and says of more that it did: pipes' rights, jobs' limits and the event log are
//! stored or accepted, and nothing comes of them. Tests look at what it really does.

use std::{
    env::consts::ARCH,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::skip;

const TARGET: &str = "x86_64-pc-windows-gnu";
const LINKER: &str = "x86_64-w64-mingw32-gcc";

/// What Rust's programs import since 2024 and Wine has since version 9: random numbers.
const BCRYPT_PRIMITIVES: &str = r"
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE at, SIZE_T size) { return SystemFunction036(at, (ULONG)size); }
";

/// A Wine with a Windows of its own, until it is dropped.
#[derive(Debug)]
pub struct Wine {
    loader: PathBuf,
    target: PathBuf,
    prefix: TempDir,
}

/// A Windows program that cargo made.
#[derive(Clone, Debug)]
pub struct Executable {
    /// Its target's name.
    pub name: String,
    /// Whether it runs tests.
    pub is_test: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl Wine {
    /// A Wine, with `folder` (`CARGO_TARGET_TMPDIR`) for what it needs; nothing, with the reason told, where this
    /// computer cannot build for it or run it. Takes ten seconds and 700 MB.
    ///
    /// # Panics
    /// When it is there and does not start.
    #[must_use]
    pub fn or_skip(folder: &str) -> Option<Self> {
        let reason = match loader() {
            _ if ARCH != "x86_64" => format!("Wine runs programs for x86_64, and this is {ARCH}"),
            None => "no Wine (Debian's package wine64): the Windows program was not run".to_owned(),
            Some(_) if !in_path(LINKER) => {
                format!("no {LINKER} (Debian's package gcc-mingw-w64-x86-64-win32): no Windows program")
            }
            Some(_) if !has_standard_library() => {
                format!("no Rust for Windows (rustup target add {TARGET}): no Windows program")
            }
            Some(loader) => return Some(Self::new(loader, Path::new(folder))),
        };
        skip(&reason);
        None
    }

    fn new(loader: PathBuf, folder: &Path) -> Self {
        let prefix = TempDir::new_in(folder).expect("a folder");
        fs_err::create_dir(prefix.path().join("wine")).expect("a folder");
        // A folder of its own beside the others: no build waits for another one's lock.
        let wine = Self { loader, target: folder.with_file_name("wine"), prefix };
        wine.start();
        let source = wine.prefix.path().join("bcryptprimitives.c");
        fs_err::write(&source, BCRYPT_PRIMITIVES).expect("a file");
        let library = wine.drive().join("windows/system32/bcryptprimitives.dll");
        must(
            command(LINKER).args(["-O2", "-s", "-shared", "-o"]).args([&library, &source]).arg("-ladvapi32"),
        );
        wine
    }

    /// Makes its Windows, and lets the services that every program needs stay until the end. They would keep the
    /// output of the program that starts them open for seconds, so it has none.
    fn start(&self) {
        let mut first = self.command();
        first.args(["cmd.exe", "/c", "exit"]);
        for mut command in [self.server("-p"), first] {
            let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(ended.expect("coreutils").success(), "{command:?}");
        }
    }

    /// Lets cargo (`build` or `test --no-run`, with what `arguments` add) make programs for Windows.
    ///
    /// # Panics
    /// When they cannot be built.
    #[must_use]
    pub fn build(&self, task: &[&str], arguments: &[&str]) -> Vec<Executable> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = command(Path::new(&cargo));
        build
            .args(task)
            .args(["--quiet", "--message-format=json-render-diagnostics", "--target", TARGET])
            .args(arguments);
        // Nobody debugs these; without what a debugger needs they are built in half the time.
        build.arg("--target-dir").arg(&self.target).env("CARGO_PROFILE_DEV_DEBUG", "0");
        let said = must(&mut build);
        said.split(|byte| *byte == b'\n').filter_map(executable).collect()
    }

    /// Wine itself, to be given a program and its arguments. It ends after five minutes at the latest.
    #[must_use]
    pub fn command(&self) -> Command {
        self.prepared(&self.loader)
    }

    /// Runs a program in `folder` to its end.
    ///
    /// # Panics
    /// When there is no Wine any more.
    #[must_use]
    pub fn run<'a>(
        &self,
        folder: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Output {
        let mut command = self.command();
        command.current_dir(folder).arg(program).args(arguments).stdin(Stdio::null());
        command.output().expect("coreutils")
    }

    /// Its drive `C:`.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        self.prefix.path().join("wine/drive_c")
    }

    fn server(&self, argument: &str) -> Command {
        let names = ["wineserver64", "wineserver"].map(|name| self.loader.with_file_name(name));
        let server = names.into_iter().find(|path| path.is_file());
        let mut command = self.prepared(&server.unwrap_or_else(|| PathBuf::from("wineserver")));
        command.arg(argument);
        command
    }

    fn prepared(&self, program: &Path) -> Command {
        let mut command = command(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.prefix.path()).env("WINEPREFIX", self.prefix.path().join("wine"));
        command.envs([("WINEDEBUG", "-all"), ("WINEARCH", "win64")]);
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml=;winemenubuilder.exe=d");
        command
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // It would stay for ever. Nothing can be done where it does not end.
        drop(self.server("-k").output());
    }
}

/// What cargo says of a program that it made.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn executable(line: &[u8]) -> Option<Executable> {
    let artifact: Artifact = serde_json::from_slice(line).ok()?;
    let Artifact { target: Target { name }, profile: Profile { test: is_test }, executable } = artifact;
    Some(Executable { name, is_test, path: executable? })
}

/// A command that does not hang for ever.
#[expect(
    clippy::disallowed_methods,
    reason = "tests of a program have no runtime; coreutils' timeout is the deadline"
)]
fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg("300").arg(program.as_ref());
    command
}

fn must(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("coreutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn in_path(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file())
}

/// Debian and Ubuntu keep it out of the `PATH`.
fn loader() -> Option<PathBuf> {
    ["/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

/// A target's standard library may have been put there by hand, so rustup is not asked.
fn has_standard_library() -> bool {
    let sysroot = must(command("rustc").args(["--print", "sysroot"]));
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}
