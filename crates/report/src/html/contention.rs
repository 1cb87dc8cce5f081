//! The page of an experiment with many machines.

use winstead_measurement::{
    contention::{ContentionRun, WorkloadRun},
    findings::{Arrivals, WorkloadFindings},
};

use super::{
    DISTRIBUTION, Subject, method,
    view::{Failures, Figure, Group, Page, Run, Verdict, Workload},
};
use crate::{
    chart::{Size, draw},
    charts,
    distribution::{distribution, distributions},
    tables::{self, compared, machines},
    terminal::arrivals,
    timeline::{Timeline, timeline},
};

const PANEL: Size = Size { class: "panel", width: 360.0, height: 200.0, labels: 88.0 };

const LATENCY: &str = "Lower is better. Each mark is the p99 of all runs merged: one operation in a hundred took longer. The band is \
    its 95 % interval over whole runs. Equal distances upwards are equal ratios.";
const THROUGHPUT: &str = "Higher is better. Small dots are runs, large marks their medians. A curve is the Universal Scalability Law, \
    fitted to all runs of an arm; where none can be told, the line joins the medians.";
const OFFERED: &str = "As much was asked of each machine in every arm, so arms differ only where one could not keep up. Small dots are \
    runs, large marks their medians.";
impl Page {
    pub(super) fn of(subject: &Subject<'_>) -> Self {
        let findings = subject.findings;
        let (verdict, also) = Verdict::of(&findings.headline);
        Self {
            verdict,
            also,
            simulated: findings.simulated.clone(),
            summary: method::summary(subject.document),
            recommendations: findings.recommendations.iter().map(|found| found.sentences.clone()).collect(),
            workloads: (1..)
                .zip(&findings.workloads)
                .map(|(number, found)| Workload::of(number, found, subject))
                .collect(),
            failures: Some(Failures {
                sentences: findings.failures.iter().flat_map(|found| found.sentences.clone()).collect(),
                table: tables::failures(&findings.failures),
            }),
            method: method::measured(subject.document)
                .into_iter()
                .chain(method::judged(subject.source.seed))
                .collect(),
            computer: method::computer(subject.document),
            notes: findings.notes.clone(),
            source: method::source(subject),
        }
    }
}

impl Workload {
    fn of(number: usize, found: &WorkloadFindings, subject: &Subject<'_>) -> Self {
        let id = format!("workload-{number}");
        Self {
            name: found.name.clone(),
            title: format!("{}, {}", found.operation, arrivals(found.arrivals)),
            numbers: tables::latencies(found),
            figures: figures(&id, found, subject),
            how_compared: tables::how_compared(found.arrivals),
            compared: found.comparisons.iter().map(compared).collect(),
            comparisons: Some(tables::comparisons(found)),
            walls: Some(tables::walls(found)),
            groups: Some(groups(&id, found, subject)),
            id,
        }
    }
}

fn figures(workload: &str, found: &WorkloadFindings, subject: &Subject<'_>) -> Vec<Figure> {
    let (most, curves) = (machines(charts::most(found)), charts::curves(found));
    vec![
        Figure::of(
            format!("{workload}-latency"),
            "How long operations take",
            LATENCY,
            &charts::latency(found, subject.goal),
            vec![tables::intervals(found)],
        ),
        Figure::of(
            format!("{workload}-throughput"),
            "How much gets done",
            throughput_reading(found.arrivals),
            &charts::throughput(found),
            vec![tables::throughputs(found), tables::laws(found), charts::law_values(found)],
        ),
        Figure::of(
            format!("{workload}-distribution"),
            &format!("How long the slow ones take, with {most} at once"),
            DISTRIBUTION,
            &distribution(
                format!("{}: how many operations took longer, {most} at once", found.name),
                &curves,
            ),
            vec![distributions(
                format!("{}: latencies that a share of operations exceeded, {most}", found.name),
                &curves,
            )],
        ),
    ]
}

fn throughput_reading(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Open { .. } => OFFERED,
        Arrivals::Closed { .. } => THROUGHPUT,
    }
}

/// The runs of a workload by their number of machines, most first: there differences show.
fn groups(workload: &str, found: &WorkloadFindings, subject: &Subject<'_>) -> Vec<Group> {
    let document = subject.document;
    let mut agents: Vec<u32> = document.runs.iter().map(|run| run.agents).collect();
    agents.sort_unstable_by(|one, other| other.cmp(one));
    agents.dedup();
    let group = |agents: u32| {
        let mut runs: Vec<(&ContentionRun, &WorkloadRun)> = document
            .runs
            .iter()
            .filter(|run| run.agents == agents)
            .filter_map(|run| Some((run, run.workloads.iter().find(|workload| workload.name == found.name)?)))
            .collect();
        runs.sort_by_key(|(run, _)| (run.arm, run.repeat));
        let title = format!("{} at once: {} runs", machines(agents), runs.len());
        let run = |(run, of): (&ContentionRun, &WorkloadRun)| Run::of(workload, run, of, subject);
        Group { title, runs: runs.into_iter().map(run).collect() }
    };
    agents.into_iter().map(group).filter(|group| !group.runs.is_empty()).collect()
}

impl Run {
    fn of(workload: &str, run: &ContentionRun, of: &WorkloadRun, subject: &Subject<'_>) -> Self {
        let (arm, design) = (run.arm.name(), &subject.document.design);
        let id = format!("{workload}-run-{arm}-{}-{}", run.agents, run.repeat);
        let Timeline { charts, host, machines } = timeline(of, subject.document.host.cpus);
        let panels =
            (1..).zip(&charts).map(|(number, chart): (u32, _)| draw(chart, PANEL, &format!("{id}-{number}")));
        let failed = of
            .machines
            .iter()
            .filter_map(|machine| Some(format!("{}: {}", machine.machine, machine.failure.as_ref()?)));
        Self {
            title: format!(
                "{arm}, run {} of {}, {}",
                run.repeat,
                design.repeats,
                of.started_at.strftime("%H:%M:%S")
            ),
            held: of.walls.first().map(|wall| tables::wall_name(wall.kind).to_owned()).unwrap_or_default(),
            walls: of
                .walls
                .iter()
                .map(|wall| format!("{}: {}", tables::wall_name(wall.kind), wall.evidence))
                .collect(),
            failures: failed.collect(),
            panels: panels.collect(),
            tables: std::iter::once(host).chain(machines).filter(|table| !table.rows.is_empty()).collect(),
            id,
        }
    }
}
