//! What workers record: every operation with its latency, also those that failed.

use std::{collections::BTreeMap, io, time::Duration};

use serde::Serialize;
use winstead_statistics::{Histogram, Latencies};

/// What was done to the disk. Its name in results is its own in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// One block was read.
    Read,
    /// One block anywhere was read, where others were read in order.
    RandomRead,
    /// One block was written: to the disk, or into the cache where there is one.
    Write,
    /// One block was written and flushed: one sample for both.
    DurableWrite,
    /// All of a file was flushed.
    Flush,
    /// A folder was made.
    MakeFolder,
    /// A new file was made, opened and left empty.
    CreateFile,
    /// A whole small file was written and closed; in `seed` also made and, honestly, flushed.
    WriteFile,
    /// A small file was flushed.
    FlushFile,
    /// A file's size and times were asked for.
    Stat,
    /// A small file was opened, read to its end and closed.
    ReadFile,
    /// A file was given another name in its folder.
    Rename,
    /// A file was deleted.
    DeleteFile,
    /// An empty folder was deleted.
    DeleteFolder,
    /// A file of an archive was read from it, made, written and closed.
    UnpackFile,
    /// A whole tree was made, used and deleted: all of the above but the archive, for each of its files. Making
    /// their data is not in it.
    Tree,
    /// A whole archive of such a tree was unpacked, into folders that were there.
    Unpack,
}

/// Whether an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did what it should, in time.
    Fine,
    /// It did not.
    Failed,
}

/// Samples of one worker, or of several together.
#[derive(Clone, Default)]
pub(crate) struct Samples {
    /// Latencies of each kind of operation.
    pub latencies: BTreeMap<Operation, Latencies>,
    /// Bytes that operations which succeeded read or wrote.
    pub bytes: BTreeMap<Operation, u64>,
    /// What failed operations said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// How long after the intended start operations began for which a worker stood ready: what our own
    /// waking adds to an open loop's latencies.
    pub lateness: Histogram,
    /// Time that went into making data, over all workers.
    pub generating: Duration,
}

/// What is written in `errors` for an operation that took longer than allowed.
const TIMED_OUT: &str = "took longer than the time-out";

impl Samples {
    /// Adds an operation. One that took longer than `timeout` has failed, whatever it says. Which it was.
    pub(crate) fn record(
        &mut self,
        operation: Operation,
        took: Duration,
        timeout: Duration,
        outcome: &io::Result<u64>,
    ) -> Verdict {
        let failure = match outcome {
            Ok(_) if took > timeout => Some(TIMED_OUT.to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let latencies = self.latencies.entry(operation).or_default();
        let verdict = match failure {
            Some(said) => {
                latencies.record_failure(took);
                *self.errors.entry(said).or_default() += 1;
                Verdict::Failed
            }
            None => {
                latencies.record(took);
                Verdict::Fine
            }
        };
        *self.bytes.entry(operation).or_default() += outcome.as_ref().map_or(0, |bytes| *bytes);
        verdict
    }

    /// Adds an operation that never came back or was never begun, after `waited`.
    pub(crate) fn record_timeout(&mut self, operation: Operation, waited: Duration) {
        let nothing = Err(io::Error::other(TIMED_OUT));
        self.record(operation, waited, Duration::ZERO, &nothing);
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (operation, latencies) in &other.latencies {
            self.latencies.entry(*operation).or_default().merge(latencies);
        }
        other.bytes.iter().for_each(|(key, bytes)| *self.bytes.entry(*key).or_default() += bytes);
        other.errors.iter().for_each(|(key, count)| *self.errors.entry(key.clone()).or_default() += count);
        self.lateness.merge(&other.lateness);
        self.generating += other.generating;
    }

    /// How many operations of an open loop were due while every place of the queue was taken.
    pub(crate) fn queue_was_full(&self) -> u64 {
        let due: u64 = self.latencies.values().map(Latencies::count).sum();
        due.saturating_sub(self.lateness.count())
    }

    /// How many operations failed.
    pub(crate) fn failures(&self) -> u64 {
        self.latencies.values().map(Latencies::failures).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_and_errors_are_samples() {
        let mut samples = Samples::default();
        let (fast, slow, limit) = (Duration::from_millis(1), Duration::from_secs(9), Duration::from_secs(1));
        samples.record(Operation::Read, fast, limit, &Ok(4096));
        samples.record(Operation::Read, slow, limit, &Ok(4096));
        samples.record(Operation::Read, fast, limit, &Err(io::Error::other("broken")));
        samples.record_timeout(Operation::Read, slow);
        let mut whole = Samples::default();
        whole.merge(&samples);
        whole.merge(&samples);
        let read = &whole.latencies[&Operation::Read];
        assert_eq!((read.count(), read.failures(), whole.failures()), (8, 6, 6));
        assert_eq!(whole.errors["broken"], 2);
        assert_eq!(whole.errors[TIMED_OUT], 4);
        // What came late was read all the same.
        assert_eq!(whole.bytes[&Operation::Read], 4 * 4096);
    }
}
