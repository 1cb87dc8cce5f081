//! Other people's programs that a build needs: all that are missing are named at once, with their packages.

use std::{collections::BTreeMap, path::Path};

use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use crate::error::Fault;

/// A program, or a file with an absolute path, and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Where programs are; root's folders belong to it also for users, whose `PATH` may lack them.
const FOLDERS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Checks that all are there.
///
/// # Errors
/// [`Fault::MissingTools`] with all packages that are missing.
pub(crate) fn require(tools: &[Tool]) -> Result<(), Fault> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|tool| !is_there(tool.program)).map(|tool| tool.package).collect();
    packages.dedup();
    if packages.is_empty() { Ok(()) } else { Err(Fault::MissingTools(packages.join(" "))) }
}

fn is_there(program: &str) -> bool {
    Path::new(program).is_absolute() && Path::new(program).exists()
        || FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

/// The first line that each program says about its version; one that says nothing is left out.
pub(crate) async fn versions(
    programs: &[(&str, &str)],
    stop: &CancellationToken,
) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (program, option) in programs {
        if let Ok((_, output)) = Command::new(program).arg(option).run_any_status(stop).await {
            let text = [output.stdout, output.stderr].concat();
            if let Some(line) = String::from_utf8_lossy(&text).lines().next() {
                versions.insert((*program).to_owned(), line.trim().to_owned());
            }
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_packages_are_named_at_once() {
        let tool = |program, package| Tool { program, package };
        require(&[tool("sh", "dash"), tool("/etc/passwd", "base-passwd")]).unwrap();
        let error =
            require(&[tool("sh", "dash"), tool("no-such-a", "a"), tool("/no/such/b", "b")]).unwrap_err();
        assert!(matches!(error, Fault::MissingTools(packages) if packages == "a b"));
    }
}
