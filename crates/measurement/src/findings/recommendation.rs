//! How many machines this host carries: up to which number a latency holds, and where throughput is highest.

use std::time::Duration;

use winstead_statistics::{
    Bootstrap, Histogram, Knee, Latencies, Load, LoadLatency, Peak, Scalability, knee, scalability,
};

use super::{
    ArmRecommendation, ArmScalability, Arrivals, Goal, Recommendation,
    cells::{Group, Shape},
    counted,
};
use crate::contention::Arm;

/// Above this deviation the law is not this host's: `winstead_statistics::Scalability::worst_deviation`.
const OFF_THE_LAW: f64 = 0.1;

/// The scalability of each arm of a workload.
pub(super) fn scalabilities(
    groups: &[Group<'_>],
    shape: &Shape,
    arms: &[Arm],
    bootstrap: Bootstrap,
) -> Vec<ArmScalability> {
    let of = |arm: &Arm| {
        let loads: Vec<Load> = of_arm(groups, *arm)
            .map(|group| Load { machines: group.agents, throughputs: group.throughputs() })
            .collect();
        let law = match shape.arrivals {
            Arrivals::Open { .. } => {
                Err("an open loop does as many operations as it is asked for".to_owned())
            }
            Arrivals::Closed { .. } => scalability(&loads, bootstrap).map_err(|error| error.to_string()),
        };
        let (law, why_not) = law.map_or_else(|why| (None, Some(why)), |law| (Some(law), None));
        ArmScalability { arm: *arm, law, why_not }
    };
    arms.iter().map(of).collect()
}

fn of_arm<'a, 'b>(groups: &'b [Group<'a>], arm: Arm) -> impl Iterator<Item = &'b Group<'a>> {
    groups.iter().filter(move |group| group.arm == arm)
}

/// What is recommended for a workload; `None` when there is nothing to say.
pub(super) fn recommendation(
    workload: &str,
    groups: &[Group<'_>],
    laws: &[ArmScalability],
    goal: Option<Goal>,
    bootstrap: Bootstrap,
) -> Option<Recommendation> {
    let arm = |law: &ArmScalability| {
        let peak_machines = match law.law.map(|law| law.peak) {
            Some(Peak::Measured { machines }) => Some(machines),
            _ => None,
        };
        let nearest = |machines: f64| {
            let distance = |group: &&Group<'_>| (f64::from(group.agents) - machines).abs();
            of_arm(groups, law.arm).min_by(|a, b| distance(a).total_cmp(&distance(b))).map(Group::in_flight)
        };
        ArmRecommendation {
            arm: law.arm,
            knee: goal.and_then(|goal| knee_of(groups, law.arm, goal, bootstrap)),
            peak_machines,
            in_flight: peak_machines.and_then(|machines| nearest(machines.estimate)),
        }
    };
    let arms: Vec<ArmRecommendation> = laws.iter().map(arm).collect();
    let within = goal.and_then(|goal| within_goal(workload, goal, &arms));
    let peaks =
        laws.iter().zip(&arms).filter_map(|(law, arm)| peak_sentence(workload, law.law.as_ref()?, arm));
    let sentences: Vec<String> = within.into_iter().chain(peaks).collect();
    (!sentences.is_empty()).then(|| Recommendation { workload: workload.to_owned(), goal, arms, sentences })
}

/// `None` when an arm has too few runs for an interval with some number of machines.
fn knee_of(groups: &[Group<'_>], arm: Arm, goal: Goal, bootstrap: Bootstrap) -> Option<Knee> {
    let point = |group: &Group<'_>| {
        let runs: Vec<Histogram> = group.latencies().iter().map(Latencies::all).collect();
        let latency = bootstrap.percentile(&runs, goal.percentile).ok()?;
        Some(LoadLatency { machines: group.agents, latency })
    };
    let points: Option<Vec<LoadLatency>> = of_arm(groups, arm).map(point).collect();
    knee(&points?, goal.within.as_nanos() as f64)
}

/// `latency, for p99 within 5 ms: at least 8 machines with RAM (the most that was measured); 2 machines with the disk (4
/// were too many); what lies between was not measured`.
fn within_goal(workload: &str, goal: Goal, arms: &[ArmRecommendation]) -> Option<String> {
    let carried = |arm: &ArmRecommendation| Some(format!("{} {}", carried(arm.knee?), aside(arm)));
    let mut parts: Vec<String> = arms.iter().filter_map(carried).collect();
    let apart = |arm: &ArmRecommendation| matches!(arm.knee, Some(Knee::Between { meets, fails }) if fails > meets + 1);
    if arms.iter().any(apart) {
        parts.push("what lies between was not measured".to_owned());
    }
    let Goal { percentile, within } = goal;
    let within = millis(within);
    (!parts.is_empty()).then(|| format!("{workload}, for {percentile} within {within}: {}", parts.join("; ")))
}

fn carried(knee: Knee) -> String {
    match knee {
        Knee::Between { meets, .. } => counted(meets, "machine"),
        Knee::AtLeast { machines } => format!("at least {}", counted(machines, "machine")),
        Knee::None { fails } => format!("not even {}", counted(fails, "machine")),
    }
}

fn aside(arm: &ArmRecommendation) -> String {
    let name = arm.arm.spoken();
    match arm.knee {
        Some(Knee::Between { fails, .. }) => format!("with {name} ({fails} were too many)"),
        Some(Knee::AtLeast { .. }) => format!("with {name} (the most that was measured)"),
        _ => format!("with {name}"),
    }
}

fn peak_sentence(workload: &str, law: &Scalability, arm: &ArmRecommendation) -> Option<String> {
    let name = arm.arm.spoken();
    let sentence = match law.peak {
        Peak::Measured { machines } => format!(
            "{workload}: throughput with {name} is highest with {:.1} machines ({:.1}-{:.1}), where {:.0} operations are \
             under way (N = X · R); more only wait longer",
            machines.estimate, machines.low, machines.high, arm.in_flight?
        ),
        Peak::Extrapolated { machines, measured_to } => format!(
            "{workload}: throughput with {name} may be highest with some {machines:.0} machines: a guess, {measured_to} \
             were measured"
        ),
        Peak::NotShown { measured_to } => format!(
            "{workload}: throughput with {name} has no peak up to {}, the most that was measured",
            counted(measured_to, "machine")
        ),
    };
    let off = law.worst_deviation > OFF_THE_LAW;
    let doubt = format!("; the law is off by up to {:.0} %: do not build on it", 100.0 * law.worst_deviation);
    Some(if off { sentence + &doubt } else { sentence })
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_secs_f64() * 1e3)
}
