//! Which Debian archives this computer is set up to use, read from apt's own files.
//!
//! A company's mirror is configured there, so nothing else has to be. Formats: sources.list(5), one line a source or
//! deb822 stanzas.

use std::{io, path::Path};

use fs_err as fs;

/// Names of Debian's releases. Others' archives seldom use them alone.
const RELEASES: &[&str] = &["bullseye", "bookworm", "trixie", "forky", "duke", "sid"];
/// Words that anybody's archive may use for its releases: `dl.google.com/linux/chrome/deb stable main`.
const WORDS: &[&str] = &["oldoldstable", "oldstable", "stable", "testing", "unstable"];

/// One archive that apt is set up with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// URIs without a slash at their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archives {
    /// Has suites like `trixie`.
    pub(crate) main: String,
    /// Has suites like `trixie-updates`.
    pub(crate) updates: Option<String>,
    /// Has suites like `trixie-security`.
    pub(crate) security: Option<String>,
}

/// The Debian archives that apt under `etc_apt` uses; `None` when it names none, as on Ubuntu.
pub(crate) fn archives(etc_apt: &Path) -> Option<Archives> {
    let texts = texts(etc_apt);
    let sources =
        texts.iter().flat_map(|(one_line, text)| if *one_line { lines(text) } else { stanzas(text) });
    chosen(&sources.collect::<Vec<_>>())
}

fn chosen(sources: &[Source]) -> Option<Archives> {
    let main = archive(sources, "")?;
    Some(Archives { main, updates: archive(sources, "-updates"), security: archive(sources, "-security") })
}

/// A file that cannot be read is no reason to fail: apt's own may hold a password and be root's alone.
fn texts(etc_apt: &Path) -> Vec<(bool, String)> {
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
        match fs::read(&path) {
            Ok(text) => texts.push((one_line, String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "apt's sources are read without this file"),
        }
    }
    texts
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

/// The URI of a Debian archive that has suites with this ending. One called `debian` goes before one in a corner.
fn archive(sources: &[Source], ending: &str) -> Option<String> {
    let candidates: Vec<&str> = sources
        .iter()
        .filter(|source| has_suite(source, ending))
        .flat_map(|source| &source.uris)
        .map(|uri| uri.trim_end_matches('/'))
        .collect();
    let plain = candidates.iter().find(|uri| uri.ends_with("/debian"));
    plain.or_else(|| candidates.first()).map(|uri| (*uri).to_owned())
}

/// Others' archives also have suites called `bookworm` with a component `main`; their key tells them apart. A word
/// that anybody uses counts only with Debian's key or at Debian's own address.
fn has_suite(source: &Source, ending: &str) -> bool {
    let ours = source.signed_by.as_ref().is_some_and(|key| key.contains("debian-archive"));
    let certain = ours || source.uris.iter().all(|uri| is_debians(uri));
    let fits = |suite: &String| {
        suite
            .strip_suffix(ending)
            .is_some_and(|name| RELEASES.contains(&name) || certain && WORDS.contains(&name))
    };
    source.suites.iter().any(fits)
        && source.components.iter().any(|component| component == "main")
        && (ours || source.signed_by.is_none())
        && source.uris.iter().all(|uri| !uri.starts_with("cdrom:"))
}

fn is_debians(uri: &str) -> bool {
    let clean = without_passwords(uri);
    let host =
        clean.split_once("://").and_then(|(_, rest)| rest.split(['/', ':']).next()).unwrap_or_default();
    host == "debian.org" || host.ends_with(".debian.org")
}

/// `http://user:password@host/debian` becomes `http://host/debian`, wherever it stands in a text.
pub(crate) fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter == '/' || letter.is_whitespace()).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        clean.push_str(&part[host..]);
    }
    clean
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
        let found = chosen(&stanzas(DEB822)).unwrap();
        assert_eq!(found.main, "http://mirror.example/debian");
        assert_eq!(found.updates.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(found.security.as_deref(), Some("http://mirror.example/debian-security"));
        let vendors = "deb [arch=amd64 signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example bookworm main\n\
                       deb-src http://src.example/debian bookworm main\n\
                       deb cdrom:[Debian]/ bookworm main\n\
                       # deb http://off.example/debian bookworm main\n\
                       deb http://near.example/debian-remote bookworm main contrib # ours\n";
        assert_eq!(archive(&lines(vendors), "").as_deref(), Some("http://near.example/debian-remote"));
        assert_eq!(archive(&lines(vendors), "-security"), None);
    }

    #[test]
    fn words_that_anybody_uses_count_only_at_debians_own_address_or_with_its_key() {
        let chrome = "deb [arch=amd64] https://dl.google.com/linux/chrome/deb/ stable main\n";
        assert_eq!(archive(&lines(chrome), ""), None);
        for line in [
            "deb http://ftp.de.debian.org/debian stable main",
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.pgp] http://m.example/debian stable main",
        ] {
            assert!(archive(&lines(&format!("{chrome}{line}")), "").unwrap().ends_with("/debian"), "{line}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sources.list.d/secret.list")).unwrap();
        fs::write(folder.path().join("sources.list"), b"# caf\xe9\ndeb http://m.example/debian sid main")
            .unwrap();
        assert_eq!(archives(folder.path()).unwrap().main, "http://m.example/debian");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            without_passwords("Err:1 http://user:pw@m.example/debian trixie, https://a@b and c@d"),
            "Err:1 http://m.example/debian trixie, https://b and c@d"
        );
    }

    #[test]
    fn a_computer_without_a_debian_archive_names_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("sources.list"),
            "deb http://archive.ubuntu.example/ubuntu noble main\n",
        )
        .unwrap();
        assert_eq!(archives(folder.path()), None);
    }

    #[test]
    fn both_kinds_of_files_are_read_and_others_ignored() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sources.list.d")).unwrap();
        fs::write(folder.path().join("sources.list.d/debian.sources"), DEB822).unwrap();
        fs::write(folder.path().join("sources.list.d/debian.sources.bak"), "URIs: http://old.example/debian")
            .unwrap();
        assert_eq!(archives(folder.path()).unwrap().main, "http://mirror.example/debian");
    }
}
