//! Machines that began as copies of one memory have nothing in common that tells one from the next.

use std::collections::BTreeSet;

use rustix::process::Signal;
use winstead_guest::specialise::{LINUX, Step};

use super::{DRAW, WARM, file, keepers, lab, look_at, mistaken};
use crate::{
    faults::can_be_killed,
    lab::{Lab, Ran, kill},
};

const REPLICAS: u32 = 4;
/// How often a template is made to see two of its clones draw the same random numbers.
const TEMPLATES: usize = 4;

/// And without any one of the steps that make them so, exactly what belongs to that step is wrong: this test can fail.
#[test]
fn clones_are_themselves_and_each_step_is_needed_for_it() {
    let Some(lab) = lab() else { return };
    lab.up(&file(&lab, REPLICAS, &[WARM, DRAW], "ssh"));
    let seen = look_at(&lab, REPLICAS);
    assert_eq!(mistaken(&lab, &seen), BTreeSet::new(), "{seen:#?}");
    if !can_be_killed() {
        return;
    }
    // Two are enough for what they must not have in common. Without its files nobody can log in to a machine: its agent
    // says when it is ready.
    lab.up(&file(&lab, 2, &[WARM, DRAW], "agent"));
    for step in LINUX {
        let expected: BTreeSet<&str> = match step {
            Step::Random => continue,
            Step::Clock => ["clock"].into(),
            Step::Files => continue,
            Step::HostName => ["host name"].into(),
            Step::BootAndProduct => ["boot", "product"].into(),
            Step::Journal => ["journal"].into(),
            Step::Ssh => continue,
            Step::HardwareAddress => ["hardware address"].into(),
        };
        reset_without(&lab, *step);
        let seen = look_at(&lab, 2);
        assert_eq!(mistaken(&lab, &seen), expected, "without {step:?}: {seen:#?}");
    }
    without_a_login(&lab, Step::Files);
    without_a_login(&lab, Step::Ssh);
    without_random(&lab);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// For want of a key of its own, or of a server.
fn without_a_login(lab: &Lab, step: Step) {
    reset_without(lab, step);
    let refused = lab.exec("mem-0", "true");
    assert_eq!(refused.code, Some(255), "a machine was reached without {step:?}: {refused:?}");
}

/// Both draw the same. Only a kernel that takes new randomness by itself between its start and that draw, which it does
/// every few seconds in the beginning, does not: all clones of that template do it, and another template has another moment.
fn without_random(lab: &Lab) {
    for _ in 0..TEMPLATES {
        reset_without(lab, Step::Random);
        let seen = look_at(lab, 2);
        let wrong = mistaken(lab, &seen);
        // What a login draws much later may still be the same, too.
        let rest: BTreeSet<&str> = wrong.difference(&["drawn", "random numbers"].into()).copied().collect();
        assert_eq!(rest, BTreeSet::new(), "{seen:#?}");
        if wrong.contains("drawn") {
            return;
        }
        keepers(lab).into_iter().for_each(|keeper| kill(keeper, Signal::KILL).expect("end a keeper"));
    }
    panic!(
        "clones of {TEMPLATES} templates had random numbers of their own without the step that gives them"
    );
}

fn reset_without(lab: &Lab, step: Step) {
    let mut command = lab.command(&["reset", "mem-0", "mem-1"]);
    let output = command.env("WINSTEAD_FAULT_LEAVE_OUT", format!("{step:?}")).output();
    let ran = Ran::of(&output.expect("start winstead"));
    assert_eq!(ran.code, Some(0), "without {step:?}: {ran:?}");
}
