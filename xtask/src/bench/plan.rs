//! `plan` for a thousand machines, from the command to its end.

use crate::bench::{
    lab::{Lab, timed},
    record::{Bench, Goal, Series},
};

/// Plans again and again.
///
/// # Errors
/// When `plan` ends with something else than "changes" or "does not fit".
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let file = lab.pool(1000, "ssh")?;
    let command = lab.product().command(&["plan", "-f", &file]);
    let once = || {
        let (ended, said) = command.quiet()?;
        // A thousand machines rarely fit; the whole plan is made and shown before that is said with code 3.
        anyhow::ensure!(matches!(ended.status.code(), Some(0 | 3)), "`{command}` failed: {said}");
        Ok(())
    };
    once()?;
    let mut series = Series::new("1,000 machines", "ms");
    for _ in 0..lab.repeats() * 3 {
        series.samples.push(timed("plan", once)? * 1000.0);
    }
    let goals = vec![Goal::at_most("plan for 1,000 machines, ms", series.median()?, 100.0)];
    let method = "the whole command: start of the process, reading, observing, deciding, printing; one warm-up; the home \
                  is empty: a thousand machines are planned, none is there to be observed"
        .to_owned();
    Ok(Bench { name: "plan", method, series: vec![series], goals })
}
