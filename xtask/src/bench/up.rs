//! `up` of eight machines against shell scripts that start the same eight QEMU command lines.

use std::time::Duration;

use fs_err as fs;

use crate::{
    bench::{
        guests::{self, Copies},
        lab::{Lab, timed},
        record::{Bench, Goal, Series},
        script,
    },
    command::Command,
    place,
};

const MACHINES: usize = 8;
/// Eight emulated guests booted at once took 248 s on two cores.
const LIMIT: Duration = Duration::from_mins(20);

struct Arm<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> anyhow::Result<f64> + 'a>,
}

/// Runs the arms in turn, each repeat beginning with another one.
///
/// # Errors
/// When one fails.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    lab.winstead(&["up", "-f", &lab.pool(MACHINES, "started")?])?;
    let copies = Copies::of(lab, guests::running(lab)?)?;
    let measured = lab.clear().and_then(|()| measure(lab, &copies));
    copies.remove()?;
    let series = measured?;
    let [winstead, cores, all] = [series[0].median()?, series[1].median()?, series[2].median()?];
    let goals = vec![
        Goal::at_most("`up` of 8 / script, as many at a time as cores", winstead / cores, 1.05),
        Goal::at_most("`up` of 8 / script, all at once", winstead / all, 0.6),
    ];
    let method = "from the command until SSH answers on the last of 8; arms in turn, each repeat begins with another; \
                  the scripts find overlays, seeds and the image's RAM copy ready, `up` makes its own and journals it; they \
                  start QEMU's command line as `up` chose it (direct kernel, seed, tmpfs), and wait as it does, so that \
                  only the order of the starts is compared; `up` has its supervisor beside it"
        .to_owned();
    Ok(Bench { name: "up", method, series, goals })
}

fn measure(lab: &Lab, copies: &Copies) -> anyhow::Result<Vec<Series>> {
    let file = lab.pool(MACHINES, "ssh")?;
    let cores = std::thread::available_parallelism()?.get();
    let arms = [
        Arm { name: "winstead up", run: Box::new(|| winstead(lab, &file)) },
        Arm { name: "script, cores at a time", run: Box::new(|| scripted(lab, copies, cores)) },
        Arm { name: "script, all at once", run: Box::new(|| scripted(lab, copies, MACHINES)) },
    ];
    let mut series: Vec<Series> = arms.iter().map(|arm| Series::new(arm.name, "s")).collect();
    for repeat in 0..lab.repeats() {
        for turn in 0..arms.len() {
            let number = (repeat + turn) % arms.len();
            series[number].samples.push((arms[number].run)()?);
        }
    }
    Ok(series)
}

fn winstead(lab: &Lab, file: &str) -> anyhow::Result<f64> {
    let seconds = timed("winstead up", || lab.winstead(&["up", "-f", file]).map(drop))?;
    lab.clear()?;
    Ok(seconds)
}

fn scripted(lab: &Lab, copies: &Copies, parallel: usize) -> anyhow::Result<f64> {
    copies.renew()?;
    let xtask = std::env::current_exe()?;
    let start = |guest| script::qemu(guest, place::is_root(), &xtask);
    let starts: Vec<_> = copies.guests.iter().map(start).collect();
    let seconds = run_script(lab, &format!("up-{parallel}"), &script::text(&starts, parallel));
    copies.end()?;
    seconds
}

/// Writes a script where it can be read afterwards, and times it.
pub(super) fn run_script(lab: &Lab, name: &str, text: &str) -> anyhow::Result<f64> {
    let path = lab.scratch().join(format!("{name}.sh"));
    fs::write(&path, text)?;
    let path = path.display().to_string();
    timed(&path, || Command::new(["bash", path.as_str()]).deadline(LIMIT).run().map(drop))
}
