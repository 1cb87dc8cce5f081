//! Routes on Linux, with a made-up `ip`. On Windows `winstead-agent selftest` adds a real one.

use crate::{
    daemon::PATIENCE,
    grpc::{Client, OLD_AUTHORITY, field, headers, path},
};

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
        Client::new(tokio::time::timeout(PATIENCE, connected).await.expect("it listens")).await
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
