//! `winstead-agent run -t` and `--detach` as one types them, at a terminal of the test's own.

#![cfg(target_os = "linux")]

mod daemon;
mod place;

use daemon::{Daemon, command};
use winstead_testing::Typed;

/// A command at a terminal.
fn at_a_terminal(daemon: &Daemon, words: &[&str]) -> Typed {
    let (first, rest) = words.split_first().expect("a command");
    let mut command = command();
    command.args([first, "--address"]).arg(daemon.address.to_string()).args(rest);
    Typed::start(&command)
}

#[tokio::test]
async fn all_keys_are_the_programs_and_the_terminal_is_put_back() {
    let daemon = Daemon::start().await;
    let script = "trap 'heard=1; echo heard' INT; stty size; echo ready; until [ $heard ]; do sleep 0.02; done; \
                  read line; echo \"got $line\"; exit 7";
    let mut typed = at_a_terminal(&daemon, &["run", "-t", "--", "/bin/sh", "-c", script]);
    typed.shows("24 80\r\nready");
    assert!(!typed.is_usual(), "it is lent");
    typed.types("\u{3}");
    typed.shows("heard");
    // Without --keep nobody can leave: this key is the program's, too.
    typed.types("a\u{1d}b\r");
    typed.shows("got a\u{1d}b");
    assert_eq!(typed.ends().code(), Some(7));
    assert!(typed.is_usual(), "it was put back");
    daemon.end().await;
}

#[tokio::test]
async fn the_program_hears_of_another_size() {
    let daemon = Daemon::start().await;
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut typed = at_a_terminal(&daemon, &["run", "-t", "--", "/bin/sh", "-c", script]);
    typed.shows("ready");
    typed.size(101, 37);
    typed.shows("37 101");
    assert_eq!(typed.ends().code(), Some(0));
    daemon.end().await;
}

#[tokio::test]
async fn a_program_that_is_kept_can_be_left_and_come_back_to() {
    let daemon = Daemon::start().await;
    let script = "stty size; read line; echo \"first $line\"; stty size; read line; echo \"then $line\"";
    let mut typed = at_a_terminal(&daemon, &["run", "-t", "--keep", "--", "/bin/sh", "-c", script]);
    // What is typed before is thrown away.
    typed.shows("24 80");
    typed.types("one\r");
    typed.shows("first one");
    typed.types("\u{1d}");
    typed.shows("left; the program runs on: winstead-agent attach -t ");
    assert_eq!(typed.ends().code(), Some(0));
    assert!(typed.is_usual(), "it was put back");
    let said = typed.all();
    let id = said.rsplit("attach -t ").next().expect("its id").trim();
    let mut typed = at_a_terminal(&daemon, &["attach", "-t", id]);
    typed.shows("first one");
    typed.types("two\r");
    typed.shows("then two");
    assert_eq!(typed.ends().code(), Some(0));
    daemon.end().await;
}

#[tokio::test]
async fn the_terminal_is_put_back_when_the_agent_is_killed() {
    let mut daemon = Daemon::start().await;
    let mut typed = at_a_terminal(&daemon, &["run", "-t", "--", "/bin/sh", "-c", "echo ready; sleep 60"]);
    typed.shows("ready");
    daemon.kill();
    assert_eq!(typed.ends().code(), Some(255));
    assert!(typed.is_usual(), "it was put back");
    typed.shows("error: failed to listen to");
    daemon.start_again().await;
    daemon.end().await;
}

#[tokio::test]
async fn without_a_terminal_none_is_lent() {
    let daemon = Daemon::start().await;
    let output = daemon.run(&["run", "-t", "--", "/bin/true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = "error: failed to lend the terminal to the program\n  cause: standard input and output are no terminal\n";
    assert_eq!((output.status.code(), said.as_ref()), (Some(255), expected));
    daemon.end().await;
}

#[tokio::test]
async fn a_detached_program_is_told_by_its_id_and_stays() {
    let daemon = Daemon::start().await;
    let output =
        daemon.run(&["run", "--detach", "--label", "job", "--", "/bin/sh", "-c", "cat; echo done; exit 3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let id = String::from_utf8(output.stdout).expect("text");
    let listed = daemon.connect().await.list_processes().await.expect("a list");
    assert_eq!((listed[0].id.as_str(), listed[0].label.as_str()), (id.trim(), "job"));
    let attached = daemon.run(&["attach", id.trim()]);
    assert_eq!((attached.stdout.as_slice(), attached.status.code()), (b"done\n".as_slice(), Some(3)));
    for together in ["--keep", "-t"] {
        assert_eq!(daemon.run(&["run", "--detach", together, "--", "/bin/true"]).status.code(), Some(2));
    }
    daemon.end().await;
}
