//! Paths as texts that can be compared: by the rules of the system whose paths they are.

use std::path::Path;

/// Whose paths they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Letters are what they are.
    Unix,
    /// `A` to `Z` are `a` to `z`, and `\` is `/`. Other letters are compared as they are, which refuses rather than allows.
    Windows,
}

impl Paths {
    /// Those of the system that we run on.
    pub const HERE: Self = if cfg!(windows) { Self::Windows } else { Self::Unix };

    /// A path of a request, to be compared. Nothing when it is not one that names its file in the only way: it is relative,
    /// has `.`, `..` or nothing between two separators, is no text, or plays one of Windows' tricks (streams, devices,
    /// short names, names that end in dots and spaces).
    #[must_use]
    pub fn plain(self, path: &Path) -> Option<String> {
        let text = path.to_str().filter(|text| !text.contains('\0'))?;
        let folded = self.fold(text);
        let names = match self {
            Self::Unix => folded.strip_prefix('/')?,
            Self::Windows => {
                let rest = folded.strip_prefix(|letter: char| letter.is_ascii_lowercase())?;
                rest.strip_prefix(":/")?
            }
        };
        let good = |name: &str| match self {
            Self::Unix => !matches!(name, "" | "." | ".."),
            Self::Windows => is_plain_on_windows(name),
        };
        (names.is_empty() || names.split('/').all(good)).then_some(folded)
    }

    /// A path or a glob of a policy, to be compared with what [`Paths::plain`] returns.
    #[must_use]
    pub fn fold(self, text: &str) -> String {
        match self {
            Self::Unix => text.to_owned(),
            Self::Windows => text.replace('\\', "/").to_ascii_lowercase(),
        }
    }

    /// Whether two names of accounts, groups or variables are the same.
    #[must_use]
    pub fn same_name(self, one: &str, other: &str) -> bool {
        match self {
            Self::Unix => one == other,
            Self::Windows => one.eq_ignore_ascii_case(other),
        }
    }
}

/// Whether a lower-case name means itself: `a:b` is a stream, `progra~1` another name, `nul.txt` a device, `a.` is `a`.
fn is_plain_on_windows(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let numbered = |kind: &str| {
        let number = stem.strip_prefix(kind).map(|number| number.chars().count());
        number == Some(1)
    };
    let short = name.split('~').skip(1).any(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    let odd = |letter: char| letter.is_control() || "<>:\"|?*".contains(letter);
    !name.is_empty()
        && !name.ends_with(['.', ' '])
        && !name.contains(odd)
        && !short
        && !DEVICES.contains(&stem)
        && !numbered("com")
        && !numbered("lpt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(paths: Paths, text: &str) -> Option<String> {
        paths.plain(Path::new(text))
    }

    #[test]
    fn on_unix_a_path_is_what_it_is() {
        assert_eq!(plain(Paths::Unix, "/usr/Bin/a b").as_deref(), Some("/usr/Bin/a b"));
        assert_eq!(plain(Paths::Unix, "/").as_deref(), Some("/"));
        for odd in ["usr/bin", "/usr/../bin", "/usr/./bin", "/usr//bin", "/usr/", "", "/a\0b"] {
            assert_eq!(plain(Paths::Unix, odd), None, "{odd}");
        }
    }

    #[test]
    fn on_windows_case_and_slashes_do_not_count() {
        let same = plain(Paths::Windows, r"C:\Program Files\Tool.EXE");
        assert_eq!(same.as_deref(), Some("c:/program files/tool.exe"));
        assert_eq!(plain(Paths::Windows, "c:/program files/tool.exe"), same);
        assert_eq!(Paths::Windows.fold(r"C:\Program Files\*.exe"), "c:/program files/*.exe");
    }

    #[test]
    fn windows_other_ways_to_name_a_file_are_refused() {
        for odd in [
            r"C:\a\..\b",
            r"C:a",
            r"\\server\share\a",
            r"\\?\C:\a",
            r"\\.\pipe\a",
            r"C:\a:stream",
            r"C:\a::$DATA",
            r"C:\PROGRA~1\a",
            r"C:\a.",
            r"C:\a ",
            r"C:\NUL",
            r"C:\x\nul.txt",
            r"C:\com1.log",
            r"C:\lpt¹",
            r"C:\\a",
            "C:\\a\tb",
        ] {
            assert_eq!(plain(Paths::Windows, odd), None, "{odd}");
        }
        assert!(plain(Paths::Windows, r"C:\a~b\command.com").is_some());
    }
}
