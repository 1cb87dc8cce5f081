//! Workers: threads that each record into a place of their own, watched so that an operation which never comes
//! back is a sample, too, and not a program that hangs.
//!
//! In the engine that works everywhere each operation blocks its thread, so a queue depth of eight is eight
//! threads; with io_uring a thread has many under way. This knows neither disks nor loads.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::{Clock, Monotonic, Stop},
    computer::Traffic,
    error::ProbeError,
    platform,
    samples::{Operation, Samples, Verdict},
    timeline::{Recorder, Timeline},
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
    timeline: Recorder,
    failures_in_a_row: u32,
    /// By the place in the worker's queue; a thread that blocks has only one.
    in_flight: Vec<Option<InFlight>>,
    ended: bool,
}

#[derive(Clone, Copy)]
struct InFlight {
    operation: Operation,
    since: Duration,
    issued: Duration,
}

/// An operation that is over.
struct Ended {
    operation: Operation,
    since: Duration,
    took: Duration,
}

/// What a crew found.
#[derive(Default)]
pub(crate) struct Measured {
    /// All samples.
    pub samples: Samples,
    /// When they were.
    pub timeline: Timeline,
    /// From the common start to the end of the last worker.
    pub elapsed: Duration,
    /// What reached block devices meanwhile; nothing where the system does not say.
    pub traffic: Option<Traffic>,
    /// Processor time of this process meanwhile; nothing where the system does not say.
    pub cpu: Option<Duration>,
    /// What the disk said when it stopped working.
    pub lost: Option<String>,
    /// How many workers still wait for an operation; their threads cannot be ended.
    pub stuck: usize,
}

impl Post {
    /// A place without samples.
    pub(crate) fn new(rules: Rules, timeline: Recorder) -> Self {
        Self { rules, state: Mutex::new(State { timeline, ..State::default() }) }
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

    /// Marks that an operation at `place` is under way, for one that never comes back. From when it counts.
    pub(crate) fn begin(&self, place: usize, operation: Operation, due: Option<Duration>) -> Duration {
        let issued = self.rules.clock.now();
        let begun = InFlight { operation, since: due.unwrap_or(issued), issued };
        let in_flight = &mut self.state().in_flight;
        if in_flight.len() <= place {
            in_flight.resize(place + 1, None);
        }
        in_flight[place] = Some(begun);
        begun.since
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
        // Nothing when this worker had been given up, and its samples were taken.
        let begun = state.in_flight.get_mut(place).and_then(Option::take);
        let since = begun.map_or(Duration::ZERO, |begun| begun.since);
        state.record(&Ended { operation, since, took }, self.rules.timeout, &outcome);
        state.failures_in_a_row = if outcome.is_err() { state.failures_in_a_row + 1 } else { 0 };
        match outcome {
            Err(error) if is_final(&error) || state.failures_in_a_row >= MOST_FAILURES => {
                Err(Lost(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Records an operation that was due at `since` and is not even begun.
    pub(crate) fn give_up(&self, operation: Operation, since: Duration) {
        let waited = self.rules.clock.now().saturating_sub(since);
        self.state().record_timeout(operation, since, waited);
    }

    /// Numbers from 0 to before `count`, until somebody asks to stop.
    pub(crate) fn running(&self, count: u32) -> impl Iterator<Item = u32> + use<'_> {
        (0..count).take_while(|_| !self.rules.stop.asked())
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

    /// Takes the samples away. An operation that has not come back counts as one that failed.
    pub(crate) fn take_samples(&self) -> Samples {
        let mut state = self.state();
        for waiting in mem::take(&mut state.in_flight).into_iter().flatten() {
            let waited = self.rules.clock.now().saturating_sub(waiting.since);
            state.record_timeout(waiting.operation, waiting.since, waited);
        }
        state.timeline.hand_over();
        mem::take(&mut state.samples)
    }

    fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.state();
        let waited = |waiting: &InFlight| self.rules.clock.now().saturating_sub(waiting.issued);
        !state.ended && state.in_flight.iter().flatten().any(|waiting| waited(waiting) > patience)
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// Adds what another crew found after this one. Each has a timeline of its own, so there is none of both.
    pub(crate) fn absorb(&mut self, next: Self) {
        self.samples.merge(&next.samples);
        self.elapsed += next.elapsed;
        self.traffic = self.traffic.into_iter().chain(next.traffic).reduce(Traffic::plus);
        self.cpu = self.cpu.into_iter().chain(next.cpu).reduce(|before, next| before + next);
        self.lost = self.lost.take().or(next.lost);
        self.stuck += next.stuck;
    }
}

impl State {
    fn record(&mut self, ended: &Ended, timeout: Duration, outcome: &io::Result<u64>) {
        let verdict = self.samples.record(ended.operation, ended.took, timeout, outcome);
        self.timeline.record(ended.since, ended.took, verdict == Verdict::Failed);
    }

    fn record_timeout(&mut self, operation: Operation, since: Duration, waited: Duration) {
        self.samples.record_timeout(operation, waited);
        self.timeline.record(since, waited, true);
    }
}

/// Errors after which trying again only fills the result with the same line.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// When a crew begins.
#[derive(Clone, Copy, Default)]
pub(crate) struct Start {
    /// Its workers wake then.
    pub wake: Duration,
    /// The first operation may begin, and time counts from then.
    pub origin: Duration,
}

impl Start {
    /// When `workers` that are made now can begin together, each `ready` after it woke.
    pub(crate) fn together(rules: &Rules, workers: usize, ready: Duration) -> Self {
        let wake = rules.clock.now() + Duration::from_millis(20 + workers as u64);
        Self { wake, origin: wake + ready }
    }
}

/// Runs each job in a thread of its own from `start` on, until all have ended or only stuck ones are left.
///
/// # Errors
/// When a thread cannot be started. Those that were are asked to stop.
pub(crate) fn run(rules: &Rules, start: Start, jobs: Vec<Job>) -> Result<Measured, ProbeError> {
    let (report, reports) = mpsc::channel();
    let (before, cpu_before) = (platform::storage_traffic(), platform::cpu_time());
    let timeline = Arc::default();
    let mut posts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (post, report) =
            (Post::new(rules.clone(), Recorder::new(start.origin, &timeline)), report.clone());
        let post = Arc::new(post);
        posts.push(Arc::clone(&post));
        let worker = thread::Builder::new().name("probe".to_owned()).spawn(move || {
            platform::wake_exactly();
            post.rules.clock.wait_until(start.wake, &post.rules.stop);
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
    let mut measured = collect(rules, start.origin, &posts, &reports);
    measured.timeline = mem::take(&mut *timeline.lock().unwrap_or_else(PoisonError::into_inner));
    measured.cpu = cpu_before.zip(platform::cpu_time()).map(|(before, after)| after.saturating_sub(before));
    measured.traffic = before.zip(platform::storage_traffic()).map(|(before, after)| after.since(before));
    Ok(measured)
}

type Report = (Duration, Result<(), Lost>);

fn collect(
    rules: &Rules,
    origin: Duration,
    posts: &[Arc<Post>],
    reports: &mpsc::Receiver<Report>,
) -> Measured {
    let mut measured = Measured::default();
    loop {
        match reports.recv_timeout(LOOK) {
            Ok((at, outcome)) => {
                measured.elapsed = measured.elapsed.max(at.saturating_sub(origin));
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
        measured.samples.merge(&post.take_samples());
        measured.stuck += usize::from(!post.has_ended());
    }
    if measured.stuck > 0 {
        measured.elapsed = measured.elapsed.max(rules.clock.now().saturating_sub(origin));
        measured.lost.get_or_insert_with(|| "operations never came back".to_owned());
    }
    measured
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
        let measured = run(&rules, Start::default(), vec![hang, fine]).expect("threads");
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
        let measured = run(&rules, Start::default(), vec![broken]).expect("threads");
        assert_eq!(measured.lost.as_deref(), Some("input/output error"));
        assert_eq!(measured.samples.failures(), u64::from(MOST_FAILURES));
        assert!(rules.stop.asked(), "the others go on with a disk that is lost");
    }

    #[test]
    fn a_full_disk_is_final_at_once() {
        let post = Post::new(rules(Duration::from_secs(60)), Recorder::default());
        let full = || Err(io::ErrorKind::StorageFull.into());
        post.perform(Operation::Write, None, full).expect_err("final");
        assert_eq!(post.take_samples().failures(), 1);
    }

    /// A benchmark, run by `./x bench recording`: a program without a library has no other place for one. Prints what an
    /// operation that does nothing takes, and what its looks at the clock take of that.
    #[test]
    #[ignore = "it measures, and means something only when it is compiled for release"]
    fn recording() {
        const OPERATIONS: u32 = 10_000_000;
        // When it was due or begun, before it and after it.
        const LOOKS: u32 = 3;
        let post = Post::new(rules(Duration::from_secs(60)), Recorder::default());
        let nanos =
            |begun: std::time::Instant, times: u32| begun.elapsed().as_secs_f64() * 1e9 / f64::from(times);
        let begun = std::time::Instant::now();
        for _ in 0..OPERATIONS {
            post.perform(Operation::Read, None, || Ok(4096)).expect("it does nothing");
        }
        let whole = nanos(begun, OPERATIONS);
        let begun = std::time::Instant::now();
        for _ in 0..OPERATIONS {
            std::hint::black_box(post.rules.clock.now());
        }
        let looks = nanos(begun, OPERATIONS) * f64::from(LOOKS);
        assert_eq!(post.take_samples().latencies[&Operation::Read].count(), u64::from(OPERATIONS));
        writeln!(io::stderr(), "recording: {whole:.1} ns, of it the clock: {looks:.1} ns")
            .expect("standard error");
    }
}
