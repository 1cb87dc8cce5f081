//! `winstead-agent tunnel` as one types it, with an agent that is a process of its own.

#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
        std::mem::forget(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails ends here too; it has said why already.
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap_or_default();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs beside the test, and is killed: `winstead_process` waits"
)]
fn agent(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_winstead-agent"));
    command.args(words).env_clear().stdin(Stdio::null());
    command
}

fn start(words: &[&str]) -> Running {
    Running(agent(words).stderr(Stdio::piped()).spawn().expect("it starts"))
}

fn run(words: &[&str]) -> Output {
    agent(words).output().expect("it starts")
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("it is text")
}

fn serve(folder: &Path) -> Running {
    let folder = folder.to_str().expect("it is text");
    start(&["serve", "--runtime", folder, "--state", folder])
}

/// Publishes a port of the system's choice; returns it. Nobody reads what it says after that.
fn publish(folder: &Path, target: u16) -> (Running, u16) {
    let socket = folder.join("agent.sock");
    let spec = format!("tcp/0:127.0.0.1:{target}");
    let mut running = start(&["tunnel", "publish", "--address", socket.to_str().expect("it is text"), &spec]);
    let mut lines = BufReader::new(running.0.stderr.take().expect("it is piped")).lines();
    let line = lines.next().expect("it says something").expect("it is text");
    let (_, after) = line.split_once("127.0.0.1:").expect(&line);
    let (port, target_shown) = after.split_once(" leads to ").expect(&line);
    assert_eq!(target_shown, format!("tcp/127.0.0.1:{target}"));
    (running, port.parse().expect("a number"))
}

/// What comes back for `sent`, through a port that sends the first bytes back.
fn asked(port: u16, target: &TcpListener, sent: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it is published");
    connection.set_read_timeout(Some(LONG)).expect("it is open");
    connection.write_all(sent).expect("it is open");
    let mut other = accept(target);
    let mut bytes = vec![0; sent.len()];
    other.read_exact(&mut bytes).expect("they come");
    other.write_all(&bytes).expect("it is open");
    connection.read_exact(&mut bytes).expect("they come back");
    bytes
}

/// The next connection, within a bounded time.
fn accept(target: &TcpListener) -> TcpStream {
    target.set_nonblocking(true).expect("it listens");
    let begun = Instant::now();
    loop {
        match target.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false).expect("it is open");
                connection.set_read_timeout(Some(LONG)).expect("it is open");
                return connection;
            }
            Err(error) => assert!(begun.elapsed() < LONG, "it is dialled: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_published_port_outlives_a_killed_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let agent = serve(folder.path());
    // The agent may still be starting: the publisher waits for it.
    let (_publisher, port) = publish(folder.path(), target.local_addr().expect("it has one").port());
    assert_eq!(asked(port, &target, b"before"), b"before");
    agent.kill();
    let begun = Instant::now();
    let _agent = serve(folder.path());
    assert_eq!(asked(port, &target, b"after"), b"after");
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_wrong_specification_is_explained_before_anything_is_done() {
    let output = run(&["tunnel", "publish", "tcp/9796", "9796"]);
    assert_eq!(
        said(&output),
        "error: failed to read `9796`: it begins with `tcp/` or `udp/`, as in `tcp/9796`\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_port_that_is_taken_here_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("it has one");
    let output = run(&["tunnel", "publish", &format!("tcp/{}:80", address.port())]);
    assert!(said(&output).starts_with(&format!("error: failed to listen at tcp/{address}\n  cause: ")));
}

#[test]
fn no_tunnels_are_an_empty_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let _agent = serve(folder.path());
    let socket = folder.path().join("agent.sock");
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < LONG, "it listens");
        std::thread::yield_now();
    }
    let output = run(&["tunnel", "list", "--address", socket.to_str().expect("it is text"), "-o", "json"]);
    assert_eq!((said(&output), output.stdout.as_slice()), ("", b"[]\n".as_slice()));
}
