//! The agent's processes: what running one costs, how fast output comes, and what an agent needs.

#![expect(
    clippy::disallowed_methods,
    reason = "programs that are measured: nothing may stand between them and the clock"
)]

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command as Started, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    product, report,
};

/// How often a program is run for one sample of each arm, in turn.
const RUNS: usize = 50;
const STREAM_BYTES: usize = 2_000_000_000;
const PROCESSES: usize = 50;
const LINES: usize = 100_000;

/// A daemon in a folder of its own.
struct Agent {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
}

/// Measures all four.
///
/// # Errors
/// When the agent cannot be built or started, or loses a line.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let agent = Agent::start(lab)?;
    let (mut fresh, mut idle) = (Series::new("a fresh agent", "MB"), Series::new("an idle agent", "MB"));
    fresh.samples.push(agent.memory("VmRSS")?);
    let mut direct = Series::new("/bin/echo started directly", "ms");
    let mut added = Series::new("the same by `winstead-agent run`", "ms");
    let [mut streamed, mut socat] =
        ["`run` of `head -c`", "socat through a Unix socket"].map(|arm| Series::new(arm, "GB/s"));
    let mut sixty = Series::new("what socat moves, times 0.6", "GB/s");
    for _ in 0..lab.repeats() {
        for _ in 0..RUNS {
            direct.samples.push(1e3 * seconds(Started::new("/bin/echo").arg("line"))?);
            added.samples.push(1e3 * seconds(&mut agent.run(&["/bin/echo", "line"]))?);
        }
        streamed.samples.push(agent.stream()?);
        socat.samples.push(through_socat(lab)?);
    }
    let mut wakes = Series::new("its wake-ups in 10 s", "");
    wakes.samples.push(agent.wakes()?);
    idle.samples.push(agent.memory("VmRSS")?);
    let mut peak = Series::new("50 processes × 10,000 lines/s: the agent's peak", "MB");
    agent.many()?;
    peak.samples.push(agent.memory("VmHWM")?);
    sixty.samples.push(0.6 * socat.median()?);
    let goals = vec![
        Goal::at_most("`run` adds, ms", added.median()? - direct.median()?, 15.0),
        Goal::at_most(
            "1 GB/s or 0.6 of socat, whichever is less, over what `run` streams",
            sixty.median()?.min(1.0) / streamed.median()?,
            1.0,
        ),
        Goal::at_most("memory with 50 × 10,000 lines/s, MB", peak.median()?, 64.0),
        Goal::at_most("memory of a fresh agent, MB", fresh.median()?, 12.0),
        Goal::at_most("idle memory after all that, MB", idle.median()?, 12.0),
        Goal::at_most("idle wake-ups in 10 s", wakes.median()?, 5.0),
    ];
    let method = "release build, one daemon; 50 runs of each arm in turn; 2 GB of zeros into a reader that throws them away; socat \
                  moves the same bytes through one Unix socket; idle is after all that, before the 50 processes"
        .to_owned();
    report::line(format_args!("  stream {:.2} GB/s, socat {:.2} GB/s", streamed.median()?, socat.median()?));
    Ok(Bench {
        name: "agent",
        method,
        series: vec![direct, added, streamed, socat, fresh, idle, wakes, peak],
        goals,
    })
}

impl Agent {
    fn start(lab: &Lab) -> anyhow::Result<Self> {
        let program = product::agent()?;
        let folder = lab.scratch().join("agent");
        // A socket of a run that was killed would be taken for this one's.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut serve = Started::new(&program);
        serve.arg("serve").arg("--runtime").arg(&folder).arg("--state").arg(&folder);
        let child = serve.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let agent = Self { program, folder, child };
        let until = Instant::now() + Duration::from_secs(20);
        while !agent.folder.join("agent.sock").exists() {
            anyhow::ensure!(Instant::now() < until, "the agent does not listen");
            std::thread::yield_now();
        }
        Ok(agent)
    }

    fn run(&self, words: &[&str]) -> Started {
        let mut command = Started::new(&self.program);
        command.arg("run").arg("--address").arg(self.folder.join("agent.sock")).arg("--").args(words);
        command
    }

    fn stream(&self) -> anyhow::Result<f64> {
        rate(&mut self.run(&["head", "-c", &STREAM_BYTES.to_string(), "/dev/zero"]))
    }

    /// A line of `/proc/PID/status`, in MB.
    fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib: f64 = line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    fn wakes(&self) -> anyhow::Result<f64> {
        // What was busy goes to sleep: tokio's threads for blocking work end after ten seconds.
        std::thread::park_timeout(Duration::from_secs(15));
        let before = self.switches()?;
        std::thread::park_timeout(Duration::from_secs(10));
        Ok(self.switches()? - before)
    }

    /// Of all its threads.
    fn switches(&self) -> anyhow::Result<f64> {
        let mut all = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            all += line.context("no such line")?.trim().parse::<f64>()?;
        }
        Ok(all)
    }

    /// Ten seconds of 10,000 lines each; every line must come.
    fn many(&self) -> anyhow::Result<()> {
        let script =
            format!("for second in 0 1 2 3 4 5 6 7 8 9; do seq {} & sleep 1; wait; done", LINES / 10);
        let mut all = Vec::new();
        for _ in 0..PROCESSES {
            all.push(self.run(&["sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        }
        let readers: Vec<_> = all
            .into_iter()
            .map(|mut child| {
                std::thread::spawn(move || {
                    let mut said = Vec::new();
                    child.stdout.take().map(|mut out| out.read_to_end(&mut said)).transpose()?;
                    let lines = said.iter().filter(|byte| **byte == b'\n').count();
                    Ok::<_, std::io::Error>((lines, child.wait()?))
                })
            })
            .collect();
        for reader in readers {
            let (lines, status) = reader.join().map_err(|_| anyhow::anyhow!("a reader broke"))??;
            anyhow::ensure!(status.success() && lines == LINES, "{lines} of {LINES} lines came: {status}");
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            report::line(format_args!("  the agent was not ended: {error}"));
        }
    }
}

fn seconds(command: &mut Started) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "{command:?}: {status}");
    Ok(begun.elapsed().as_secs_f64())
}

/// GB/s of what a command says.
fn rate(command: &mut Started) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("no output")?;
    let mut buffer = vec![0; 1024 * 1024];
    let mut total = 0;
    loop {
        match out.read(&mut buffer)? {
            0 => break,
            count => total += count,
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(
        status.success() && total == STREAM_BYTES,
        "{total} of {STREAM_BYTES} bytes came: {status}"
    );
    let gigabytes = total as f64 / 1e9;
    Ok(gigabytes / begun.elapsed().as_secs_f64())
}

/// From a program into a Unix socket, and out of it into a pipe: the same way without an agent.
fn through_socat(lab: &Lab) -> anyhow::Result<f64> {
    let socket = lab.scratch().join("socat.sock");
    let listen = format!("UNIX-LISTEN:{},unlink-early", socket.display());
    let feed = format!("SYSTEM:head -c {STREAM_BYTES} /dev/zero");
    let mut server = Started::new("socat").args(["-b", "262144", "-u", &feed, &listen]).spawn()?;
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        anyhow::ensure!(Instant::now() < until, "socat does not listen");
        std::thread::yield_now();
    }
    let measured = rate(Started::new("socat").args([
        "-b",
        "262144",
        "-u",
        &format!("UNIX-CONNECT:{}", socket.display()),
        "-",
    ]));
    server.kill()?;
    server.wait()?;
    measured
}
