//! The agent's own protocol over its Unix socket.

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use winstead_protocol::v1::{HelloRequest, StatusRequest};

use crate::common::{Agent, document};

#[tokio::test]
async fn an_agent_says_who_it_is() {
    let agent = Agent::start().await;
    let connection = agent.connect().await;
    let hello =
        connection.agent().hello(HelloRequest { version: "test".to_owned() }).await.expect("it answers");
    assert_eq!(hello.get_ref().os, "linux");
    drop(connection);
    agent.stop().await;
}

#[tokio::test]
async fn the_status_tells_doors_with_their_rights_and_who_is_there() {
    let agent = Agent::start().await;
    let connection = agent.connect().await;
    let status =
        connection.agent().status(StatusRequest {}).await.expect("we are administrators").into_inner();
    let socket = agent.runtime().join("agent.sock").display().to_string();
    let [door] = status.doors.as_slice() else { panic!("one door: {:?}", status.doors) };
    assert_eq!((door.name.as_str(), door.address.as_str()), ("local", socket.as_str()));
    assert!(door.permissions.starts_with("0666 "), "{}", door.permissions);
    assert_eq!(status.clients, 1);
    assert!(!status.policy.expect("it is told").present);
    drop(connection);
    agent.stop().await;
}

#[tokio::test]
async fn the_health_service_that_everybody_knows_answers() {
    let agent = Agent::start().await;
    let connection = agent.connect().await;
    let mut health = HealthClient::new(connection.channel());
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.expect("it answers");
    assert_eq!(answer.get_ref().status, ServingStatus::Serving as i32);
    let unknown = HealthCheckRequest { service: "winstead.agent.v1.Nothing".to_owned() };
    assert_eq!(health.check(unknown).await.expect_err("there is none").code(), Code::NotFound);
    drop((connection, health));
    agent.stop().await;
}

#[tokio::test]
async fn prometheus_reads_how_calls_ended_and_what_was_decided() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let agent = Agent::with(&document("Agent", "{metrics: {address: '127.0.0.1:0'}}")).await;
    let connection = agent.connect().await;
    let status =
        connection.agent().status(StatusRequest {}).await.expect("we are administrators").into_inner();
    let mut prometheus = tokio::net::TcpStream::connect(&status.metrics_address).await.expect("it listens");
    prometheus.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    prometheus.read_to_string(&mut answer).await.expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        r#"winstead_agent_calls_total{method="/winstead.agent.v1.Agent/Status",code="Ok"} 1"#,
        r#"winstead_agent_decisions_total{door="local",result="allowed"} 1"#,
        "winstead_agent_clients 1",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line}\n{answer}");
    }
    drop(connection);
    agent.stop().await;
}
