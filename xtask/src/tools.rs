//! Programs of Rust's own that cargo builds, once, into the target folder.

use std::time::Duration;

use crate::{command::Command, place, report};

/// The program of this name, built where it is not there yet; `None` when it cannot be.
///
/// # Errors
/// When cargo cannot be started, or the run is interrupted.
pub(crate) fn ensure(name: &str) -> anyhow::Result<Option<String>> {
    let root = place::target().join("tools");
    let program = root.join("bin").join(name);
    if !program.exists() {
        let root = root.display().to_string();
        let install =
            Command::new(["cargo", "install", "--locked", "--quiet", "--root", root.as_str(), name]);
        report::line(format_args!("$ {install}    (once; takes minutes)"));
        let (ended, said) = install.deadline(Duration::from_mins(25)).quiet()?;
        if !ended.status.success() {
            report::line(said.trim_end());
            return Ok(None);
        }
    }
    Ok(Some(program.display().to_string()))
}
