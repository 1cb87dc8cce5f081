//! Reads a document of measurements, whoever wrote it: ours, fio's, DiskSpd's, a dump of windows_exporter.
//!
//! What it is, is seen from the document itself, not from its name. Bytes may be anything: nothing here panics.

mod choice;
mod diskspd;
mod fio;
mod windows_exporter;

use serde::Deserialize;
use serde_json::Value;
use winstead_statistics::histogram::TooManySamples;

pub use choice::ChoiceError;
pub use windows_exporter::{Counters, DiskExplanation, ExplainError, Explanation, Stream, explain};

use crate::{
    contention::{self, Contention},
    probe,
    run::{ReadError, Run},
};

/// What a document holds.
#[derive(Clone, Debug)]
pub enum Measured {
    /// Runs of one load, or of several.
    Runs(Vec<NamedRun>),
    /// An experiment with many machines.
    Contention(Box<Contention>),
    /// What Windows counted of its disks: no run, but it can be explained.
    Counters(Counters),
}

/// A run, and what its document calls the load.
#[derive(Clone, Debug)]
pub struct NamedRun {
    /// `rand-write`; of fio the job's name.
    pub name: String,
    /// The run.
    pub run: Run,
}

/// Why bytes are no measurement that is known here.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Neither UTF-8 nor UTF-16.
    #[error("it is no text")]
    NotText,
    /// Text, but nothing that is known here.
    #[error("it is {found}; known are {KNOWN}")]
    Unknown {
        /// What it seems to be.
        found: String,
    },
    /// It begins like JSON, or said that it is.
    #[error("it is broken JSON")]
    Json(#[source] serde_json::Error),
    /// It begins like XML.
    #[error("it is broken XML")]
    Xml(#[source] roxmltree::Error),
    /// One of our documents that cannot be read.
    #[error(transparent)]
    Document(#[from] ReadError),
    /// Another program's, with a key that is missing or holds what it cannot.
    #[error("it cannot be read as {kind}")]
    Content {
        /// What it seems to be.
        kind: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// Another program's, written without what is needed.
    #[error("{kind} without {missing}: {remedy}")]
    Incomplete {
        /// What it is.
        kind: &'static str,
        /// What is not in it.
        missing: String,
        /// How it gets in.
        remedy: &'static str,
    },
    /// A histogram that nobody can have measured.
    #[error(transparent)]
    TooManySamples(#[from] TooManySamples),
}

const KNOWN: &str = "results of winstead-probe (ProbeResult, ProbeResultList), documents of `winstead bench \
                     contention`, fio's json+, DiskSpd's XML, and dumps of windows_exporter";

/// What stands in `kind` of several results of the probe in one document.
pub const LIST: &str = "ProbeResultList";
/// Grows when a reader of older documents would misread a newer one.
pub const LIST_VERSION: u64 = 1;

/// Several results of the probe in one document.
#[derive(Deserialize)]
struct ResultList {
    items: Vec<Value>,
}

/// What `bytes` hold.
///
/// # Errors
/// When that is no measurement that is known here, or one that cannot be read.
pub fn read(bytes: &[u8]) -> Result<Measured, ImportError> {
    let text = text(bytes).ok_or(ImportError::NotText)?;
    let text = text.trim_start();
    match text.chars().next() {
        Some('{') => json(text),
        Some('<') => diskspd::read(text).map(Measured::Runs),
        _ => match (fio::after_remarks(text), Counters::read(text)) {
            (Some(document), _) => json(document),
            (None, Some(counters)) => Ok(Measured::Counters(counters)),
            (None, None) => Err(ImportError::Unknown { found: beginning(text) }),
        },
    }
}

/// Text in UTF-8, or in UTF-16 as PowerShell's `>` writes it.
fn text(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

fn json(text: &str) -> Result<Measured, ImportError> {
    let document: Value = serde_json::from_str(text).map_err(ImportError::Json)?;
    match document["kind"].as_str() {
        Some("ProbeResult") => Ok(Measured::Runs(vec![probe_run(&document)?])),
        Some(LIST) => Ok(Measured::Runs(probe_runs(&document)?)),
        Some(contention::KIND) => Ok(Measured::Contention(Box::new(Contention::read(&document)?))),
        Some(kind) => Err(ImportError::Unknown { found: format!("a {kind:?}") }),
        None if document.get("fio version").is_some() => fio::read(&document).map(Measured::Runs),
        None => Err(ImportError::Unknown { found: "JSON without a kind".to_owned() }),
    }
}

fn probe_runs(document: &Value) -> Result<Vec<NamedRun>, ImportError> {
    probe::check(document, LIST, LIST_VERSION)?;
    let content = |source| ReadError::Content { kind: LIST, source };
    let list = ResultList::deserialize(document).map_err(content)?;
    Ok(list.items.iter().map(probe_run).collect::<Result<_, _>>()?)
}

fn probe_run(document: &Value) -> Result<NamedRun, ReadError> {
    let run = probe::read(document)?;
    let name = run.settings.get("workload").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(NamedRun { name, run })
}

/// The first words of a text that is not known, for an error.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.lines().next() {
        None => "empty".to_owned(),
        Some(line) => format!("text that begins with {:?}", line.chars().take(SHOWN).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::example;

    const FIO: &str = include_str!("../tests/fio-3.33-rand-write.json");
    const DISKSPD: &str = include_str!("../tests/diskspd-2.2-not-run.xml");
    const DUMP: &str = include_str!("../tests/windows_exporter-0.31-not-run.txt");

    fn names(bytes: &[u8]) -> Vec<String> {
        match read(bytes) {
            Ok(Measured::Runs(runs)) => runs.into_iter().map(|named| named.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        read(text.as_bytes()).expect_err("no measurement").to_string()
    }

    #[test]
    fn what_a_document_is_is_seen_from_the_document() {
        let result = example::probe_result(100.0);
        assert_eq!(names(result.to_string().as_bytes()), ["latency"]);
        let list = json!({"kind": "ProbeResultList", "version": 1, "items": [result, result]});
        assert_eq!(names(list.to_string().as_bytes()), ["latency", "latency"]);
        assert_eq!(names(FIO.as_bytes()), ["rand-write"]);
        assert_eq!(names(DISKSPD.as_bytes()), ["TimeSpan 1"]);
        assert!(matches!(read(DUMP.as_bytes()), Ok(Measured::Counters(_))));
        let experiment = example::document(example::Story::CpuIsTheWall).to_string();
        assert!(matches!(read(experiment.as_bytes()), Ok(Measured::Contention(_))));
    }

    #[test]
    fn text_as_powershell_writes_it_is_read() {
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            mark.into_iter().chain(DISKSPD.encode_utf16().flat_map(bytes)).collect()
        };
        assert_eq!(names(&utf16([0xFF, 0xFE], u16::to_le_bytes)), ["TimeSpan 1"]);
        assert_eq!(names(&utf16([0xFE, 0xFF], u16::to_be_bytes)), ["TimeSpan 1"]);
        assert_eq!(names(format!("\u{feff}{FIO}").as_bytes()), ["rand-write"]);
    }

    #[test]
    fn what_is_not_known_says_what_was_found_and_what_is_known() {
        let unknown = refusal("apiVersion: winstead.dev/v1\nkind: Pool\n");
        assert!(
            unknown.starts_with(
                r#"it is text that begins with "apiVersion: winstead.dev/v1"; known are results"#
            )
        );
        assert!(refusal(r#"{"kind": "Pool"}"#).starts_with(r#"it is a "Pool"; known are"#));
        assert!(refusal(r#"{"jobs": []}"#).starts_with("it is JSON without a kind; known are"));
        assert!(refusal(" \n").starts_with("it is empty; known are"));
        assert_eq!(refusal(r#"{"kind": "#), "it is broken JSON");
        assert_eq!(refusal("<Results>"), "it is broken XML");
        let deep = 200_000;
        assert_eq!(refusal(&("{\"a\":".repeat(deep) + "1" + &"}".repeat(deep))), "it is broken JSON");
        assert!(read(("<a>".repeat(deep) + &"</a>".repeat(deep)).as_bytes()).is_err());
        assert_eq!(read(&[0xFF, 0x00, 0x80]).expect_err("bytes").to_string(), "it is no text");
        let late = json!({"kind": "ProbeResultList", "version": 2, "items": []}).to_string();
        assert_eq!(refusal(&late), "it is of version 2; this program reads versions up to 1");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }

        /// A document with a piece of it replaced is more likely to get far into a reader.
        #[test]
        fn a_damaged_document_is_read_or_refused(
            which in 0usize..4, at in any::<prop::sample::Index>(), length in 0usize..12, with in "[-0-9a-zA-Z<>{}\"., ]{0,12}",
        ) {
            let probe = include_str!("../tests/probe-result-v1.json");
            let document = [FIO, DISKSPD, DUMP, probe][which];
            let mut bytes = document.as_bytes().to_vec();
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, with.bytes());
            drop(read(&bytes));
        }
    }
}
