//! Tunnels, as `wins cli proxy --publish` has them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    daemon::Running,
    system::of_system,
    websocket::{BARE_UPGRADE, Client, PING, PONG, TEXT, UPGRADE},
};

const DATA: u8 = 1;
const ERROR: u8 = 3;

/// A port that says everything again.
async fn echo() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.unwrap_or_default();
            });
        }
    });
    port
}

async fn daemon(port: u16) -> Running {
    Running::start(&format!("white_list: {{proxyPorts: [{port}]}}")).await
}

/// What a connection says until it ends, and how it ends.
async fn rest(client: &mut Client, connection: u8, length: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < length {
        let (id, kind, payload) = client.message().await.expect("a message");
        assert_eq!((id, kind), (connection, DATA), "{}", String::from_utf8_lossy(&payload));
        data.extend(payload);
    }
    data
}

#[tokio::test]
async fn bytes_go_to_the_port_and_back_and_data_may_come_right_behind_connect() {
    let port = echo().await;
    let daemon = daemon(port).await;
    for upgrade in [UPGRADE, BARE_UPGRADE] {
        let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, upgrade).await;
        client.connect(1, &format!("tcp/localhost:{port}")).await;
        client.data(1, b"GET").await;
        assert_eq!(rest(&mut client, 1, 3).await, b"GET");
        client.data(1, &[7; 32 * 1024]).await;
        assert_eq!(rest(&mut client, 1, 32 * 1024).await, [7; 32 * 1024]);
        client.end(1).await;
        assert_eq!(client.message().await, Some((1, ERROR, b"EOF".to_vec())));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_refusal_says_why_and_the_session_goes_on() {
    let port = echo().await;
    let daemon = daemon(port).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    for (id, address) in
        [(1, "tcp/localhost:1"), (2, "udp/localhost:53"), (3, "tcp/127.0.0.1:80"), (4, "nonsense")]
    {
        client.connect(id, address).await;
        let (connection, kind, text) = client.message().await.expect("an answer");
        assert_eq!((connection, kind), (id, ERROR));
        let text = String::from_utf8(text).expect("text");
        let expected =
            if id == 1 { "a tunnel to tcp/localhost:1 is not allowed" } else { "only tcp/localhost:PORT" };
        assert!(text.starts_with(expected) && text.len() <= 100, "{text}");
    }
    client.data(5, b"x").await;
    let (_, kind, text) = client.message().await.expect("an answer");
    assert_eq!((kind, &text[..20]), (ERROR, &b"connection not found"[..]));
    client.connect(6, &format!("tcp/localhost:{port}")).await;
    client.data(6, b"still there").await;
    assert_eq!(rest(&mut client, 6, 11).await, b"still there");
    daemon.stop().await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_in_the_systems_words() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let daemon = daemon(port).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    client.connect(1, &format!("tcp/localhost:{port}")).await;
    let (_, kind, text) = client.message().await.expect("an answer");
    assert_eq!((kind, String::from_utf8_lossy(&text).contains("refused")), (ERROR, true));
    daemon.stop().await;
}

#[tokio::test]
async fn pings_are_answered_and_unknown_messages_passed_over() {
    let daemon = daemon(1).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    client.other(1, 9).await;
    client.other(1, 6).await;
    client.frame(PING, b"").await;
    assert_eq!(client.next().await, Some((PONG, Vec::new())));
    daemon.stop().await;
}

#[tokio::test]
async fn a_paused_connection_waits_and_a_forgotten_one_is_closed() {
    let port = echo().await;
    let daemon = daemon(port).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    client.connect(1, &format!("tcp/localhost:{port}")).await;
    client.data(1, b"a").await;
    assert_eq!(rest(&mut client, 1, 1).await, b"a");
    client.other(1, 6).await;
    client.data(1, b"b").await;
    // One read may be under way already when Pause comes; a ping shows that nothing came before its answer.
    let early = tokio::time::timeout(Duration::from_millis(300), client.message()).await;
    client.other(1, 7).await;
    if early.is_err() {
        assert_eq!(rest(&mut client, 1, 1).await, b"b");
    }
    client.sync(&[]).await;
    assert_eq!(client.message().await, Some((1, ERROR, b"EOF".to_vec())));
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_session_and_closes_the_pipe() {
    let daemon = daemon(1).await;
    for (kind, content) in [(TEXT, &b"hello"[..]), (0x82, b"\x80"), (0x82, b"")] {
        let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
        client.frame(kind, content).await;
        assert_eq!(client.message().await, None);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_ports_connections_end_with_the_client() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let daemon = daemon(port).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    client.connect(1, &format!("tcp/localhost:{port}")).await;
    client.data(1, b"x").await;
    let (mut stream, _) = listener.accept().await.expect("a connection");
    drop(client);
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.unwrap_or_default();
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_sent_before_the_end_arrives_before_it() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let daemon = daemon(port).await;
    let mut client = Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await;
    client.connect(1, &format!("tcp/localhost:{port}")).await;
    let (mut stream, _) = listener.accept().await.expect("a connection");
    for _ in 0..40 {
        client.data(1, &[9; 30_000]).await;
    }
    client.end(1).await;
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.expect("it reads");
    assert_eq!(seen.len(), 40 * 30_000);
    stream.write_all(b"late").await.unwrap_or_default();
    daemon.stop().await;
}

#[tokio::test]
async fn connections_of_many_sessions_are_told_apart() {
    let port = echo().await;
    let daemon = daemon(port).await;
    let mut clients = Vec::new();
    // Wine needs 20 ms to open each, and as many to close it.
    for _ in 0..of_system(20, 2) {
        clients.push(Client::open(daemon.connect("rancher_wins_proxy").await, UPGRADE).await);
    }
    for client in &mut clients {
        for id in 1..=50 {
            client.connect(id, &format!("tcp/localhost:{port}")).await;
            client.data(id, &[id]).await;
        }
    }
    for client in &mut clients {
        let mut seen = Vec::new();
        while seen.len() < 50 {
            let (id, kind, payload) = client.message().await.expect("a message");
            assert_eq!((kind, &payload), (DATA, &vec![id]));
            seen.push(id);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(1..=50));
    }
    daemon.stop().await;
}
