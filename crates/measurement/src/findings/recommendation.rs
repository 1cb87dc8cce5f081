//! How many machines this host carries: up to which number a latency holds, and where throughput is highest.

use winstead_statistics::{
    Bootstrap, Histogram, Interval, Knee, Latencies, Load, LoadLatency, MINIMUM_BEYOND, MINIMUM_RUNS, Peak,
    Scalability, knee, scalability,
};

use super::{
    ArmRecommendation, ArmScalability, Arrivals, Asked, Goal, Recommendation,
    cells::{Group, Shape},
    counted,
    walls::was_the_wall,
};
use crate::contention::Arm;

/// Above this deviation the law is not this host's: `winstead_statistics::Scalability::worst_deviation`.
const OFF_THE_LAW: f64 = 0.1;

/// The scalability of each arm of a workload.
pub(super) fn scalabilities(
    groups: &[&Group<'_>],
    shape: &Shape,
    arms: &[Arm],
    bootstrap: Bootstrap,
) -> Vec<ArmScalability> {
    let of = |arm: &Arm| {
        let of_arm: Vec<_> = groups.iter().filter(|group| group.arm == *arm).collect();
        let loads: Vec<Load> = of_arm
            .iter()
            .map(|group| Load { machines: group.agents, throughputs: group.whole_throughputs() })
            .filter(|load| !load.throughputs.is_empty())
            .collect();
        let law = match shape.arrivals {
            Arrivals::Open { .. } => {
                Err("an open loop does as many operations as it is asked for".to_owned())
            }
            Arrivals::Closed { .. } => scalability(&loads, bootstrap).map_err(|error| {
                let dead = of_arm.iter().any(|group| group.failed_machines > 0);
                let aside = if dead { "; runs in which a machine died do not count" } else { "" };
                format!("{error}{aside}")
            }),
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
    asked: Asked<'_>,
) -> Option<Recommendation> {
    let arm = |law: &ArmScalability| {
        let peak_machines = match law.law.map(|law| law.peak) {
            Some(Peak::Measured { machines }) => Some(machines),
            _ => None,
        };
        let peak = peak_machines.and_then(|machines| nearest(groups, law.arm, machines.estimate));
        ArmRecommendation {
            peak_machines,
            peak_measured: peak.map(|group| group.agents),
            in_flight: peak.map(Group::in_flight),
            ..carried_by(groups, law.arm, asked)
        }
    };
    let arms: Vec<ArmRecommendation> = laws.iter().map(arm).collect();
    let within = asked.goal.map(|goal| within_goal(workload, goal, &arms));
    let peaks =
        laws.iter().zip(&arms).filter_map(|(law, arm)| peak_sentence(workload, law.law.as_ref()?, arm));
    let sentences: Vec<String> =
        within.into_iter().chain(peaks).map(|sentence| asked.said(sentence)).collect();
    let goal = asked.goal;
    (!sentences.is_empty()).then(|| Recommendation { workload: workload.to_owned(), goal, arms, sentences })
}

/// Why nothing is recommended for a workload that nobody measured; `None` without a goal.
pub(super) fn of_nothing(workload: &str, asked: Asked<'_>) -> Option<Recommendation> {
    let said = format!("{}: nothing is known: no machine measured anything", heading(workload, asked.goal?));
    Some(Recommendation {
        workload: workload.to_owned(),
        goal: asked.goal,
        arms: Vec::new(),
        sentences: vec![asked.said(said)],
    })
}

fn nearest<'a, 'b>(groups: &'b [Group<'a>], arm: Arm, machines: f64) -> Option<&'b Group<'a>> {
    let distance = |group: &&Group<'_>| (f64::from(group.agents) - machines).abs();
    let measured = of_arm(groups, arm).filter(|group| !group.is_empty());
    measured.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Whether one number of machines keeps to a goal.
enum Standing {
    /// With this interval, which may end beyond the goal.
    Known(Interval),
    /// It does not, whatever the latencies of those that lived.
    Fails(String),
    /// Nobody knows, and why.
    Unknown(&'static str),
}

impl Standing {
    fn of(group: &Group<'_>, goal: Goal, bootstrap: Bootstrap) -> Self {
        let (failed, machines) = (group.failed_machines, group.machines);
        if failed > 0 {
            return Self::Fails(format!("{failed} of {machines} machines died"));
        }
        let latencies = group.latencies();
        let operations: u64 = latencies.iter().map(Latencies::count).sum();
        let failed: u64 = latencies.iter().map(Latencies::failures).sum();
        let beyond = goal.percentile.beyond(operations);
        if failed > beyond {
            return Self::Fails(format!("{failed} of {operations} operations failed"));
        }
        if latencies.len() < MINIMUM_RUNS {
            return Self::Unknown("too few runs");
        }
        if beyond < MINIMUM_BEYOND {
            return Self::Unknown("too few operations");
        }
        let runs: Vec<Histogram> = latencies.iter().map(Latencies::all).collect();
        match bootstrap.percentile(&runs, goal.percentile) {
            Ok(interval) => Self::Known(interval),
            Err(_) => Self::Unknown("a run without operations"),
        }
    }

    /// As a point that meets the goal or does not; `None` where nobody knows.
    fn latency(&self) -> Option<Interval> {
        match self {
            Self::Known(interval) => Some(*interval),
            Self::Fails(_) => Some(Interval {
                estimate: f64::INFINITY,
                low: f64::INFINITY,
                high: f64::INFINITY,
                confidence: winstead_statistics::Confidence::P95,
            }),
            Self::Unknown(_) => None,
        }
    }
}

/// How many machines of an arm keep to the goal. Beyond a number of which nothing is known only failing counts.
fn carried_by(groups: &[Group<'_>], arm: Arm, asked: Asked<'_>) -> ArmRecommendation {
    let nothing = ArmRecommendation::of_nothing(arm);
    let Some(goal) = asked.goal else { return nothing };
    let within = goal.within.as_nanos() as f64;
    let standings: Vec<(&Group<'_>, Standing)> =
        of_arm(groups, arm).map(|group| (group, Standing::of(group, goal, asked.bootstrap))).collect();
    let unknown = standings.iter().find_map(|(group, standing)| match standing {
        Standing::Unknown(why) => Some((group.agents, (*why).to_owned())),
        _ => None,
    });
    let is_sure = |agents: u32| unknown.as_ref().is_none_or(|(first, _)| agents < *first);
    let points: Vec<LoadLatency> = standings
        .iter()
        .filter_map(|(group, standing)| {
            Some(LoadLatency { machines: group.agents, latency: standing.latency()? })
        })
        .filter(|point| is_sure(point.machines) || point.latency.high > within)
        .collect();
    let knee = knee(&points, within);
    let beyond = |agents: u32| matches!(knee, Some(Knee::Between { fails, .. } | Knee::None { fails }) if fails < agents);
    let unknown = unknown.filter(|(agents, _)| !beyond(*agents));
    let because = knee.map(|knee| match knee {
        Knee::Between { fails, .. } | Knee::None { fails } => fails,
        Knee::AtLeast { machines } => machines,
    });
    let because = standings.iter().find(|(group, _)| Some(group.agents) == because);
    ArmRecommendation {
        knee,
        because: because.map(|(group, standing)| reasons(group, standing)).unwrap_or_default(),
        unknown,
        ..nothing
    }
}

/// What must be said of the load at which an arm's carrying ends: what failed there, and what the wall was.
fn reasons(group: &Group<'_>, standing: &Standing) -> Vec<String> {
    let failed = match standing {
        Standing::Fails(why) => Some(why.clone()),
        Standing::Known(_) | Standing::Unknown(_) => None,
    };
    let walls = group.walls();
    let wall = walls.iter().find(|wall| wall.is_in_most_runs()).map(|wall| was_the_wall(wall.kind));
    failed.into_iter().chain(wall).collect()
}

impl ArmRecommendation {
    /// Of an arm of which nothing is known yet.
    const fn of_nothing(arm: Arm) -> Self {
        Self {
            arm,
            knee: None,
            because: Vec::new(),
            unknown: None,
            peak_machines: None,
            peak_measured: None,
            in_flight: None,
        }
    }
}

/// `latency, for p99 within 5 ms: at least 8 machines with RAM (the most that was measured); 2 machines with the disk (4
/// were too many: the disk was the wall); what lies between was not measured`.
fn within_goal(workload: &str, goal: Goal, arms: &[ArmRecommendation]) -> String {
    let mut parts: Vec<String> = arms.iter().map(carried).collect();
    let apart = |arm: &ArmRecommendation| matches!(arm.knee, Some(Knee::Between { meets, fails }) if fails > meets + 1);
    if arms.iter().any(apart) {
        parts.push("what lies between was not measured".to_owned());
    }
    format!("{}: {}", heading(workload, goal), parts.join("; "))
}

fn heading(workload: &str, goal: Goal) -> String {
    let Goal { percentile, within } = goal;
    format!("{workload}, for {percentile} within {}", millis(within))
}

fn carried(arm: &ArmRecommendation) -> String {
    let name = arm.arm.spoken();
    let because = arm.because.join(", ");
    let why = if because.is_empty() { String::new() } else { format!(": {because}") };
    let unknown = arm.unknown.as_ref().map(|(agents, why)| format!("nothing is known of {agents}: {why}"));
    match arm.knee {
        Some(Knee::Between { meets, fails }) => {
            let between = unknown.map(|unknown| format!("; {unknown}")).unwrap_or_default();
            format!("{} with {name} ({fails} were too many{why}{between})", counted(meets, "machine"))
        }
        Some(Knee::AtLeast { machines }) => {
            let wall = if because.is_empty() { String::new() } else { format!(", where {because}") };
            let aside = unknown.unwrap_or_else(|| "the most that was measured".to_owned());
            format!("at least {} with {name}{wall} ({aside})", counted(machines, "machine"))
        }
        Some(Knee::None { fails }) => {
            let asides: Vec<String> =
                Some(because).filter(|why| !why.is_empty()).into_iter().chain(unknown).collect();
            let asides = if asides.is_empty() { String::new() } else { format!(" ({})", asides.join("; ")) };
            format!("not even {} with {name}{asides}", counted(fails, "machine"))
        }
        None => {
            let why = arm.unknown.as_ref().map_or("nothing was measured", |(_, why)| why);
            format!("nothing is known of {name}: {why}")
        }
    }
}

fn millis(duration: std::time::Duration) -> String {
    format!("{} ms", duration.as_nanos() as f64 / 1e6)
}

fn peak_sentence(workload: &str, law: &Scalability, arm: &ArmRecommendation) -> Option<String> {
    let name = arm.arm.spoken();
    let sentence = match law.peak {
        Peak::Measured { machines } => format!(
            "{workload}: throughput with {name} is highest with {:.1} machines ({:.1}-{:.1}); with {}, as measured next \
             to that, {:.0} operations are under way (N = X · R); more only wait longer",
            machines.estimate, machines.low, machines.high, arm.peak_measured?, arm.in_flight?
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_said_as_they_were_asked_for() {
        let said = [Duration::from_millis(1001), Duration::from_micros(1500)].map(millis);
        assert_eq!(said, ["1001 ms", "1.5 ms"]);
    }
}
