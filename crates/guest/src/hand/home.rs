//! Where paths in a machine begin, by both ways into it. Pure.

use std::ffi::OsStr;

/// The home folder of root, as whom both ways log in.
pub(super) const HOME: &str = "/root";

/// A path in a machine as the agent takes it: absolute, from the home folder on, `.` and `..` mean what they say; `None`
/// when it is no text.
#[must_use]
pub fn at_home(path: &OsStr) -> Option<String> {
    let path = path.to_str()?;
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{HOME}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // A slash at the end asks for a folder.
    let end = if whole.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn paths_in_a_machine_begin_in_the_home_folder_and_lead_nowhere_else_for_the_agent() {
        for (text, path) in [
            ("", "/root/"),
            ("a", "/root/a"),
            ("./a/../b/", "/root/b/"),
            ("/", "/"),
            ("/a//b", "/a/b"),
            ("../../../x", "/x"),
        ] {
            assert_eq!(at_home(OsStr::new(text)).as_deref(), Some(path), "{text:?}");
        }
        assert_eq!(at_home(OsStr::from_bytes(b"\xff")), None);
    }
}
