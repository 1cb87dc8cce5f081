//! The digest of a recipe: an unchanged recipe is not built again.
//!
//! Pure apart from looking at a `file:` recipe's files, which are told by size, inode and times, never read: a look-up must take milliseconds. A recipe that names a digest is told by it alone.

use std::path::Path;

use serde_json::{Map, Value, json};
use winstead_spec::{FileRecipe, Image, Recipe, Sha256};

use crate::{debian, digest, verify};

/// Raised when the same recipe gives another image for a reason that is not an ingredient: how a disk is laid out or
/// converted.
const BUILDER_VERSION: u32 = 3;

/// The digest; `None` when a file that the recipe names is not there, so that nothing can be said.
pub(crate) fn digest_of(image: &Image) -> Option<Sha256> {
    let from = match &image.recipe {
        Recipe::Debian(recipe) => {
            let mut packages = recipe.packages.clone();
            packages.sort();
            packages.dedup();
            json!({"debian": {"suite": recipe.suite, "packages": packages, "ingredients": debian::ingredients()}})
        }
        Recipe::File(recipe) => json!({"file": file(recipe)?}),
        Recipe::Url(recipe) => json!({"url": {"sha256": recipe.sha256, "format": recipe.format}}),
    };
    let mut recipe = json!({
        "builder": BUILDER_VERSION, "os": image.os, "seed": image.seed, "disk": image.disk, "from": from,
    });
    // Without, the digest is the one that it was before there were agents.
    if image.agent {
        recipe["agent"] = debian::agent_ingredients().into();
    }
    Some(digest::of_bytes(sorted(recipe).to_string().as_bytes()))
}

fn file(recipe: &FileRecipe) -> Option<Value> {
    let disk = match &recipe.sha256 {
        Some(sha256) => json!({"sha256": sha256}),
        None => signature(&recipe.path)?,
    };
    let kernel = match &recipe.kernel {
        None => Value::Null,
        Some(kernel) => {
            let initrd = match &kernel.initrd {
                Some(path) => signature(path)?,
                None => Value::Null,
            };
            json!({"kernel": signature(&kernel.kernel)?, "initrd": initrd, "commandLine": kernel.command_line})
        }
    };
    Some(json!({"disk": disk, "format": recipe.format, "kernel": kernel}))
}

/// A path need not be text.
fn signature(path: &Path) -> Option<Value> {
    Some(json!({"path": path.as_os_str().as_encoded_bytes(), "is": verify::signature(path).ok()?}))
}

/// What stat(2) says now of each file that a `file:` recipe names: the same before and after a build, or it read two
/// different files.
pub(crate) fn files(image: &Image) -> Vec<Option<[i64; 6]>> {
    let Recipe::File(recipe) = &image.recipe else { return Vec::new() };
    let kernel = recipe.kernel.iter().flat_map(|kernel| [Some(&kernel.kernel), kernel.initrd.as_ref()]);
    let paths = kernel.flatten().chain([&recipe.path]);
    paths.map(|path| verify::signature(path).ok()).collect()
}

/// Keys in one order, whatever order the code above writes them in.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use winstead_spec::{ByteSize, DebianRecipe, GuestOs, SeedKind};

    use super::*;

    fn debian(packages: &[&str]) -> Image {
        let packages = packages.iter().map(|name| (*name).to_owned()).collect();
        Image {
            name: "debian".parse().unwrap(),
            os: GuestOs::Linux,
            recipe: Recipe::Debian(DebianRecipe { suite: "trixie".into(), packages }),
            disk: None,
            seed: SeedKind::FwCfg,
            agent: false,
        }
    }

    #[test]
    fn the_order_of_packages_does_not_matter_and_everything_else_does() {
        let digest = digest_of(&debian(&["curl", "git"])).unwrap();
        assert_eq!(digest_of(&debian(&["git", "curl", "git"])).unwrap(), digest);
        let other_size = Image { disk: Some(ByteSize::from_mib(8192)), ..debian(&["curl", "git"]) };
        let with_agent = Image { agent: true, ..debian(&["curl", "git"]) };
        let other_name = Image { name: "other".parse().unwrap(), ..debian(&["curl", "git"]) };
        assert_ne!(digest_of(&debian(&["curl"])).unwrap(), digest);
        assert_ne!(digest_of(&other_size).unwrap(), digest);
        assert_ne!(digest_of(&with_agent).unwrap(), digest);
        assert_eq!(digest_of(&other_name).unwrap(), digest, "a name is no ingredient");
    }

    #[test]
    fn a_path_that_is_no_text_and_a_change_that_keeps_the_size_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        fs_err::write(&path, "a").unwrap();
        let recipe = FileRecipe { path: path.clone(), format: None, sha256: None, kernel: None };
        let image = Image { recipe: Recipe::File(recipe), ..debian(&[]) };
        let (digest, seen) = (digest_of(&image).unwrap(), files(&image));
        let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
        // Another content with the time of the old one, as `cp --preserve` and `touch` leave it.
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, "b").unwrap();
        fs_err::OpenOptions::new().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(digest_of(&image).unwrap(), digest);
        assert_ne!(files(&image), seen);
    }

    #[test]
    fn a_file_that_is_not_there_has_no_digest_unless_the_recipe_says_it() {
        let recipe = |sha256| FileRecipe { path: "/no/such/file".into(), format: None, sha256, kernel: None };
        let image = |sha256| Image { recipe: Recipe::File(recipe(sha256)), ..debian(&[]) };
        assert_eq!(digest_of(&image(None)), None);
        assert!(digest_of(&image(Some(digest::of_bytes(b"x")))).is_some());
    }
}
