//! Where what a guest names may be written: in the folder that was asked for, and nowhere else. Pure.

use std::path::{Component, Path, PathBuf};

/// The path of `name`, as a guest says it, inside `folder`; `None` when it would be anywhere else. An empty name is the
/// folder itself.
pub(super) fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    // Windows' separators and drives too: one guest may write what another host reads.
    if name.contains(['\\', '\0', ':']) && cfg!(windows) || name.contains('\0') || name.starts_with('/') {
        return None;
    }
    let mut path = folder.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            _ => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", "../a", "a/../../b", "/etc/passwd", "//a", "a/..", "./../a", "a\0b"] {
            assert_eq!(inside(Path::new("/here"), name), None, "{name:?}");
        }
        for (name, path) in [("", "/here"), ("a", "/here/a"), ("a/b c/..d", "/here/a/b c/..d")] {
            assert_eq!(inside(Path::new("/here"), name).as_deref(), Some(Path::new(path)), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_guest_says_stays_inside(name in "([a-c./]|\\.\\.|\\PC){0,20}") {
            if let Some(path) = inside(Path::new("/here"), &name) {
                prop_assert!(path.starts_with("/here"));
                prop_assert!(path.components().all(|part| part != Component::ParentDir));
            }
        }
    }
}
