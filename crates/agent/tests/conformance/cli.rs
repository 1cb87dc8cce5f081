//! The old command line, of a copy that is called `wins`.

use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use winstead_agent::wins::proxy::publish;
use winstead_agent_client::wins_door;

use crate::{
    daemon::{PATIENCE, Running},
    place,
    processes::Bench,
    system::of_system,
};

/// A copy of the program by its old name.
struct Wins {
    _folder: TempDir,
    program: PathBuf,
}

impl Wins {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(of_system("wins", "WINS.exe"));
        fs_err::hard_link(env!("CARGO_BIN_EXE_winstead-agent"), &program)
            .or_else(|_| fs_err::copy(env!("CARGO_BIN_EXE_winstead-agent"), &program).map(drop))
            .expect("a copy");
        Self { _folder: folder, program }
    }

    /// Its code and both outputs, of arguments with single spaces between them; `~` stands for a space in one.
    async fn run(&self, line: &str) -> (i32, String, String) {
        let arguments: Vec<String> = line.split(' ').map(|word| word.replace('~', " ")).collect();
        let program = self.program.clone();
        let run = move || Command::new(program).args(arguments).timeout(PATIENCE).output().expect("it runs");
        let output = tokio::task::spawn_blocking(run).await.expect("no panic");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }
}

#[cfg(unix)]
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
    let (code, ..) = wins.run("cli hns get-network").await;
    assert_eq!(code, 1, "a name or an address is needed");
    let (code, ..) = wins.run("srv app run --register --unregister").await;
    assert_eq!(code, 1, "one of them");
}

#[cfg(unix)]
#[tokio::test]
async fn there_is_nothing_to_register_with_on_linux() {
    for flag in ["--register", "--unregister"] {
        let (code, _, err) = Wins::new().run(&format!("srv app run {flag}")).await;
        assert!(code == 1 && err.contains("only Windows"), "{err}");
    }
}

/// Taken away also when its test fails.
#[cfg(windows)]
struct Registered;

#[cfg(windows)]
impl Drop for Registered {
    fn drop(&mut self) {
        let agent = env!("CARGO_BIN_EXE_winstead-agent");
        let service = ["service", "uninstall", "--name", "rancher-wins"];
        Command::new(agent).args(service).timeout(PATIENCE).assert().success();
    }
}

#[cfg(windows)]
#[tokio::test]
async fn a_service_is_registered_by_its_old_name_serves_and_is_taken_away() {
    let (wins, folder) = (Wins::new(), tempfile::tempdir().expect("a folder"));
    let (config, pipe) = (folder.path().join("config"), format!("wins-service-{}", std::process::id()));
    fs_err::write(&config, format!("{{listen: {pipe}, proxy: {pipe}-proxy}}")).expect("it is written");
    let state = folder.path().join("state");
    let (runtime, _) = place::agent(folder.path(), "run");
    let [config, runtime, state] = [&config, &runtime, &state].map(|path| path.display());
    let register = format!("--register --config {config} --runtime {runtime} --state {state}");
    let _registered = Registered;
    // A second time it takes the first one's place.
    for _ in 0..2 {
        let (code, _, err) = wins.run(&format!("srv app run --delayed-start {register}")).await;
        assert_eq!(code, 0, "{err}");
        let start = ["service", "start", "--name", "rancher-wins"];
        let agent = env!("CARGO_BIN_EXE_winstead-agent");
        Command::new(agent).args(start).timeout(PATIENCE).assert().success();
    }
    let (code, out, err) = wins.run(&format!("cli app info --server {pipe}")).await;
    assert!(code == 0 && out.starts_with(r#"{"Client":{"Checksum":""#), "{out}{err}");
    let (code, _, err) = wins.run("srv app run --unregister").await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = wins.run(&format!("cli app info --server {pipe}")).await;
    assert!(code == 1 && err.contains("failed to reach"), "{err}");
}

/// Ended also when its test fails.
struct Foreground(std::process::Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().expect("it has ended");
    }
}

#[tokio::test]
async fn the_daemon_serves_in_the_foreground_when_no_service_manager_started_it() {
    let (wins, folder) = (Wins::new(), tempfile::tempdir().expect("a folder"));
    let (config, name) = (folder.path().join("config"), format!("wins-front-{}", std::process::id()));
    fs_err::write(&config, format!("{{listen: {name}, proxy: {name}-proxy}}")).expect("it is written");
    let (runtime, _) = place::agent(folder.path(), "run");
    let state = folder.path().join("state");
    #[expect(clippy::disallowed_methods, reason = "a daemon that is watched, not a command that is run")]
    let mut command = std::process::Command::new(&wins.program);
    command.args(["--quiet", "srv", "app", "run", "--config"]).arg(&config);
    command.arg("--runtime").arg(&runtime).arg("--state").arg(&state).stdin(std::process::Stdio::null());
    let _daemon = Foreground(command.spawn().expect("it starts"));
    let server = wins_door(&runtime, &name);
    let ask = format!("cli app info --server {}", server.display());
    let answered = async {
        while wins.run(&ask).await.0 != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("it serves");
}

#[tokio::test]
async fn answers_are_compact_json_without_a_lines_end() {
    let daemon = Running::start("").await;
    let wins = Wins::new();
    let link = daemon.door("rancher_wins");
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
    let unix = "echo \"$1|$2|$GREETING\"; echo oops >&2; exit $3";
    let bench = Bench::new(of_system(unix, "")).await;
    let wins = Wins::new();
    let line = |code: u8| {
        let (path, server) = (bench.program.display(), bench.daemon.door("rancher_wins"));
        let args = of_system("a~\"b~c\"", "/c~echo~a^|%GREETING%&~echo~oops>&2&~exit");
        format!(
            "cli prc run --path {path} --args {args}~{code} --envs GREETING=hello --server {}",
            server.display()
        )
    };
    let said = of_system(("a|\"b c\"|hello\n", "oops\n"), ("a|hello\r\n", "oops\r\n"));
    let (code, out, err) = wins.run(&line(0)).await;
    assert_eq!((code, &*out, &*err), (0, said.0, said.1));
    let (code, out, err) = wins.run(&line(7)).await;
    assert_eq!((code, &*out), (1, said.0));
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
