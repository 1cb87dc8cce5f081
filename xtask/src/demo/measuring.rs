//! The demo's measuring: does RAM help two machines on this computer? A short experiment, with its page.

use fs_err as fs;

use crate::{
    demo::{Times, note},
    place,
    product::{self, Product},
    report,
};

const FILE: &str = "examples/bench.yaml";
/// Five times three arms must end within four minutes, also where guests are emulated.
const LOAD: &str = "rand-write --flush each --queue-depth 4 --working-set 32MiB --warmup 500ms --duration 3s";

/// Measures, and makes a page of it.
///
/// # Errors
/// When a step fails or is interrupted.
pub(super) fn show(product: &Product, times: &mut Times) -> anyhow::Result<()> {
    report::heading("does RAM help here? (docs/measuring.md)");
    let probe = product::static_probe()?.display().to_string();
    let out = place::target().join("demo-contention");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let (folder, page) = (out.display().to_string(), out.join("report.html").display().to_string());
    let design = ["--agents", "2", "--repeats", "5", "--workload", LOAD];
    let named = ["bench", "contention", "-f", FILE, "--probe", &probe, "--out", &folder];
    note(times, "an experiment of 15 runs", product.typed(&[&named[..], &design].concat())?.took);
    product.typed(&["report", &folder, "--html", &page]).map(drop)
}
