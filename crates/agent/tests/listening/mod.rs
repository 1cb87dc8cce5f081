//! What processes of a daemon say, and until when they are there.

use std::time::{Duration, Instant};

use winstead_agent_client::{Connection, Listening, Said};
use winstead_protocol::v1::ProcessStatus;

use crate::daemon::PATIENCE;

/// All of its standard output, and its code.
pub(crate) async fn all(mut listening: Listening) -> (Vec<u8>, i32) {
    let mut out = Vec::new();
    loop {
        let said = tokio::time::timeout(PATIENCE, listening.next()).await.expect("in time");
        match said.expect("the connection holds") {
            Said::Stdout(data) => out.extend_from_slice(&data),
            Said::Stderr(_) => {}
            Said::Gap(bytes) => panic!("{bytes} bytes are gone"),
            Said::Ended(exited) => return (out, exited.code),
        }
    }
}

/// All processes, as soon as they are so.
pub(crate) async fn wait_for(
    connection: &Connection,
    what: impl Fn(&[ProcessStatus]) -> bool,
) -> Vec<ProcessStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = connection.list_processes().await.expect("a list");
        if what(&all) {
            return all;
        }
        assert!(Instant::now() < until, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
