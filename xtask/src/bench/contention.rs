//! The whole contention run as a user types it: how long it takes.

use std::path::PathBuf;

use fs_err as fs;

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    place, product,
};

const FILE: &str = "examples/bench.yaml";

/// Measures 1, 2, 4 and 8 machines in three arms, five times each, once.
///
/// # Errors
/// When a machine, or the product, fails.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let probe = product::static_probe()?.display().to_string();
    let out = results();
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let folder = out.display().to_string();
    let ended =
        lab.product().typed(&["bench", "contention", "-f", FILE, "--probe", &probe, "--out", &folder])?;
    let minutes = ended.took.as_secs_f64() / 60.0;
    let series = Series { samples: vec![minutes], ..Series::new("1, 2, 4, 8 machines in 3 arms", "min") };
    let goals = vec![Goal::at_most("the full contention run, min", minutes, 30.0)];
    let method = format!(
        "{FILE} and the usual workloads, 60 runs with fresh machines from saved memory, templates made within; once; \
         results stay in {folder}"
    );
    Ok(Bench { name: "contention", method, series: vec![series], goals })
}

fn results() -> PathBuf {
    place::target().join("xtask/bench/contention")
}
