//! What Windows' counters of a disk mean: how many operations were under way, how many there were, how long each took.
//!
//! A dashboard's "disk utilisation" of 2000 % is no utilisation. Windows adds up the time of every operation, also of
//! those that overlap; divided by the time that passed that is how many were under way, by Little's law. What was busy is
//! what was not idle.

use serde::Serialize;

use super::{Counted, Counters};

/// What two dumps, or one since the start of Windows, mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The time that is looked at, in seconds.
    pub seconds: f64,
    /// Whether that is all since Windows started, an average of days perhaps, and not the time between two dumps.
    pub since_start: bool,
    /// Volumes and disks, the one with most operations under way first.
    pub disks: Vec<DiskExplanation>,
    /// For a person.
    pub sentences: Vec<String>,
}

/// What one volume or disk did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskExplanation {
    /// `volume C:`.
    pub name: String,
    /// How many operations were under way on average: a dashboard's utilisation, divided by 100 %.
    pub under_way: f64,
    /// The share of the time in which at least one was. `None` where the dump does not say.
    pub busy: Option<f64>,
    /// How many were under way when the later dump was made.
    pub queued_now: Option<f64>,
    /// Reads.
    pub reads: Stream,
    /// Writes.
    pub writes: Stream,
    /// For a person.
    pub sentences: Vec<String>,
}

/// Operations of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// How many a second.
    pub per_second: f64,
    /// What each took, on average, in milliseconds. `None` without any.
    pub millis_each: Option<f64>,
    /// What each moved, on average. `None` without any.
    pub bytes_each: Option<f64>,
}

/// Why dumps cannot be explained.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// Nothing says how much time passed.
    #[error("the dumps do not say how much time passed: the collectors cpu and time are off")]
    NoTime,
    /// No time passed, or less than none.
    #[error("the second dump is not later than the first")]
    NotLater,
    /// A counter is lower than before.
    #[error(
        "counters are lower than in the first dump: Windows was started in between, or it is another computer"
    )]
    Restarted,
}

/// What `later` counted beyond `first`; without `later`, what `first` counted since Windows started. `seconds` is the time
/// that passed, where the dumps do not say it.
///
/// # Errors
/// When no time passed, nobody knows how much, or Windows was started in between.
pub fn explain(
    first: &Counters,
    later: Option<&Counters>,
    seconds: Option<f64>,
) -> Result<Explanation, ExplainError> {
    let nothing = Counters::default();
    let (before, after) = later.map_or((&nothing, first), |later| (first, later));
    let seconds = seconds.or_else(|| passed(before, after)).ok_or(ExplainError::NoTime)?;
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(ExplainError::NotLater);
    }
    let since_start = later.is_none();
    let mut disks = Vec::new();
    for (name, counted) in &after.disks {
        // A disk that is new has counted from nothing.
        let earlier = before.disks.get(name).cloned().unwrap_or_default();
        disks.push(disk(name, &earlier, counted, seconds)?);
    }
    disks.sort_by(|a, b| b.under_way.total_cmp(&a.under_way));
    let sentences = sentences(&disks, since_start, seconds);
    Ok(Explanation { seconds, since_start, disks, sentences })
}

/// Seconds between two dumps: by the clock, else by the life of a core, which Windows counts like everything else.
fn passed(before: &Counters, after: &Counters) -> Option<f64> {
    let by_clock = before.now.zip(after.now).map(|(before, after)| after - before);
    let lived = |(core, seconds): (&String, &f64)| match before.cores.get(core) {
        Some(earlier) => Some(seconds - earlier),
        None => before.cores.is_empty().then_some(*seconds),
    };
    by_clock.or_else(|| after.cores.iter().filter_map(lived).max_by(f64::total_cmp))
}

fn disk(
    name: &str,
    before: &Counted,
    after: &Counted,
    seconds: f64,
) -> Result<DiskExplanation, ExplainError> {
    let grown = |metric: &str| match (after.values.get(metric), before.values.get(metric)) {
        (Some(after), before) if *after < before.copied().unwrap_or(0.0) => Err(ExplainError::Restarted),
        (Some(after), before) => Ok(Some(after - before.copied().unwrap_or(0.0))),
        (None, _) => Ok(None),
    };
    let stream = |[count, spent, bytes]: [&str; 3]| -> Result<(Stream, f64), ExplainError> {
        let count = grown(count)?.unwrap_or(0.0);
        let (spent, bytes) = (grown(spent)?.unwrap_or(0.0), grown(bytes)?.unwrap_or(0.0));
        let each = |amount: f64| (count > 0.0).then(|| amount / count);
        let millis_each = each(spent * 1e3);
        Ok((Stream { per_second: count / seconds, millis_each, bytes_each: each(bytes) }, spent))
    };
    let (reads, reading) = stream(["reads_total", "read_seconds_total", "read_bytes_total"])?;
    let (writes, writing) = stream(["writes_total", "write_seconds_total", "write_bytes_total"])?;
    let idle = grown("idle_seconds_total")?.map(|idle| idle / seconds);
    let mut disk = DiskExplanation {
        name: name.to_owned(),
        under_way: (reading + writing) / seconds,
        busy: idle.map(|idle| (1.0 - idle).clamp(0.0, 1.0)),
        queued_now: after.values.get("requests_queued").copied(),
        reads,
        writes,
        sentences: Vec::new(),
    };
    disk.sentences = disk.explained();
    Ok(disk)
}

/// From here on an operation is slow for any SSD.
const SLOW_MILLIS: f64 = 10.0;
/// Below it a healthy SSD has hardly begun to work.
const FEW_PER_SECOND: f64 = 2000.0;
/// So much longer than a read, a write waits for something that a read does not.
const UNLIKE: f64 = 3.0;
/// Fewer of a kind in a second say nothing of the disk.
const IDLE_PER_SECOND: f64 = 1.0;

impl DiskExplanation {
    fn explained(&self) -> Vec<String> {
        let (name, all) = (&self.name, self.reads.per_second + self.writes.per_second);
        if all <= 0.0 {
            return vec![format!("{name} did nothing")];
        }
        let each = 1e3 * self.under_way / all;
        let busy = self.busy.map(|busy| format!("; it was busy {:.1} % of the time", 100.0 * busy));
        let streams =
            [("reads", self.reads), ("writes", self.writes)].into_iter().filter_map(|(what, stream)| {
                let (millis, kib) = (stream.millis_each?, stream.bytes_each? / 1024.0);
                Some(format!("{:.0} {what} a second of {kib:.1} KiB, {millis:.1} ms each", stream.per_second))
            });
        let mut sentences = vec![
            format!(
                "{name} had {:.1} operations under way on average, which dashboards show as {:.0} %{}",
                self.under_way,
                100.0 * self.under_way,
                busy.unwrap_or_default()
            ),
            format!(
                "it did {all:.0} operations a second, {each:.1} ms each: {}",
                streams.collect::<Vec<_>>().join(", ")
            ),
        ];
        sentences.extend(self.causes(all, each));
        sentences
    }

    /// What the numbers point to. A hint, no verdict.
    fn causes(&self, all: f64, each: f64) -> Vec<String> {
        let slow = each >= SLOW_MILLIS;
        let ratio = self.writes.millis_each.zip(self.reads.millis_each).map(|(write, read)| write / read);
        let enough = self.reads.per_second.min(self.writes.per_second) >= IDLE_PER_SECOND;
        let unlike = ratio.filter(|ratio| enough && *ratio >= UNLIKE);
        let apply = [
            (slow && all < FEW_PER_SECOND).then(|| {
                "few operations, and slow ones: that is a disk that is held back or does one thing after another \
                 (flushes, write-through, a virtual disk upon a virtual disk), not one that has run out of operations"
                    .to_owned()
            }),
            (slow && all >= FEW_PER_SECOND).then(|| "many operations, and slow ones: the disk is full of work".to_owned()),
            unlike.map(|ratio| {
                format!(
                    "a write takes {ratio:.0} times as long as a read: flushes or write-through are likely; windows_exporter \
                     does not count flushes, `winstead-probe rand-write --flush each` measures them"
                )
            }),
        ];
        apply.into_iter().flatten().collect()
    }
}

fn sentences(disks: &[DiskExplanation], since_start: bool, seconds: f64) -> Vec<String> {
    let volumes: Vec<f64> =
        disks.iter().filter(|disk| disk.name.starts_with("volume ")).map(|disk| disk.under_way).collect();
    let average = volumes.iter().sum::<f64>() / volumes.len() as f64;
    let diluted = (volumes.len() > 1).then(|| {
        format!(
            "a dashboard that averages over all {} volumes shows {:.0} %: the busy one has more",
            volumes.len(),
            100.0 * average
        )
    });
    let old = since_start.then(|| {
        format!(
            "these are averages over {:.1} hours since Windows started: peaks are not in them; give two dumps, a minute \
             apart, of the bad time",
            seconds / 3600.0
        )
    });
    disks.iter().flat_map(|disk| disk.sentences.clone()).chain(diluted).chain(old).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> Counters {
        Counters::read(text).expect("disks")
    }

    fn dumps() -> [Counters; 2] {
        [
            dump(include_str!("../../../tests/windows_exporter-0.31-not-run.txt")),
            dump(include_str!("../../../tests/windows_exporter-0.31-not-run-60s-later.txt")),
        ]
    }

    fn close(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 0.01
    }

    #[test]
    fn two_thousand_percent_are_twenty_operations_under_way() {
        let [first, later] = dumps();
        let found = explain(&first, Some(&later), None).expect("an explanation");
        assert!(close(found.seconds, 60.0) && !found.since_start, "{found:?}");
        let volume = &found.disks[0];
        assert!(volume.name == "volume C:" && close(volume.under_way, 20.0), "{volume:?}");
        assert!(close(volume.busy.expect("idle is counted"), 0.997), "{volume:?}");
        assert!(
            close(volume.reads.per_second, 100.0) && close(volume.writes.per_second, 474.0),
            "{volume:?}"
        );
        assert!(close(volume.writes.millis_each.expect("writes"), 41.14), "{volume:?}");
        assert_eq!(volume.queued_now, Some(23.0));
        assert_eq!(
            found.sentences,
            [
                "volume C: had 20.0 operations under way on average, which dashboards show as 2000 %; it was busy 99.7 % \
                 of the time",
                "it did 574 operations a second, 34.8 ms each: 100 reads a second of 8.0 KiB, 5.0 ms each, 474 writes \
                 a second of 4.0 KiB, 41.1 ms each",
                "few operations, and slow ones: that is a disk that is held back or does one thing after \
                 another (flushes, write-through, a virtual disk upon a virtual disk), not one that has run out of \
                 operations",
                "a write takes 8 times as long as a read: flushes or write-through are likely; \
                 windows_exporter does not count flushes, `winstead-probe rand-write --flush each` measures them",
                "volume D: did nothing",
                "a dashboard that averages over all 2 volumes shows 1000 %: the busy one has more",
            ]
        );
    }

    #[test]
    fn one_dump_is_an_average_since_the_start_and_says_so() {
        let [first, _] = dumps();
        let found = explain(&first, None, None).expect("an explanation");
        assert!(found.since_start && close(found.seconds, 86_400.0), "{found:?}");
        let last = found.sentences.last().expect("sentences");
        assert!(last.starts_with("these are averages over 24.0 hours since Windows started"), "{last}");
    }

    #[test]
    fn time_is_taken_from_the_clock_from_the_cores_or_from_the_user() {
        let [first, later] = dumps();
        let at = |counters: &Counters, now| Counters { now: Some(now), ..counters.clone() };
        let by_clock = explain(&at(&first, 1000.0), Some(&at(&later, 1120.0)), None).expect("an explanation");
        assert!(close(by_clock.seconds, 120.0));
        let without =
            |counters: &Counters| Counters { cores: std::collections::BTreeMap::new(), ..counters.clone() };
        let nobody = explain(&without(&first), Some(&without(&later)), None);
        assert_eq!(nobody, Err(ExplainError::NoTime));
        let by_user = explain(&without(&first), Some(&without(&later)), Some(60.0)).expect("an explanation");
        assert!(close(by_user.disks[0].under_way, 20.0));
    }

    #[test]
    fn dumps_in_the_wrong_order_and_restarts_are_refused() {
        let [first, later] = dumps();
        assert_eq!(explain(&later, Some(&first), None), Err(ExplainError::NotLater));
        assert_eq!(explain(&later, Some(&first), Some(60.0)), Err(ExplainError::Restarted));
        assert_eq!(explain(&first, Some(&first), None), Err(ExplainError::NotLater));
    }
}
