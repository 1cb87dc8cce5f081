//! Which QEMU is here, and what differs between its versions.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, CommandError};

/// The program that runs machines.
const PROGRAM: &str = "qemu-system-x86_64";
/// The oldest version that the arguments were tried with: Debian 12's.
const OLDEST: Version = Version { major: 7, minor: 2, micro: 0 };

/// QEMU's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// 7 of 7.2.22.
    pub major: u32,
    /// 2 of 7.2.22.
    pub minor: u32,
    /// 22 of 7.2.22.
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// What this version can do that another cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// Its TCG keeps the flags of `cmpxchg16b` right; 7.2 does not.
    pub tcg_cmpxchg16b: bool,
}

impl Features {
    /// What a version can do.
    #[must_use]
    pub const fn of(version: Version) -> Self {
        Self { tcg_cmpxchg16b: version.major >= 8 }
    }
}

/// The QEMU of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// The program; absolute when it could be resolved.
    pub binary: PathBuf,
    /// Its version.
    pub version: Version,
    /// What that version can do.
    pub features: Features,
}

/// No usable QEMU.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not installed.
    #[error("find {program}: it is not installed; Debian's package qemu-system-x86 holds it")]
    Missing {
        /// The program.
        program: PathBuf,
    },
    /// It is older than the arguments that we give it.
    #[error("use {program}: version {found} is older than {OLDEST}, which is needed")]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: Version,
    },
    /// It says something else than a version.
    #[error("read the version of {program} from {said:?}")]
    Unreadable {
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// It does not run.
    #[error("ask {program} for its version")]
    Broken {
        /// The program.
        program: PathBuf,
        /// What happened.
        #[source]
        source: CommandError,
    },
}

/// The QEMU in `PATH`.
///
/// # Errors
/// When there is none (the error names the package), it is too old, or does not run.
pub async fn find(stop: &CancellationToken) -> Result<Qemu, QemuError> {
    // Machines start with a fixed PATH, so the program is resolved here. Without which(1) the name has to do.
    let found = Command::new("which").arg(PROGRAM).run(stop).await;
    let resolved = found.map(|output| output.text().trim().to_owned()).unwrap_or_default();
    look_at(if resolved.is_empty() { PROGRAM.into() } else { resolved.into() }, stop).await
}

async fn look_at(program: PathBuf, stop: &CancellationToken) -> Result<Qemu, QemuError> {
    let said = match Command::new(&program).arg("--version").run(stop).await {
        Ok(output) => output.text(),
        Err(error) if error.is_not_found() => return Err(QemuError::Missing { program }),
        Err(source) => return Err(QemuError::Broken { program, source }),
    };
    let Some(version) = parse(&said) else { return Err(QemuError::Unreadable { program, said }) };
    if version < OLDEST {
        return Err(QemuError::TooOld { program, found: version });
    }
    Ok(Qemu { binary: program, version, features: Features::of(version) })
}

/// The version in the first line of `--version`.
fn parse(said: &str) -> Option<Version> {
    let text = said.lines().next()?.strip_prefix("QEMU emulator version ")?;
    let mut numbers = text.split_whitespace().next()?.split('.').map(|number| number.parse().ok());
    Some(Version {
        major: numbers.next()??,
        minor: numbers.next()??,
        micro: numbers.next().flatten().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_version_lines_are_understood() {
        let debian_12 =
            "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 …\n";
        assert_eq!(parse(debian_12), Some(Version { major: 7, minor: 2, micro: 22 }));
        let backports = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\n";
        assert_eq!(parse(backports), Some(Version { major: 10, minor: 0, micro: 2 }));
        assert_eq!(parse("QEMU emulator version 9.1.0-rc2"), Some(Version { major: 9, minor: 1, micro: 0 }));
        assert_eq!(parse("kvm: command not found"), None);
        assert_eq!(parse(""), None);
    }

    #[tokio::test]
    async fn a_missing_program_names_its_debian_package() {
        let error = look_at("no-such-qemu".into(), &CancellationToken::new()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "find no-such-qemu: it is not installed; Debian's package qemu-system-x86 holds it"
        );
    }
}
