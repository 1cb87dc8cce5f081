//! A peer that says anything at all, cut anywhere.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// How long the client waits, in the runtime's own paused time.
const DEADLINE: Duration = Duration::from_secs(5);

/// A line that is QMP, nearly QMP, or nothing of the kind.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![
        4 => (0_u64..5).prop_map(Value::from),
        1 => prop_oneof![Just(json!(-1)), Just(json!("2")), Just(json!(null)), Just(json!(1e300))],
    ];
    let inner = prop_oneof![
        3 => Just(json!({})),
        3 => "(running|paused|io-error|x)".prop_map(|status| json!({"status": status})),
        1 => (1_usize..100_000).prop_map(|length| json!({"status": "é".repeat(length)})),
        1 => (1_usize..200).prop_map(|depth| (0..depth).fold(json!(0), |inner, _| json!([inner]))),
        1 => prop_oneof![Just(json!(5)), Just(json!(null)), Just(json!([{}])), Just(json!({"guest": 1}))],
    ];
    let message = (id, inner, 0..8).prop_map(|(id, inner, kind)| {
        let message = match kind {
            0 => json!({"QMP": inner}),
            1 => json!({"event": "STOP", "data": inner}),
            2 => json!({"event": inner}),
            3 => json!({"error": {"class": "GenericError", "desc": inner}, "id": id}),
            4 => inner,
            _ => json!({"return": inner, "id": id}),
        };
        message.to_string().into_bytes()
    });
    prop_oneof![
        8 => message,
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"  ".to_vec()),
        1 => (1_usize..3).prop_map(|times| vec![b'['; LINE_LIMIT / 2 * times + times]),
    ]
}

/// What a peer says, mostly after a proper greeting, and whether it hangs up at the end.
fn speech() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let lines = prop::collection::vec(line(), 0..8);
    (any::<bool>(), lines, 0.0..1.2, any::<bool>()).prop_map(|(greeted, lines, cut, hangs_up)| {
        let mut said = Vec::new();
        if greeted {
            said.extend(b"{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n");
        }
        let begin = said.len();
        lines.into_iter().for_each(|line| said.extend([line, b"\n".to_vec()].concat()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
        let kept = begin + ((said.len() - begin) as f64 * cut) as usize;
        said.truncate(kept);
        (said, hangs_up)
    })
}

/// Asks such a peer all that a client asks; returns how long it took, and the most that was kept.
async fn ask(said: Vec<u8>, hangs_up: bool) -> (Duration, usize) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let peer = tokio::spawn(async move {
        // The client may have had enough before everything was said.
        if theirs.write_all(&said).await.is_ok() && !hangs_up {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.ok();
        }
    });
    let begun = Instant::now();
    let mut client = Client::new(ours, "fuzz.sock".into(), DEADLINE);
    let mut kept = 0;
    if client.greet(begun + DEADLINE).await.is_ok() {
        client.query_status().await.ok();
        client.nospace().await.ok();
        kept = client.kept();
        timeout_at(Instant::now() + DEADLINE, client.next_event()).await.ok();
    }
    let took = begun.elapsed();
    kept = kept.max(client.kept());
    drop(client);
    peer.await.unwrap();
    (took, kept)
}

impl Client {
    /// The memory that outlives a call.
    fn kept(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.name.capacity() + size_of::<Event>()).sum();
        events + self.lines.kept() + self.last_heard.as_ref().map_or(0, String::capacity)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Five waits: greeting, state, state and disks, event.
    #[test]
    fn no_peer_panics_us_outlasts_the_deadlines_or_fills_our_memory((said, hangs_up) in speech()) {
        let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let (took, kept) = paused.unwrap().block_on(ask(said, hangs_up));
        prop_assert!(took <= DEADLINE * 5 + Duration::from_secs(1), "{took:?}");
        prop_assert!(kept <= 2 * LINE_LIMIT + 64 * 1024, "{kept} bytes are kept");
    }
}
