//! Limits and ends on Linux, tried with processes that are kept as everybody's are. Whichever version of cgroups the
//! computer has is tried; where a limit cannot be enforced, the agent runs nothing under it, and that is a skip.

use std::{path::Path, sync::Arc, time::Duration};

use fs_err as fs;
use tokio::time::{sleep, timeout};
use winstead_spec::ByteSize;

use crate::{
    access::Limits,
    selftest::{Item, Outcome},
    supervision::{End, Event, KeeperFailure, Offsets, Order, Process, Settings, StartError, Supervisor},
};

/// How long one thing may take.
const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY: u64 = 64 * 1024 * 1024;
/// How long a program may compute whose time is measured.
const SPELL: Duration = Duration::from_secs(1);
/// What a program gets of one CPU, in thousandths, and what it may have at most: the kernel counts in slices.
const SHARE: u32 = 50;
const MOST: Duration = Duration::from_millis(150);

/// Tries everything.
pub(super) async fn items(program: &Path) -> Vec<Item> {
    let item = |name, proves, outcome| Item { name, proves, outcome };
    let bench = match Bench::open(program).await {
        Ok(bench) => bench,
        Err(outcome) => return vec![item("processes", "they can be kept", outcome)],
    };
    let items = vec![
        item("memory limit", "a program has no more memory than it may", bounded(bench.memory()).await),
        item(
            "process limit",
            "a program has no more processes than it may",
            bounded(bench.processes()).await,
        ),
        item("CPU limit", "a program has no more of a CPU than it may", bounded(bench.cpu()).await),
        item("tree", "what a program started ends with it, wherever it went", bounded(bench.tree()).await),
    ];
    bench.supervisor.close().await;
    items
}

/// Either way there is an outcome.
async fn bounded(tried: impl Future<Output = Result<Outcome, Outcome>>) -> Outcome {
    match timeout(PATIENCE, tried).await {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => Outcome::Failed(format!("it took longer than {PATIENCE:?}")),
    }
}

struct Bench {
    supervisor: Supervisor,
    program: String,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn open(program: &Path) -> Result<Self, Outcome> {
        let folder = tempfile::tempdir()?;
        let settings = Settings::new(folder.path().join("processes"), program.to_owned());
        let supervisor =
            Supervisor::open(settings).await.map_err(|error| Outcome::Failed(error.to_string()))?;
        Ok(Self { supervisor, program: program.display().to_string(), _folder: folder })
    }

    async fn start(&self, file: &str, words: &[&str], limits: Limits) -> Result<Arc<Process>, Outcome> {
        let arguments = words.iter().map(|word| (*word).to_owned()).collect();
        let (file, program) = (file.to_owned(), file.to_owned());
        let order = Order { file, program, arguments, limits, ..Order::default() };
        self.supervisor.start(order).await.map_err(|error| match error {
            StartError::Keeper { source: KeeperFailure::Limit(why), .. } => {
                Outcome::Skipped(format!("such a limit is refused here: {why}"))
            }
            StartError::Keeper { source, .. } => Outcome::Failed(source.to_string()),
            other => Outcome::Failed(other.to_string()),
        })
    }

    /// How it ended without the limit and with it.
    async fn both(&self, file: &str, words: &[&str], limits: Limits) -> Result<(End, End), Outcome> {
        let free = self.start(file, words, Limits::default()).await?.ended().await;
        Ok((free, self.start(file, words, limits).await?.ended().await))
    }

    async fn memory(&self) -> Result<Outcome, Outcome> {
        let limits = Limits { memory: Some(ByteSize::from_bytes(MEMORY)), ..Limits::default() };
        let words = ["selftest", "--allocate", &(4 * MEMORY).to_string()];
        Ok(match self.both(&self.program, &words, limits).await? {
            (End::Code(0), End::Code(0)) => Outcome::Failed("it got four times as much".to_owned()),
            (End::Code(0), _) => Outcome::Passed,
            (free, _) => Outcome::Failed(format!("without a limit it ended with {free:?}")),
        })
    }

    /// One process may be there: the shell cannot start another one that would end with 7.
    async fn processes(&self) -> Result<Outcome, Outcome> {
        let limits = Limits { processes: Some(1), ..Limits::default() };
        let words = ["-c", "/bin/sh -c 'exit 7'; exit $?"];
        Ok(match self.both("/bin/sh", &words, limits).await? {
            (End::Code(7), End::Code(7)) => Outcome::Failed("two were there where one may be".to_owned()),
            (End::Code(7), _) => Outcome::Passed,
            (free, _) => Outcome::Failed(format!("without a limit it ended with {free:?}")),
        })
    }

    async fn cpu(&self) -> Result<Outcome, Outcome> {
        let free = self.computed(Limits::default()).await?;
        let limited = self.computed(Limits { cpu_milli: Some(SHARE), ..Limits::default() }).await?;
        Ok(match (free, limited) {
            (_, limited) if limited > MOST => {
                Outcome::Failed(format!("it computed {limited:?} of {SPELL:?}"))
            }
            (free, _) if free <= MOST => Outcome::Skipped("the computer is too busy to tell".to_owned()),
            _ => Outcome::Passed,
        })
    }

    /// How much CPU an endless loop gets in a while.
    async fn computed(&self, limits: Limits) -> Result<Duration, Outcome> {
        let process = self.start("/bin/sh", &["-c", "while :; do :; done"], limits).await?;
        sleep(SPELL).await;
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
        let stopped = self.supervisor.stop(process.id(), Duration::ZERO).await;
        stopped.map_err(|error| Outcome::Failed(error.to_string()))?;
        computed(&stat).ok_or_else(|| Outcome::Failed(format!("/proc says {stat}")))
    }

    /// A child in a session of its own, whose parent ends before the program does.
    async fn tree(&self) -> Result<Outcome, Outcome> {
        let script = "setsid sh -c 'setsid sleep 600 & echo $!' & wait";
        let process = self.start("/bin/sh", &["-c", script], Limits::default()).await?;
        let said = first_words(&process).await?;
        process.ended().await;
        let pid: u32 = said.trim().parse().map_err(|_| Outcome::Failed(format!("it said {said:?}")))?;
        let runs = fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        Ok(if runs { Outcome::Failed("its grandchild still runs".to_owned()) } else { Outcome::Passed })
    }
}

async fn first_words(process: &Arc<Process>) -> Result<String, Outcome> {
    let attached = process.attach(Offsets::default());
    let mut attachment = attached.map_err(|error| Outcome::Failed(error.to_string()))?;
    loop {
        match attachment.next().await? {
            Event::Stdout { data, .. } => return Ok(String::from_utf8_lossy(&data).into_owned()),
            Event::Stderr { .. } => {}
            Event::Ended(end) => return Err(Outcome::Failed(format!("it ended with {end:?}, in silence"))),
        }
    }
}

/// Fields 14 and 15 of proc(5), behind the name, which may hold spaces.
fn computed(stat: &str) -> Option<Duration> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_time_is_that_of_the_program_and_the_kernel_together() {
        let stat = "77 (a) b (c) R 12 77 77 0 -1 4228108 190 0 0 0 30 20 0 0 20 0 5 0 4242 0 0";
        let tick = 1000 / rustix::param::clock_ticks_per_second();
        assert_eq!(computed(stat), Some(Duration::from_millis(50 * tick)));
        assert_eq!(computed("77 (a"), None);
    }
}
