//! `./x package`: winstead-agent as packages that are installed: a `.deb` for Linux, an MSI for Windows.

mod debian;
mod msi;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use fs_err as fs;

use crate::{
    command::Command,
    packages::{self, Need},
    place, report, windows,
};

/// Builds both and puts them into `target/packages`.
///
/// # Errors
/// When something they are made with is missing or fails.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    packages::ensure(&[Need::Packages])?;
    let folder = place::target().join("packages");
    fs::create_dir_all(&folder)?;
    let mut made = vec![debian::package(&release(None)?, &folder)?];
    match windows::ensure_std()? {
        Ok(()) => made.push(msi::package(&release(Some(windows::TARGET))?, &folder)?),
        Err(why) => report::line(format_args!("no MSI: {why}")),
    }
    for path in made {
        let size = report::bytes(fs::metadata(&path)?.len());
        report::line(format_args!("{}  {size}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The built agent.
fn release(target: Option<&str>) -> anyhow::Result<PathBuf> {
    let fixed = ["cargo", "build", "--release", "--package", "winstead-agent"];
    let flags = target.iter().flat_map(|target| ["--target", target]);
    let build = Command::new(fixed.into_iter().chain(flags));
    report::line(format_args!("$ {build}"));
    build.run()?;
    let folder = target.map_or_else(place::target, |target| place::target().join(target)).join("release");
    Ok(folder.join(if target.is_some() { "winstead-agent.exe" } else { "winstead-agent" }))
}

/// The workspace's version: xtask has the same.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// An empty folder for what a package is made of.
fn stage(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let stage = folder.join(format!("{name}.stage"));
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage)?;
    Ok(stage)
}
