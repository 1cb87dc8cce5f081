//! The file that `rancher/wins` was configured with: `c:\etc\rancher\wins\config`, YAML or JSON.
//!
//! It is read as it always was, keys in whatever case, and judged more strictly: what the old server passed over in
//! silence is an error here. An old `whiteList` that it did not know let everybody run everything.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    check,
    problem::{Complaint, Place, Problem, Problems, quoted},
    tree::{self, Data, Entry, Node, ScalarKind},
};

/// The old server's configuration, as far as it is still one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinsConfig {
    /// Whether everything is logged.
    pub debug: bool,
    /// The name of the pipe for gRPC.
    pub listen: String,
    /// The name of the pipe for tunnels.
    pub proxy: String,
    /// Programs that may be run, as the file has them. Empty: none.
    pub process_paths: Vec<String>,
    /// Ports of `localhost` that tunnels may reach. Empty: none.
    pub proxy_ports: Vec<u16>,
    /// What is in the file and means something else than before, or nothing.
    pub warnings: Vec<Problem>,
}

impl Default for WinsConfig {
    /// As without a file.
    fn default() -> Self {
        Self {
            debug: false,
            listen: "rancher_wins".to_owned(),
            proxy: "rancher_wins_proxy".to_owned(),
            process_paths: Vec::new(),
            proxy_ports: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// As it is once the keys are spelled as we do.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Raw {
    debug: bool,
    listen: Option<String>,
    proxy: Option<String>,
    #[serde(rename = "white_list")]
    white_list: RawList,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawList {
    process_paths: Vec<String>,
    proxy_ports: Vec<u16>,
}

/// Keys of what this daemon does not do: without it something that the user counts on would be missing.
const REFUSED: [(&str, &str); 2] = [
    ("systemagent", "winstead-agent has no Rancher system agent; keep Rancher's own service for that"),
    ("csi-proxy", "winstead-agent installs no CSI proxy; install it by its own means"),
];

/// Keys that only said how parts work that are not here.
const PASSED_OVER: [(&str, &str); 3] = [
    ("upgrade", "winstead-agent never replaces itself; install another version instead"),
    ("agentStrictTLSMode", "it belongs to the system agent, which winstead-agent has not"),
    ("tls-config", "it belongs to downloads, which winstead-agent does not make"),
];

const KNOWN: [&str; 4] = ["debug", "listen", "proxy", "white_list"];
const KNOWN_IN_LIST: [&str; 2] = ["processPaths", "proxyPorts"];

/// Returns what the old configuration file says; an empty one says nothing. `file` is its name, for messages.
///
/// # Errors
/// With everything that is wrong with it.
pub fn parse_wins(file: &str, text: &str) -> Result<WinsConfig, Problems> {
    // YAML has no tabs, JSON may be indented with them; inside of its texts they are not allowed either.
    let json = text.trim_start().starts_with('{').then(|| text.replace('\t', " "));
    let (documents, mut problems) = tree::read(file, json.as_deref().unwrap_or(text));
    let mut reading = Reading { file, problems: Vec::new(), warnings: Vec::new() };
    let raw = match <[Node; 1]>::try_from(documents) {
        Ok([document]) => reading.document(document),
        Err(none) if none.is_empty() => Some(Raw::default()),
        Err(several) => {
            let complaint = Complaint::new("a second document").expected("one");
            reading.problems.push(complaint.at(file, several[1].place, String::new()));
            None
        }
    };
    problems.append(&mut reading.problems);
    match raw {
        Some(raw) if problems.is_empty() => Ok(meaning(raw, reading.warnings)),
        _ => {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(Problems(problems))
        }
    }
}

fn meaning(raw: Raw, warnings: Vec<Problem>) -> WinsConfig {
    let names = WinsConfig::default();
    WinsConfig {
        debug: raw.debug,
        listen: raw.listen.unwrap_or(names.listen),
        proxy: raw.proxy.unwrap_or(names.proxy),
        process_paths: raw.white_list.process_paths,
        proxy_ports: raw.white_list.proxy_ports,
        warnings,
    }
}

struct Reading<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Reading<'_> {
    fn document(&mut self, mut document: Node) -> Option<Raw> {
        if let Data::Mapping(entries) = &mut document.data {
            self.spelled(entries);
        }
        let before = self.problems.len();
        let value = check::check(self.file, &document, &SCHEMA, &mut self.problems);
        if self.problems.len() > before {
            return None;
        }
        match serde_json::from_value(value?) {
            Ok(raw) => self.named(&document, raw),
            Err(error) => {
                let problem = Complaint::new(error.to_string()).at(self.file, Place::START, String::new());
                self.problems.push(problem);
                None
            }
        }
    }

    /// Names of pipes are no paths, and programs have a name: the old server refused blank ones, too.
    fn named(&mut self, document: &Node, raw: Raw) -> Option<Raw> {
        let blank = |text: &&String| text.trim().is_empty();
        let pipe = |name: &&String| blank(name) || name.contains(['/', '\\']);
        let bad = [
            ("listen", raw.listen.iter().find(pipe)),
            ("proxy", raw.proxy.iter().find(pipe)),
            ("white_list.processPaths", raw.white_list.process_paths.iter().find(blank)),
        ];
        let bad = bad.into_iter().find_map(|(key, text)| Some((key, text?)));
        let Some((key, text)) = bad else { return Some(raw) };
        let complaint = Complaint::new(format!("{} is no name", quoted(text))).expected("a name");
        self.problems.push(complaint.at(self.file, document.place_of(key), key.to_owned()));
        None
    }

    /// Spells keys as we do, and takes out those that have no meaning here.
    fn spelled(&mut self, entries: &mut Vec<Entry>) {
        entries.retain(|entry| !empty(&entry.value));
        entries.retain(|entry| self.has_a_meaning(entry));
        for entry in entries.iter_mut() {
            spell(entry, &KNOWN);
            if entry.key.eq_ignore_ascii_case("whiteList") {
                let complaint = Complaint::new(
                    "the key is `white_list` since 2021; servers since then passed this one over",
                );
                self.warnings.push(complaint.at(self.file, entry.place, entry.key.clone()));
                "white_list".clone_into(&mut entry.key);
            }
            if let (true, Data::Mapping(inner)) = (entry.key == "white_list", &mut entry.value.data) {
                inner.retain(|entry| !empty(&entry.value));
                inner.iter_mut().for_each(|entry| spell(entry, &KNOWN_IN_LIST));
                self.twice(inner, "white_list.");
            }
        }
        self.twice(entries, "");
    }

    fn has_a_meaning(&mut self, entry: &Entry) -> bool {
        let named = |(key, _): &&(&str, &str)| entry.key.eq_ignore_ascii_case(key);
        let problem = |reason: &str| Complaint::new(reason).at(self.file, entry.place, entry.key.clone());
        if let Some((_, reason)) = REFUSED.iter().find(named) {
            self.problems.push(problem(reason));
            return false;
        }
        if let Some((_, reason)) = PASSED_OVER.iter().find(named) {
            self.warnings.push(problem(reason));
            return false;
        }
        true
    }

    /// The same key in two spellings: whichever was meant, one of them would be passed over.
    fn twice(&mut self, entries: &[Entry], path: &str) {
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..index].iter().find(|first| first.key == entry.key) {
                let message = format!("given twice; the first is in line {}", first.place.line);
                let problem =
                    Complaint::new(message).at(self.file, entry.place, format!("{path}{}", entry.key));
                self.problems.push(problem);
            }
        }
    }
}

fn empty(node: &Node) -> bool {
    matches!(&node.data, Data::Scalar(scalar) if scalar.kind() == ScalarKind::Null)
}

fn spell(entry: &mut Entry, known: &[&str]) {
    if let Some(known) = known.iter().find(|known| entry.key.eq_ignore_ascii_case(known)) {
        (*known).clone_into(&mut entry.key);
    }
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let name = json!({"type": "string", "format": "word"});
    let path = json!({"type": "string", "format": "file-path"});
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "debug": {"type": "boolean"}, "listen": name, "proxy": name,
            "white_list": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "processPaths": {"type": "array", "items": path},
                    "proxyPorts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 65535}},
                },
            },
        },
    })
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> WinsConfig {
        parse_wins("config", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(text: &str) -> String {
        parse_wins("config", text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_ranchers_installer_wrote_is_read() {
        let config = read(
            "white_list:\n  processPaths:\n  - C:/etc/rancher/wins/powershell.exe\n  proxyPorts:\n  - 9796\n\
             debug: true\nlisten:\n",
        );
        assert_eq!(
            (config.debug, &*config.listen, &*config.proxy),
            (true, "rancher_wins", "rancher_wins_proxy")
        );
        assert_eq!(config.process_paths, ["C:/etc/rancher/wins/powershell.exe"]);
        assert_eq!((config.proxy_ports, config.warnings), (vec![9796], vec![]));
    }

    #[test]
    fn json_and_any_case_of_keys_are_read_too() {
        let config = read("{\n\t\"LISTEN\": \"other\",\n\t\"White_List\": {\"PROXYPORTS\": [1, 2]}\n}");
        assert_eq!((&*config.listen, config.proxy_ports), ("other", vec![1, 2]));
    }

    #[test]
    fn without_a_list_nothing_is_allowed() {
        for text in ["", "# nothing\n", "debug: false", "white_list: {processPaths: [], proxyPorts:}"] {
            assert_eq!(read(text), WinsConfig::default(), "{text}");
        }
    }

    #[test]
    fn the_old_key_is_read_and_warned_of() {
        let config =
            read("whiteList: {processPaths: ['c:\\a.exe']}\nagentStrictTLSMode: true\nupgrade: {mode: none}");
        assert_eq!(config.process_paths, ["c:\\a.exe"]);
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(warnings.join("\n"), @r"
        config:2:1: agentStrictTLSMode: it belongs to the system agent, which winstead-agent has not
        config:3:1: upgrade: winstead-agent never replaces itself; install another version instead
        config:1:1: whiteList: the key is `white_list` since 2021; servers since then passed this one over
        ");
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        insta::assert_snapshot!(problems(
            "white_list:\n  processPath: [a]\n  proxyPorts: [70000]\nlistn: x\nsystemagent: {localEnabled: true}\n\
             csi-proxy: {}\nwhiteList: {}\nWhite_List: {}\n"
        ), @r"
        config:2:3: white_list.processPath: unknown key; did you mean `processPaths`?
        config:3:16: white_list.proxyPorts[0]: 70000 is too large; expected a whole number from 0 to 65535
        config:4:1: listn: unknown key; did you mean `listen`?
        config:5:1: systemagent: winstead-agent has no Rancher system agent; keep Rancher's own service for that
        config:6:1: csi-proxy: winstead-agent installs no CSI proxy; install it by its own means
        config:7:1: white_list: given twice; the first is in line 1
        config:8:1: white_list: given twice; the first is in line 1
        ");
        insta::assert_snapshot!(problems("a: 1\n---\nb: 2\n"), @"config:3:1: a second document; expected one");
        for blank in ["proxy: ' '", "listen: a/b", "white_list: {processPaths: [' ']}"] {
            assert!(problems(blank).contains("no name"), "{blank}");
        }
        insta::assert_snapshot!(problems("- 1\n"), @"config:1:1: found a list; expected a mapping of keys to values");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-zA-Z_]{1,12}|white_list|[:{}\\[\\],\"' \n\t-]|\\PC){0,60}") {
            drop(parse_wins("config", &text));
        }
    }
}
