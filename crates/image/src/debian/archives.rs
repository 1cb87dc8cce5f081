//! Where an image's packages come from: the archive, and the updates and security updates beside it.
//!
//! apt gets them on its standard input, each with the one keyring that may sign it: an argument would show a mirror's
//! password to all users, and without the keyring any key that this computer trusts could sign "Debian".

use std::{collections::BTreeMap, path::Path, time::Duration};

use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use super::sources::{self, Archives};

/// The keys of Debian's archive, of the package `debian-archive-keyring`, under its names in different releases.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Suites that take their updates themselves.
const ROLLING: &[&str] = &["sid", "unstable", "testing", "experimental"];
/// For the answer whether a suite is there.
const ANSWER: Duration = Duration::from_secs(20);

/// The file with the keys of Debian's archive.
#[must_use]
pub fn keyring() -> &'static str {
    KEYRINGS.into_iter().find(|path| Path::new(path).exists()).unwrap_or(KEYRINGS[0])
}

/// A suite in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) uri: String,
    pub(super) suite: String,
}

/// The suites that a system of `suite` is made from, the main one first.
pub(super) fn wanted(archives: &Archives, suite: &str) -> Vec<Line> {
    let line = |uri: &String, end: &str| Line { uri: uri.clone(), suite: format!("{suite}{end}") };
    let mut lines = vec![line(&archives.main, "")];
    if !ROLLING.contains(&suite) {
        lines.extend(archives.updates.iter().map(|uri| line(uri, "-updates")));
        lines.extend(archives.security.iter().map(|uri| line(uri, "-security")));
    }
    lines
}

/// The lines whose suites are there; `missing` hears of others. The main one always stays: apt says what is wrong.
pub(super) async fn present(lines: Vec<Line>, proxies: &Proxies, missing: impl Fn(&Line)) -> Vec<Line> {
    let mut found = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 && is_missing(&line, proxies).await {
            missing(&line);
        } else {
            found.push(line);
        }
    }
    found
}

/// Whether the server says so. What cannot be asked is left to apt.
async fn is_missing(line: &Line, proxies: &Proxies) -> bool {
    let url = format!("{}/dists/{}/InRelease", line.uri, line.suite);
    let Some(scheme) = ["http", "https"].into_iter().find(|scheme| url.starts_with(&format!("{scheme}://")))
    else {
        return false;
    };
    let proxy = proxies.0.get(scheme).and_then(|uri| ureq::Proxy::new(uri).ok());
    let ask = move || {
        let settings = ureq::Agent::config_builder().timeout_global(Some(ANSWER)).http_status_as_error(false);
        let settings = if proxy.is_some() { settings.proxy(proxy) } else { settings };
        ureq::Agent::from(settings.build()).head(&url).call().is_ok_and(|answer| answer.status() == 404)
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or(false)
}

/// What apt reads: sources.list(5).
pub(super) fn sources_list(lines: &[Line], keyring: &str) -> String {
    lines
        .iter()
        .map(|Line { uri, suite }| format!("deb [signed-by={keyring}] {uri} {suite} main\n"))
        .collect()
}

/// For people: `trixie from http://…/debian, trixie-security from …`.
pub(super) fn shown(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "from the archives that mmdebstrap knows".to_owned();
    }
    let shown: Vec<String> = lines
        .iter()
        .map(|line| format!("{} from {}", line.suite, sources::without_passwords(&line.uri)))
        .collect();
    shown.join(", ")
}

/// The proxies that this computer's apt is set up with, by scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proxies(BTreeMap<&'static str, String>);

impl Proxies {
    /// None when apt names none, or is not there.
    pub(super) async fn of_host(stop: &CancellationToken) -> Self {
        let ask = Command::new("apt-config").args(["dump", "--format", "%f=%v%n"]);
        let ask = ask.args(["Acquire::http::Proxy", "Acquire::https::Proxy"]);
        ask.run(stop).await.map(|output| Self::read(&output.text())).unwrap_or_default()
    }

    fn read(text: &str) -> Self {
        let value = |scheme: &'static str| {
            let key = format!("Acquire::{scheme}::Proxy=");
            let value = text.lines().find_map(|line| line.strip_prefix(&key))?;
            (!value.is_empty() && value != "DIRECT").then(|| (scheme, value.to_owned()))
        };
        Self(["http", "https"].into_iter().filter_map(value).collect())
    }

    /// In the environment: nothing of it stays in the image, and arguments would show a password to all.
    pub(super) fn apply(&self, command: Command) -> Command {
        self.0.iter().fold(command, |command, (scheme, uri)| command.env(format!("{scheme}_proxy"), uri))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    fn archives() -> Archives {
        Archives {
            main: "http://ana:secret@m.example/debian".into(),
            updates: Some("http://m.example/debian".into()),
            security: Some("http://s.example/debian-security".into()),
        }
    }

    #[test]
    fn a_stable_suite_gets_its_updates_and_only_debians_keys_count() {
        let lines = wanted(&archives(), "trixie");
        insta::assert_snapshot!(sources_list(&lines, "/k.gpg"), @r"
        deb [signed-by=/k.gpg] http://ana:secret@m.example/debian trixie main
        deb [signed-by=/k.gpg] http://m.example/debian trixie-updates main
        deb [signed-by=/k.gpg] http://s.example/debian-security trixie-security main
        ");
        insta::assert_snapshot!(shown(&lines), @"trixie from http://m.example/debian, trixie-updates from http://m.example/debian, trixie-security from http://s.example/debian-security");
        assert_eq!(wanted(&archives(), "sid").len(), 1);
    }

    #[test]
    fn apts_proxies_are_handed_on() {
        let text = "Acquire::http::Proxy=http://p.example:3142\nAcquire::https::Proxy=DIRECT\n";
        assert_eq!(Proxies::read(text), Proxies([("http", "http://p.example:3142".to_owned())].into()));
        assert_eq!(Proxies::read(""), Proxies::default());
    }

    /// A server that has one path only, for as many requests as a test makes.
    fn server(path: &'static str, requests: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(requests) {
                let (mut stream, mut text) = (stream.unwrap(), [0; 4096]);
                let read = stream.read(&mut text).unwrap();
                let there = String::from_utf8_lossy(&text[..read]).starts_with(&format!("HEAD {path} "));
                let status = if there { "200 OK" } else { "404 Not Found" };
                write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_suite_that_a_mirror_lacks_is_left_out_and_named() {
        let uri = server("/dists/trixie-updates/InRelease", 2);
        let archives = Archives { main: uri.clone(), updates: Some(uri.clone()), security: Some(uri) };
        let missing = std::cell::RefCell::new(Vec::new());
        let tell = |line: &Line| missing.borrow_mut().push(line.suite.clone());
        let found = present(wanted(&archives, "trixie"), &Proxies::default(), tell).await;
        let suites: Vec<&str> = found.iter().map(|line| line.suite.as_str()).collect();
        assert_eq!(
            (suites, missing.into_inner()),
            (vec!["trixie", "trixie-updates"], vec!["trixie-security".into()])
        );
    }
}
