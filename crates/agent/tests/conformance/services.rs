//! The five services that answer at once.

use crate::{
    daemon::Running,
    grpc::{
        CONTINUATION, Client, INFO, NEW_AUTHORITY, OLD_AUTHORITY, SAME_AGAIN, field, frame, headers, message,
        path,
    },
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

/// A daemon of its own process, which finds `ip` in a folder of the test's.
struct Apart {
    folder: tempfile::TempDir,
    child: std::process::Child,
}

impl Apart {
    fn start(ip: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("ip");
        fs_err::write(&program, ip).expect("it is written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&program, mode).expect("it is ours");
        #[expect(clippy::disallowed_methods, reason = "a daemon that the test ends by itself")]
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_winstead-agent"));
        let at = |name: &str| folder.path().join(name);
        command.args(["srv", "app", "run", "--config"]).arg(at("config"));
        command.arg("--runtime").arg(at("run")).arg("--state").arg(at("state"));
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let child = command.env_clear().env("PATH", path).spawn().expect("it starts");
        Self { folder, child }
    }

    async fn client(&self) -> Client {
        let socket = self.folder.path().join("run/rancher_wins.sock");
        let connected = async {
            loop {
                if let Ok(stream) = tokio::net::UnixStream::connect(&socket).await {
                    return stream;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        Client::new(tokio::time::timeout(crate::daemon::PATIENCE, connected).await.expect("it listens")).await
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

#[tokio::test]
async fn routes_are_added_where_the_default_route_goes() {
    let ip = r#"#!/bin/sh
echo "$*" >> "${0%/*}/asked"
case "$*" in
*"route show default") echo '[{"dst":"default","gateway":"10.0.0.1","dev":"eth9","flags":[]}]' ;;
*"link show"*) echo '[{"ifindex":4,"ifname":"eth4"},{"ifindex":9,"ifname":"eth9"}]' | if [ "$5" ]; then sed 's/.*,{/[{/'; else cat; fi ;;
esac
"#;
    let daemon = Apart::start(ip);
    let mut client = daemon.client().await;
    let add = headers(&path("/wins.RouteService/Add"), OLD_AUTHORITY);
    let networks = [field(1, b"10.1.2.3/16"), field(1, b"169.254.169.254/32")].concat();
    let answer = client.call(1, &add, &networks).await;
    assert_eq!((answer.status, &*answer.text), (0, ""));
    let asked = fs_err::read_to_string(daemon.folder.path().join("asked")).expect("it was asked");
    let added: Vec<&str> = asked.lines().filter(|line| line.contains("replace")).collect();
    assert_eq!(
        added,
        [
            "-4 route replace 10.1.0.0/16 via 10.0.0.1 dev eth9",
            "-4 route replace 169.254.169.254/32 via 10.0.0.1 dev eth9"
        ],
        "{asked}"
    );
}
