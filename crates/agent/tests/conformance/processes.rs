//! Start, KeepAlive and Wait, as `wins cli prc run` calls them.

use std::{path::PathBuf, time::Duration};

use sha1::{Digest as _, Sha1};
use winstead_agent::wins::process::OnExit;
use winstead_agent_client::{Address, Connection};

use crate::{
    daemon::{PATIENCE, Running},
    grpc::{Answer, Client, OLD_AUTHORITY, field, headers, path},
    place,
    system::{self, FOLDER, of_system},
};

const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;
const INTERNAL: i32 = 13;

/// A program and a daemon that lets old clients run it.
pub(crate) struct Bench {
    pub(crate) daemon: Running,
    pub(crate) program: PathBuf,
    /// What its arguments begin with.
    before: Vec<String>,
    _programs: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(script: &str) -> Self {
        Self::with(script, OnExit::Tell).await
    }

    async fn with(script: &str, on_exit: OnExit) -> Self {
        let programs = tempfile::tempdir().expect("a folder");
        let (program, before) = system::program(programs.path(), script);
        let config = format!("white_list: {{processPaths: ['{}']}}", program.display());
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = Running::start_in(folder, &config, on_exit).await;
        Self { daemon, program, before, _programs: programs }
    }

    fn checksum(&self) -> String {
        let bytes = fs_err::read(&self.program).expect("it is there");
        Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn client(&self) -> Client {
        Client::new(self.daemon.connect("rancher_wins").await).await
    }

    fn request(&self, arguments: &[&str]) -> Vec<u8> {
        let path = self.program.to_str().expect("text");
        let mut request = [field(1, self.checksum().as_bytes()), field(2, path.as_bytes())].concat();
        let before = self.before.iter().map(String::as_str);
        for argument in before.chain(arguments.iter().copied()) {
            request.extend(field(3, argument.as_bytes()));
        }
        request.extend(field(5, b"GREETING=hello"));
        request.extend(field(6, FOLDER.as_bytes()));
        request
    }
}

/// A client that has started a program.
struct Started {
    client: Client,
    name: Vec<u8>,
}

impl Started {
    async fn new(bench: &Bench, arguments: &[&str]) -> Self {
        let mut client = bench.client().await;
        let answer = start(&mut client, 1, &bench.request(arguments)).await;
        assert_eq!((answer.status, &*answer.text), (0, ""));
        // ProcessName is field 1 of the answer, as it is of the questions.
        Self { client, name: answer.content }
    }

    /// Stream 3 keeps it alive from here on.
    async fn keep_alive(&mut self) {
        self.client.open(3, &headers(&path("/wins.ProcessService/KeepAlive"), OLD_AUTHORITY)).await;
        self.client.say(3, &self.name, false).await;
    }

    async fn wait(&mut self, stream: u8) -> Answer {
        let block = headers(&path("/wins.ProcessService/Wait"), OLD_AUTHORITY);
        self.client.call(stream, &block, &self.name.clone()).await
    }
}

async fn start(client: &mut Client, stream: u8, request: &[u8]) -> Answer {
    client.call(stream, &headers(&path("/wins.ProcessService/Start"), OLD_AUTHORITY), request).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both outputs in an answer of Wait: field 1 is what the program said, field 2 what it complained of.
fn said(mut content: &[u8]) -> [String; 2] {
    let mut said = [Vec::new(), Vec::new()];
    while let [tag, rest @ ..] = content {
        let (mut length, mut at) = (0, 0);
        loop {
            length |= usize::from(rest[at] & 0x7f) << (7 * at);
            at += 1;
            if rest[at - 1] < 0x80 {
                break;
            }
        }
        let (data, later) = rest[at..].split_at(length);
        said[usize::from(tag >> 3) - 1].extend_from_slice(data);
        content = later;
    }
    said.map(|output| text(&output))
}

/// A program that lasts, and answers as long as it runs: an agent of its own.
struct Lasting {
    _folder: tempfile::TempDir,
    line: String,
    address: Address,
}

impl Lasting {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (runtime, address) = place::agent(folder.path(), "lasting");
        let (agent, state) = (env!("CARGO_BIN_EXE_winstead-agent"), folder.path().join("state"));
        let line = format!("{agent} serve --runtime {} --state {}", runtime.display(), state.display());
        Self { _folder: folder, line, address }
    }

    async fn bench(&self) -> Bench {
        Bench::new(of_system(&*format!("exec {}", self.line), &self.line)).await
    }

    async fn runs(&self) -> bool {
        Connection::open(&self.address).await.is_ok()
    }
}

/// Until something is so.
async fn until(so: impl AsyncFn() -> bool) {
    let waited = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("in time");
}

#[tokio::test]
async fn a_program_runs_says_something_on_both_streams_and_ends() {
    let unix = "echo $GREETING $1; pwd; echo oops >&2; ps -o args= -p $$";
    let windows = "echo %GREETING%& cd& echo oops>&2& rem";
    let bench = Bench::new(of_system(unix, windows)).await;
    let mut started = Started::new(&bench, &["a b"]).await;
    assert_eq!(text(&started.name[4..]), "rancher-wins-ngin", "cut as ever");
    started.keep_alive().await;
    let answer = started.wait(5).await;
    assert_eq!((answer.status, &*answer.text), (0, ""));
    let [out, err] = said(&answer.content);
    assert!(out.starts_with(of_system("hello a b\n/\n", "hello\r\nC:\\\r\n")), "{out}");
    assert!(err.starts_with("oops"), "{err}");
    let copies = fs_err::read_dir(bench.daemon.folder.path().join("state/wins")).expect("a vault");
    let copy = copies.flatten().map(|entry| entry.path()).find(|path| path.is_dir()).expect("a copy");
    // What scripts look for in lists of processes.
    let copy = copy.join("rancher-wins-nginx.exe");
    assert!(copy.exists() && (cfg!(windows) || out.contains(copy.to_str().expect("text"))), "{out}");
    assert!(bench.program.exists(), "it is copied, not moved");
    started.client.send(&crate::grpc::frame(0, 1, 3, &[])).await;
    assert_eq!(started.client.answer(3).await.status, 0, "KeepAlive is answered when it ended");
    bench.daemon.stop().await;
}

#[tokio::test]
async fn an_exit_code_is_told_as_an_error_or_hidden_as_it_was() {
    for (on_exit, expected) in [(OnExit::Tell, (UNKNOWN, "exit%20status%203")), (OnExit::Hide, (0, ""))] {
        let bench = Bench::with(of_system("echo out; exit 3", "echo out& exit 3"), on_exit).await;
        let mut started = Started::new(&bench, &[]).await;
        started.keep_alive().await;
        let answer = started.wait(5).await;
        assert_eq!((answer.status, &*answer.text), expected);
        let [out, err] = said(&answer.content);
        assert_eq!((out.trim_end(), &*err), ("out", ""));
        bench.daemon.stop().await;
    }
}

#[tokio::test]
async fn what_may_not_or_cannot_run_has_the_old_codes() {
    let bench = Bench::new(of_system("true", "exit")).await;
    let mut client = bench.client().await;
    let other = [field(1, b"00"), field(2, b"/bin/true")].concat();
    let answer = start(&mut client, 1, &other).await;
    assert_eq!(answer.status, INVALID_ARGUMENT);
    assert!(answer.text.starts_with("invalid%20path"), "{}", answer.text);
    let path = bench.program.to_str().expect("text").as_bytes().to_owned();
    let wrong = [field(1, &[b'0'; 40]), field(2, &path)].concat();
    let answer = start(&mut client, 3, &wrong).await;
    assert_eq!(answer.status, NOT_FOUND);
    assert!(answer.text.starts_with("could%20not%20found%20binary:"), "{}", answer.text);
    fs_err::remove_file(&bench.program).expect("it was there");
    assert_eq!(start(&mut client, 5, &wrong).await.status, NOT_FOUND);
    let wait = headers(&crate::grpc::path("/wins.ProcessService/Wait"), OLD_AUTHORITY);
    let answer = client.call(7, &wait, &field(1, &field(1, b"rancher-wins-x"))).await;
    assert_eq!(answer.status, INTERNAL);
    assert!(answer.text.starts_with("could%20not%20get%20process"), "{}", answer.text);
    client.open(9, &headers(&crate::grpc::path("/wins.ProcessService/KeepAlive"), OLD_AUTHORITY)).await;
    client.send(&crate::grpc::frame(0, 1, 9, &[])).await;
    assert_eq!(client.answer(9).await.status, INVALID_ARGUMENT, "no name");
    bench.daemon.stop().await;
}

#[tokio::test]
async fn the_end_of_keep_alive_ends_the_program_with_all_that_it_started() {
    let lasting = Lasting::new();
    let bench = Bench::new(of_system(&*format!("{} & wait", lasting.line), &lasting.line)).await;
    let mut started = Started::new(&bench, &[]).await;
    started.keep_alive().await;
    until(async || lasting.runs().await).await;
    let mut again = bench.client().await;
    let refused = start(&mut again, 1, &bench.request(&[])).await;
    assert_eq!(refused.status, ALREADY_EXISTS, "{}", refused.text);
    assert!(lasting.runs().await);
    // The container is killed: no frame, just the end.
    drop(started);
    until(async || !lasting.runs().await).await;
    bench.daemon.stop().await;
}

#[tokio::test]
async fn several_clients_may_wait_and_one_that_comes_late_hears_the_end() {
    let bench = Bench::new(of_system("sleep 0.3; exit 4", "exit 4")).await;
    let mut started = Started::new(&bench, &[]).await;
    started.keep_alive().await;
    let mut other = Started { client: bench.client().await, name: started.name.clone() };
    let (one, two) = tokio::join!(started.wait(5), other.wait(1));
    assert_eq!((one.status, two.status), (UNKNOWN, UNKNOWN));
    assert_eq!(other.wait(3).await.text, "exit%20status%204");
    bench.daemon.stop().await;
}

#[tokio::test]
async fn a_program_of_an_agent_that_is_gone_gives_way_to_its_successor() {
    let lasting = Lasting::new();
    let bench = lasting.bench().await;
    let mut started = Started::new(&bench, &[]).await;
    started.keep_alive().await;
    let config = format!("white_list: {{processPaths: ['{}']}}", bench.program.display());
    drop(started);
    let Bench { daemon, program, before, _programs } = bench;
    let folder = daemon.stop().await;
    let daemon = Running::start_in(folder, &config, OnExit::Tell).await;
    let bench = Bench { daemon, program, before, _programs };
    let mut started = Started::new(&bench, &[]).await;
    started.keep_alive().await;
    until(async || lasting.runs().await).await;
    drop(started);
    // It would outlive the daemon, too.
    until(async || !lasting.runs().await).await;
    bench.daemon.stop().await;
}

/// Later, as all that waits sees it.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    // What is to happen then, happens.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_program_that_nobody_keeps_alive_ends_after_a_minute() {
    let lasting = Lasting::new();
    let bench = lasting.bench().await;
    let started = Started::new(&bench, &[]).await;
    until(async || lasting.runs().await).await;
    later(Duration::from_secs(55)).await;
    assert!(lasting.runs().await, "it has a minute");
    later(Duration::from_secs(6)).await;
    until(async || !lasting.runs().await).await;
    drop(started);
    bench.daemon.stop().await;
}

#[tokio::test]
async fn a_keep_alive_may_be_silent_for_a_quarter_of_an_hour() {
    let lasting = Lasting::new();
    let bench = lasting.bench().await;
    let mut started = Started::new(&bench, &[]).await;
    started.keep_alive().await;
    until(async || lasting.runs().await).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    later(Duration::from_mins(14)).await;
    assert!(lasting.runs().await, "the client has fifteen minutes");
    let name = started.name.clone();
    started.client.say(3, &name, false).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    later(Duration::from_mins(14)).await;
    assert!(lasting.runs().await, "and again, from its last word on");
    later(Duration::from_mins(1)).await;
    until(async || !lasting.runs().await).await;
    assert_eq!(started.client.answer(3).await.status, 0);
    bench.daemon.stop().await;
}
