//! YAML text to a tree in which every node knows its line and column. Knows nothing of kinds and keys.
//!
//! Built from the parser's events, not from its own tree: that one refuses or drops what we must report
//! (duplicate keys) and copies what an alias names, so that a small file can become a huge tree.

use std::{collections::HashMap, ops::ControlFlow};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use crate::problem::{Complaint, Place, Problem, quoted};

/// A larger file is not read: nobody writes one by hand.
const LARGEST: usize = 1 << 20;

/// Our own files nest seven deep.
const DEEPEST: usize = 64;

/// A YAML value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Reported already; to be passed over in silence.
    Refused,
}

/// A single value. Plain ones (without quotes) may mean more than their text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// What a scalar is by YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Number,
    Text,
}

impl Scalar {
    pub(crate) fn kind(&self) -> ScalarKind {
        match self.text.as_str() {
            _ if !self.plain => ScalarKind::Text,
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Bool(true),
            "false" | "False" | "FALSE" => ScalarKind::Bool(false),
            text if is_number(text) => ScalarKind::Number,
            _ => ScalarKind::Text,
        }
    }
}

impl Node {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.kind() == ScalarKind::Null)
    }

    /// Where the value at `path` (`spec.rules[0].name`) stands; the deepest part of it that exists.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let mut place = self.place;
        let mut node = self;
        for step in path.split('.') {
            let (key, items) = step.split_once('[').unwrap_or((step, ""));
            let Some(entry) = node.get(key) else { break };
            node = &entry.value;
            place = if matches!(node.data, Data::Mapping(_)) || node.is_empty() {
                entry.place
            } else {
                node.place
            };
            for index in items.split(['[', ']']).filter_map(|index| index.parse().ok()) {
                let Some(item) = node.item(index) else { return place };
                node = item;
                place = item.place;
            }
        }
        place
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match &self.data {
            Data::Sequence(items) => items.get(index),
            _ => None,
        }
    }
}

/// Returns the documents of `text` without the empty ones, and what is wrong with it as YAML. What is no YAML in one
/// document hides nothing of the others, so that all their problems can be told in the same run.
pub(crate) fn read(file: &str, text: &str) -> (Vec<Node>, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LARGEST {
        let complaint = Complaint::new("the file is too large").expected("at most 1 MiB");
        return (Vec::new(), vec![complaint.at(file, Place::START, String::new())]);
    }
    let whole = Builder::read(file, 0, text);
    if whole.finished {
        return (whole.documents, whole.problems);
    }
    // Once more, one by one: the parser looks ahead for a bracket's end, also into the documents behind it.
    let (mut nodes, mut problems) = (Vec::new(), Vec::new());
    for (before, document) in documents(text) {
        let read = Builder::read(file, before, document);
        nodes.extend(read.documents);
        problems.extend(read.problems);
    }
    (nodes, problems)
}

/// The parts of `text` that begin with a line `---`, each with the number of lines before it. Directives and remarks
/// belong to the first document, not to one of their own.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut content) = (Vec::new(), false);
    let (mut first, mut from, mut lines, mut at) = (0, 0, 0, 0);
    for line in text.split_inclusive(['\n', '\r']) {
        // Else it is the second half of a Windows line end.
        if line != "\n" || !text[..at].ends_with('\r') {
            if content && begins_document(line) {
                parts.push((first, &text[from..at]));
                (first, from) = (lines, at);
            }
            content |= !line.trim().is_empty() && !line.starts_with(['#', '%']);
            lines += 1;
        }
        at += line.len();
    }
    parts.push((first, &text[from..]));
    parts
}

fn begins_document(line: &str) -> bool {
    let behind = line.strip_prefix("---");
    behind.is_some_and(|behind| behind.is_empty() || behind.starts_with([' ', '\t', '\n', '\r']))
}

/// A collection whose end has not been read yet.
enum Open {
    Sequence { place: Place, items: Vec<Node> },
    Mapping { place: Place, entries: Vec<Entry>, seen: HashMap<String, Place>, key: Option<Key> },
}

/// A key whose value has not been read yet; `None`: its value is to be passed over.
struct Key {
    name: Option<String>,
    shown: String,
    place: Place,
}

struct Builder<'a> {
    file: &'a str,
    /// Lines of the file before the text that is read.
    before: usize,
    /// Whether the text was read to its end.
    finished: bool,
    open: Vec<Open>,
    documents: Vec<Node>,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    /// Reads a text, before which the file has `before` lines, up to its end or to the first thing that is no YAML.
    fn read(file: &'a str, before: usize, text: &str) -> Self {
        let (open, documents, problems) = (Vec::new(), Vec::new(), Vec::new());
        let mut builder = Self { file, before, finished: true, open, documents, problems };
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let next = match next {
                Ok((event, span)) => {
                    let place = builder.place(&span.start);
                    builder.event(event, place)
                }
                Err(error) => builder.syntax(&error),
            };
            if next.is_break() {
                builder.finished = false;
                break;
            }
        }
        builder
    }

    fn place(&self, marker: &Marker) -> Place {
        Place { line: self.before + marker.line(), column: marker.col() + 1 }
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> ControlFlow<()> {
        let tagged = self.tagged(&event, place);
        match event {
            Event::Scalar(..) if tagged => self.close(place, Data::Refused),
            Event::Scalar(text, style, ..) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.close(place, Data::Scalar(scalar));
            }
            Event::Alias(_) => {
                let message = "aliases (`*…`) are not read";
                self.complain(place, Complaint::new(message).expected("the value itself"));
                self.close(place, Data::Refused);
            }
            Event::SequenceStart(..) => self.open.push(Open::Sequence { place, items: Vec::new() }),
            Event::MappingStart(..) => {
                self.open.push(Open::Mapping { place, entries: Vec::new(), seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence { place, items }) => self.close(place, Data::Sequence(items)),
                Some(Open::Mapping { place, entries, .. }) => self.close(place, Data::Mapping(entries)),
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        if self.open.len() > DEEPEST {
            self.complain(place, Complaint::new(format!("nested deeper than {DEEPEST} levels")));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Refuses a tag: it would change what a value is.
    fn tagged(&mut self, event: &Event<'_>, place: Place) -> bool {
        let tagged = match event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => {
                tag.is_some()
            }
            _ => false,
        };
        if tagged {
            self.complain(place, Complaint::new("tags (`!…`) are not read").expected("the plain value"));
        }
        tagged
    }

    /// Puts a finished node where it belongs: into the open sequence or mapping, or among the documents.
    fn close(&mut self, place: Place, data: Data) {
        let node = Node { place, data };
        match self.open.last_mut() {
            None if node.is_empty() => {}
            None => self.documents.push(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                Some(Key { name: Some(key), place, .. }) => entries.push(Entry { key, place, value: node }),
                Some(Key { name: None, .. }) => {}
                None => self.key(node),
            },
        }
    }

    fn key(&mut self, node: Node) {
        let Data::Scalar(Scalar { text, .. }) = node.data else {
            if node.data != Data::Refused {
                self.complain(node.place, Complaint::new("a key is a list or a mapping").expected("text"));
            }
            return self.wait_for_value(Key { name: None, shown: "?".to_owned(), place: node.place });
        };
        let shown = shown_key(&text);
        let Some(Open::Mapping { seen, .. }) = self.open.last_mut() else { return };
        let first = *seen.entry(text.clone()).or_insert(node.place);
        if first == node.place {
            return self.wait_for_value(Key { name: Some(text), shown, place: node.place });
        }
        let message = format!("given twice; the first is in line {}", first.line);
        self.wait_for_value(Key { name: None, shown, place: node.place });
        self.complain(node.place, Complaint::new(message));
    }

    fn wait_for_value(&mut self, next: Key) {
        if let Some(Open::Mapping { key, .. }) = self.open.last_mut() {
            *key = Some(next);
        }
    }

    fn syntax(&mut self, error: &ScanError) -> ControlFlow<()> {
        let problem = Complaint::new(format!("not YAML: {}", error.info()));
        self.problems.push(problem.at(self.file, self.place(error.marker()), String::new()));
        ControlFlow::Break(())
    }

    fn complain(&mut self, place: Place, complaint: Complaint) {
        let path = self.path();
        self.problems.push(complaint.at(self.file, place, path));
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::Sequence { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Mapping { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.shown);
                }
                Open::Mapping { key: None, .. } => {}
            }
        }
        path
    }
}

/// A key in a path: as it is when it is a plain word, else in quotes.
pub(crate) fn shown_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    if !key.is_empty() && key.len() <= 60 && key.chars().all(plain) { key.to_owned() } else { quoted(key) }
}

/// Whether YAML 1.2's core schema takes a plain text for a number.
fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+');
    matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan")
        || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.bytes().all(numeric)
            && unsigned.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let (_, problems) = read("f", text);
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn every_node_knows_its_line_and_column_also_after_a_mark_and_with_windows_line_ends() {
        let (documents, problems) = read("f", "\u{feff}a: 1\r\nb:\r\n  - ü: x\r\n    c: y\r\n");
        assert_eq!(problems, []);
        let list = &documents[0].get("b").unwrap().value;
        let Data::Sequence(items) = &list.data else { panic!("{list:?}") };
        let c = items[0].get("c").unwrap();
        assert_eq!((c.place.line, c.place.column, c.value.place.column), (4, 5, 8));
        assert_eq!(documents[0].get("a").unwrap().place, Place::START);
    }

    #[test]
    fn empty_documents_are_passed_over() {
        let (documents, problems) = read("f", "# nothing\n---\n---\na: 1\n---\n# end\n...\n");
        assert_eq!((documents.len(), problems.len()), (1, 0));
    }

    #[test]
    fn what_yaml_allows_and_we_do_not_is_refused_with_its_place() {
        insta::assert_snapshot!(problems("a: &x {b: 1, b: 2}\nc: *x\nd: !!str 5\n? [1]\n: 2\ne: [1, {a: *x}]\n"), @r#"
        f:1:14: a.b: given twice; the first is in line 1
        f:2:4: c: aliases (`*…`) are not read; expected the value itself
        f:3:4: d: tags (`!…`) are not read; expected the plain value
        f:4:3: a key is a list or a mapping; expected text
        f:6:12: e[1].a: aliases (`*…`) are not read; expected the value itself
        "#);
    }

    #[test]
    fn syntax_errors_name_their_place_and_keep_the_documents_before_them() {
        let (documents, _) = read("f", "a: 1\n---\nb: [1\n");
        assert_eq!(documents.len(), 1);
        insta::assert_snapshot!(problems("a: 1\n\tb: 2\n"), @"f:1:4: not YAML: while scanning a plain scalar, found a tab");
        insta::assert_snapshot!(problems("a: b: c\n"), @"f:1:5: not YAML: mapping values are not allowed in this context");
        insta::assert_snapshot!(problems("a: \"b\n"), @"f:1:4: not YAML: while scanning a quoted scalar, found unexpected end of stream");
    }

    #[test]
    fn what_is_no_yaml_in_one_document_hides_nothing_of_the_others() {
        let text = "%YAML 1.2\n---\na: [1\n--- # the next\r\nb: &x 1\r\n---\r'c\r---\nd: 1\nd: 2\n---\n";
        insta::assert_snapshot!(problems(text), @r"
        f:4:1: not YAML: while parsing a flow sequence, expected ',' or ']'
        f:7:1: not YAML: while scanning a quoted scalar, found unexpected end of stream
        f:10:1: d: given twice; the first is in line 9
        ");
        let (documents, _) = read("f", text);
        let place = |key| documents.iter().find_map(|document| Some(document.get(key)?.place));
        assert_eq!(place("b"), Some(Place { line: 5, column: 1 }));
        assert_eq!(documents.len(), 2);
        let deep = format!("{}\n---\n'\n", "[".repeat(100));
        assert!(problems(&deep).contains("\nf:3:1: not YAML"), "too deep is no reason to stop either");
    }

    #[test]
    fn deep_and_large_files_are_refused_soon() {
        for text in
            ["[".repeat(1 << 20), "{a: ".repeat(1 << 18), "- ".repeat(1 << 19), "a".repeat((1 << 20) + 1)]
        {
            let started = std::time::Instant::now();
            assert!(!problems(&text).is_empty());
            assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        }
    }

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, kind) in [
            ("", ScalarKind::Null),
            ("true", ScalarKind::Bool(true)),
            ("yes", ScalarKind::Text),
            ("4", ScalarKind::Number),
            ("-4.5e3", ScalarKind::Number),
            (".inf", ScalarKind::Number),
            ("0x1F", ScalarKind::Number),
            ("1.2.3", ScalarKind::Text),
            ("8GiB", ScalarKind::Text),
            ("-", ScalarKind::Text),
        ] {
            assert_eq!(Scalar { text: text.into(), plain: true }.kind(), kind, "{text}");
        }
    }
}
