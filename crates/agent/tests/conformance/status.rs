//! What the old daemon says of itself, at the agent's own door and to Prometheus.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use winstead_agent_client::Connection;
use winstead_protocol::v1::StatusRequest;

use crate::daemon::Running;

#[tokio::test]
async fn the_old_daemon_says_how_it_is_and_does_nothing_else_at_its_own_door() {
    let daemon = Running::start("{white_list: {processPaths: [/bin/sh]}}").await;
    let connection = Connection::open(&daemon.address).await.expect("it listens");
    let status = connection.agent().status(StatusRequest {}).await.expect("administrators may").into_inner();
    let doors: Vec<&str> = status.doors.iter().map(|door| door.name.as_str()).collect();
    assert_eq!((doors, status.clients), (vec!["local", "wins", "wins-proxy"], 1));
    assert_eq!(status.policy.expect("the old list is one").rules, ["wins", "wins-proxy"]);
    let refused = connection.clocks().await.expect_err("the old list allows it to old clients only");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);

    let mut prometheus = tokio::net::TcpStream::connect(&status.metrics_address).await.expect("it listens");
    prometheus.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n").await.expect("it reads");
    let mut numbers = String::new();
    prometheus.read_to_string(&mut numbers).await.expect("it answers");
    for line in [
        "winstead_agent_clients 1",
        "winstead_agent_processes 0",
        r#"winstead_agent_decisions_total{door="local",result="denied"} 1"#,
    ] {
        assert!(numbers.lines().any(|found| found == line), "{line}\n{numbers}");
    }
    daemon.stop().await;
}
