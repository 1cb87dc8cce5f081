//! What Rust needs to compile for Windows: a standard library, which rustup fetches where there is a rustup.

use std::path::PathBuf;

use fs_err as fs;

use crate::{command::Command, report};

/// The target of everything that also runs on Windows.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// Makes sure of the standard library; why it is missing where it cannot be had.
///
/// # Errors
/// When rustc cannot be asked.
pub(crate) fn ensure_std() -> anyhow::Result<Result<(), String>> {
    if has_std()? {
        return Ok(Ok(()));
    }
    let add = Command::new(["rustup", "target", "add", TARGET]);
    report::line(format_args!("$ {add}"));
    let added = add.quiet().is_ok_and(|(ended, _)| ended.status.success());
    Ok(added
        .then_some(())
        .ok_or_else(|| format!("no standard library for {TARGET}, and `{add}` cannot fetch it")))
}

/// Looks at the files: a standard library that was put there by hand is one that rustup does not list.
fn has_std() -> anyhow::Result<bool> {
    let sysroot = Command::new(["rustc", "--print", "sysroot"]).read()?;
    let folder = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    let Ok(mut entries) = fs::read_dir(folder) else { return Ok(false) };
    Ok(entries
        .any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))))
}
