//! Debian packages, downloaded and unpacked without root, without touching apt's own state.

use std::{fmt, path::Path, time::Duration};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;

/// For a mirror that is far away.
const DEADLINE: Duration = Duration::from_secs(300);

/// The configured Debian mirror does not give us what we need.
#[derive(Debug)]
pub(crate) struct NoMirror;

impl fmt::Display for NoMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("download from the configured Debian mirror")
    }
}

/// Makes the folders that apt then works in. The list of installed packages is empty.
pub(crate) fn make_folders(apt: &Path) -> anyhow::Result<()> {
    for part in ["lists/partial", "cache", "debs/partial"] {
        fs::create_dir_all(apt.join(part))?;
    }
    Ok(fs::write(apt.join("status"), "")?)
}

/// apt with every file and folder that it would write to replaced by ours: packages are left in `apt/debs`.
pub(crate) fn tool(program: &str, apt: &Path) -> Command {
    let at = |name: &str| apt.join(name).display().to_string();
    let options = [
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::State::extended_states={}", at("extended_states")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::Cache::archives={}", at("debs")),
        "APT::Sandbox::User=".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ];
    options.iter().fold(Command::new(program), |command, option| command.arg("-o").arg(option))
}

/// Runs an apt that asks the mirror.
pub(crate) async fn ask_mirror(apt: Command, stop: &CancellationToken) -> anyhow::Result<()> {
    apt.deadline(DEADLINE).run(stop).await.context(NoMirror)?;
    Ok(())
}

/// Unpacks all packages that apt has left into `root`.
pub(crate) async fn unpack(apt: &Path, root: &Path, stop: &CancellationToken) -> anyhow::Result<()> {
    for file in fs::read_dir(apt.join("debs"))? {
        let deb = file?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            Command::new("dpkg-deb").arg("-x").arg(deb).arg(root).run(stop).await?;
        }
    }
    Ok(())
}
