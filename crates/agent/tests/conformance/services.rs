//! The five services that answer at once.

use winstead_agent::{
    configuration::Source,
    serve::{Places, Settings, Signals, serve},
};
use winstead_agent_client::wins_door;

use crate::{
    daemon::{PATIENCE, Running},
    grpc::{
        CONTINUATION, Client, INFO, NEW_AUTHORITY, OLD_AUTHORITY, SAME_AGAIN, field, frame, headers, message,
        path,
    },
    place, system,
    websocket::{self, UPGRADE},
};

const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;

async fn client(daemon: &Running) -> Client {
    Client::new(daemon.connect("rancher_wins").await).await
}

/// The version in an answer of Info: field 1 of field 1 is the checksum, field 2 the version.
fn version(content: &[u8]) -> String {
    let checksum = usize::from(content[3]);
    let rest = &content[4 + checksum..];
    assert_eq!((content[2], rest[0]), (0x0a, 0x12), "the fields' numbers");
    String::from_utf8(rest[2..2 + usize::from(rest[1])].to_vec()).expect("text")
}

#[tokio::test]
async fn both_authorities_of_go_clients_are_served_and_again_by_their_index() {
    let daemon = Running::start("").await;
    for authority in [OLD_AUTHORITY, NEW_AUTHORITY] {
        let mut client = client(&daemon).await;
        let first = client.call(1, &headers(INFO, authority), &[]).await;
        assert_eq!((first.status, &*first.text), (0, ""));
        let numbers = version(&first.content);
        let numbers = numbers.strip_prefix('v').expect("a v, which scripts cut off");
        assert_eq!(numbers.split('.').filter(|number| number.parse::<u16>().is_ok()).count(), 3);
        let second = client.call(3, SAME_AGAIN, &[]).await;
        assert_eq!(second, first);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_newer_daemon_serves_them_at_the_doors_that_its_document_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let (runtime, _) = place::agent(folder.path(), "run");
    let id = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
    let doors = ["services", "tunnels"].map(|name| wins_door(&runtime, &format!("{name}{id}")));
    let [wins, proxy] = doors.each_ref().map(|door| format!("{{path: '{}'}}", door.display()));
    let document = format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Agent\nmetadata: {{name: test}}\n\
         spec: {{doors: {{wins: {wins}, winsProxy: {proxy}}}}}\n---\n\
         apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: test}}\n\
         spec: {{rules: [{{name: old, callers: [{{door: wins}}], queries: [agent]}}]}}\n"
    );
    let file = folder.path().join("agent.yaml");
    fs_err::write(&file, document).expect("it is written");
    let (places, source) =
        (Places { runtime, state: folder.path().join("state") }, Source::Documents(vec![file]));
    let settings = Settings { places, source, program: env!("CARGO_BIN_EXE_winstead-agent").into() };
    let signals = Signals::default();
    let asked = signals.clone();
    let daemon = tokio::spawn(async move { serve(&settings, &asked).await });
    tokio::time::timeout(PATIENCE, signals.ready.cancelled()).await.expect("it serves");
    let mut client = Client::new(system::connect(&doors[0]).await.expect("it listens")).await;
    assert_eq!(client.call(1, &headers(INFO, OLD_AUTHORITY), &[]).await.status, 0);
    websocket::Client::open(system::connect(&doors[1]).await.expect("it listens"), UPGRADE).await;
    signals.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, daemon).await.expect("it ends");
    ended.expect("no panic").expect("no error");
}

#[tokio::test]
async fn padding_priority_and_continuation_are_read() {
    let daemon = Running::start("").await;
    let mut client = client(&daemon).await;
    let block = headers(INFO, OLD_AUTHORITY);
    let (first, second) = block.split_at(20);
    let padded = [&[4, 0, 0, 0, 0, 16], first, &[0; 4]].concat();
    client.send(&frame(1, 0x28, 1, &padded)).await;
    client.send(&frame(CONTINUATION, 4, 1, second)).await;
    client.send(&frame(0, 1, 1, &message(&[]))).await;
    assert_eq!(client.answer(1).await.status, 0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_version_has_the_fields_that_old_clients_read() {
    let daemon = Running::start("").await;
    let answer = client(&daemon)
        .await
        .call(1, &headers(&path("/wins.HostService/GetVersion"), OLD_AUTHORITY), &[])
        .await;
    assert_eq!((answer.status, answer.content[0], answer.content[2]), (0, 0x0a, 0x0a));
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_not_there_has_the_old_codes_and_texts() {
    let daemon = Running::start("").await;
    let mut client = client(&daemon).await;
    let get = headers(&path("/wins.NetworkService/Get"), OLD_AUTHORITY);
    let answer = client.call(1, &get, &field(2, b"no such adapter")).await;
    assert_eq!((answer.status, &*answer.text), (NOT_FOUND, "could%20not%20get%20adapter"));
    let hns = headers(&path("/wins.HnsService/GetNetwork"), OLD_AUTHORITY);
    assert_eq!(client.call(3, &hns, &field(2, b"x")).await.status, INVALID_ARGUMENT);
    let add = headers(&path("/wins.RouteService/Add"), OLD_AUTHORITY);
    assert_eq!(client.call(5, &add, &field(1, b"8.8.8.8")).await.status, INVALID_ARGUMENT);
    let unknown = client.call(7, &headers(&path("/wins.VolumeService/Mount"), OLD_AUTHORITY), &[]).await;
    assert_eq!(unknown.status, 12, "unimplemented");
    let garbage = client.call(9, &get, &[0xff, 0xff]).await;
    assert_ne!(garbage.status, 0);
    daemon.stop().await;
}
