//! Starting from saved memory against booting: the same machines, until a command runs in the last of them.

use anyhow::Context as _;

use crate::{
    bench::{
        lab::{Lab, Start, USUAL, timed},
        record::{Bench, Goal, Series},
    },
    report,
};

const POOL: &str = "bench";
const MANY: usize = 8;

/// Brings up one machine and eight, by a boot and from memory in turn.
///
/// # Errors
/// When a command fails.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    // One machine more, for the template goes with its last machine.
    let holder = lab.pool_of("holder", 1, "ssh", (Start::Memory, USUAL))?;
    lab.winstead(&["up", "-f", &holder])?;
    let mut series = Vec::new();
    let mut goals = Vec::new();
    for count in [1, MANY] {
        let [boot, memory, booted_ram, shared_ram] = measure(lab, count)?;
        let ratio = memory.median()? / boot.median()?;
        goals.push(Goal::at_most(format!("{count} from memory / booted"), ratio, 0.2));
        if count == 1 {
            goals.push(Goal::at_most("one from memory, s", memory.median()?, 2.5));
        } else {
            let ratio = shared_ram.median()? / booted_ram.median()?;
            goals.push(Goal::at_most(format!("RAM of {count} from memory / booted"), ratio, 0.5));
        }
        series.extend([boot, memory, booted_ram, shared_ram]);
    }
    lab.clear()?;
    let saved = saved(lab)?;
    goals.push(Goal::at_most("save 1 GiB, s", saved.median()?, 1.0));
    series.push(saved);
    let method = "from `winstead up` until `exec` has run a command in each, one after the other; arms in turn, each repeat \
                  begins with the other one; the template is there already, and one machine that stands on it idles beside \
                  both arms; RAM: what all QEMUs hold right after, shared pages divided among those that share them; save: from the guest's last moment until others could start from it, as \
                  the product measures it"
        .to_owned();
    Ok(Bench { name: "start", method, series, goals })
}

/// Seconds from a guest's last moment until others could start from its memory, for a guest of 1 GiB.
fn saved(lab: &Lab) -> anyhow::Result<Series> {
    let mut series = Series::new("save 1 GiB".to_owned(), "s");
    let file = lab.pool_of(POOL, 1, "ssh", (Start::Memory, "1GiB"))?;
    for _ in 0..lab.repeats() {
        lab.winstead(&["up", "-f", &file])?;
        let templates = lab.templates()?;
        let millis = templates.iter().find_map(|template| template["status"]["savedInMillis"].as_f64());
        let seconds = millis.context("a template")? / 1000.0;
        report::line(format_args!("  save 1 GiB: {seconds:.3} s"));
        series.samples.push(seconds);
        lab.winstead(&["down", POOL])?;
    }
    Ok(series)
}

/// Seconds by a boot and from memory; MiB held afterwards by each.
fn measure(lab: &Lab, count: usize) -> anyhow::Result<[Series; 4]> {
    let arms = [(Start::Boot, "booted"), (Start::Memory, "from memory")];
    let named = |unit, what: &str| arms.map(|(_, arm)| Series::new(format!("{arm}, {count}{what}"), unit));
    let ([mut boot, mut memory], [mut booted_ram, mut shared_ram]) = (named("s", ""), named("MiB", ", RAM"));
    for repeat in 0..lab.repeats() {
        for turn in 0..arms.len() {
            let number = (repeat + turn) % arms.len();
            let (start, arm) = arms[number];
            let file = lab.pool_of(POOL, count, "ssh", (start, USUAL))?;
            let seconds = timed(&format!("{arm}, {count}"), || until_all_answer(lab, &file, count))?;
            let held = held(lab)?;
            let (seconds_of, held_of) =
                if number == 0 { (&mut boot, &mut booted_ram) } else { (&mut memory, &mut shared_ram) };
            seconds_of.samples.push(seconds);
            held_of.samples.push(held);
            lab.winstead(&["down", POOL])?;
        }
    }
    Ok([boot, memory, booted_ram, shared_ram])
}

fn until_all_answer(lab: &Lab, file: &str, count: usize) -> anyhow::Result<()> {
    lab.winstead(&["up", "-f", file])?;
    for number in 0..count {
        lab.winstead(&["exec", &format!("{POOL}-{number}"), "--", "true"])?;
    }
    Ok(())
}

/// What the QEMUs of the pool hold together, MiB.
fn held(lab: &Lab) -> anyhow::Result<f64> {
    let of_pool = |name: &str| name.starts_with(&format!("{POOL}-"));
    let machines = lab.machines()?.into_iter().filter(|machine| of_pool(&machine.metadata.name));
    #[expect(clippy::cast_precision_loss, reason = "bytes of some gigabytes are exact in a double")]
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(machines.filter_map(|machine| machine.status.memory.resident_bytes).map(mib).sum())
}
