//! Loads on a device and a clock of the test's own: no number here depends on the computer.

use std::collections::BTreeSet;

use winstead_statistics::{Percentile, histogram::RESOLUTION};

use super::*;
use crate::{
    clock::{Clock, Stop},
    crew::Rules,
    samples::Samples,
    timeline::Recorder,
};

/// A clock that stands still unless somebody moves it.
#[derive(Default)]
struct Virtual(AtomicU64);

impl Virtual {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(nanos(time), Ordering::Relaxed);
    }
}

impl Clock for Virtual {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wait_until(&self, at: Duration, _: &Stop) {
        self.0.fetch_max(nanos(at), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Takes 1 ms for a block, and once, at 1 s, `stall`.
struct Stalling {
    clock: Arc<Virtual>,
    stall: Option<Duration>,
}

impl Device for Stalling {
    fn prepare(&mut self) {
        self.clock.pass(Duration::from_micros(1));
    }

    fn read(&mut self, _: u64) -> io::Result<u64> {
        let stall = if self.clock.now() >= millis(1000) { self.stall.take() } else { None };
        self.clock.pass(stall.unwrap_or(millis(1)));
        Ok(4096)
    }

    fn write(&mut self, offset: u64) -> io::Result<u64> {
        self.read(offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.clock.pass(millis(2));
        Ok(())
    }
}

/// One worker for ten seconds with a stall at 1 s.
fn run(pace: Pace, operation: Operation, stall: Duration, timeout: Duration) -> Samples {
    let clock = Arc::new(Virtual::default());
    let worker = Worker {
        device: Box::new(Stalling { clock: Arc::clone(&clock), stall: Some(stall) }),
        task: Task {
            positions: Positions::Sequential(Arc::default()),
            pace: Arc::new(pace),
            operation,
            block: 4096,
            blocks: 8,
            flush_at_end: operation == Operation::Write,
        },
    };
    let post = Post::new(Rules { clock, stop: Stop::default(), timeout }, Recorder::default());
    worker.work(&post).expect("the disk is there");
    post.take_samples()
}

const END: Duration = Duration::from_secs(10);

fn open() -> Pace {
    Pace::Open(Mutex::new(Arrivals::new(Duration::ZERO, END, 100.0, None)))
}

fn at(samples: &Samples, operation: Operation, percentile: Percentile) -> f64 {
    let took = samples.latencies[&operation].all().percentile(percentile);
    took.expect("samples").as_secs_f64()
}

/// Equal as far as a histogram can tell.
fn assert_near(found: f64, truth: f64) {
    assert!((found / truth - 1.0).abs() <= RESOLUTION, "{found} is not {truth}");
}

#[test]
fn a_stall_is_charged_to_all_who_wait_in_an_open_loop_and_to_one_in_a_closed() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let open = run(open(), Operation::Read, second, minute);
    let closed = run(Pace::Closed { end: END }, Operation::Read, second, minute);

    // The disk hangs from 1 s to 2 s. The operation due at 1 s + 10 ms · j is done at 2 s + 1 ms · j, so it
    // took 1 s − 9 ms · j. The slowest ten of a thousand are j = 0 to 9; the next is p99.
    assert_eq!(open.latencies[&Operation::Read].count(), 1000);
    assert_near(at(&open, Operation::Read, Percentile::MAX), 1.0);
    assert_near(at(&open, Operation::Read, Percentile::P99), 0.910);
    // It takes longer than 100 ms for j < 100, a tenth of all, and 100 ms for the next.
    let p90 = Percentile::from_millionths(900_000).expect("a percentile");
    assert_near(at(&open, Operation::Read, p90), 0.100);

    // Nine seconds of 1 ms and one operation of 1 s: even p99.9 does not know of it.
    assert_eq!(closed.latencies[&Operation::Read].count(), 9001);
    assert_near(at(&closed, Operation::Read, Percentile::MAX), 1.0);
    assert_near(at(&closed, Operation::Read, Percentile::P999), 0.001);
}

#[test]
fn what_is_too_late_to_be_begun_is_a_failure_and_not_a_gap() {
    let samples = run(open(), Operation::Read, Duration::from_secs(4), millis(500));
    let read = &samples.latencies[&Operation::Read];
    // The disk hangs from 1 s to 5 s. The one that hangs with it has failed; so have the 349 due from 1.01 s to
    // 4.49 s, which have waited longer than 500 ms by then; and the one due at 4.5 s, which is begun, and takes
    // 501 ms. The next is done after 492 ms.
    assert_eq!(read.count(), 1000);
    assert_eq!(read.failures(), 1 + 349 + 1);
    assert_eq!(samples.errors.values().sum::<u64>(), 351);
}

#[test]
fn what_our_own_waking_adds_is_counted_where_a_worker_stood_ready() {
    let samples = run(open(), Operation::Read, Duration::from_secs(1), Duration::from_secs(60));
    // The first is due at once; from the stall's end on 111 are served without a wait.
    assert_eq!(samples.lateness.count(), 1000 - 1 - 111);
    assert_eq!(samples.lateness.percentile(Percentile::MAX), Some(Duration::from_nanos(1)));
}

#[test]
fn a_durable_write_is_one_sample_with_its_flush_and_data_is_made_outside_of_it() {
    let pace = Pace::Closed { end: END };
    let samples = run(pace, Operation::DurableWrite, millis(1), Duration::from_secs(60));
    assert_eq!(samples.latencies.keys().collect::<Vec<_>>(), [&Operation::DurableWrite]);
    assert_near(at(&samples, Operation::DurableWrite, Percentile::MAX), 0.003);
    let count = samples.latencies[&Operation::DurableWrite].count();
    assert_eq!(u128::from(count) * 1000, samples.generating.as_nanos());
}

#[test]
fn a_flush_at_the_end_is_an_operation_of_its_own() {
    let pace = Pace::Closed { end: END };
    let samples = run(pace, Operation::Write, millis(1), Duration::from_secs(60));
    assert_eq!(samples.latencies[&Operation::Flush].count(), 1);
    assert_near(at(&samples, Operation::Flush, Percentile::MAX), 0.002);
}

#[test]
fn poisson_arrivals_have_the_rate_and_the_spread_of_their_law() {
    let mut arrivals =
        Arrivals::new(Duration::ZERO, Duration::from_secs(1000), 100.0, Some(Generator::new(5, 0)));
    let due: Vec<f64> = std::iter::from_fn(|| arrivals.take()).map(|due| due.as_secs_f64()).collect();
    let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    // 100 000 gaps: the mean has a standard error of 0.3 %, the deviation one of about 0.5 %.
    assert!((mean / 0.01 - 1.0).abs() < 0.02, "{mean}");
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
}

#[test]
fn sequential_blocks_come_in_order_over_all_workers_and_random_ones_reach_all() {
    let shared = Arc::default();
    let mut workers = [Positions::Sequential(Arc::clone(&shared)), Positions::Sequential(shared)];
    let taken: Vec<u64> = (0..6).filter_map(|n| workers[n % 2].next(4)).collect();
    assert_eq!(taken, [0, 1, 2, 3, 0, 1]);
    let mut random = Positions::Random(Generator::new(1, 2));
    let reached: BTreeSet<u64> = (0..1000).filter_map(|_| random.next(16)).collect();
    assert_eq!(reached.len(), 16);
}

#[test]
fn each_block_comes_once_over_all_workers_and_then_none() {
    let order = Arc::new(shuffled(100, &mut Generator::new(1, 2)));
    for order in [None, Some(order)] {
        let once = || Positions::Once { taken: Arc::default(), order: order.clone() };
        let (mut one, taken) = (once(), std::iter::repeat_n((), 101));
        let found: Vec<Option<u64>> = taken.map(|()| one.next(100)).collect();
        let different: BTreeSet<u64> = found.iter().flatten().copied().collect();
        assert_eq!((different.len(), found[100]), (100, None));
        assert!(!found.is_sorted(), "the end comes last");
        assert_eq!(found[..100].is_sorted(), order.is_none());
    }
}

#[test]
fn a_load_on_blocks_that_come_once_ends_with_them() {
    let clock = Arc::new(Virtual::default());
    let worker = Worker {
        device: Box::new(Stalling { clock: Arc::clone(&clock), stall: None }),
        task: Task {
            positions: Positions::Once { taken: Arc::default(), order: None },
            pace: Arc::new(Pace::Closed { end: END }),
            operation: Operation::Write,
            block: 4096,
            blocks: 8,
            flush_at_end: true,
        },
    };
    let post = Post::new(Rules { clock, stop: Stop::default(), timeout: END }, Recorder::default());
    worker.work(&post).expect("the disk is there");
    let samples = post.take_samples();
    let count = |operation| samples.latencies[&operation].count();
    assert_eq!((count(Operation::Write), count(Operation::Flush)), (8, 1));
}
