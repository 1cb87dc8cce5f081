//! The MSI, made by wixl: the program, its service, started, and its place in the event log.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::{command::Command, package};

const NAME: &str = "winstead-agent";
const SOURCE: &str = include_str!("agent.wxs");

/// Packs `program` into an MSI in `folder`; returns its path.
///
/// # Errors
/// When wixl fails.
pub(super) fn package(program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{NAME}-{}-x64.msi", package::version()));
    // wixl finds files beside its source only.
    let stage = package::stage(folder, "msi")?;
    fs::copy(program, stage.join("winstead-agent.exe"))?;
    fs::write(stage.join("agent.wxs"), SOURCE)?;
    let variables =
        [format!("Version={}", package::version()), format!("Product={}", product(package::version()))];
    let source = stage.join("agent.wxs").display().to_string();
    let output = path.display().to_string();
    let fixed = ["wixl", "--arch", "x64", "--output", output.as_str()];
    let defined = variables.iter().flat_map(|variable| ["-D", variable.as_str()]);
    Command::new(fixed.into_iter().chain(defined).chain([source.as_str()])).quiet_run()?;
    fs::remove_dir_all(stage)?;
    anyhow::ensure!(fs::metadata(&path)?.len() > 0, "wixl made an empty file: {}", path.display());
    Ok(path)
}

/// A product's id, which is another for each version and the same for the same one: Windows upgrades from one to the
/// other.
fn product(version: &str) -> String {
    let numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let numbers = numbers.fold(0_u64, |all, part: u64| all * 65_536 + part);
    format!("5d1c6c58-3f0e-4c62-9a3b-{numbers:012x}")
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Output};

    use winstead_testing::Wine;

    use super::*;
    use crate::place;

    #[test]
    fn each_version_is_a_product_of_its_own() {
        assert_eq!(product("0.1.0"), "5d1c6c58-3f0e-4c62-9a3b-000000010000");
        assert_ne!(product("0.1.0"), product("1.0.0"));
    }

    fn must(output: &Output, what: &str) {
        assert!(output.status.success(), "{what}: {output:?}");
    }

    /// Installed, started, asked, taken away.
    #[test]
    fn the_msi_brings_a_service_that_answers_and_takes_it_away() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("wixl").is_file()) {
            winstead_testing::skip("no wixl: the MSI was not made");
            return;
        }
        let folder = place::target().join("tmp");
        fs::create_dir_all(&folder).unwrap();
        let Some(wine) = Wine::or_skip(&folder.display().to_string()) else { return };
        let built = wine.build(&["build"], &["--package", NAME]);
        let program = &built.iter().find(|built| built.name == NAME).expect("a program").path;
        let folder = tempfile::tempdir_in(&folder).unwrap();
        let msi = package(program, folder.path()).unwrap();
        let msi = msi.file_name().unwrap().to_str().unwrap();
        let installed = wine.drive().join("Program Files/Winstead Agent/winstead-agent.exe");
        let manage = |action| wine.run(folder.path(), Path::new("msiexec"), [action, msi, "/qn"]);
        let agent = |arguments: &[&'static str]| {
            let output = wine.run(folder.path(), program, arguments.iter().copied());
            must(&output, "the agent's command line");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        must(&manage("/i"), "msiexec /i");
        assert!(installed.exists());
        let status = agent(&["service", "status", "-o", "json"]);
        assert!(status.contains(r#""phase":"running""#), "{status}");
        let hello = agent(&["hello"]);
        assert!(hello.contains("windows"), "{hello}");
        must(&manage("/x"), "msiexec /x");
        assert!(!installed.exists());
        let status = agent(&["service", "status", "-o", "json"]);
        assert!(status.contains(r#""phase":"not-installed""#), "{status}");
    }
}
