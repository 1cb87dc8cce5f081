//! `./x bench`: the numbers that the documents claim, measured again. One file per benchmark; each is one function that
//! returns every sample it took.

mod agent;
mod contention;
mod growth;
mod guest;
mod guests;
mod host;
mod lab;
mod libvirt;
mod memory;
mod overlay;
mod plan;
mod probe;
pub(crate) mod ready;
mod record;
mod recording;
mod reset;
mod script;
mod start;
mod tunnel;
mod up;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::{
    BenchArguments,
    bench::{
        lab::Lab,
        record::{Bench, Record},
    },
    interrupt,
    packages::{self, Need},
    place, report,
};

struct Entry {
    name: &'static str,
    what: &'static str,
    run: fn(&Lab) -> anyhow::Result<Bench>,
    /// Run when nothing is named.
    usual: bool,
}

const BENCHES: &[Entry] = &[
    Entry { name: "overlay", what: "create and mount one machine's overlay", run: overlay::run, usual: true },
    Entry { name: "growth", what: "1,000 growths of a full overlay", run: growth::run, usual: true },
    Entry { name: "plan", what: "`plan` for 1,000 machines", run: plan::run, usual: true },
    Entry { name: "reset", what: "`reset`, before the guest's own boot", run: reset::run, usual: true },
    Entry { name: "memory", what: "what the CLI itself needs, in `up` of 8", run: memory::cli, usual: true },
    Entry {
        name: "disk",
        what: "RAM per machine's disk, per byte its guest wrote",
        run: memory::disk,
        usual: true,
    },
    Entry {
        name: "up",
        what: "`up` of 8 against shell scripts with the same QEMUs",
        run: up::run,
        usual: true,
    },
    Entry {
        name: "start",
        what: "1 and 8 machines from saved memory against booted ones",
        run: start::run,
        usual: true,
    },
    Entry {
        name: "recording",
        what: "what the probe's own recording costs, for each operation",
        run: recording::run,
        usual: true,
    },
    Entry {
        name: "agent",
        what: "the agent's processes: start, stream, memory",
        run: agent::run,
        usual: false,
    },
    Entry { name: "tunnel", what: "the agent's tunnels against socat", run: tunnel::run, usual: true },
    Entry { name: "probe", what: "`winstead-probe` against fio, 24 loads", run: probe::run, usual: false },
    Entry {
        name: "contention",
        what: "`bench contention` with 1, 2, 4 and 8 machines: how long all of it takes",
        run: contention::run,
        usual: false,
    },
    Entry {
        name: "guest",
        what: "`exec` and `cp` by a machine's agent against SSH",
        run: guest::run,
        usual: false,
    },
    Entry {
        name: "libvirt",
        what: "1 and 4 machines until SSH, against virsh",
        run: libvirt::run,
        usual: false,
    },
];

/// Benchmarks that need no machine: nothing is built but the product.
const WITHOUT_MACHINES: &[&str] = &["agent", "tunnel"];

/// Runs the named benchmarks, or all usual ones.
///
/// # Errors
/// When one fails: a missing sample is an error, not a gap. What was measured before it is kept.
pub(crate) fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        for entry in BENCHES {
            report::line(format_args!("{:<10} {}", entry.name, entry.what));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&arguments.names)?;
    let machines = chosen.iter().any(|entry| !WITHOUT_MACHINES.contains(&entry.name));
    ensure_packages(&chosen, machines)?;
    let lab = Lab::open(arguments.repeats, machines)?;
    let mut record = Record::new(host::describe(&lab)?);
    let measured = measure(&lab, &chosen, &mut record);
    interrupt::heard();
    let cleared = lab.clear();
    if record.has_something() {
        keep(&record)?;
    }
    if let (Err(_), Err(error)) = (&measured, &cleared) {
        report::error(error);
    }
    measured.and(cleared).map(|()| ExitCode::SUCCESS)
}

/// Runs one after the other, until one fails.
fn measure(lab: &Lab, chosen: &[&Entry], record: &mut Record) -> anyhow::Result<()> {
    for entry in chosen {
        report::heading(format_args!("{}: {}", entry.name, entry.what));
        record.add((entry.run)(lab).with_context(|| format!("measure `{}`", entry.name))?);
    }
    Ok(())
}

fn keep(record: &Record) -> anyhow::Result<()> {
    let path = record.save()?;
    report::heading("result");
    report::line(record.markdown());
    report::line(format_args!("\nevery sample: {}", path.display()));
    Ok(())
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Entry>> {
    if names.is_empty() {
        return Ok(BENCHES.iter().filter(|entry| entry.usual).collect());
    }
    let find = |name: &String| {
        let found = BENCHES.iter().find(|entry| entry.name == name);
        found.with_context(|| format!("find a benchmark called `{name}`; `./x bench --list` shows them"))
    };
    names.iter().map(find).collect()
}

fn ensure_packages(chosen: &[&Entry], machines: bool) -> anyhow::Result<()> {
    let mut needs = Vec::new();
    if machines {
        needs.push(Need::Product);
        needs.extend((!place::is_root()).then_some(Need::Rootless));
    }
    for (name, need) in
        [("libvirt", Need::Libvirt), ("probe", Need::Fio), ("agent", Need::Socat), ("tunnel", Need::Socat)]
    {
        needs.extend(chosen.iter().any(|entry| entry.name == name).then_some(need));
    }
    packages::ensure(&needs)
}
