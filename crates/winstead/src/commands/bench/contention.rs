//! `winstead bench contention`: many machines at once, in several arms.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use winstead_bench::{
    BenchError, Experiment, Lock, Program, Results, admitted, ensure_free, host, pool_of, schedule, way,
};
use winstead_engine::Engine;
use winstead_measurement::{
    Contention, Findings,
    contention::{Arm, Design, DiskLimit, Machine, Way, Workload},
};
use winstead_report::Document;
use winstead_spec::{Documents, GuestOs, Name, Pool};
use winstead_statistics::Seed;

use crate::{
    cli::Format,
    commands::{
        bench::{
            probe::{self, ProbeArgs},
            progress::{listener, teller},
        },
        channel::Via,
    },
    context::Context,
    error::CliError,
    files::FileArgs,
    output::{self, counted},
};

/// Open loop: what somebody waits for a durable write now and then.
const LATENCY: &str =
    "latency --rate 50 --operation write --flush each --working-set 16MiB --warmup 1s --duration 5s";
/// Closed loop: how many durable writes there are in all when everybody wants as many as possible.
const THROUGHPUT: &str =
    "rand-write --flush each --queue-depth 4 --working-set 16MiB --warmup 1s --duration 3s";

/// Finds out whether RAM makes machines predictable, and how many of them this host carries.
///
/// For each arm and number of machines: brings that many fresh machines of the file's pool, holds them at a barrier, runs
/// the same load in all of them at once, watches the host meanwhile, and throws them away; again and again, the arms in
/// turns (A B C, C B A, …). It says which wall was hit, and does not credit RAM when it was the CPU.
///
/// Interrupted, it goes on where it stopped when it is run again with the same options.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead bench contention -f examples/bench.yaml
  winstead bench contention -f agents.yaml --agents 1,2,4,8,16 --repeats 7 --out friday
  winstead bench contention -f agents.yaml --workload 'files --files 1000' --dry-run
  winstead bench contention -f agents.yaml --disk-limit iops=500,mib=40    plays a slow disk, and says so

Arms: ram (overlay and base in RAM), disk (on the disk, flushes carried out), disk-noflush (on the disk, flushes
ignored: the cheap rival). The file's own store and flush are not looked at.
A workload is what `winstead-probe` takes. Without any, two: one that waits for durable writes at a fixed rate (open
loop, for latency) and one that writes as much as it can (closed loop, for throughput).")]
pub(crate) struct ContentionArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Which of the file's pools, when it has several.
    #[arg(long, value_name = "NAME")]
    pool: Option<Name>,
    /// Numbers of machines at once.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    agents: Vec<u32>,
    /// What is compared.
    #[arg(long, value_name = "ARM,…", value_delimiter = ',', default_values_t = [ArmName::Ram, ArmName::Disk, ArmName::DiskNoflush])]
    arms: Vec<ArmName>,
    /// How often each arm is measured with each number of machines. With fewer than 5 nothing can be concluded.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// What each machine runs: a workload of `winstead-probe` with its options. Several run one after another.
    #[arg(long, value_name = "WORDS", default_values_t = [LATENCY.to_owned(), THROUGHPUT.to_owned()])]
    workload: Vec<String>,
    /// Holds all machines of the disk arms together to a rate. Every output says so.
    #[arg(long, value_name = "iops=N,mib=N", value_parser = disk_limit)]
    disk_limit: Option<DiskLimit>,
    /// The folder of results.
    #[arg(long, value_name = "DIR", default_value = "contention")]
    out: PathBuf,
    #[command(flatten)]
    probe: ProbeArgs,
    /// The way into the machines. Default: that of the runs that are there already; else their agents if that of the first
    /// one answers, and ssh if not, for all machines of the experiment.
    #[arg(long, value_name = "WAY")]
    via: Option<Via>,
    /// Shows what would be measured, and whether it fits, and measures nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The arms as they are written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArmName {
    Ram,
    Disk,
    DiskNoflush,
}

impl std::fmt::Display for ArmName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Arm::from(*self).name())
    }
}

impl From<ArmName> for Arm {
    fn from(name: ArmName) -> Self {
        match name {
            ArmName::Ram => Self::Ram,
            ArmName::Disk => Self::Disk,
            ArmName::DiskNoflush => Self::DiskNoflush,
        }
    }
}

/// Runs `bench contention`.
///
/// # Errors
/// When the file is wrong, it does not fit, or machines cannot be brought again and again.
pub(crate) async fn run(context: &Context, args: &ContentionArgs) -> Result<(), CliError> {
    let documents = args.files.documents("bench contention", &context.stop).await?;
    let pool = pool_of(&documents, args.pool.as_ref())?;
    let engine = context.engine().await?;
    let os = os(&engine, &documents, pool).await?;
    let program = args.probe.program(os)?;
    let design = args.design(pool, os, &program)?;
    warn_of_unchecked(context, &program);
    for workload in &design.workloads {
        program.check_workload(workload, &context.stop).await?;
    }
    admitted(&engine, &documents, pool, &design).await?;
    if args.dry_run {
        return context.ui.data(&described(&design));
    }
    let _lock = Lock::take(&engine.home().root().join("bench.lock"))?;
    if !Results::are_in(&args.out) {
        ensure_free(&engine, pool, &design).await?;
    }
    let host = host(&engine, &disk_folder(&engine, &documents)).await?;
    let results = Results::open(&args.out, design, host, env!("CARGO_PKG_VERSION"))?;
    warn_of_few(context, args.repeats);
    warn_of_another_way(context, args.via, results.way()?);
    let (bar, tell) = teller(context);
    let experiment = Experiment {
        engine: &engine,
        documents: &documents,
        pool,
        program: &program,
        via: args.via.map(Into::into),
        limit: args.probe.deadline.duration(),
        results: &results,
        listener: &listener(context),
        tell: &tell,
    };
    let outcome = Box::pin(experiment.run(&context.stop)).await;
    bar.finish_and_clear();
    let (path, document) = outcome?;
    tell_all(context, &path, document).await
}

/// What the experiment says, and where it is.
async fn tell_all(context: &Context, path: &Path, document: Contention) -> Result<(), CliError> {
    let shown = show(context, document).await;
    let folder = path.parent().unwrap_or(path).display();
    context.ui.hint(&format!("`winstead report {folder} --html report.html` makes a page of it"));
    match context.format {
        Format::Table | Format::Wide => shown.and(context.ui.data(&format!("{}\n", path.display()))),
        // Programs read one document.
        Format::Json | Format::Yaml => shown,
    }
}

/// What the experiment says, as `winstead report` shows it.
async fn show(context: &Context, document: Contention) -> Result<(), CliError> {
    let context = context.clone();
    // Intervals take seconds of computing, in which Ctrl-C must be heard.
    let shown = tokio::task::spawn_blocking(move || {
        let findings =
            Findings::of(&document, None, Seed(1)).map_err(|error| CliError::Render(error.into()))?;
        let table = |document: &Document<'_>, _| winstead_report::terminal(document.findings) + "\n";
        output::show(&context.ui, context.format, &Document::of(&findings), table)
    });
    shown.await.map_err(|error| CliError::runtime(error.into()))?
}

impl ContentionArgs {
    fn design(&self, pool: &Pool, os: GuestOs, program: &Program) -> Result<Design, CliError> {
        let mut agents = self.agents.clone();
        agents.sort_unstable();
        agents.dedup();
        let mut arms: Vec<Arm> = Vec::new();
        for arm in self.arms.iter().map(|arm| Arm::from(*arm)) {
            if !arms.contains(&arm) {
                arms.push(arm);
            }
        }
        Ok(Design {
            machine: Machine {
                pool: pool.name.to_string(),
                image: pool.image.to_string(),
                cpus: pool.machine.cpus,
                memory_bytes: pool.machine.memory.bytes(),
                os: match os {
                    GuestOs::Linux => "linux".to_owned(),
                    GuestOs::Windows => "windows".to_owned(),
                },
                spec: spec(pool),
            },
            arms,
            agents,
            repeats: self.repeats,
            workloads: told_apart(self.workload.iter().map(|text| workload(text)).collect::<Result<_, _>>()?),
            disk_limit: self.disk_limit,
            probe: program.digest().map_err(BenchError::from)?,
        })
    }
}

fn workload(text: &str) -> Result<Workload, CliError> {
    let words = shlex::split(text).ok_or_else(|| "a quotation mark is not closed".to_owned());
    words
        .and_then(|words| probe::workload(&words))
        .map_err(|why| CliError::usage(format!("read the workload {text:?}"), why))
}

/// Workloads that are called alike get numbers: `rand-write`, `rand-write-2`.
fn told_apart(mut workloads: Vec<Workload>) -> Vec<Workload> {
    for index in 0..workloads.len() {
        let (before, rest) = workloads.split_at_mut(index);
        let own = rest[0].arguments[0].clone();
        let same = before.iter().filter(|other| other.arguments[0] == own).count();
        if same > 0 {
            rest[0].name = format!("{own}-{}", same + 1);
        }
    }
    workloads
}

/// All of a pool that decides what its machines are: not how many there are, which the experiment says.
fn spec(pool: &Pool) -> serde_json::Value {
    let mut spec = serde_json::to_value(pool).unwrap_or_default();
    if let Some(keys) = spec.as_object_mut() {
        keys.remove("replicas");
    }
    spec
}

/// `iops=500,mib=40`, either of them, or both.
fn disk_limit(text: &str) -> Result<DiskLimit, String> {
    const EXPECTED: &str = "expected iops=N, mib=N, or both with a comma between them, N above 0";
    let mut limit = DiskLimit { iops: None, bytes_per_second: None };
    for part in text.split(',') {
        let (unit, number) = part.split_once('=').ok_or(EXPECTED)?;
        let number: u64 = number.parse().ok().filter(|number| *number > 0).ok_or(EXPECTED)?;
        match unit {
            "iops" if limit.iops.is_none() => limit.iops = Some(number),
            "mib" if limit.bytes_per_second.is_none() => {
                limit.bytes_per_second = Some(number.checked_mul(1 << 20).ok_or(EXPECTED)?);
            }
            _ => return Err(EXPECTED.to_owned()),
        }
    }
    Ok(limit)
}

/// What runs in the pool's machines: the file's image says it, or one that was built earlier.
async fn os(engine: &Engine, documents: &Documents, pool: &Pool) -> Result<GuestOs, CliError> {
    if let Some(image) = documents.images.iter().find(|image| image.name == pool.image) {
        return Ok(image.os);
    }
    let images = engine.images().await?.items;
    let named = images.into_iter().find(|image| image.metadata.name == pool.image.as_str());
    let newest = named.and_then(|image| image.status.versions.into_iter().next());
    Ok(newest.map_or(GuestOs::Linux, |version| version.os))
}

fn disk_folder(engine: &Engine, documents: &Documents) -> PathBuf {
    documents.host().stores.disk.unwrap_or_else(|| engine.home().root().join("disk"))
}

fn warn_of_unchecked(context: &Context, program: &Program) {
    if program.checker().is_none() {
        context.ui.warn(&format!(
            "workloads are not checked beforehand: no winstead-probe for Linux is beside {}",
            program.file().display()
        ));
    }
}

fn warn_of_another_way(context: &Context, via: Option<Via>, before: Option<Way>) {
    let (Some(via), Some(before)) = (via.map(|via| way(via.into())), before) else { return };
    if via != before {
        context.ui.warn(&format!(
            "the runs before were made by {}, those to come by {}: arms may differ by it, and the report says so",
            before.name(),
            via.name()
        ));
    }
}

fn warn_of_few(context: &Context, repeats: u32) {
    if repeats < 5 {
        context.ui.warn(
            "with fewer than 5 repeats nothing can be concluded: there will be numbers, and no verdict",
        );
    }
}

/// What would be measured, for `--dry-run`.
fn described(design: &Design) -> String {
    let cells = schedule(design);
    let arms: Vec<&str> = design.arms.iter().map(|arm| arm.name()).collect();
    let agents: Vec<String> = design.agents.iter().map(ToString::to_string).collect();
    let machines: u32 = cells.iter().map(|cell| cell.agents).sum();
    let mut text = format!(
        "{}: {} × {} machines × {}, with {} brought in all\n",
        counted(cells.len(), "run"),
        arms.join(", "),
        agents.join(", "),
        counted(design.repeats as usize, "repeat"),
        counted(machines as usize, "machine"),
    );
    for workload in &design.workloads {
        text += &format!("each machine runs: winstead-probe {}\n", workload.arguments.join(" "));
    }
    text + "it fits into this host\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_one_rate_or_both() {
        let limit =
            |iops, mib: Option<u64>| Ok(DiskLimit { iops, bytes_per_second: mib.map(|mib| mib << 20) });
        assert_eq!(disk_limit("iops=500"), limit(Some(500), None));
        assert_eq!(disk_limit("mib=40,iops=500"), limit(Some(500), Some(40)));
        for wrong in ["", "500", "iops=0", "iops=1,iops=2", "gib=1", "iops=-1", "mib=99999999999999"] {
            assert!(disk_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_usual_workloads_are_ones() {
        let twice = told_apart(vec![workload("files").unwrap(), workload("files --fsync").unwrap()]);
        let names: Vec<&str> = twice.iter().map(|workload| workload.name.as_str()).collect();
        assert_eq!(names, ["files", "files-2"]);
        for text in [LATENCY, THROUGHPUT] {
            assert!(workload(text).is_ok(), "{text}");
        }
        assert_eq!(workload("latency '--rate").unwrap_err().exit_code(), 2);
    }
}
