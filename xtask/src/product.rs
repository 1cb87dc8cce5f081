//! The built `winstead`, run as a user runs it, with a home of its own, and what its JSON says.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::{
    command::{Command, Ended},
    place, report,
};

/// How the product is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build: what a person who tries the project waits for.
    Dev,
    /// What numbers are taken from.
    #[cfg_attr(not(feature = "bench"), expect(dead_code, reason = "only benchmarks take numbers"))]
    Release,
}

/// A built `winstead` with its home.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    binary: PathBuf,
    home: PathBuf,
}

/// `get machines -o json`, as far as it is read here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Machine {
    pub(crate) metadata: Metadata,
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) uid: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) disk: Disk,
    pub(crate) memory: Memory,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disk {
    pub(crate) cap_bytes: u64,
    pub(crate) used_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    pub(crate) guest_bytes: u64,
    pub(crate) resident_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Machine>,
}

/// Builds the probe as one file that runs in any Linux guest; returns its path.
///
/// # Errors
/// When cargo fails.
pub(crate) fn static_probe() -> anyhow::Result<PathBuf> {
    built("probe")
}

/// Builds the agent as one file that runs in any Linux guest; returns its path.
///
/// # Errors
/// When cargo fails.
#[cfg(feature = "bench")]
pub(crate) fn static_agent() -> anyhow::Result<PathBuf> {
    built("agent")
}

/// What the alias `name` in .cargo/config.toml builds, where it says.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let build = Command::new(["cargo", name]);
    report::line(format_args!("$ {build}"));
    build.run()?;
    Ok(place::root().join(format!("target/{name}/x86_64-unknown-linux-gnu/release/winstead-{name}")))
}

/// Builds the agent for numbers; returns its path.
///
/// # Errors
/// When cargo fails.
#[cfg(feature = "bench")]
pub(crate) fn agent() -> anyhow::Result<PathBuf> {
    let build = Command::new(["cargo", "build", "--package", "winstead-agent", "--release"]);
    report::line(format_args!("$ {build}"));
    build.run()?;
    Ok(place::target().join("release/winstead-agent"))
}

impl Product {
    /// Builds it; its home will be `home`.
    ///
    /// # Errors
    /// When cargo fails.
    pub(crate) fn build(profile: Profile, home: PathBuf) -> anyhow::Result<(Self, Ended)> {
        let (flags, folder): (&[&str], _) = match profile {
            Profile::Dev => (&[], "debug"),
            Profile::Release => (&["--release"], "release"),
        };
        let build = Command::new(["cargo", "build", "--package", "winstead"].iter().chain(flags).copied());
        report::line(format_args!("$ {build}"));
        let ended = build.run()?;
        Ok((Self { binary: place::target().join(folder).join("winstead"), home }, ended))
    }

    /// The folder that holds all its state.
    #[must_use]
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A `winstead` command in this home.
    #[must_use]
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let binary = self.binary.display().to_string();
        let argv = std::iter::once(binary.as_str()).chain(arguments.iter().copied());
        Command::new(argv).env("WINSTEAD_HOME", self.home.display().to_string())
    }

    /// Shows the command as a user types it, then runs it.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn typed(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        show(arguments);
        self.command(arguments).run()
    }

    /// As [`Product::typed`], but any exit code is an answer.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or is interrupted.
    pub(crate) fn typed_any_status(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        show(arguments);
        let ended = self.command(arguments).lines(&mut |_, line| report::line(line))?;
        report::line(format_args!("({})", ended.status));
        Ok(ended)
    }

    /// All machines of this home.
    ///
    /// # Errors
    /// When the command fails or its answer is not what is documented.
    pub(crate) fn machines(&self) -> anyhow::Result<Vec<Machine>> {
        let text = self.command(&["get", "machines", "-o", "json"]).read()?;
        let list: List = serde_json::from_str(&text).context("read the list of machines")?;
        Ok(list.items)
    }

    /// Takes every machine away, also when an interrupt is what led here.
    ///
    /// # Errors
    /// When `down` fails.
    pub(crate) fn take_away(&self) -> anyhow::Result<()> {
        self.typed(&["down", "--all"]).map(drop)
    }
}

fn show(arguments: &[&str]) {
    report::line(format_args!(
        "\n$ {}",
        Command::new(std::iter::once("winstead").chain(arguments.iter().copied()))
    ));
}
