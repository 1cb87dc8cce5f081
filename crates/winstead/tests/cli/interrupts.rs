//! Ctrl-C and SIGTERM, while another command keeps the home.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};

use crate::sandbox::{Sandbox, pool};

#[expect(clippy::disallowed_methods, reason = "the test is the user's shell: it sends the signals itself")]
fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_winstead"));
    command.env_clear().env("WINSTEAD_HOME", sandbox.home()).args(arguments).current_dir(sandbox.path(""));
    command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start winstead")
}

/// An `up` that waits for the home's lock, which the test holds, and has said so.
fn waiting(sandbox: &Sandbox) -> (fs_err::File, Child, BufReader<std::process::ChildStderr>) {
    sandbox.write("pool.yaml", &pool("64MiB"));
    sandbox.ok(&["get", "machines"]);
    let lock = fs_err::OpenOptions::new().create(true).append(true).open(sandbox.home().join("lock"));
    let lock = lock.expect("the lock file");
    flock(lock.file(), FlockOperation::NonBlockingLockExclusive).expect("nobody has the lock");
    let mut up = spawn(sandbox, &["up", "-f", "pool.yaml"]);
    let mut said = BufReader::new(up.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert!(line.contains("another winstead command"), "{line}");
    (lock, up, said)
}

#[test]
fn the_first_signal_asks_for_a_clean_end() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::new();
        let (_lock, mut up, mut said) = waiting(&sandbox);
        kill_process(Pid::from_child(&up), signal).unwrap();
        assert_eq!(up.wait().unwrap().code(), Some(130));
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(rest, @r"
            stopping; press Ctrl-C again to leave at once
            error: failed to finish: interrupted
            hint: run the same command again: it goes on where it stopped
            ");
        }
    }
}

#[test]
fn the_second_signal_leaves_at_once_and_says_what_may_be_left_behind() {
    let machines = "machines, mounts or processes may be left behind: `winstead down --all` takes them away";
    let image = "half an image may be left behind: building it again takes that away";
    for (arguments, left) in
        [(&["down", "--all"][..], machines), (&["image", "build", "-f", "pool.yaml"], image)]
    {
        let sandbox = Sandbox::new();
        sandbox.write("pool.yaml", &pool("64MiB"));
        fs_err::create_dir(sandbox.home()).unwrap();
        // Nobody can end a wait for SQLite's lock: the command is stuck in it until the second signal.
        let journal = rusqlite::Connection::open(sandbox.home().join("journal.sqlite")).unwrap();
        journal.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let mut stuck = spawn(&sandbox, arguments);
        let until = Instant::now() + Duration::from_secs(60);
        while !sandbox.home().join("ssh").exists() {
            assert!(Instant::now() < until, "it never opened its home");
            #[expect(clippy::disallowed_methods, reason = "a test that polls another process from outside")]
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut said = BufReader::new(stuck.stderr.take().unwrap());
        kill_process(Pid::from_child(&stuck), Signal::INT).unwrap();
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        assert_eq!(first, "stopping; press Ctrl-C again to leave at once\n");
        kill_process(Pid::from_child(&stuck), Signal::INT).unwrap();
        assert_eq!(stuck.wait().unwrap().code(), Some(130));
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("warning: left at once; {left}\n"));
    }
}
