//! The document's size. What stands in it is tested from outside, in `tests/cli.rs`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser;

use super::*;
use crate::{
    cli::Cli,
    clock::{Clock, Stop},
    crew::{self, Job, Rules, Start},
    pattern::Generator,
};

/// A clock that only a test's disk moves.
#[derive(Default)]
struct Virtual(AtomicU64);

impl Clock for Virtual {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wait_until(&self, _: Duration, _: &Stop) {}
}

fn result_without_numbers() -> ProbeResult {
    let cli = Cli::try_parse_from(["winstead-probe", "rand-read"]).expect("arguments");
    let parameters = Parameters::read(&cli.workload).expect("fine");
    ProbeResult::begin(&parameters, &Place { folder: PathBuf::new(), computer: Computer::default() })
}

#[test]
fn ten_million_samples_of_ten_minutes_are_a_document_below_200_kb() {
    /// Of each of five workers that do the same: recording all would take a debug build ten seconds.
    const SAMPLES: u64 = 2_000_000;
    let clock = Arc::new(Virtual::default());
    let rules = Rules {
        clock: Arc::<Virtual>::clone(&clock),
        stop: Stop::default(),
        timeout: Duration::from_millis(10),
    };
    let disk: Job = Box::new(move |post| {
        let mut random = Generator::new(1, 2);
        for _ in 0..SAMPLES {
            post.perform(Operation::Read, None, || {
                // Pareto's law: 50 µs at best, 250 µs on average, now and then a second.
                let nanos = Duration::from_micros(50).div_f64(random.uniform().powf(0.8)).as_nanos();
                clock.0.fetch_add(u64::try_from(nanos).expect("short"), Ordering::Relaxed);
                Ok(4096)
            })?;
        }
        Ok(())
    });
    let mut measured = crew::run(&rules, Start::default(), vec![disk]).expect("a thread");
    let one = measured.samples.clone();
    (0..4).for_each(|_| measured.samples.merge(&one));
    let mut result = result_without_numbers();
    assert_eq!(result.end(&measured, false), Ended::Complete);
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let steps = document["timeline"]["steps"].as_array().expect("steps");
    let sum: u64 = steps.iter().filter_map(|step| step["operations"].as_u64()).sum();
    assert_eq!((document["operations"]["read"]["count"].as_u64(), sum), (Some(5 * SAMPLES), SAMPLES));
    assert!((300..=600).contains(&steps.len()), "{}", steps.len());
    assert!(document["operations"]["read"]["failures"].as_u64() > Some(100));
    assert!(text.len() < 200_000, "{} bytes", text.len());
}
