#![forbid(unsafe_code)]
//! What measurements say, and what they do not: the statistics behind "does RAM make it predictable?".
//!
//! Pure: no I/O, no clock, and randomness only from a [`Seed`] that the caller gives, so that everybody can
//! compute a report again from its result file.
//!
//! | the question | who answers it |
//! |---|---|
//! | How long do operations take? | [`Latencies`] of each run, made of a [`Histogram`] for those that succeeded and one for those that failed |
//! | How sure is this p99? | [`Bootstrap::percentile`], over whole runs |
//! | **Is B slower than A?** | [`Question::compare`]: one sentence, p99 decides. [`Bootstrap::ratio`] and [`Bootstrap::difference`] are its numbers |
//! | Do builds take longer in B, one time for each run? | [`mann_whitney()`], and [`Summary`] with [`median_interval`] of each arm |
//! | Do more jobs fail in B? | [`FailureComparison::of`]: in sentences. [`Proportion::wilson`] of each arm, [`difference`] between them and [`fisher`] where few failed are its numbers |
//! | How many jobs until one can see it? | [`Power::jobs_per_arm`] |
//! | How many machines does this host carry? | [`knee()`] for a latency that must hold; [`scalability()`] for where throughput bends |
//! | Did we measure what we think? | [`littles_law()`] |
//!
//! What all of them take for granted:
//! - **A run is the unit**, not a sample: samples of one run share its disk, its cache and its neighbours.
//!   Five runs of each arm at least, the arms interleaved.
//! - **Percentiles are never averaged.** Histograms are merged, then asked.
//! - **A time-out or an error is a sample, never a gap.**
//! - **No outlier is removed**: the tail is what this is about.
//! - **"No difference shown" is not "no difference"**: its interval says what is still possible.
//!
//! ```
//! use std::time::Duration;
//! use winstead_statistics::{Arm, Bootstrap, Latencies, Question, Seed};
//!
//! // Five runs of each arm; in earnest they come from a load generator.
//! let measured = |micros: u64| -> Vec<Latencies> {
//!     let run = |level: u64| {
//!         let mut run = Latencies::new();
//!         (0..2000).for_each(|n| run.record(Duration::from_micros(micros + level + n % 100)));
//!         run
//!     };
//!     (0..5).map(run).collect()
//! };
//! let (disk, ram) = (measured(900), measured(400));
//! let found = Question::at_p99(Bootstrap::with_seed(Seed(1)))
//!     .compare(Arm { name: "disk", runs: &disk }, Arm { name: "RAM", runs: &ram });
//! assert_eq!(found.to_string(), "RAM is faster at p99 by 2.00× (1.99-2.01)");
//! ```
//!
//! Where formulas come from stands in each file's head; each is tested against published examples and SciPy
//! (`tests/reference`).

pub mod bootstrap;
mod distribution;
pub mod failures;
pub mod histogram;
pub mod interval;
pub mod knee;
pub mod latencies;
pub mod littles_law;
pub mod mann_whitney;
pub mod percentile;
pub mod proportion;
pub mod random;
pub mod scalability;
pub mod summary;
pub mod verdict;

pub use bootstrap::{Bootstrap, BootstrapError, MINIMUM_RUNS};
pub use failures::{ArmFailures, FailureComparison, FailureVerdict, Probability};
pub use histogram::Histogram;
pub use interval::{Confidence, Interval};
pub use knee::{Knee, LoadLatency, knee};
pub use latencies::Latencies;
pub use littles_law::{LittlesLaw, littles_law};
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use percentile::Percentile;
pub use proportion::{Power, Proportion, difference, fisher};
pub use random::Seed;
pub use scalability::{Load, Peak, Scalability, scalability};
pub use summary::{Summary, median_interval};
pub use verdict::{Arm, Comparison, MINIMUM_BEYOND, Question, Ratio, Verdict};
