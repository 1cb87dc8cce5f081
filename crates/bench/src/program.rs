//! The probe's program, as it is copied into machines.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use winstead_measurement::contention::Workload;
use winstead_process::Command;
use winstead_spec::GuestOs;

use crate::error::BenchError;

/// The program file for one kind of guest, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    file: PathBuf,
    os: GuestOs,
}

/// Why a file cannot be the program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("find the probe: there is no {}", .0.display())]
    Missing(PathBuf),
    /// A Linux guest may have other libraries, or none.
    #[error("use {}: it needs libraries that a guest may not have", .0.display())]
    NotStatic(PathBuf),
    /// For another system.
    #[error("use {}: it is no program for {}", file.display(), system(*os))]
    OtherSystem {
        /// The file.
        file: PathBuf,
        /// What runs in the guests.
        os: GuestOs,
    },
    /// It cannot be read.
    #[error("read the probe")]
    Read(#[from] std::io::Error),
}

impl Program {
    /// What the file is called that is looked for beside our own program.
    #[must_use]
    pub const fn name(os: GuestOs) -> &'static str {
        match os {
            GuestOs::Linux => "winstead-probe",
            GuestOs::Windows => "winstead-probe.exe",
        }
    }

    /// Checks that a file can run in guests with this system.
    ///
    /// # Errors
    /// When it is not there, for another system, or needs libraries.
    pub fn check(file: &Path, os: GuestOs) -> Result<Self, ProgramError> {
        if !file.is_file() {
            return Err(ProgramError::Missing(file.to_owned()));
        }
        let bytes = fs_err::read(file)?;
        let is_for = match os {
            GuestOs::Linux => bytes.starts_with(b"\x7fELF"),
            GuestOs::Windows => bytes.starts_with(b"MZ"),
        };
        if !is_for {
            return Err(ProgramError::OtherSystem { file: file.to_owned(), os });
        }
        if os == GuestOs::Linux && names_a_loader(&bytes) {
            return Err(ProgramError::NotStatic(file.to_owned()));
        }
        Ok(Self { file: file.to_owned(), os })
    }

    /// The program that can be asked here whether a workload is one: this one, or for one of Windows that for Linux beside
    /// it. `None` when there is none. Both read the same words; what a system does not have only its own program knows.
    #[must_use]
    pub fn checker(&self) -> Option<PathBuf> {
        match self.os {
            GuestOs::Linux => Some(self.file.clone()),
            GuestOs::Windows => {
                Some(self.file.with_file_name(Self::name(GuestOs::Linux))).filter(|file| file.is_file())
            }
        }
    }

    /// Checks that the program understands a workload, where somebody can be asked: see [`Program::checker`].
    ///
    /// # Errors
    /// When it does not, with what it said.
    pub async fn check_workload(
        &self,
        workload: &Workload,
        stop: &CancellationToken,
    ) -> Result<(), BenchError> {
        let Some(checker) = self.checker() else { return Ok(()) };
        // With all that it is run with later: words that say one of these again are wrong too.
        let check = Command::new(checker).args(arguments(workload, Start::Together)).arg("--check");
        let asked = check.run_any_status(stop).await;
        let (status, output) = asked.map_err(|error| match stop.is_cancelled() {
            true => BenchError::Interrupted,
            false => BenchError::Probe(error),
        })?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Workload { arguments: workload.arguments.join(" "), said })
    }

    /// A script in the program's place.
    #[cfg(test)]
    pub(crate) const fn script(file: PathBuf, os: GuestOs) -> Self {
        Self { file, os }
    }

    /// Here.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its SHA-256 in hexadecimal digits: runs of two programs are not one experiment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self) -> Result<String, ProgramError> {
        let digest = Sha256::digest(fs_err::read(&self.file)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// In a guest, in the folder in which a login begins.
    pub(crate) const fn in_guest(&self) -> &'static str {
        Self::name(self.os)
    }

    /// As it is called there. Neither shell looks into the current folder by itself.
    pub(crate) fn command(&self) -> String {
        match self.os {
            GuestOs::Linux => format!("./{}", Self::name(self.os)),
            GuestOs::Windows => format!(".\\{}", Self::name(self.os)),
        }
    }
}

/// When a probe begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// As soon as it is prepared.
    Alone,
    /// When it is told to.
    Together,
}

/// What the program is run with: a workload, and how we want to hear of it.
pub(crate) fn arguments(workload: &Workload, start: Start) -> Vec<String> {
    let fixed: &[&str] = match start {
        Start::Alone => &["--output", "json"],
        Start::Together => &["--output", "json", "--barrier"],
    };
    workload.arguments.iter().map(String::as_str).chain(fixed.iter().copied()).map(str::to_owned).collect()
}

const fn system(os: GuestOs) -> &'static str {
    match os {
        GuestOs::Linux => "Linux",
        GuestOs::Windows => "Windows",
    }
}

/// Whether an ELF file has an interpreter (`PT_INTERP`), which loads its libraries. Fields as the ELF specification has
/// them for 64 bits.
fn names_a_loader(elf: &[u8]) -> bool {
    const INTERPRETER: u64 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = elf.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let header = |index: u64| -> Option<u64> {
        let at = number(32, 8)?.checked_add(index.checked_mul(number(54, 2)?)?)?;
        number(usize::try_from(at).ok()?, 4)
    };
    let count = number(56, 2).unwrap_or_default();
    (0..count).any(|index| header(index) == Some(INTERPRETER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn programs_that_need_libraries_are_refused_by_name() {
        // Whatever runs this test was linked as the system's own programs are.
        let own = std::env::current_exe().expect("a program");
        let error = Program::check(&own, GuestOs::Linux).expect_err("libraries");
        assert!(matches!(error, ProgramError::NotStatic(_)), "{error}");
        let error = Program::check(&own, GuestOs::Windows).expect_err("no .exe");
        assert!(matches!(error, ProgramError::OtherSystem { .. }), "{error}");
        let error = Program::check(Path::new("/no/such/file"), GuestOs::Linux).expect_err("nothing");
        assert!(matches!(error, ProgramError::Missing(_)), "{error}");
    }

    #[tokio::test]
    async fn a_workload_is_checked_with_all_that_it_is_run_with() {
        let folder = tempfile::tempdir().expect("a folder");
        // As the probe's own parser, it refuses an option that is there twice.
        let file = script(
            folder.path(),
            "[ \"$(printf '%s\\n' \"$@\" | sort | uniq -d)\" = '' ] && exit 0\necho 'error: twice' >&2\nexit 2",
        );
        let program = Program::script(file, GuestOs::Linux);
        let check = async |words: &[&str]| {
            let arguments = words.iter().map(|word| (*word).to_owned()).collect();
            let workload = Workload { name: "latency".to_owned(), arguments };
            program.check_workload(&workload, &CancellationToken::new()).await
        };
        check(&["latency", "--rate", "100"]).await.expect("a workload");
        for twice in [&["latency", "--output", "json"][..], &["latency", "--barrier"]] {
            let error = check(twice).await.expect_err("twice");
            assert!(matches!(&error, BenchError::Workload { said, .. } if said == "error: twice"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_workload_for_windows_is_checked_by_the_program_for_linux_beside_that_for_windows() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Program::script(folder.path().join("winstead-probe.exe"), GuestOs::Windows);
        let workload = Workload { name: "latency".to_owned(), arguments: vec!["latency".to_owned()] };
        let stop = CancellationToken::new();
        assert_eq!(program.checker(), None);
        program.check_workload(&workload, &stop).await.expect("nobody can be asked");
        script(folder.path(), "echo \"error: $1\" >&2; exit 2");
        let error = program.check_workload(&workload, &stop).await.expect_err("it was asked");
        assert!(matches!(&error, BenchError::Workload { said, .. } if said == "error: latency"), "{error}");
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = folder.join("winstead-probe");
        fs_err::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        file
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            names_a_loader(&bytes);
        }
    }
}
