//! All machines of a run as one: the only place where their numbers are put together.
//!
//! Operations are added up; the run takes until its last machine has ended. So a machine that was quick and then had nothing
//! to do, while others still worked, does not count as if it had gone on.

use std::collections::BTreeMap;

use crate::run::{Ended, Operation, Run};

/// All machines of a run as one, with the settings of the first. `None` without machines.
#[must_use]
pub fn together(machines: Vec<Run>) -> Option<Run> {
    let mut machines = machines.into_iter();
    let mut whole = machines.next()?;
    for machine in machines {
        add(&mut whole.operations, machine.operations);
        machine.errors.into_iter().for_each(|(said, times)| *whole.errors.entry(said).or_default() += times);
        whole.elapsed = whole.elapsed.max(machine.elapsed);
        whole.notes.extend(machine.notes);
        if machine.ended != Ended::Complete {
            whole.ended = machine.ended;
        }
    }
    whole.notes.sort();
    whole.notes.dedup();
    Some(whole)
}

fn add(whole: &mut BTreeMap<String, Operation>, part: BTreeMap<String, Operation>) {
    for (name, operation) in part {
        let sum = whole.entry(name).or_default();
        sum.latencies.merge(&operation.latencies);
        sum.bytes = sum.bytes.saturating_add(operation.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_run_takes_until_its_last_machine_has_ended() {
        let machine = |seconds| {
            let mut run = crate::probe::read(&crate::example::probe_result(1.0)).expect("a run");
            run.elapsed = Duration::from_secs(seconds);
            run
        };
        let whole = together(vec![machine(10), machine(40)]).expect("two machines");
        assert_eq!(whole.per_second("durable-write"), Some(12_000.0 / 40.0));
        assert!(together(Vec::new()).is_none());
    }
}
