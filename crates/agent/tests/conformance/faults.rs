//! Clients that break off, or send what nobody should.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    daemon::{PATIENCE, Running},
    grpc::{Client, INFO, OLD_AUTHORITY, SAME_AGAIN, frame, headers},
    websocket::UPGRADE,
};

/// Whether the daemon still answers.
async fn answers(daemon: &Running) {
    let mut client = Client::new(daemon.connect("rancher_wins").await).await;
    assert_eq!(client.call(1, &headers(INFO, OLD_AUTHORITY), &[]).await.status, 0);
}

#[tokio::test]
async fn half_a_frame_and_then_nothing_hurts_nobody() {
    let daemon = Running::start("").await;
    let block = headers(INFO, OLD_AUTHORITY);
    let whole = frame(1, 4, 1, &block);
    for length in [1, 8, 9, 20, whole.len() - 1] {
        let mut client = Client::new(daemon.connect("rancher_wins").await).await;
        client.send(&whole[..length]).await;
        drop(client);
    }
    answers(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_is_gone_in_the_middle_of_a_call_hurts_nobody() {
    let daemon = Running::start("").await;
    for _ in 0..50 {
        let mut client = Client::new(daemon.connect("rancher_wins").await).await;
        client.open(1, &headers(INFO, OLD_AUTHORITY)).await;
    }
    answers(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn whoever_says_that_nothing_more_comes_is_let_go() {
    let daemon = Running::start("").await;
    let mut client = Client::new(daemon.connect("rancher_wins").await).await;
    assert_eq!(client.call(1, &headers(INFO, OLD_AUTHORITY), &[]).await.status, 0);
    client.end().await;
    assert_eq!(client.answer(3).await.text, "GOAWAY [103, 111, 110, 101]", "the daemon closes it, too");
    daemon.stop().await;
}

#[tokio::test]
async fn wrong_header_blocks_close_their_connection_only() {
    let daemon = Running::start("").await;
    for block in [&[0xbe][..], &[0xff; 40], &[0x00, 0x7f, 0xff, 0xff, 0x7f], SAME_AGAIN] {
        let mut client = Client::new(daemon.connect("rancher_wins").await).await;
        client.open(1, block).await;
        let answer = client.answer(1).await;
        assert_eq!((answer.status, &*answer.text), (-1, "GOAWAY [103, 111, 110, 101]"), "{block:?}");
    }
    answers(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_websocket_is_refused_with_a_word() {
    let daemon = Running::start("").await;
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-x\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut stream = daemon.connect("rancher_wins_proxy").await;
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_served_or_turned_away_and_then_all_is_as_before() {
    let daemon = Running::start("").await;
    let mut idle = Vec::new();
    for number in 0..1000 {
        let pipe = if number % 2 == 0 { "rancher_wins" } else { "rancher_wins_proxy" };
        if let Ok(mut stream) = daemon.try_connect(pipe).await {
            // Turned away: whoever does not read it sees the end.
            stream.write_all(&UPGRADE[..5]).await.unwrap_or_default();
            idle.push(stream);
        }
    }
    drop(idle);
    let again = async {
        loop {
            let mut client = Client::new(daemon.connect("rancher_wins").await).await;
            if client.call(1, &headers(INFO, OLD_AUTHORITY), &[]).await.status == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it serves again");
    daemon.stop().await;
}
