//! Reads what DiskSpd writes with `-L -Rxml`. It keeps percentiles, not histograms: each run's histogram is put together
//! from them.
//!
//! **That histogram is never too good**: all operations between two percentiles count as the slower one. The percentiles
//! that DiskSpd names (1 to 99, 99.9, …) come out as it says.
//!
//! Written after the source of DiskSpd 2.2 (its XML profile and result writers); nobody has run it here.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use roxmltree::{Document, Node};
use serde_json::{Value, json};
use winstead_statistics::{Latencies, Percentile};

use super::{ImportError, NamedRun};
use crate::run::{Ended, Operation, Run, Source};

const KIND: &str = "a result of DiskSpd";
const RECONSTRUCTED: &str = "DiskSpd keeps percentiles, not histograms: between two of them latencies are taken as the \
                             slower one, and merging runs is less exact than with whole histograms";

/// The runs of a document, one for each time span.
///
/// # Errors
/// When it is no XML, nothing of DiskSpd's, or without latencies.
pub(super) fn read(text: &str) -> Result<Vec<NamedRun>, ImportError> {
    let document = Document::parse(text).map_err(ImportError::Xml)?;
    let results = document.root_element();
    if !results.has_tag_name("Results") || child(results, "Profile").is_none() {
        let found = format!("XML that begins with <{}>", results.tag_name().name());
        return Err(ImportError::Unknown { found });
    }
    let profiles: Vec<Node<'_, '_>> = ["Profile", "TimeSpans"]
        .iter()
        .try_fold(results, |node, name| child(node, name))
        .map_or_else(Vec::new, |spans| children(spans, "TimeSpan").collect());
    let spans = children(results, "TimeSpan").enumerate();
    let named = |(index, span): (usize, Node<'_, '_>)| {
        let run = run(results, span, profiles.get(index).copied())?;
        Ok(NamedRun { name: format!("TimeSpan {}", index + 1), run })
    };
    spans.map(named).collect()
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim)
}

fn number<T: std::str::FromStr>(node: Node<'_, '_>, name: &str) -> Option<T> {
    text(node, name)?.parse().ok()
}

fn run(results: Node<'_, '_>, span: Node<'_, '_>, profile: Option<Node<'_, '_>>) -> Result<Run, ImportError> {
    let system = child(results, "System");
    let tool = system.and_then(|system| child(system, "Tool"));
    let version = tool.and_then(|tool| text(tool, "Version")).unwrap_or_default();
    let interrupted = text(span, "Error").map(|said| (said.to_owned(), 1));
    let seconds = number(span, "TestTimeSeconds").unwrap_or_default();
    Ok(Run {
        source: Source { name: "DiskSpd".to_owned(), version: version.to_owned() },
        started_at: system.and_then(|system| text(system, "RunTime")).and_then(run_time),
        settings: profile.map(settings).unwrap_or_default(),
        place: place(system, span),
        elapsed: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        ended: if interrupted.is_some() { Ended::Interrupted } else { Ended::Complete },
        operations: operations(span)?,
        errors: interrupted.into_iter().collect(),
        notes: vec![RECONSTRUCTED.to_owned()],
    })
}

/// `2026/11/26 19:25:23 UTC`.
fn run_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
    format!("{}T{time}Z", date.replace('/', "-")).parse().ok()
}

/// Of reads and of writes: their name, what counts them and their bytes, and their column among the percentiles.
const KINDS: [(&str, &str, &str, &str); 2] = [
    ("read", "ReadCount", "ReadBytes", "ReadMilliseconds"),
    ("write", "WriteCount", "WriteBytes", "WriteMilliseconds"),
];

fn operations(span: Node<'_, '_>) -> Result<BTreeMap<String, Operation>, ImportError> {
    let threads = children(span, "Thread");
    let targets: Vec<Node<'_, '_>> = threads.flat_map(|thread| children(thread, "Target")).collect();
    let sum = |name: &str| {
        let each = targets.iter().filter_map(|target| number::<u64>(*target, name));
        each.fold(0_u64, u64::saturating_add)
    };
    let mut operations = BTreeMap::new();
    for (name, count, bytes, column) in KINDS {
        let count = sum(count);
        if count > 0 {
            let latencies = latencies(&percentiles(span, column)?, count)?;
            operations.insert(name.to_owned(), Operation { latencies, bytes: sum(bytes) });
        }
    }
    Ok(operations)
}

/// Percentile and latency in milliseconds, ascending.
fn percentiles(span: Node<'_, '_>, column: &str) -> Result<Vec<(f64, f64)>, ImportError> {
    let buckets = child(span, "Latency").into_iter().flat_map(|latency| children(latency, "Bucket"));
    let pair = |bucket| Some((number(bucket, "Percentile")?, number(bucket, column)?));
    let finite = |(percentile, millis): &(f64, f64)| (0.0..=100.0).contains(percentile) && *millis >= 0.0;
    let mut pairs: Vec<(f64, f64)> = buckets.filter_map(pair).filter(finite).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    if pairs.is_empty() {
        let missing = "latencies".to_owned();
        return Err(ImportError::Incomplete { kind: KIND, missing, remedy: "run diskspd with -L -Rxml" });
    }
    Ok(pairs)
}

fn latencies(percentiles: &[(f64, f64)], count: u64) -> Result<Latencies, ImportError> {
    let mut latencies = Latencies::new();
    let mut below = 0;
    for (percentile, millis) in percentiles {
        let upto = rank(*percentile, count);
        if upto > below {
            latencies.succeeded.record_bin(nanos(*millis), upto - below)?;
            below = upto;
        }
    }
    // Without a 100th percentile the rest is at least as slow as the last that is said.
    if let Some((_, slowest)) = percentiles.last().filter(|_| count > below) {
        latencies.succeeded.record_bin(nanos(*slowest), count - below)?;
    }
    Ok(latencies)
}

/// How many of `count` operations lie at or below a percentile.
fn rank(percentile: f64, count: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
    let millionths = (percentile * 1e4).round() as u32;
    Percentile::from_millionths(millionths).map_or(0, |percentile| percentile.rank(count))
}

fn nanos(millis: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; saturates")]
    let nanos = (millis * 1e6).round() as u64;
    nanos
}

/// DiskSpd's name of a time span's option, and the probe's.
const OF_THE_SPAN: [(&str, &str); 6] = [
    ("Duration", "durationSeconds"),
    ("Warmup", "warmupSeconds"),
    ("ThreadCount", "diskspd.ThreadCount"),
    ("RequestCount", "diskspd.RequestCount"),
    ("CompletionRoutines", "diskspd.CompletionRoutines"),
    ("DisableAffinity", "diskspd.DisableAffinity"),
];

/// How a setting is read from a target.
type Read = fn(Node<'_, '_>) -> Value;

/// Options of a target under the probe's names.
const OF_A_TARGET: [(&str, Read); 17] = [
    ("blockBytes", |target| of(target, "BlockSize")),
    ("queueDepth", |target| of(target, "RequestCount")),
    ("threads", |target| of(target, "ThreadsPerFile")),
    ("fileBytes", |target| match of(target, "FileSize") {
        Value::Null => of(target, "MaxFileSize"),
        size => size,
    }),
    ("operation", operation),
    ("access", |target| if child(target, "Random").is_some() { "random" } else { "sequential" }.into()),
    ("cache", |target| if is_set(target, "DisableOSCache") { "direct" } else { "cached" }.into()),
    ("flush", |target| if is_set(target, "WriteThrough") { "write-through" } else { "never" }.into()),
    ("diskspd.WriteRatio", |target| of(target, "WriteRatio")),
    ("diskspd.Throughput", |target| of(target, "Throughput")),
    // A pattern that repeats can be packed; what is random cannot.
    ("diskspd.WriteBufferContent", |target| {
        child(target, "WriteBufferContent").map_or(Value::Null, |content| of(content, "Pattern"))
    }),
    ("diskspd.Random", |target| of(target, "Random")),
    ("diskspd.ThreadStride", |target| of(target, "ThreadStride")),
    ("diskspd.BaseFileOffset", |target| of(target, "BaseFileOffset")),
    ("diskspd.SequentialScan", |target| of(target, "SequentialScan")),
    ("diskspd.TemporaryFile", |target| of(target, "TemporaryFile")),
    ("diskspd.UseLargePages", |target| of(target, "UseLargePages")),
];

/// What was asked for. Where several targets differ, a setting is the list of what they have.
fn settings(profile: Node<'_, '_>) -> BTreeMap<String, Value> {
    let targets: Vec<Node<'_, '_>> =
        child(profile, "Targets").into_iter().flat_map(|targets| children(targets, "Target")).collect();
    let of_span = OF_THE_SPAN.map(|(theirs, ours)| (ours, of(profile, theirs)));
    let of_targets = OF_A_TARGET.iter().map(|(name, value)| {
        let mut values: Vec<Value> = targets.iter().map(|target| value(*target)).collect();
        values.dedup();
        (*name, if values.len() == 1 { values.remove(0) } else { Value::from(values) })
    });
    let all = of_span.into_iter().chain(of_targets);
    all.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A number as a number, anything else as text, nothing as null.
fn of(node: Node<'_, '_>, name: &str) -> Value {
    match (number::<u64>(node, name), text(node, name)) {
        (Some(number), _) => number.into(),
        (None, Some(text)) => text.into(),
        (None, None) => Value::Null,
    }
}

fn operation(target: Node<'_, '_>) -> Value {
    match number::<u64>(target, "WriteRatio").unwrap_or_default() {
        0 => "read",
        100 => "write",
        _ => "mixed",
    }
    .into()
}

fn is_set(node: Node<'_, '_>, name: &str) -> bool {
    text(node, name) == Some("true")
}

fn place(system: Option<Node<'_, '_>>, span: Node<'_, '_>) -> BTreeMap<String, Value> {
    let mut paths: Vec<&str> = children(span, "Thread")
        .flat_map(|thread| children(thread, "Target"))
        .filter_map(|target| text(target, "Path"))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    let mut place = BTreeMap::from([("folder".to_owned(), json!(paths))]);
    if let Some(name) = system.and_then(|system| text(system, "ComputerName")) {
        place.insert("computer".to_owned(), name.into());
    }
    if let Some(count) = number::<u64>(span, "ProcCount") {
        place.insert("cpu.count".to_owned(), count.into());
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = include_str!("../../tests/diskspd-2.2-not-run.xml");

    fn run() -> Run {
        read(XML).expect("a run").remove(0).run
    }

    #[test]
    fn a_time_span_is_a_run_with_the_probes_names_for_its_options() {
        let run = run();
        assert_eq!((run.source.name.as_str(), run.source.version.as_str()), ("DiskSpd", "2.2.0"));
        assert_eq!(run.started_at.map(|at| at.to_string()).as_deref(), Some("2026-01-05T08:00:00Z"));
        let settings = serde_json::to_value(&run.settings).expect("JSON");
        assert_eq!(
            settings,
            json!({
                "access": "random", "blockBytes": 4096, "cache": "direct", "diskspd.BaseFileOffset": 0,
                "diskspd.CompletionRoutines": "false", "diskspd.DisableAffinity": "false", "diskspd.Random": 4096,
                "diskspd.RequestCount": 0, "diskspd.SequentialScan": "false", "diskspd.TemporaryFile": "false",
                "diskspd.ThreadCount": 0, "diskspd.ThreadStride": 0, "diskspd.UseLargePages": "false",
                "diskspd.WriteBufferContent": "random", "diskspd.WriteRatio": 30, "durationSeconds": 10, "fileBytes": 1_073_741_824, "flush": "write-through",
                "operation": "mixed", "queueDepth": 8, "threads": 2, "warmupSeconds": 5,
            })
        );
        assert_eq!(run.place["computer"], "EXAMPLE");
        assert_eq!(run.elapsed, Duration::from_secs(10));
        assert!((run.per_second("read").expect("reads") - 1400.0).abs() < 1e-9);
        assert_eq!(run.notes, [RECONSTRUCTED]);
    }

    #[test]
    fn percentiles_that_are_said_come_out_and_all_operations_are_counted() {
        let run = run();
        let write = &run.operations["write"].latencies;
        assert_eq!(write.count(), 6000);
        let document = Document::parse(XML).expect("XML");
        let span = child(document.root_element(), "TimeSpan").expect("a span");
        let said = percentiles(span, "WriteMilliseconds").expect("percentiles");
        for (percentile, millis) in said {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let Some(percentile) = Percentile::from_millionths((percentile * 1e4).round() as u32) else {
                continue;
            };
            let found = write.percentile(percentile).expect("samples").as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() < 2e-3, "{percentile}: {found} {millis}");
        }
    }

    #[test]
    fn a_result_without_latencies_says_how_to_get_them() {
        let begin = XML.find("<Latency>").expect("latencies");
        let end = XML.find("</Latency>").expect("latencies") + "</Latency>".len();
        let without = format!("{}{}", &XML[..begin], &XML[end..]);
        let refused = read(&without).expect_err("no latencies").to_string();
        assert_eq!(refused, "a result of DiskSpd without latencies: run diskspd with -L -Rxml");
        let html = read("<html></html>").expect_err("not DiskSpd's").to_string();
        assert!(html.starts_with("it is XML that begins with <html>; known are"), "{html}");
    }

    #[test]
    fn an_interrupted_time_span_says_so() {
        let xml =
            "<Results><Profile/><TimeSpan><Error>The test was interrupted.</Error></TimeSpan></Results>";
        let run = read(xml).expect("a run").remove(0).run;
        assert_eq!((run.ended, run.operations.len()), (Ended::Interrupted, 0));
        assert_eq!(run.errors, BTreeMap::from([("The test was interrupted.".to_owned(), 1)]));
    }
}
