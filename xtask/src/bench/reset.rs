//! `reset` up to the moment at which the guest begins to boot.

use crate::bench::{
    lab::{Lab, POOL, timed},
    record::{Bench, Goal, Series},
};

/// Resets one machine again and again.
///
/// # Errors
/// When a command fails.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    lab.winstead(&["up", "-f", &lab.pool(1, "started")?])?;
    let name = format!("{POOL}-0");
    let once = || lab.winstead(&["reset", &name]).map(drop);
    once()?;
    let mut series = Series::new("reset", "s");
    for _ in 0..lab.repeats() * 2 {
        series.samples.push(timed("reset", once)?);
    }
    lab.clear()?;
    let goals = vec![Goal::at_most("reset before the guest's boot, s", series.median()?, 0.5)];
    let method =
        "probe `started`: the command ends when QEMU runs the guest; ends the old QEMU, renews the overlay, \
                  starts the new QEMU; one warm-up"
            .to_owned();
    Ok(Bench { name: "reset", method, series: vec![series], goals })
}
