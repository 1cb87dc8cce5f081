//! Memory: the CLI's own, and what a machine's disk costs beside what its guest wrote.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    bench::{
        lab::{Lab, POOL},
        record::{Bench, Goal, Series},
    },
    report,
};

const MEBIBYTE: f64 = 1_048_576.0;
/// What the guest is made to write beside its boot.
const WRITTEN_MEBIBYTES: u32 = 48;

/// The most memory that `winstead up` held.
///
/// # Errors
/// When a command fails.
pub(super) fn cli(lab: &Lab) -> anyhow::Result<Bench> {
    let file = lab.pool(8, "started")?;
    let mut series = Series::new("peak of `up` of 8", "MB");
    for _ in 0..lab.repeats() {
        let ended = lab.winstead(&["up", "-f", &file])?;
        series.samples.push(megabytes(ended.peak_bytes));
        report::line(format_args!("  {:.1} MB", megabytes(ended.peak_bytes)));
        lab.clear()?;
    }
    let goals = vec![Goal::at_most("the CLI's own memory, MB", series.median()?, 60.0)];
    let method = "VmHWM of /proc/PID/status, looked at every 20 ms".to_owned();
    Ok(Bench { name: "memory", method, series: vec![series], goals })
}

/// What a disk holds in RAM against what its guest wrote: after a boot, and after 48 MiB of random bytes.
///
/// # Errors
/// When a command fails or QEMU does not answer.
pub(super) fn disk(lab: &Lab) -> anyhow::Result<Bench> {
    let moments = ["after the boot", "after 48 MiB"];
    let series = |what: &str| moments.map(|moment| Series::new(format!("{what}, {moment}"), "MiB"));
    let (mut written, mut used) = (series("written by the guest"), series("held in RAM"));
    lab.winstead(&["up", "-f", &lab.pool(2, "ssh")?])?;
    for name in [format!("{POOL}-0"), format!("{POOL}-1")] {
        look(lab, &name, &mut written[0], &mut used[0])?;
        let copy =
            format!("dd if=/dev/urandom of=/root/bytes bs=1M count={WRITTEN_MEBIBYTES} conv=fsync 2>&1");
        lab.winstead(&["exec", &name, "--", "sh", "-c", &copy])?;
        look(lab, &name, &mut written[1], &mut used[1])?;
    }
    lab.clear()?;
    let samples = |of: &[Series]| of.iter().flat_map(|series| series.samples.clone()).collect::<Vec<_>>();
    let both = samples(&used).into_iter().zip(samples(&written));
    let worst = both.map(|(used, written)| used - (1.1 * written + 0.5)).fold(f64::NEG_INFINITY, f64::max);
    let goals = vec![Goal::at_most("RAM of a disk above 1.1 × written + 0.5 MiB, MiB", worst, 0.0)];
    let method =
        "samples alternate: after boot, after writing 48 MiB; per machine; written is QEMU's own wr_bytes \
                  (query-blockstats), held is status.disk.usedBytes"
            .to_owned();
    let series = written.into_iter().chain(used).collect();
    Ok(Bench { name: "disk", method, series, goals })
}

fn look(lab: &Lab, name: &str, written: &mut Series, used: &mut Series) -> anyhow::Result<()> {
    let machines = lab.machines()?;
    let machine =
        machines.iter().find(|machine| machine.metadata.name == name).context("find the machine")?;
    let socket = lab.product().home().join("machines").join(name).join("run/qmp.sock");
    let bytes = written_bytes(&socket).with_context(|| format!("ask QEMU at {}", socket.display()))?;
    written.samples.push(mebibytes(bytes));
    used.samples.push(mebibytes(machine.status.disk.used_bytes));
    let (bytes, used) = (mebibytes(bytes), mebibytes(machine.status.disk.used_bytes));
    report::line(format_args!("  {name}: written {bytes:.1} MiB, held {used:.1} MiB"));
    Ok(())
}

/// Bytes that a guest wrote to its first disk, as QEMU counted them.
fn written_bytes(socket: &Path) -> anyhow::Result<u64> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    lines.next().context("read the greeting")??;
    let mut ask = |command: &str| -> anyhow::Result<Value> {
        writeln!(&stream, "{{\"execute\":\"{command}\"}}")?;
        loop {
            let answer: Value = serde_json::from_str(&lines.next().context("read an answer")??)?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    };
    ask("qmp_capabilities")?;
    let stats = ask("query-blockstats")?;
    let disks = stats.as_array().context("read a list of disks")?;
    let written = disks.iter().filter_map(|disk| disk["stats"]["wr_bytes"].as_u64()).max();
    written.context("find wr_bytes")
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
