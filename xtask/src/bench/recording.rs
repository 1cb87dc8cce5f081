//! What the probe's own recording costs, for each operation.

use anyhow::Context as _;

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    command::Command,
    report,
};

/// Records ten million operations that do nothing, again and again.
///
/// # Errors
/// When the probe's own benchmark cannot be built, or says something else.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let [mut own, mut clock] = ["recording", "its looks at the clock"].map(|arm| Series::new(arm, "ns"));
    for _ in 0..lab.repeats() {
        let words = ["cargo", "test", "--release", "-p", "winstead-probe", "--bin", "winstead-probe", "--"];
        let command = Command::new(words.iter().chain(&["--ignored", "--nocapture", "recording"]).copied());
        let (ended, said) = command.quiet()?;
        anyhow::ensure!(ended.status.success(), "`{command}` failed: {said}");
        let (whole, looks) = read(&said).context("find the numbers in what it said")?;
        report::line(format_args!("  {whole:.1} ns, of it the clock {looks:.1} ns"));
        own.samples.push(whole - looks);
        clock.samples.push(looks);
    }
    let goals = vec![Goal::at_most("recording a sample, ns", own.median()?, 100.0)];
    let method = "10 million operations that do nothing through the probe's own path, histogram and timeline, one thread; \
                  the clock's part is measured by itself and taken away"
        .to_owned();
    Ok(Bench { name: "recording", method, series: vec![own, clock], goals })
}

/// `recording: 126.0 ns, of it the clock: 72.0 ns`
fn read(said: &str) -> Option<(f64, f64)> {
    let line = said.lines().find_map(|line| Some(line.split_once("recording: ")?.1))?;
    let (whole, looks) = line.split_once(" ns, of it the clock: ")?;
    Some((whole.parse().ok()?, looks.strip_suffix(" ns")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_are_read() {
        let said = "test recording ... recording: 126.5 ns, of it the clock: 72.0 ns\nok\n";
        assert_eq!(read(said), Some((126.5, 72.0)));
        assert_eq!(read("test result: ok"), None);
    }
}
