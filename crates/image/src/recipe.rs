//! The digest of a recipe: an unchanged recipe is not built again.
//!
//! Pure apart from looking at a `file:` recipe's files, which are told by size and time of change, never read: a
//! look-up must take milliseconds. A recipe that names a digest is told by it alone.

use std::{os::unix::fs::MetadataExt, path::Path};

use serde_json::{Map, Value, json};
use winstead_spec::{FileRecipe, Image, Recipe, Sha256};

use crate::{debian, digest};

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
    let recipe = json!({
        "builder": BUILDER_VERSION, "os": image.os, "seed": image.seed, "disk": image.disk, "from": from,
    });
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

fn signature(path: &Path) -> Option<Value> {
    let about = fs_err::metadata(path).ok()?;
    Some(
        json!({"path": path, "size": about.size(), "mtime": [about.mtime(), about.mtime_nsec()], "inode": about.ino()}),
    )
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
        }
    }

    #[test]
    fn the_order_of_packages_does_not_matter_and_everything_else_does() {
        let digest = digest_of(&debian(&["curl", "git"])).unwrap();
        assert_eq!(digest_of(&debian(&["git", "curl", "git"])).unwrap(), digest);
        let other_size = Image { disk: Some(ByteSize::from_mib(8192)), ..debian(&["curl", "git"]) };
        let other_name = Image { name: "other".parse().unwrap(), ..debian(&["curl", "git"]) };
        assert_ne!(digest_of(&debian(&["curl"])).unwrap(), digest);
        assert_ne!(digest_of(&other_size).unwrap(), digest);
        assert_eq!(digest_of(&other_name).unwrap(), digest, "a name is no ingredient");
    }

    #[test]
    fn a_file_that_is_not_there_has_no_digest_unless_the_recipe_says_it() {
        let recipe = |sha256| FileRecipe { path: "/no/such/file".into(), format: None, sha256, kernel: None };
        let image = |sha256| Image { recipe: Recipe::File(recipe(sha256)), ..debian(&[]) };
        assert_eq!(digest_of(&image(None)), None);
        assert!(digest_of(&image(Some(digest::of_bytes(b"x")))).is_some());
    }
}
