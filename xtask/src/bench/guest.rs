//! Into a warm machine: its agent against SSH.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    bench::{
        lab::{Lab, timed},
        record::{Bench, Goal, Series},
    },
    product::static_agent,
};

const MACHINE: &str = "hand-0";
/// What is copied, MB.
const MEGABYTES: usize = 100;
/// Programs run for each repeat: one takes a fraction of a second.
const RUNS: usize = 10;
const WAYS: [&str; 2] = ["agent", "ssh"];

/// Runs `true` and copies 100 MB both ways, in turn by the agent and by SSH.
///
/// # Errors
/// When a command fails, or a file comes back as another.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let agent = static_agent()?;
    let file = file(lab)?;
    let artifacts = agent.parent().and_then(Path::to_str).context("a path in UTF-8")?;
    lab.winstead(&["--artifacts", artifacts, "up", "-f", &file])?;
    for way in WAYS {
        lab.winstead(&["exec", "--via", way, MACHINE, "--", "true"])?;
    }
    let exec = execs(lab)?;
    let copies = copies(lab)?;
    lab.clear()?;
    let mut goals = vec![ratio("`exec` of `true`, agent / ssh", &exec, 0.5)?];
    for (what, series) in [("in", &copies[..2]), ("out", &copies[2..])] {
        goals.push(ratio(&format!("`cp` of {MEGABYTES} MB {what}, agent / scp"), series, 1.0)?);
    }
    let method = format!(
        "whole commands of the release build, in turn by each way, each turn begins with the other one; a Debian machine with one \
         CPU and 512 MiB that is at rest; one warm-up each; {RUNS} runs of `true` for each repeat; the {MEGABYTES} MB cannot be \
         packed, lie in RAM on this side, and are compared after each way back"
    );
    let series = exec.into_iter().chain(copies).collect();
    Ok(Bench { name: "guest", method, series, goals })
}

fn ratio(text: &str, series: &[Series], limit: f64) -> anyhow::Result<Goal> {
    let [agent, ssh] = series else { anyhow::bail!("two ways") };
    Ok(Goal::at_most(text, agent.median()? / ssh.median()?, limit))
}

fn file(lab: &Lab) -> anyhow::Result<String> {
    let text = "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {name: debian-agent}\nspec:\n  agent: true\n  debian: \
                {suite: trixie}\n---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {name: hand}\nspec:\n  image: \
                debian-agent\n  machine: {cpus: 1, memory: 512MiB, disk: {store: ram, cap: 512MiB}}\n  ready: {deadline: 15m}\n";
    let path = lab.scratch().join("hand.yaml");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn execs(lab: &Lab) -> anyhow::Result<Vec<Series>> {
    let mut series: Vec<Series> = WAYS.map(|way| Series::new(format!("exec, {way}"), "s")).into();
    for turn in 0..lab.repeats() * RUNS * WAYS.len() {
        let number = (turn + turn / WAYS.len()) % WAYS.len();
        let words = ["exec", "--via", WAYS[number], MACHINE, "--", "true"];
        series[number].samples.push(timed(&words[..3].join(" "), || lab.winstead(&words).map(drop))?);
    }
    Ok(series)
}

/// In by the agent and by SSH, and out by both.
fn copies(lab: &Lab) -> anyhow::Result<Vec<Series>> {
    let folder = PathBuf::from("/dev/shm/winstead-bench-guest");
    fs::create_dir_all(&folder)?;
    let (sent, back) = (folder.join("sent"), folder.join("back"));
    noise(&sent)?;
    let (sent, back) = (sent.to_str().context("a path")?, back.to_str().context("a path")?);
    let there = format!("{MACHINE}:/root/file");
    let names = ["cp in", "cp out"].map(|what| WAYS.map(|way| Series::new(format!("{what}, {way}"), "s")));
    let mut series: Vec<Series> = names.into_iter().flatten().collect();
    for turn in 0..lab.repeats() * WAYS.len() {
        let number = (turn + turn / WAYS.len()) % WAYS.len();
        let copy =
            |from: &str, to: &str| lab.winstead(&["-q", "cp", "--via", WAYS[number], from, to]).map(drop);
        series[number].samples.push(timed(&format!("cp in, {}", WAYS[number]), || copy(sent, &there))?);
        let out = timed(&format!("cp out, {}", WAYS[number]), || copy(&there, back))?;
        series[WAYS.len() + number].samples.push(out);
        anyhow::ensure!(fs::read(sent)? == fs::read(back)?, "what came back is another file");
        fs::remove_file(back)?;
    }
    fs::remove_dir_all(folder)?;
    Ok(series)
}

/// Bytes that nothing can pack.
fn noise(path: &Path) -> anyhow::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(MEGABYTES * 1_000_000);
    while bytes.len() < MEGABYTES * 1_000_000 {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    Ok(fs::write(path, bytes)?)
}
