//! Which Debian mirror this computer is set up to use, read from apt's own files.
//!
//! A company's mirror is configured there, so nothing else has to be. Formats: sources.list(5), one line a source or
//! deb822 stanzas.

use std::{io, path::Path};

use fs_err as fs;

/// Debian's own name for "a mirror near you"; used when apt's files name no Debian archive, as on Ubuntu.
pub(crate) const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Suites of the archive itself. Others' archives use words of their own, or these with something behind.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// One archive that apt is set up with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// The URI of the Debian archive that apt under `etc_apt` uses, or [`DEFAULT_MIRROR`].
///
/// # Errors
/// When a file that is there cannot be read.
pub(crate) fn mirror(etc_apt: &Path) -> io::Result<String> {
    let mut sources = Vec::new();
    for (one_line, text) in texts(etc_apt)? {
        sources.extend(if one_line { lines(&text) } else { stanzas(&text) });
    }
    Ok(main_archive(&sources).unwrap_or_else(|| DEFAULT_MIRROR.to_owned()))
}

fn texts(etc_apt: &Path) -> io::Result<Vec<(bool, String)>> {
    let mut paths = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        paths.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        let one_line = match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("list") => true,
            Some("sources") => false,
            _ => continue,
        };
        match fs::read_to_string(&path) {
            Ok(text) => texts.push((one_line, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(texts)
}

/// `deb [signed-by=/x.gpg] http://… trixie main`.
fn lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let mut rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let mut signed_by = None;
    if let Some((options, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source { uris: vec![uri], suites: vec![suite], components: words.collect(), signed_by })
}

fn stanzas(text: &str) -> Vec<Source> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    uncommented.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Source> {
    let field = |name: &str| -> Option<Vec<String>> {
        let is_field = |line: &&&str| {
            line.split_once(':')
                .is_some_and(|(key, _)| !line.starts_with([' ', '\t']) && key.eq_ignore_ascii_case(name))
        };
        let at = lines.iter().position(|line| is_field(&line))?;
        let mut words: Vec<String> =
            lines[at].split_once(':')?.1.split_whitespace().map(str::to_owned).collect();
        for more in lines[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
            words.extend(more.split_whitespace().map(str::to_owned));
        }
        Some(words)
    };
    let off = field("Enabled").is_some_and(|words| words.iter().any(|word| word.eq_ignore_ascii_case("no")));
    if off || !field("Types")?.iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: field("URIs")?,
        suites: field("Suites")?,
        components: field("Components").unwrap_or_default(),
        signed_by: field("Signed-By").and_then(|words| words.into_iter().next()),
    })
}

fn main_archive(sources: &[Source]) -> Option<String> {
    let candidates: Vec<&String> =
        sources.iter().filter(|source| is_debian(source)).flat_map(|source| &source.uris).collect();
    let plain = candidates.iter().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    plain.or_else(|| candidates.first()).map(|uri| uri.trim_end_matches('/').to_owned())
}

/// Others' archives also have suites called `bookworm` with a component `main`; their key tells them apart.
fn is_debian(source: &Source) -> bool {
    source.suites.iter().any(|suite| SUITES.contains(&suite.as_str()))
        && source.components.iter().any(|component| component == "main")
        && source.signed_by.as_ref().is_none_or(|key| key.contains("debian-archive"))
        && source.uris.iter().all(|uri| !uri.starts_with("cdrom:") && !uri.contains("debian-security"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# http://snapshot.example/archive/debian-security
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
";

    #[test]
    fn the_debian_archive_is_found_among_security_and_vendors() {
        assert_eq!(main_archive(&stanzas(DEB822)).as_deref(), Some("http://mirror.example/debian"));
        let vendors = "deb [arch=amd64 signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example bookworm main\n\
                       deb-src http://src.example/debian bookworm main\n\
                       deb cdrom:[Debian]/ bookworm main\n\
                       # deb http://off.example/debian bookworm main\n\
                       deb http://near.example/debian-remote bookworm main contrib # ours\n";
        assert_eq!(main_archive(&lines(vendors)).as_deref(), Some("http://near.example/debian-remote"));
    }

    #[test]
    fn a_computer_without_a_debian_archive_takes_the_neutral_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("sources.list"),
            "deb http://archive.ubuntu.example/ubuntu noble main\n",
        )
        .unwrap();
        assert_eq!(mirror(folder.path()).unwrap(), DEFAULT_MIRROR);
    }

    #[test]
    fn both_kinds_of_files_are_read_and_others_ignored() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sources.list.d")).unwrap();
        fs::write(folder.path().join("sources.list.d/debian.sources"), DEB822).unwrap();
        fs::write(folder.path().join("sources.list.d/debian.sources.bak"), "URIs: http://old.example/debian")
            .unwrap();
        assert_eq!(mirror(folder.path()).unwrap(), "http://mirror.example/debian");
    }
}
