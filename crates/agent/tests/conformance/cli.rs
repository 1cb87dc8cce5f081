//! The old command line, of a copy that is called `wins`.

use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use winstead_agent::wins::proxy::publish;

use crate::{
    daemon::{PATIENCE, Running},
    processes::Bench,
};

/// A copy of the program by its old name.
struct Wins {
    _folder: TempDir,
    program: PathBuf,
}

impl Wins {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("wins");
        fs_err::hard_link(env!("CARGO_BIN_EXE_winstead-agent"), &program)
            .or_else(|_| fs_err::copy(env!("CARGO_BIN_EXE_winstead-agent"), &program).map(drop))
            .expect("a copy");
        Self { _folder: folder, program }
    }

    /// Its code and both outputs, of arguments with single spaces between them; `_` stands for a space in one.
    async fn run(&self, line: &str) -> (i32, String, String) {
        let arguments: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let program = self.program.clone();
        let run = move || Command::new(program).args(arguments).timeout(PATIENCE).output().expect("it runs");
        let output = tokio::task::spawn_blocking(run).await.expect("no panic");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }
}

#[tokio::test]
async fn a_configuration_that_others_can_change_is_not_followed() {
    use std::os::unix::fs::PermissionsExt as _;
    let (wins, folder) = (Wins::new(), tempfile::tempdir().expect("a folder"));
    let config = folder.path().join("config");
    fs_err::write(&config, "white_list: {processPaths: [/bin/sh]}\n").expect("it is written");
    fs_err::set_permissions(&config, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let at = folder.path().display();
    let line = format!("srv app run --config {at}/config --runtime {at}/run --state {at}/state");
    let (code, _, err) = wins.run(&line).await;
    assert!(code == 1 && err.contains("failed to trust") && err.contains("others may write to it"), "{err}");
}

#[tokio::test]
async fn version_and_unknown_commands_are_as_scripts_know_them() {
    let wins = Wins::new();
    let (code, out, _) = wins.run("--version").await;
    assert_eq!((code, out.split_whitespace().count()), (0, 3), "{out}");
    assert!(out.starts_with("rancher-wins version v"), "{out}");
    let (code, out, _) = wins.run("nonsense").await;
    assert!(code == 1 && out.starts_with("Invalid Command: nonsense\n"), "{out}");
    let (code, _, err) = wins.run("srv app run --register").await;
    assert!(code == 1 && err.contains("only Windows"), "{err}");
    let (code, ..) = wins.run("cli hns get-network").await;
    assert_eq!(code, 1, "a name or an address is needed");
}

#[tokio::test]
async fn answers_are_compact_json_without_a_lines_end() {
    let daemon = Running::start("").await;
    let wins = Wins::new();
    let link = daemon.folder.path().join("w.sock");
    std::os::unix::fs::symlink(daemon.socket("rancher_wins"), &link).expect("a link");
    let (code, out, err) = wins.run(&format!("cli app info --server {}", link.display())).await;
    assert_eq!((code, &*err), (0, ""));
    assert!(out.starts_with(r#"{"Client":{"Checksum":""#) && out.ends_with('}'), "{out}");
    let (code, out, _) = wins.run(&format!("client host get-version --server {}", link.display())).await;
    assert!(code == 0 && out.starts_with(r#"{"CurrentMajorVersionNumber":""#), "{out}");
    let (code, out, err) = wins.run(&format!("cli net get --name none --server {}", link.display())).await;
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains("rpc error: code = NotFound desc = could not get adapter"), "{err}");
    daemon.stop().await;
}

#[tokio::test]
async fn prc_run_prints_what_the_program_says_and_ends_with_1_when_it_fails() {
    let bench = Bench::new("echo \"$1|$2|$GREETING\"; echo oops >&2; exit $3").await;
    let link = bench.daemon.folder.path().join("w.sock");
    std::os::unix::fs::symlink(bench.daemon.socket("rancher_wins"), &link).expect("a link");
    let wins = Wins::new();
    let line = |code: u8| {
        let (path, link) = (bench.program.display(), link.display());
        format!("cli prc run --path {path} --args a_\"b_c\"_{code} --envs GREETING=hello --server {link}")
    };
    let (code, out, err) = wins.run(&line(0)).await;
    assert_eq!((code, &*out, &*err), (0, "a|\"b c\"|hello\n", "oops\n"));
    let (code, out, err) = wins.run(&line(7)).await;
    assert_eq!((code, &*out), (1, "a|\"b c\"|hello\n"));
    assert!(err.contains("rpc error: code = Unknown desc = exit status 7"), "{err}");
    bench.daemon.stop().await;
}

#[tokio::test]
async fn a_published_port_leads_to_the_hosts_localhost() {
    let host = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = host.local_addr().expect("an address").port();
    let daemon = Running::start(&format!("white_list: {{proxyPorts: [{port}]}}")).await;
    let stream = daemon.connect("rancher_wins_proxy").await;
    let here = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let published = here.local_addr().expect("an address");
    let publishing = tokio::spawn(publish(stream, "rancher_wins_proxy", vec![(here, port)]));
    let mut client = TcpStream::connect(published).await.expect("it listens");
    client.write_all(b"ping").await.expect("it is sent");
    let (mut served, _) = host.accept().await.expect("it comes out");
    let mut word = [0; 4];
    served.read_exact(&mut word).await.expect("it arrives");
    served.write_all(b"pong").await.expect("it is sent");
    drop(served);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("text");
    assert_eq!((&word, &*answer), (b"ping", "pong"));
    daemon.stop().await;
    let ended = tokio::time::timeout(PATIENCE, publishing).await.expect("in time").expect("no panic");
    assert!(ended.is_err(), "the tunnel ends with the daemon");
}
