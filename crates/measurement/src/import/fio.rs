//! Reads what fio writes with `--output-format=json+`: its bins are whole histograms.
//!
//! Options become settings under the probe's names where they mean the same, and `fio.NAME` where they do not. Written
//! after the output of fio 3.33.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use winstead_statistics::Latencies;

use super::{ImportError, NamedRun};
use crate::run::{Ended, Operation, Run, Source};

const KIND: &str = "a result of fio";

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "fio version")]
    version: String,
    #[serde(default, rename = "global options")]
    options: Options,
    jobs: Vec<Job>,
    #[serde(default)]
    disk_util: Vec<Disk>,
}

type Options = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Disk {
    name: String,
}

#[derive(Deserialize)]
struct Job {
    jobname: String,
    #[serde(default)]
    error: i64,
    #[serde(default, rename = "job options")]
    options: Options,
    /// Milliseconds since 1970; newer than 3.33.
    job_start: Option<i64>,
    /// Only with `continue_on_error`.
    #[serde(default)]
    total_err: u64,
    #[serde(default)]
    first_error: i64,
    #[serde(default)]
    read: Direction,
    #[serde(default)]
    write: Direction,
    #[serde(default)]
    trim: Direction,
    #[serde(default)]
    sync: Direction,
}

/// Operations of one kind. Of flushes only their number and latencies are said.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Direction {
    io_bytes: u64,
    /// In milliseconds.
    runtime: u64,
    total_ios: u64,
    lat_ns: Latency,
    clat_ns: Latency,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Latency {
    bins: BTreeMap<u64, u64>,
}

/// fio writes remarks on options before its document, into the same file. The document, when there is one behind them.
pub(super) fn after_remarks(text: &str) -> Option<&str> {
    let at = text.find("\n{")? + 1;
    text[at..].contains("\"fio version\"").then_some(&text[at..])
}

/// The runs of a document, one for each job name: clones of a job ran together.
///
/// # Errors
/// When it is not as fio writes it, or without histograms.
pub(super) fn read(document: &Value) -> Result<Vec<NamedRun>, ImportError> {
    let content = |source| ImportError::Content { kind: KIND, source };
    let document = Document::deserialize(document).map_err(content)?;
    let mut names: Vec<&str> = Vec::new();
    for job in &document.jobs {
        if !names.contains(&job.jobname.as_str()) {
            names.push(&job.jobname);
        }
    }
    let named = |name: &str| {
        let clones: Vec<&Job> = document.jobs.iter().filter(|job| job.jobname == name).collect();
        Ok(NamedRun { name: name.to_owned(), run: run(&document, &clones)? })
    };
    names.into_iter().map(named).collect()
}

fn run(document: &Document, clones: &[&Job]) -> Result<Run, ImportError> {
    let mut operations = BTreeMap::new();
    for job in clones {
        for (name, direction) in job.directions() {
            if direction.total_ios > 0 {
                direction.add_to(operations.entry(name.to_owned()).or_default())?;
            }
        }
    }
    let mut options = document.options.clone();
    clones.iter().for_each(|job| options.extend(job.options.clone()));
    let begun = clones.iter().filter_map(|job| job.job_start).min();
    let millis = clones.iter().flat_map(|job| job.directions()).map(|(_, direction)| direction.runtime).max();
    let failed = clones.iter().any(|job| job.error != 0);
    Ok(Run {
        source: Source {
            name: "fio".to_owned(),
            version: document.version.trim_start_matches("fio-").to_owned(),
        },
        started_at: begun.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        settings: settings(&options),
        place: place(&options, &document.disk_util),
        elapsed: Duration::from_millis(millis.unwrap_or_default()),
        ended: if failed { Ended::Lost } else { Ended::Complete },
        operations,
        errors: errors(clones),
        notes: notes(clones),
    })
}

impl Job {
    fn directions(&self) -> [(&'static str, &Direction); 4] {
        [("read", &self.read), ("write", &self.write), ("trim", &self.trim), ("flush", &self.sync)]
    }
}

impl Direction {
    fn add_to(&self, operation: &mut Operation) -> Result<(), ImportError> {
        let bins = self.bins().ok_or_else(|| ImportError::Incomplete {
            kind: KIND,
            missing: "its histograms".to_owned(),
            remedy: "run fio with --output-format=json+",
        })?;
        let mut latencies = Latencies::new();
        for (nanos, times) in bins {
            latencies.succeeded.record_bin(*nanos, *times)?;
        }
        operation.latencies.merge(&latencies);
        operation.bytes = operation.bytes.saturating_add(self.io_bytes);
        Ok(())
    }

    /// From submission where that was asked for (`lat_percentiles`), otherwise from when the system had the operation.
    fn bins(&self) -> Option<&BTreeMap<u64, u64>> {
        [&self.lat_ns.bins, &self.clat_ns.bins].into_iter().find(|bins| !bins.is_empty())
    }
}

fn errors(clones: &[&Job]) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    let mut add = |error: i64, times| {
        if error != 0 && times > 0 {
            *errors.entry(format!("error {error}")).or_insert(0_u64) += times;
        }
    };
    for job in clones {
        match job.total_err {
            0 => add(job.error, 1),
            times => add(job.first_error, times),
        }
    }
    errors
}

fn notes(clones: &[&Job]) -> Vec<String> {
    let completion_only = |job: &&&Job| {
        job.directions().iter().any(|(name, direction)| {
            *name != "flush" && direction.lat_ns.bins.is_empty() && !direction.clat_ns.bins.is_empty()
        })
    };
    let failed = clones.iter().any(|job| job.total_err > 0 || job.error != 0);
    let apply = [
        (
            clones.iter().any(|job| completion_only(&job)),
            "latencies are fio's completion latencies: what submitting took is not in them (--lat_percentiles=1)",
        ),
        (failed, "operations failed, and fio does not say how long they took: they are in no percentile"),
    ];
    apply.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note.to_owned()).collect()
}

/// How an option's text becomes a setting.
type Convert = fn(&str) -> Option<Value>;

/// fio's name of an option, the probe's, and how its value is read.
const TRANSLATED: [(&str, &str, Convert); 9] = [
    ("bs", "blockBytes", bytes),
    ("blocksize", "blockBytes", bytes),
    ("iodepth", "queueDepth", number),
    ("numjobs", "threads", number),
    ("size", "fileBytes", bytes),
    ("direct", "cache", cache),
    ("ioengine", "engine", word),
    ("runtime", "durationSeconds", seconds),
    ("ramp_time", "warmupSeconds", seconds),
];

/// What fio does when nobody asks.
const DEFAULTS: [(&str, &str); 5] =
    [("bs", "4k"), ("iodepth", "1"), ("numjobs", "1"), ("direct", "0"), ("rw", "read")];

/// What says where, or how to report, and not what is done.
const NO_SETTING: [&str; 12] = [
    "name",
    "description",
    "directory",
    "filename",
    "filename_format",
    "group_reporting",
    "randseed",
    "stonewall",
    "new_group",
    "write_bw_log",
    "write_iops_log",
    "write_lat_log",
];

/// What `settings` puts together from several options.
const TOGETHER: [&str; 4] = ["rw", "readwrite", "fsync", "end_fsync"];

fn settings(options: &Options) -> BTreeMap<String, Value> {
    let given = |name: &str| options.get(name).map(String::as_str);
    let default = |name: &str| DEFAULTS.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
    let mut settings = BTreeMap::new();
    for (name, ours, convert) in TRANSLATED {
        if let Some(text) = given(name).or_else(|| default(name).filter(|_| !settings.contains_key(ours))) {
            settings.insert(ours.to_owned(), convert(text).unwrap_or_else(|| text.into()));
        }
    }
    let rw = given("rw").or_else(|| given("readwrite")).unwrap_or("read");
    let (operation, access) = direction(rw);
    settings.insert("operation".to_owned(), operation.into());
    settings.insert("access".to_owned(), access.into());
    settings.insert("flush".to_owned(), flush(given("fsync"), given("end_fsync")));
    let rest = options.iter().filter(|(name, _)| {
        let known = TRANSLATED.iter().any(|(option, ..)| option == name);
        !known && !NO_SETTING.contains(&name.as_str()) && !TOGETHER.contains(&name.as_str())
    });
    settings.extend(rest.map(|(name, value)| (format!("fio.{name}"), Value::from(value.as_str()))));
    settings
}

fn direction(rw: &str) -> (&str, &'static str) {
    // `randwrite:8` writes eight blocks from each place.
    let rw = rw.split(':').next().unwrap_or(rw);
    let (operation, access) = match rw.strip_prefix("rand") {
        Some(operation) => (operation, "random"),
        None => (rw, "sequential"),
    };
    (if matches!(operation, "rw" | "readwrite") { "mixed" } else { operation }, access)
}

fn flush(each: Option<&str>, end: Option<&str>) -> Value {
    match (each.unwrap_or("0"), end.unwrap_or("0")) {
        ("1", _) => "each".into(),
        ("0", "0") => "never".into(),
        ("0", _) => "end".into(),
        (every, _) => format!("every {every}").into(),
    }
}

fn place(options: &Options, disks: &[Disk]) -> BTreeMap<String, Value> {
    let folder = options.get("directory").or_else(|| options.get("filename"));
    let disks: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    let disks = (!disks.is_empty()).then(|| ("disks".to_owned(), json!(disks)));
    folder.map(|folder| ("folder".to_owned(), json!(folder))).into_iter().chain(disks).collect()
}

/// `4k`, `16m`, `1g`: powers of 1024, as fio has it unless told otherwise.
fn bytes(text: &str) -> Option<Value> {
    const UNITS: [(&str, u32); 6] = [("", 0), ("b", 0), ("k", 10), ("m", 20), ("g", 30), ("t", 40)];
    let (number, unit) = split(text)?;
    let unit = unit.trim_end_matches("ib");
    let unit = if unit.len() > 1 { unit.trim_end_matches('b') } else { unit };
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(1 << shift).map(Value::from)
}

/// `30`, `30s`, `5m`.
fn seconds(text: &str) -> Option<Value> {
    const UNITS: [(&str, f64); 7] =
        [("", 1.0), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let (number, unit) = split(text)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Value::from(number as f64 * seconds))
}

fn split(text: &str) -> Option<(u64, String)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].to_ascii_lowercase()))
}

fn number(text: &str) -> Option<Value> {
    text.parse::<u64>().ok().map(Value::from)
}

fn cache(text: &str) -> Option<Value> {
    Some(if text == "0" { "cached" } else { "direct" }.into())
}

fn word(text: &str) -> Option<Value> {
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use winstead_statistics::Percentile;

    use super::*;
    use crate::import::{self, Measured};

    fn of(text: &str) -> Result<Vec<NamedRun>, ImportError> {
        match import::read(text.as_bytes())? {
            Measured::Runs(runs) => Ok(runs),
            other => panic!("{other:?}"),
        }
    }

    const RAND_WRITE: &str = include_str!("../../tests/fio-3.33-rand-write.json");

    #[test]
    fn a_job_is_a_run_with_the_probes_names_for_its_options() {
        let runs = of(RAND_WRITE).expect("a run");
        let run = &runs[0].run;
        assert_eq!((run.source.name.as_str(), run.source.version.as_str()), ("fio", "3.33"));
        let settings = serde_json::to_value(&run.settings).expect("JSON");
        assert_eq!(
            settings,
            json!({
                "access": "random", "blockBytes": 4096, "cache": "direct", "engine": "libaio", "fileBytes": 8_388_608,
                "flush": "end", "operation": "write", "queueDepth": 8, "threads": 2,
            })
        );
        assert_eq!(run.place["folder"], "/tmp/fio");
        let write = &run.operations["write"];
        assert_eq!((write.latencies.count(), write.bytes), (4096, 16 << 20));
        assert_eq!(run.ended, Ended::Complete);
    }

    /// fio's own percentiles in the same document.
    #[test]
    fn percentiles_are_those_that_fio_says() {
        let document: Value = serde_json::from_str(RAND_WRITE).expect("JSON");
        let runs = of(RAND_WRITE).expect("a run");
        let latencies = &runs[0].run.operations["write"].latencies;
        for (percentile, said) in [(Percentile::P50, "50.000000"), (Percentile::P99, "99.000000")] {
            let theirs =
                document["jobs"][0]["write"]["clat_ns"]["percentile"][said].as_f64().expect("a number");
            let ours = latencies.percentile(percentile).expect("samples").as_nanos() as f64;
            assert!((ours / theirs - 1.0).abs() < 0.01, "{percentile}: {ours} {theirs}");
        }
    }

    #[test]
    fn jobs_are_told_apart_and_clones_of_one_are_one_run() {
        let runs = of(include_str!("../../tests/fio-3.33-mixed.json")).expect("runs");
        let names: Vec<&str> = runs.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["reader", "writer"]);
        let (reader, writer) = (&runs[0].run, &runs[1].run);
        assert_eq!(reader.settings["operation"], "read");
        assert_eq!(writer.settings["operation"], "mixed");
        assert_eq!((&writer.settings["flush"], &writer.settings["threads"]), (&json!("every 8"), &json!(2)));
        assert_eq!(writer.settings["fio.rwmixread"], "30");
        let count = |name: &str| writer.operations[name].latencies.count();
        assert_eq!((count("read"), count("write"), count("flush")), (620, 1428, 250));
        assert_eq!(reader.operations.len(), 1);
        assert_eq!(writer.elapsed, Duration::from_millis(552));
    }

    #[test]
    fn a_job_that_failed_is_lost_and_says_with_which_error() {
        let runs = of(include_str!("../../tests/fio-3.33-disk-full.json")).expect("a run");
        let run = &runs[0].run;
        assert_eq!(run.ended, Ended::Lost);
        assert_eq!(run.errors, BTreeMap::from([("error 28".to_owned(), 1)]));
        assert!(run.notes.iter().any(|note| note.contains("operations failed")), "{:?}", run.notes);
    }

    #[test]
    fn remarks_before_the_document_are_passed_over_and_whole_latencies_preferred() {
        let text = include_str!("../../tests/fio-3.33-note.json");
        assert!(text.starts_with("note: both iodepth"));
        let runs = of(text).expect("a run");
        assert!(runs[0].run.notes.is_empty(), "{:?}", runs[0].run.notes);
    }

    #[test]
    fn a_result_without_histograms_says_how_to_get_them() {
        let mut document: Value = serde_json::from_str(RAND_WRITE).expect("JSON");
        document["jobs"][0]["write"]["clat_ns"].as_object_mut().expect("an object").remove("bins");
        let refused = of(&document.to_string()).expect_err("no histograms").to_string();
        assert_eq!(refused, "a result of fio without its histograms: run fio with --output-format=json+");
        document["jobs"] = json!("none");
        let refused = of(&document.to_string()).expect_err("no jobs");
        assert_eq!(refused.to_string(), "it cannot be read as a result of fio");
    }

    #[test]
    fn sizes_and_times_are_read_as_fio_reads_them() {
        for (text, expected) in
            [("4k", 4096_u64), ("512", 512), ("1MiB", 1 << 20), ("2gb", 2 << 30), ("1M", 1 << 20)]
        {
            assert_eq!(bytes(text), Some(json!(expected)), "{text}");
        }
        for (text, expected) in [("30", 30.0), ("500ms", 0.5), ("2m", 120.0)] {
            assert_eq!(seconds(text), Some(json!(expected)), "{text}");
        }
        assert_eq!((bytes("50%"), seconds("soon"), bytes("99999999999999t")), (None, None, None));
    }
}
