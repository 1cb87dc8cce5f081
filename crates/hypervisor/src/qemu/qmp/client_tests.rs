//! Hostile peers, over a socket pair.

use super::*;

/// For an answer that must come: long enough for the busiest host.
const PATIENCE: Duration = Duration::from_secs(30);
/// For an answer that cannot come. What must come before it has come already.
const DEADLINE: Duration = Duration::from_millis(300);
const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n";
const AGREED: &str = "{\"return\": {}, \"id\": 1}\n";

impl Client {
    /// Greets over a connection that stands already.
    async fn over(stream: UnixStream, deadline: Duration) -> Result<Self, QmpError> {
        let mut client = Self::new(stream, "test.sock".into(), deadline);
        client.greet(Instant::now() + deadline).await?;
        Ok(client)
    }
}

/// What the peer does when it has said everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Hangs up when it was asked.
    Leave,
    /// Waits until the client hangs up.
    Stay,
}

/// What the peer says once it was greeted, and does then.
async fn ask_a_peer_that_says(text: impl Into<Vec<u8>>, then: Then) -> Result<RunState, QmpError> {
    ask_within(PATIENCE, text, then).await
}

async fn ask_within(deadline: Duration, text: impl Into<Vec<u8>>, then: Then) -> Result<RunState, QmpError> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(format!("{GREETING}{AGREED}").as_bytes()).await.unwrap();
    let text = text.into();
    let peer = tokio::spawn(async move {
        // The client may have hung up before everything was said.
        let said = theirs.write_all(&text).await.is_ok();
        let mut heard = Vec::new();
        // Unread bytes would make a hang-up a reset instead of an end.
        let asked =
            |heard: &[u8]| heard.ends_with(b"\n") && String::from_utf8_lossy(heard).contains("query-status");
        while said && !(then == Then::Leave && asked(&heard)) {
            if theirs.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
                continue;
            }
            break;
        }
    });
    let mut client = Client::over(ours, PATIENCE).await.unwrap();
    client.deadline = deadline;
    let answer = client.query_status().await;
    drop(client);
    peer.await.unwrap();
    answer
}

async fn words_of(text: impl Into<Vec<u8>>) -> String {
    ask_a_peer_that_says(text, Then::Stay).await.unwrap_err().to_string()
}

#[tokio::test]
async fn events_and_late_answers_before_an_answer_do_not_confuse_it() {
    let event = "{\"event\": \"STOP\", \"timestamp\": {}}\n";
    let text = format!("{event}{AGREED}{event}{{\"return\": {{\"status\": \"io-error\"}}, \"id\": 2}}\n");
    assert_eq!(ask_a_peer_that_says(text, Then::Stay).await.unwrap(), RunState::IoError);
}

#[tokio::test]
async fn an_event_before_the_greeting_is_passed_over() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(format!("{{\"event\": \"RESUME\"}}\n{GREETING}{AGREED}").as_bytes()).await.unwrap();
    Client::over(ours, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_refusal_carries_qemus_own_words() {
    let text = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"No\"}, \"id\": 2}\n";
    assert_eq!(words_of(text).await, "ask QEMU at test.sock for query-status: No (GenericError)");
}

#[tokio::test]
async fn garbage_is_an_error_that_shows_it() {
    let words = words_of(b"\xff\x00 what?\n".as_slice()).await;
    assert!(words.contains("it broke the protocol: this is no JSON: "), "{words}");
    let words = words_of("[1, 2]\n").await;
    assert!(words.ends_with("this is no object: \"[1, 2]\""), "{words}");
    let words = words_of("{\"return\": {}, \"id\": 2}\n").await;
    assert!(words.ends_with("its answer has no status"), "{words}");
}

#[tokio::test]
async fn half_a_line_and_silence_ends_at_the_deadline() {
    let late = ask_within(DEADLINE, "{\"return\": {\"sta", Then::Stay).await.unwrap_err();
    let words = late.to_string();
    assert!(words.contains("no answer after 300ms, last heard: "), "{words}");
}

#[tokio::test]
async fn half_a_line_and_a_hang_up_is_told_from_a_proper_end() {
    let left = ask_a_peer_that_says("{\"return\": {\"sta", Then::Leave).await.unwrap_err();
    let words = left.to_string();
    assert!(words.ends_with("it closed the connection amid a line"), "{words}");
    assert!(ask_a_peer_that_says("", Then::Leave).await.unwrap_err().is_gone());
}

#[tokio::test]
async fn an_answer_to_another_question_is_refused() {
    let words = words_of("{\"return\": {\"status\": \"running\"}, \"id\": 77}\n").await;
    assert!(words.ends_with("an answer came to a question never asked (Some(77))"), "{words}");
    let words = words_of("{\"return\": {\"status\": \"running\"}}\n").await;
    assert!(words.ends_with("an answer came to a question never asked (None)"), "{words}");
}

#[tokio::test]
async fn an_endless_line_is_cut_off() {
    let words = words_of(vec![b'{'; LINE_LIMIT + 4096]).await;
    assert!(words.ends_with("a line is longer than 262144 bytes"), "{words}");
}

#[tokio::test]
async fn deeply_nested_json_does_not_exhaust_the_stack() {
    for begin in ["", "{\"return\": ", "{\"event\": \"STOP\", \"data\": ", "{\"QMP\": {\"a\": "] {
        let bomb = format!("{begin}{}\n", "[".repeat(LINE_LIMIT / 2));
        assert!(words_of(bomb).await.contains("this is no "), "{begin}");
    }
    assert!(words_of("[".repeat(LINE_LIMIT / 2) + "\n").await.contains("this is no JSON"));
}

#[tokio::test]
async fn a_silent_peer_ends_at_the_deadline() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let error = Client::over(ours, DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), "ask QEMU at test.sock for a greeting: nothing was heard for 300ms");
}

#[tokio::test]
async fn a_flood_of_events_is_bounded() {
    let flood = "{\"event\": \"STOP\"}\n".repeat(EVENT_LIMIT * 3);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let text = format!("{GREETING}{AGREED}{flood}{{\"return\": {{\"status\": \"running\"}}, \"id\": 2}}\n");
    let peer = tokio::spawn(async move {
        theirs.write_all(text.as_bytes()).await.unwrap();
        theirs
    });
    let mut client = Client::over(ours, PATIENCE).await.unwrap();
    assert_eq!(client.query_status().await.unwrap(), RunState::Running);
    assert_eq!(client.events.len(), EVENT_LIMIT);
    assert_eq!(client.next_event().await.unwrap().name, "STOP");
    drop(peer.await.unwrap());
}

#[tokio::test]
async fn a_socket_deep_in_the_tree_is_reached() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("x".repeat(60)).join("y".repeat(60));
    fs_err::create_dir_all(&folder).unwrap();
    let handle = rustix::fs::open(&folder, OFlags::PATH, Mode::empty()).unwrap();
    let short = format!("/proc/self/fd/{}/qmp.sock", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let listener = tokio::net::UnixListener::bind(short).unwrap();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(format!("{GREETING}{AGREED}").as_bytes()).await.unwrap();
        stream
    });
    Client::connect(&folder, "qmp.sock", me(), PATIENCE).await.unwrap();
    drop(peer.await.unwrap());
}

#[tokio::test]
async fn nobody_there_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Client::connect(folder.path(), "qmp.sock", me(), PATIENCE).await.unwrap_err().is_gone());
}

fn me() -> ProcessId {
    ProcessId::of(std::process::id()).unwrap()
}

/// A QEMU that was taken over may put a link to another machine's monitor in its own folder.
#[tokio::test]
async fn a_socket_of_another_process_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(folder.path().join("others.sock")).unwrap();
    fs_err::os::unix::fs::symlink("others.sock", folder.path().join("qmp.sock")).unwrap();
    let other = ProcessId::of(1).unwrap();
    let error = Client::connect(folder.path(), "qmp.sock", other, PATIENCE).await.unwrap_err();
    assert!(matches!(&error.kind, QmpErrorKind::Io(why) if why.kind() == io::ErrorKind::PermissionDenied));
    assert!(!error.is_gone(), "it would be tried again");
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "something was said to it");
}

/// Greeting and agreement together have one deadline.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_slow_at_each_step_has_one_deadline_for_all() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let peer = tokio::spawn(async move {
        tokio::time::sleep(PATIENCE * 2 / 3).await;
        theirs.write_all(GREETING.as_bytes()).await.unwrap();
        tokio::time::sleep(PATIENCE * 2 / 3).await;
        theirs.write_all(AGREED.as_bytes()).await.ok();
    });
    let error = Client::over(ours, PATIENCE).await.unwrap_err();
    assert!(matches!(error.kind, QmpErrorKind::TimedOut { .. }), "{error}");
    peer.await.unwrap();
}

/// A peer that is asked for the state, then for its disks.
async fn is_full(state: &str) -> bool {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let status = format!("{{\"return\": {{\"status\": \"{state}\"}}, \"id\": 2}}\n");
    let disks = "{\"return\": [{\"qdev\": \"disk0\", \"io-status\": \"nospace\"}], \"id\": 3}\n";
    theirs.write_all(format!("{GREETING}{AGREED}{status}").as_bytes()).await.unwrap();
    let mut client = Client::over(ours, PATIENCE).await.unwrap();
    let asked = tokio::spawn(async move { client.nospace().await });
    // Until it asks for the disks, or has hung up because it was told that it is a panic.
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("query-block") {
        if theirs.read_buf(&mut heard).await.unwrap() == 0 {
            break;
        }
    }
    let told = theirs.write_all(disks.as_bytes()).await;
    assert_eq!(told.is_ok(), state == "io-error");
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_panic_after_a_full_store_is_not_taken_for_a_full_store() {
    assert!(is_full("io-error").await);
    assert!(!is_full("guest-panicked").await);
}
