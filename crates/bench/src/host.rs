//! The host while machines work: looks at `/proc` again and again.

mod counters;
mod describe;
mod stack;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use winstead_measurement::wall::HostSample;
use winstead_store::meminfo;

pub use describe::{device_of, host};

use crate::limit::Limited;
use counters::Counters;

/// How often one looks. Often enough for a stall of a second to be seen, and cheap.
const PERIOD: Duration = Duration::from_millis(500);

/// What is looked at beside the host itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched<'a> {
    /// The machines' QEMUs.
    pub(crate) processes: Vec<u32>,
    /// The rate that they are held to.
    pub(crate) limited: Option<&'a Limited>,
}

/// Looks at the host from now on until `stop` is cancelled; returns what it did in each stretch, oldest first.
///
/// Cancel safety: dropping it loses the samples, nothing else.
pub(crate) async fn watch(
    watched: &Watched<'_>,
    begun: Instant,
    stop: &CancellationToken,
) -> Vec<HostSample> {
    let stacks = stack::stacks(Path::new("/sys/block"));
    let mut samples = Vec::new();
    let mut before = look(watched, begun);
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => {}
        }
        let after = look(watched, begun);
        let both = before.as_ref().zip(after.as_ref());
        let mut sample = both.and_then(|(before, after)| counters::between(before, after));
        sample.iter_mut().for_each(|sample| stack::lend_flushes(sample, &stacks));
        samples.extend(sample);
        before = after;
    }
    samples
}

/// What is not there counts as nothing: a kernel may have no pressure, a QEMU may have ended. Without processor time there
/// is nothing to say.
fn look(watched: &Watched<'_>, begun: Instant) -> Option<Counters> {
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let of_process = |pid: &u32| counters::process(&read(&format!("/proc/{pid}/stat")), ticks);
    let mut waited = BTreeMap::new();
    for name in ["cpu", "io", "memory"] {
        waited.append(&mut counters::pressure(name, &read(&format!("/proc/pressure/{name}"))));
    }
    Some(Counters {
        at: begun.elapsed().as_secs_f64(),
        cpu: counters::cpu(&read("/proc/stat"), ticks)?,
        qemu: watched.processes.iter().filter_map(of_process).sum(),
        waited,
        memory_available: meminfo(&read("/proc/meminfo"), "MemAvailable").unwrap_or_default(),
        disks: counters::disks(&read("/proc/diskstats")),
        held: watched.limited.map(Limited::done),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_works_is_seen() {
        let stop = CancellationToken::new();
        let working = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(700) {
                    std::hint::black_box(begun.elapsed());
                }
                stop.cancel();
            }
        });
        let own = Watched { processes: vec![std::process::id()], limited: None };
        let samples = watch(&own, Instant::now(), &stop).await;
        working.await.expect("the work ends");
        let worked: f64 = samples.iter().map(|sample| sample.qemu_cpus * sample.seconds).sum();
        assert!((0.2..2.0).contains(&worked), "{worked} s: {samples:?}");
        assert!(samples.iter().any(|sample| sample.busy_cpus > 0.0));
        assert!(samples.iter().all(|sample| sample.memory_available_bytes > 0));
    }
}
