//! Workers: threads that each record into a place of their own, watched so that an operation which never comes
//! back is a sample, too, and not a program that hangs.
//!
//! In the engine that works everywhere each operation blocks its thread, so a queue depth of eight is eight
//! threads; with io_uring a thread has many under way. This knows neither disks nor loads.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::{Clock, Monotonic, Stop},
    error::ProbeError,
    platform,
    samples::{Operation, Samples},
};

/// How many operations of one worker may fail one after another before the disk counts as lost.
const MOST_FAILURES: u32 = 16;

/// How often one looks whether an operation is stuck.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer than its time-out an operation may take before its worker is given up.
const GRACE: Duration = Duration::from_secs(1);

/// What all workers of a run share.
#[derive(Clone)]
pub(crate) struct Rules {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The wish to stop.
    pub stop: Stop,
    /// An operation that takes longer has failed.
    pub timeout: Duration,
}

impl Rules {
    /// Rules by the computer's clock, which starts now.
    pub(crate) fn new(stop: &Stop, timeout_seconds: f64) -> Self {
        let timeout = Duration::from_secs_f64(timeout_seconds);
        Self { clock: Arc::new(Monotonic::start()), stop: stop.clone(), timeout }
    }
}

/// Why a worker ended before its work did: the disk does not take any more.
#[derive(Debug)]
pub(crate) struct Lost(pub String);

/// What a worker does, at its post.
pub(crate) type Job = Box<dyn FnOnce(&Post) -> Result<(), Lost> + Send>;

/// One worker's place: its samples, and the operation that it is waiting for.
pub(crate) struct Post {
    /// What all share.
    pub rules: Rules,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    samples: Samples,
    failures_in_a_row: u32,
    /// By the place in the worker's queue; a thread that blocks has only one.
    in_flight: BTreeMap<usize, InFlight>,
    ended: bool,
}

#[derive(Clone, Copy)]
struct InFlight {
    operation: Operation,
    since: Duration,
    issued: Duration,
}

/// What a crew found.
#[derive(Default)]
pub(crate) struct Measured {
    /// All samples.
    pub samples: Samples,
    /// From the common start to the end of the last worker.
    pub elapsed: Duration,
    /// What the disk said when it stopped working.
    pub lost: Option<String>,
    /// How many workers still wait for an operation; their threads cannot be ended.
    pub stuck: usize,
}

impl Post {
    /// A place without samples.
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, state: Mutex::default() }
    }

    /// Does `act`, which answers how many bytes it moved, and records it. Latency counts from `due`, or from
    /// now where nothing was due.
    ///
    /// # Errors
    /// When the disk is full, read-only, or [`MOST_FAILURES`] operations have failed in a row. A failed
    /// operation alone is a sample.
    pub(crate) fn perform(
        &self,
        operation: Operation,
        due: Option<Duration>,
        act: impl FnOnce() -> io::Result<u64>,
    ) -> Result<(), Lost> {
        self.begin(0, operation, due);
        // Now, and not before: the mark is not the disk's time.
        let since = due.unwrap_or_else(|| self.rules.clock.now());
        let outcome = act();
        let took = self.rules.clock.now().saturating_sub(since);
        self.end(0, operation, took, outcome)
    }

    /// Marks that an operation at `place` is under way, for one that never comes back.
    pub(crate) fn begin(&self, place: usize, operation: Operation, due: Option<Duration>) {
        let issued = self.rules.clock.now();
        let begun = InFlight { operation, since: due.unwrap_or(issued), issued };
        self.state().in_flight.insert(place, begun);
    }

    /// Records the operation at `place`, which took `took`.
    ///
    /// # Errors
    /// As [`Self::perform`].
    pub(crate) fn end(
        &self,
        place: usize,
        operation: Operation,
        took: Duration,
        outcome: io::Result<u64>,
    ) -> Result<(), Lost> {
        let mut state = self.state();
        state.in_flight.remove(&place);
        state.samples.record(operation, took, self.rules.timeout, &outcome);
        state.failures_in_a_row = if outcome.is_err() { state.failures_in_a_row + 1 } else { 0 };
        match outcome {
            Err(error) if is_final(&error) || state.failures_in_a_row >= MOST_FAILURES => {
                Err(Lost(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Changes the samples directly: for what is no operation on the disk.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Samples)) {
        change(&mut self.state().samples);
    }

    /// Makes data for the disk, and keeps how long that took; returns it.
    pub(crate) fn make_data(&self, make: impl FnOnce()) -> Duration {
        let begun = self.rules.clock.now();
        make();
        let took = self.rules.clock.now().saturating_sub(begun);
        self.note(|samples| samples.generating += took);
        took
    }

    /// The samples so far. An operation that has not come back counts as one that failed.
    pub(crate) fn samples(&self) -> Samples {
        let state = self.state();
        let mut samples = state.samples.clone();
        for waiting in state.in_flight.values() {
            samples.record_timeout(waiting.operation, self.rules.clock.now().saturating_sub(waiting.since));
        }
        samples
    }

    fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.state();
        let waited = |waiting: &InFlight| self.rules.clock.now().saturating_sub(waiting.issued);
        !state.ended && state.in_flight.values().any(|waiting| waited(waiting) > patience)
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors after which trying again only fills the result with the same line.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// When a crew of `workers` that is made now can begin together.
pub(crate) fn common_start(rules: &Rules, workers: usize) -> Duration {
    rules.clock.now() + Duration::from_millis(20 + workers as u64)
}

/// Runs each job in a thread of its own from `begin` on, until all have ended or only stuck ones are left.
///
/// # Errors
/// When a thread cannot be started. Those that were are asked to stop.
pub(crate) fn run(rules: &Rules, begin: Duration, jobs: Vec<Job>) -> Result<Measured, ProbeError> {
    let (report, reports) = mpsc::channel();
    let mut posts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (post, report) = (Arc::new(Post::new(rules.clone())), report.clone());
        posts.push(Arc::clone(&post));
        let worker = thread::Builder::new().name("probe".to_owned()).spawn(move || {
            platform::wake_exactly();
            post.rules.clock.wait_until(begin, &post.rules.stop);
            let outcome = job(&post);
            post.state().ended = true;
            // Nobody listens any more when this worker had been given up.
            drop(report.send((post.rules.clock.now(), outcome)));
        });
        if let Err(source) = worker {
            rules.stop.ask();
            return Err(ProbeError::System { what: "start a thread".to_owned(), source });
        }
    }
    drop(report);
    Ok(collect(rules, begin, &posts, &reports))
}

type Report = (Duration, Result<(), Lost>);

fn collect(
    rules: &Rules,
    begin: Duration,
    posts: &[Arc<Post>],
    reports: &mpsc::Receiver<Report>,
) -> Measured {
    let mut measured = Measured::default();
    loop {
        match reports.recv_timeout(LOOK) {
            Ok((at, outcome)) => {
                measured.elapsed = measured.elapsed.max(at.saturating_sub(begin));
                if let Err(Lost(said)) = outcome {
                    rules.stop.ask();
                    measured.lost.get_or_insert(said);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // Whoever pressed Ctrl-C does not wait for a time-out.
                let patience = if rules.stop.asked() { GRACE } else { rules.timeout + GRACE };
                if posts.iter().all(|post| post.has_ended() || post.is_stuck(patience)) {
                    break;
                }
            }
        }
    }
    for post in posts {
        measured.samples.merge(&post.samples());
        measured.stuck += usize::from(!post.has_ended());
    }
    if measured.stuck > 0 {
        measured.elapsed = measured.elapsed.max(rules.clock.now().saturating_sub(begin));
        measured.lost.get_or_insert_with(|| "operations never came back".to_owned());
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(timeout: Duration) -> Rules {
        Rules { clock: Arc::new(Monotonic::start()), stop: Stop::default(), timeout }
    }

    #[test]
    fn an_operation_that_never_comes_back_is_a_sample_and_does_not_hang_the_program() {
        let rules = rules(Duration::from_millis(1));
        let (_keep, never) = mpsc::channel::<()>();
        let hang: Job = Box::new(move |post| {
            post.perform(Operation::Read, None, || never.recv().map(|()| 0).map_err(io::Error::other))
        });
        let fine: Job = Box::new(|post| post.perform(Operation::Read, None, || Ok(1)));
        let measured = run(&rules, Duration::ZERO, vec![hang, fine]).expect("threads");
        assert_eq!((measured.stuck, measured.samples.latencies[&Operation::Read].count()), (1, 2));
        assert!(measured.samples.failures() >= 1);
        assert!(measured.lost.is_some());
    }

    #[test]
    fn a_disk_that_fails_again_and_again_is_lost_and_each_failure_counts() {
        let rules = rules(Duration::from_secs(60));
        let broken: Job = Box::new(|post| {
            loop {
                post.perform(Operation::Write, None, || Err(io::Error::other("input/output error")))?;
            }
        });
        let measured = run(&rules, Duration::ZERO, vec![broken]).expect("threads");
        assert_eq!(measured.lost.as_deref(), Some("input/output error"));
        assert_eq!(measured.samples.failures(), u64::from(MOST_FAILURES));
        assert!(rules.stop.asked(), "the others go on with a disk that is lost");
    }

    #[test]
    fn a_full_disk_is_final_at_once() {
        let post = Post::new(rules(Duration::from_secs(60)));
        let full = || Err(io::ErrorKind::StorageFull.into());
        post.perform(Operation::Write, None, full).expect_err("final");
        assert_eq!(post.samples().failures(), 1);
    }
}
