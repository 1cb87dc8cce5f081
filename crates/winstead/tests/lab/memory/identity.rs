//! Machines that began as copies of one memory have nothing in common that tells one from the next.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use rustix::process::Signal;
use winstead_guest::specialise::{Step, tasks};
use winstead_spec::GuestOs;

use super::{DRAW, WARM, file, keepers, lab, look_at, mistaken};
use crate::{
    faults::can_be_killed,
    lab::{Lab, Ran, kill},
};

const REPLICAS: u32 = 8;
/// How often a template is made to see two of its clones draw the same random numbers.
const TEMPLATES: usize = 4;

/// And without any one of the steps that make them so, exactly what belongs to that step is wrong: this test can fail.
#[test]
fn clones_are_themselves_and_each_step_is_needed_for_it() {
    let Some(lab) = lab() else { return };
    lab.up(&file(&lab, REPLICAS, &[WARM, DRAW], "ssh"));
    let seen = look_at(&lab, REPLICAS);
    assert_eq!(mistaken(&lab, &seen), BTreeSet::new(), "{seen:#?}");
    let cookies: BTreeSet<[u8; 16]> = lab.machines().iter().map(ssh_cookie).collect();
    assert_eq!(cookies.len(), seen.len(), "SSH sessions began with the same random bytes: {cookies:?}");
    if !can_be_killed() {
        return;
    }
    // Two are enough for what they must not have in common. Without its files nobody can log in to a machine: its agent
    // says when it is ready.
    lab.up(&file(&lab, 2, &[WARM, DRAW], "agent"));
    for step in tasks(GuestOs::Linux).iter().map(|task| task.step) {
        let expected: BTreeSet<&str> = match step {
            Step::Random => continue,
            Step::Clock => ["clock"].into(),
            Step::Files => continue,
            Step::HostName => ["host name"].into(),
            Step::BootAndProduct => ["boot", "product"].into(),
            Step::Journal => ["journal"].into(),
            Step::SshServer => continue,
            Step::HardwareAddress => ["hardware address"].into(),
            other => panic!("what is wrong without {other:?}?"),
        };
        reset_without(&lab, step);
        let seen = look_at(&lab, 2);
        assert_eq!(mistaken(&lab, &seen), expected, "without {step:?}: {seen:#?}");
    }
    without_a_login(&lab, Step::Files);
    without_a_login(&lab, Step::SshServer);
    without_random(&lab);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// The random bytes that an SSH server begins its key exchange with, from the generator that also makes its session key
/// (RFC 4253, section 7.1: packet length, padding length, message number, cookie).
fn ssh_cookie(machine: &serde_json::Value) -> [u8; 16] {
    let port = machine["status"]["ssh"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let mut server = TcpStream::connect(("127.0.0.1", port.expect("a port"))).expect("reach its SSH server");
    server.write_all(b"SSH-2.0-test\r\n").expect("introduce ourselves");
    let mut server = BufReader::new(server);
    server.read_until(b'\n', &mut Vec::new()).expect("its introduction");
    let (mut begin, mut cookie) = ([0; 6], [0; 16]);
    server.read_exact(&mut begin).expect("the beginning of a packet");
    assert_eq!(begin[5], 20, "not SSH_MSG_KEXINIT");
    server.read_exact(&mut cookie).expect("its cookie");
    cookie
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
