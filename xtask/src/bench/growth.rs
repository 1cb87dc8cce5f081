//! A full overlay: from QEMU's stop to the guest's going on.

use anyhow::Context as _;
use fs_err as fs;
use serde_json::Value;

use crate::{
    bench::{
        lab::{Lab, POOL},
        record::{Bench, Goal, Series},
    },
    report,
};

/// The issue's own number: so many in a row.
const GROWTHS: usize = 1000;
/// A small host: one growth adds a page or a few, so that a short write needs a thousand of them.
const HOST: &str = "\n---\napiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {name: local}\nspec:\n  growth: {reserve: 1GiB, step: 32KiB}\n";

/// Fills one machine's overlay a thousand times and reads from the journal how long each growth took.
///
/// # Errors
/// When a command fails, the guest sees an error, or there were fewer growths.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let pool = fs::read_to_string(lab.pool(1, "ssh")?)?.replace("cap: 256MiB", "cap: 4MiB");
    let file = lab.scratch().join("growth.yaml");
    fs::write(&file, pool + HOST)?;
    lab.winstead(&["up", "-f", &file.display().to_string()])?;
    let name = format!("{POOL}-0");
    let write = "dd if=/dev/urandom of=/root/bytes bs=1M count=64 conv=fsync 2>&1 && md5sum /root/bytes >/root/sum && \
                 echo 3 >/proc/sys/vm/drop_caches && md5sum -c /root/sum && ! dmesg | grep -i 'I/O error'";
    lab.winstead(&["exec", &name, "--", "sh", "-c", write])?;
    let described: Value =
        serde_json::from_str(&lab.product().command(&["describe", &name, "-o", "json"]).read()?)?;
    lab.clear()?;
    let history = described["history"].as_array().context("find the history in `describe -o json`")?;
    let micros = of_this_life(history).iter().filter_map(|line| line["numbers"]["growMicros"].as_f64());
    let mut series = Series::new("one growth, stop to going on", "ms");
    series.samples.extend(micros.map(|micros| micros / 1000.0));
    report::line(format_args!("  {} growths", series.samples.len()));
    anyhow::ensure!(
        series.samples.len() >= GROWTHS,
        "only {} growths, wanted {GROWTHS}",
        series.samples.len()
    );
    let goals = vec![Goal::at_most("one growth, ms", series.median()?, 5.0)];
    let method = "a guest writes 64 MiB of random bytes into an overlay with a cap of 4 MiB that grows by 32 KiB; from the \
                  supervisor's hearing of the stop to QEMU's answer to `cont`, as journalled; what was written is read back \
                  and compared in the guest"
        .to_owned();
    Ok(Bench { name: "growth", method, series: vec![series], goals })
}

/// What happened since the machine was last made: the journal keeps the history of earlier machines of its name.
fn of_this_life(history: &[Value]) -> &[Value] {
    let made = history.iter().rposition(|line| line["to"] == "Provisioning");
    &history[made.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growths_of_an_earlier_machine_of_the_name_do_not_count() {
        let line =
            |to: &str, micros: Option<u64>| serde_json::json!({"to": to, "numbers": {"growMicros": micros}});
        let history = [
            line("Provisioning", None),
            line("Ready", Some(1)),
            line("Gone", None),
            line("Provisioning", None),
            line("Ready", Some(2)),
        ];
        let micros: Vec<_> =
            of_this_life(&history).iter().filter_map(|line| line["numbers"]["growMicros"].as_u64()).collect();
        assert_eq!(micros, [2]);
        assert!(of_this_life(&[]).is_empty());
    }
}
