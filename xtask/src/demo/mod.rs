//! `./x demo`: the main job from a fresh checkout, typed out as a user would type it, then the times and the RAM.
//!
//! The home is `target/demo-home`: it keeps the built image for the next time, and no other home of the user is touched.

mod measuring;
mod numbers;
mod traces;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    command::quoted,
    interrupt,
    packages::{self, Need},
    place,
    product::{Machine, Product, Profile},
    report,
};

const FILE: &str = "examples/quickstart.yaml";
/// The same machines, started from saved memory.
const FROM_MEMORY: &str = "examples/memory.yaml";
const MARK: &str = "/root/only-until-reset";

/// What was measured, in order.
type Times = Vec<(String, Duration)>;

/// Runs it; whatever happens, no machine is left.
///
/// # Errors
/// When a step fails or is interrupted; the machines have been taken away then, or the error says that they were not.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let mut times = Times::new();
    packages::ensure(&needs())?;
    note(&mut times, "packages", begun.elapsed());
    report::heading("build (profile dev: quicker to build than release, and the guests decide the times)");
    let (product, built) = Product::build(Profile::Dev, place::target().join("demo-home"))?;
    note(&mut times, "cargo build", built.took);
    interrupt::would_leave(&format!(
        "machines may be left; take them away with: {}",
        product.command(&["down", "--all"])
    ));
    let memory = show(&product, &mut times).map_err(|error| cleaned_up(&product, error))?;
    measuring::show(&product, &mut times).map_err(|error| cleaned_up(&product, error))?;
    note(&mut times, "total", begun.elapsed());
    report::heading("RAM really used, when all machines were up");
    report::line(memory);
    report::heading("times");
    report::line(numbers::times(&times));
    report::line(format_args!(
        "\ndemo: all steps worked and nothing is left; {}",
        report::seconds(begun.elapsed())
    ));
    Ok(ExitCode::SUCCESS)
}

/// Takes everything away after an error; returns that, with what is left.
fn cleaned_up(product: &Product, error: anyhow::Error) -> anyhow::Error {
    interrupt::heard();
    report::heading("failed: taking everything away");
    match product.take_away() {
        Ok(()) => error,
        Err(second) => error.context(format!("machines are left, because: {second:#}")),
    }
}

fn needs() -> Vec<Need> {
    let mut needs = vec![Need::Product];
    needs.extend((!place::is_root()).then_some(Need::Rootless));
    needs
}

fn note(times: &mut Times, what: &str, took: Duration) {
    times.push((what.to_owned(), took));
}

/// The main job, one step after the other. Returns what it held in RAM.
fn show(product: &Product, times: &mut Times) -> anyhow::Result<String> {
    report::heading("the main job");
    let home = quoted(&product.home().display().to_string());
    report::line(format_args!("$ export WINSTEAD_HOME={home}"));
    clear_earlier(product)?;
    note(times, "image build", product.typed(&["image", "build", "-f", FILE])?.took);
    let up = product.typed(&["up", "-f", FILE])?;
    note(times, "up", up.took);
    product.typed(&["get", "machines"])?;
    let machines = product.machines()?;
    anyhow::ensure!(!machines.is_empty(), "up started no machine");
    each_answers(product, &machines, times)?;
    reset_forgets(product, &machines[0].metadata.name, times)?;
    let memory = numbers::memory(&product.machines()?, traces::base_bytes(product.home()));
    again_from_memory(product, &machines, times)?;
    let traces = traces::Traces::of(product.home(), &machines);
    note(times, "down", product.typed(&["down", "--all"])?.took);
    traces.ensure_gone()?;
    Ok(format!("{memory}\n`winstead up` itself held at most {}", report::bytes(up.peak_bytes)))
}

/// All machines again, without a boot. The first time one is booted and saved for it.
fn again_from_memory(product: &Product, machines: &[Machine], times: &mut Times) -> anyhow::Result<()> {
    product.typed(&["up", "-f", FROM_MEMORY])?;
    let names: Vec<&str> = machines.iter().map(|machine| machine.metadata.name.as_str()).collect();
    note(times, "one booted, saved, and started from", product.typed(&["reset", names[0]])?.took);
    let all = [&["reset"], names.as_slice()].concat();
    note(times, "all machines again, from memory", product.typed(&all)?.took);
    product.typed(&["get", "templates"])?;
    product.typed(&["get", "machines"])?;
    for name in names {
        let said = product.command(&["exec", name, "--", "hostname"]).read()?;
        anyhow::ensure!(said.trim() == name, "{name} calls itself {said:?}");
    }
    report::line("each machine knows its own name");
    Ok(())
}

/// A demo that was killed may have left machines; they would be in the way of the numbers.
fn clear_earlier(product: &Product) -> anyhow::Result<()> {
    if product.home().exists() && !product.machines()?.is_empty() {
        report::line("an earlier demo left machines:");
        product.take_away()?;
    }
    Ok(())
}

fn each_answers(product: &Product, machines: &[Machine], times: &mut Times) -> anyhow::Result<()> {
    let begun = Instant::now();
    for machine in machines {
        product.typed(&["exec", &machine.metadata.name, "--", "hostname"])?;
    }
    note(times, &format!("exec on {} machines", machines.len()), begun.elapsed());
    Ok(())
}

fn reset_forgets(product: &Product, name: &str, times: &mut Times) -> anyhow::Result<()> {
    product.typed(&["exec", name, "--", "touch", MARK])?;
    let there = product.typed_any_status(&["exec", name, "--", "test", "-e", MARK])?;
    anyhow::ensure!(there.status.code() == Some(0), "{MARK} was not written on {name}");
    note(times, "reset until it answers", product.typed(&["reset", name])?.took);
    let gone = product.typed_any_status(&["exec", name, "--", "test", "-e", MARK])?;
    anyhow::ensure!(gone.status.code() == Some(1), "{name} was reset, but {MARK} is still there");
    report::line("exit code 1: the file is gone, the machine is golden again");
    Ok(())
}
