//! Reads a dump of windows_exporter (what its `/metrics` answers): what Windows counted of its disks.
//!
//! Written after the source of windows_exporter 0.31 (its collectors `logical_disk`, `physical_disk`, `cpu`, `time`);
//! nobody has run it here.

mod explanation;

use std::collections::BTreeMap;

pub use explanation::{DiskExplanation, ExplainError, Explanation, Stream, explain};

/// What Windows counted since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    disks: BTreeMap<String, Counted>,
    /// Seconds since 1970, from the collector `time`, which is not on by default.
    now: Option<f64>,
    /// Seconds that each core has lived: idle, and working for programs and for the system.
    cores: BTreeMap<String, f64>,
}

/// What was counted of one volume or disk. Absent where the dump does not say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    values: BTreeMap<&'static str, f64>,
}

/// A disk's metrics that are used, without their prefix.
const OF_DISKS: [&str; 8] = [
    "idle_seconds_total",
    "read_bytes_total",
    "read_seconds_total",
    "reads_total",
    "requests_queued",
    "write_bytes_total",
    "write_seconds_total",
    "writes_total",
];

/// What metrics of disks begin with, the label that names the disk, and what we call it. Before 2020 the exporter was
/// called wmi_exporter.
const PREFIXES: [(&str, &str, &str); 4] = [
    ("windows_logical_disk_", "volume", "volume"),
    ("windows_physical_disk_", "disk", "disk"),
    ("wmi_logical_disk_", "volume", "volume"),
    ("wmi_physical_disk_", "disk", "disk"),
];

/// All of a core's time. What interrupts take is part of `privileged`.
const MODES: [&str; 3] = ["idle", "privileged", "user"];

/// The sum of all disks, where an old version still has it: no disk.
const TOTAL: &str = "_Total";

impl Counters {
    /// What a dump says of disks; `None` when it says nothing of any.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut counters = Self::default();
        text.lines().filter_map(sample).for_each(|sample| counters.add(&sample));
        (!counters.disks.is_empty()).then_some(counters)
    }

    fn add(&mut self, sample: &Sample<'_>) {
        match sample.metric {
            "windows_time_current_timestamp_seconds" => self.now = Some(sample.value),
            "windows_cpu_time_total" | "wmi_cpu_time_total" => self.add_core(sample),
            _ => self.add_disk(sample),
        }
    }

    fn add_core(&mut self, sample: &Sample<'_>) {
        let (core, mode) = (sample.label("core"), sample.label("mode"));
        if mode.is_some_and(|mode| MODES.contains(&mode)) {
            *self.cores.entry(core.unwrap_or_default().to_owned()).or_default() += sample.value;
        }
    }

    fn add_disk(&mut self, sample: &Sample<'_>) {
        let known = PREFIXES.iter().find_map(|(prefix, label, kind)| {
            let metric = sample.metric.strip_prefix(prefix)?;
            let metric = OF_DISKS.iter().find(|known| **known == metric)?;
            Some((*metric, *kind, sample.label(label)?))
        });
        if let Some((metric, kind, name)) = known
            && name != TOTAL
        {
            let disk = self.disks.entry(format!("{kind} {name}")).or_default();
            disk.values.insert(metric, sample.value);
        }
    }
}

/// One line of a dump.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    metric: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",…} 1.5e+09`, with or without labels. `None` for comments, for what is no sample, and for values
/// that are no amount.
fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let end = line.find(|letter: char| letter == '{' || letter.is_whitespace())?;
    let (metric, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    let amount = value.is_finite() && value >= 0.0;
    (amount && !metric.starts_with('#')).then_some(Sample { metric, labels, value })
}

/// Labels, and what stands behind them.
type Labels<'a> = (Vec<(&'a str, String)>, &'a str);

/// What stands between braces, the first of which has been read.
fn labels(mut rest: &str) -> Option<Labels<'_>> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.push((name.trim(), value));
        rest = behind;
    }
}

/// Text up to the closing quote, and what stands behind it. A backslash stands before a quote and before itself.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_text_format_has_them() {
        let read = sample(
            r#"windows_logical_disk_reads_total{instance="a",volume="C:\\mnt \"x\""} 1.5e+03 1700000000"#,
        );
        let read = read.expect("a sample");
        assert_eq!((read.metric, read.value), ("windows_logical_disk_reads_total", 1500.0));
        assert_eq!((read.label("volume"), read.label("instance")), (Some(r#"C:\mnt "x""#), Some("a")));
        assert_eq!(sample("up 1").map(|read| read.value), Some(1.0));
        for none in ["", "# TYPE up gauge", "up", "up NaN", "up{a=\"b", "up{a} 1", "up -1", r#"up{a="\"#] {
            assert_eq!(sample(none), None, "{none}");
        }
    }

    #[test]
    fn disks_are_told_apart_and_what_is_not_used_is_passed_over() {
        let dump = "windows_logical_disk_reads_total{volume=\"C:\"} 5\nwindows_logical_disk_free_bytes{volume=\"C:\"} 9\n\
                    windows_physical_disk_reads_total{disk=\"0\"} 6\nwmi_logical_disk_reads_total{volume=\"_Total\"} 7\n";
        let counters = Counters::read(dump).expect("disks");
        assert_eq!(counters.disks.keys().collect::<Vec<_>>(), ["disk 0", "volume C:"]);
        assert_eq!(counters.disks["volume C:"].values, BTreeMap::from([("reads_total", 5.0)]));
        assert_eq!(Counters::read("windows_cpu_time_total{core=\"0,0\",mode=\"idle\"} 5"), None);
    }
}
