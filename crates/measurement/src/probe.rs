//! Reads a result of `winstead-probe` (`kind: ProbeResult`).

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use winstead_statistics::Latencies;

use crate::run::{Ended, Operation, ReadError, Run, Source, flat};

const KIND: &str = "ProbeResult";
const NEWEST: u64 = 1;

/// What differs from run to run although the same was asked for: no setting.
const NO_SETTING: &str = "seed";

/// Of a result only what a [`Run`] has; a newer probe may say more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    program: Program,
    started_at: Timestamp,
    folder: String,
    parameters: Value,
    engine: Value,
    #[serde(default)]
    cache_used: Value,
    computer: Value,
    ended: String,
    elapsed_seconds: f64,
    operations: BTreeMap<String, Done>,
    errors: BTreeMap<String, u64>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Done {
    bytes: u64,
    latencies: Latencies,
}

/// The run that a result describes.
///
/// # Errors
/// When it is no result of the probe, or one of a later version.
pub fn read(document: &Value) -> Result<Run, ReadError> {
    check(document, KIND, NEWEST)?;
    let content = |source| ReadError::Content { kind: KIND, source };
    let document = Document::deserialize(document).map_err(content)?;
    let elapsed = Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let mut settings = flat(&document.parameters);
    settings.remove(NO_SETTING);
    settings.insert("cacheUsed".to_owned(), document.cache_used);
    settings.extend(flat(&document.engine).into_iter().map(|(key, value)| (format!("engine.{key}"), value)));
    let mut place = flat(&document.computer);
    place.insert("folder".to_owned(), document.folder.into());
    let operations = document
        .operations
        .into_iter()
        .map(|(name, done)| (name, Operation { latencies: done.latencies, bytes: done.bytes }));
    Ok(Run {
        source: Source { name: document.program.name, version: document.program.version },
        started_at: Some(document.started_at),
        settings,
        place,
        elapsed,
        ended: match document.ended.as_str() {
            "complete" => Ended::Complete,
            "interrupted" => Ended::Interrupted,
            _ => Ended::Lost,
        },
        operations: operations.collect(),
        errors: document.errors,
        notes: document.notes,
    })
}

/// Whether a document is of a kind, in a version that is known here.
pub(crate) fn check(document: &Value, kind: &'static str, newest: u64) -> Result<(), ReadError> {
    let found = document["kind"].as_str().unwrap_or_default();
    if found != kind {
        return Err(ReadError::Kind { found: found.to_owned(), wanted: kind });
    }
    match document["version"].as_u64().unwrap_or_default() {
        found if found > newest => Err(ReadError::Version { found, newest }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(include_str!("../tests/probe-result-v1.json")).expect("JSON")
    }

    #[test]
    fn a_result_of_version_1_is_read() {
        let run = read(&document()).expect("a run");
        assert_eq!((run.source.name.as_str(), run.ended), ("winstead-probe", Ended::Complete));
        assert_eq!(run.main_operation(), Some("write"));
        assert_eq!(run.operations["write"].latencies.count(), 8707);
        assert!((run.per_second("write").unwrap_or_default() - 17_395.79).abs() < 0.1);
        assert_eq!(run.settings["blockBytes"], 4096);
        assert!(!run.settings.contains_key("seed"), "no two runs would be alike");
        assert_eq!(run.place["fileSystem.type"], "ext4");
        assert_eq!(run.failures(), 0);
    }

    #[test]
    fn what_is_no_result_says_why() {
        let with = |key: &str, value: Value| {
            let mut changed = document();
            changed[key] = value;
            read(&changed).expect_err("no result").to_string()
        };
        assert_eq!(with("kind", json!("Pool")), r#"its kind is "Pool", not "ProbeResult""#);
        assert_eq!(with("version", json!(2)), "it is of version 2; this program reads versions up to 1");
        assert_eq!(with("elapsedSeconds", json!("1 s")), "it cannot be read as a ProbeResult");
    }
}
