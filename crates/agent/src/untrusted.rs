//! What others send, for whatever reads it: one function for each reader, which takes any bytes and panics when a promise is
//! broken. A fuzzer calls them with what it finds (`fuzz/`), the tests with what stands in `fuzz/seeds`, changed here and
//! there. No part of the product.
#![expect(clippy::missing_panics_doc, reason = "a panic is how a broken promise shows")]

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use winstead_agent_client::tunnel::Mapping;
use winstead_protocol::{
    port::{Decoder, Mark, Piece, put_data, put_mark},
    v1::{StartRequest, TunnelTarget},
};
use winstead_spec::{Source, parse, parse_wins};

use crate::{
    access::{
        Access, Account, Caller, CallingProcess, Door, MOST_PORTS, Paths, Policy, Port, Query, Request, Run,
    },
    door::tcp::keys::certificate,
    services::{order::asked, tunnels::port},
    supervision::{
        End, Record, Running,
        process::marks,
        spool::{Bounds, Client, Marks, Spool},
        unix::{cgroup::hierarchies, tree::seen},
    },
    wins::{
        self,
        authority::{Rewriter, Taken},
        lists::{exposes, publishes, split},
        proxy,
        remotedialer::Message,
    },
};

/// Takes bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their files in `fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("authority", authority),
    ("certificates", certificates),
    ("hns", hns),
    ("lists", lists),
    ("policy", policy),
    ("processes", processes),
    ("records", records),
    ("remotedialer", remotedialer),
    ("requests", requests),
    ("serial_port", serial_port),
    ("tunnels", tunnels),
    ("wins_config", wins_config),
];

/// An old client's HTTP/2, in pieces whose size the first byte says: they make no difference, what is written is bounded, and
/// read again it stays as it is.
pub fn authority(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let whole = rewritten(data, usize::MAX);
    assert_eq!(rewritten(data, usize::from(*size) + 1), whole);
    assert_eq!(rewritten(&whole, usize::MAX), whole);
    // Each header block of one byte and more becomes 64 KiB and its frames at most.
    assert!(whole.len() <= (data.len() / 10 + 1) * 80 * 1024);
}

/// Up to the first error.
fn rewritten(data: &[u8], size: usize) -> Vec<u8> {
    let preface = [0; 24];
    let (mut rewriter, mut output) = (Rewriter::new(), Vec::new());
    for mut rest in std::iter::once(&preface[..]).chain(data.chunks(size)) {
        while !rest.is_empty() {
            let count = match rewriter.next(rest, &mut output) {
                Ok(Taken::Through(count)) => {
                    output.extend_from_slice(&rest[..count]);
                    count
                }
                Ok(Taken::Rewritten(count)) => count,
                Err(_) => return output.split_off(preface.len()),
            };
            assert!(count > 0);
            rest = &rest[count..];
        }
    }
    output.split_off(preface.len())
}

/// What a certificate says: its names are words.
pub fn certificates(data: &[u8]) {
    if let Ok(read) = certificate(&data.into()) {
        let is_word = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(read.names.iter().all(is_word), "{:?}", read.names);
    }
}

/// What Windows says of a container network: read or refused.
pub fn hns(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        drop(wins::hns::parse(text));
    }
}

/// Lists in one argument, and ports to be forwarded: what is split joins to what it was.
pub fn lists(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(items) = split(text) {
        assert_eq!(items.join(" "), text);
    }
    drop((exposes(text), publishes(text)));
    for mapping in Mapping::parse(text).unwrap_or_default() {
        let shown = mapping.target.to_string().replacen('/', &format!("/{}:", mapping.listen), 1);
        assert_eq!(Mapping::parse(&shown), Ok(vec![mapping]));
    }
}

/// Documents of an agent: read, or refused with at least one problem; whatever the policy is, it can be asked.
pub fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let source = Source { name: "policy".to_owned(), folder: PathBuf::from("/"), text: text.to_owned() };
    match parse(&[source]) {
        Ok(documents) => {
            let rules: Vec<_> = documents.rules().cloned().collect();
            for paths in [Paths::Unix, Paths::Windows] {
                ask(&Policy::new(rules.clone(), paths), &some_run());
            }
        }
        Err(problems) => assert!(!problems.0.is_empty()),
    }
}

/// What is in a process's folder, after whatever happened to the disk.
pub fn records(data: &[u8]) {
    drop(serde_json::from_slice::<Running>(data));
    drop(serde_json::from_slice::<End>(data));
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let text = serde_json::to_vec(&record).expect("text and numbers");
        assert_eq!(serde_json::from_slice::<Record>(&text).ok(), Some(record));
    }
    if let Some((bytes, rest)) = data.split_first_chunk::<16>() {
        let (position, base) = bytes.split_at(8);
        let number = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).unwrap_or_default();
        spool(marks([number(position), number(base)]), rest);
    }
}

/// A spool whose marks and file say this goes on with what comes.
fn spool(marks: Marks, coming: &[u8]) {
    let mut spool = Spool::restored(Bounds { memory: 64, file: 256 }, marks, coming.len() as u64);
    drop((spool.next(Client::Away), spool.next(Client::Taking), spool.marks(coming.len() as u64)));
    drop((spool.piece(0), spool.piece(u64::MAX)));
    spool.remembered(Bytes::copy_from_slice(coming));
    spool.filed(coming.len() as u64);
    spool.acknowledged(u64::from(coming.first().copied().unwrap_or_default()));
    assert!(spool.start() <= spool.end());
    spool.acknowledged(spool.end());
    assert_eq!(spool.start(), spool.end());
}

/// What the kernel says of processes, whose names are theirs.
pub fn processes(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    drop(seen(1, text));
    let (groups, mounts) = text.split_once('\0').unwrap_or((text, text));
    drop(hierarchies(groups, mounts));
}

/// A message of a tunnel: read or refused; what is read and written again reads the same.
pub fn remotedialer(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(message) = Message::parse(&bytes)
        && !matches!(message, Message::Connect(..) | Message::Error(..) | Message::Other(_))
    {
        assert_eq!(Message::parse(&message.encode(7)), Ok(message));
    }
}

/// Requests of the agent's own protocol, as far as they are more than numbers: understood or refused, and what is
/// understood can be put to a policy.
pub fn requests(data: &[u8]) {
    if let Ok(target) = TunnelTarget::decode(data)
        && let Ok(port) = port(&target)
    {
        assert!(port.number > 0 && !port.host.is_empty());
    }
    if let Ok(request) = StartRequest::decode(data)
        && let Ok(run) = asked(&request)
    {
        assert!(run.program.is_absolute());
        assert!(run.ports.len() <= MOST_PORTS && run.ports.iter().all(|port| port.number > 0));
        let ranges = Port::ranges(&run.ports);
        assert!(
            run.ports
                .iter()
                .all(|port| ranges.iter().any(|range| range.contains(port.protocol, port.number)))
        );
        let all = "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec: {rules: [{name: a, callers: \
                   [{account: root}], run: [{path: '/**/x*', arguments: ['*', '**'], environment: ['A*'], ports: [udp/1-99]}]}]}\n";
        let source = Source { name: String::new(), folder: PathBuf::new(), text: all.to_owned() };
        let documents = parse(&[source]).expect("it is right");
        ask(&Policy::new(documents.rules().cloned().collect(), Paths::Unix), &run);
    }
}

/// Sessions on a serial port, in pieces whose size the first byte says: they make no difference, and what was read and is
/// written again reads the same.
pub fn serial_port(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let (mut bytes, mut marks, mut again) = (Vec::new(), Vec::new(), Vec::new());
    read_port(data.chunks(usize::from(*size) + 1), &mut |piece| match piece {
        Piece::Data(data) => {
            bytes.extend_from_slice(data);
            put_data(data, &mut again);
        }
        Piece::Mark(mark) => {
            marks.push((bytes.len(), mark));
            put_mark(mark, &mut again);
        }
        Piece::Garbage => {}
    });
    assert!(bytes.len() <= data.len());
    for wire in [data, &again] {
        let (mut same_bytes, mut same_marks): (Vec<u8>, Vec<(usize, Mark)>) = (Vec::new(), Vec::new());
        read_port(std::iter::once(wire), &mut |piece| match piece {
            Piece::Data(data) => same_bytes.extend_from_slice(data),
            Piece::Mark(mark) => same_marks.push((same_bytes.len(), mark)),
            Piece::Garbage => {}
        });
        assert_eq!((&same_bytes, &same_marks), (&bytes, &marks));
    }
}

fn read_port<'a>(parts: impl Iterator<Item = &'a [u8]>, take: &mut impl FnMut(Piece<'_>)) {
    let mut decoder = Decoder::default();
    for mut part in parts {
        while let Some(piece) = decoder.next(&mut part) {
            assert!(piece != Piece::Data(&[]), "data is never empty");
            take(piece);
        }
    }
}

/// A whole session of tunnels of a client who may reach nothing: the first byte says whether the rest are frames of the
/// WebSocket as they are, or messages of which each has its length in front. It ends with its client, and soon.
pub fn tunnels(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let frames = if kind & 1 == 0 { data.to_vec() } else { masked(data) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let session = async {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (mut from_server, mut to_server) = tokio::io::split(client);
        let (caller, access) = (caller(Door::WinsProxy), Access::default());
        let served = async { _ = proxy::serve(server, &caller, &access).await };
        let sent = async {
            let hello = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            _ = to_server.write_all(hello.as_bytes()).await;
            _ = to_server.write_all(&frames).await;
            _ = to_server.shutdown().await;
        };
        let read = async { _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await };
        tokio::join!(served, sent, read)
    };
    let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), session).await });
    assert!(ended.is_ok(), "it does not end with its client");
}

/// Binary frames of a client (RFC 6455), whose mask is zero.
fn masked(mut data: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (message, rest) = rest.split_at(usize::from(length % 126).min(rest.len()));
        frames.extend([0x82, 0x80 | u8::try_from(message.len()).unwrap_or_default(), 0, 0, 0, 0]);
        frames.extend_from_slice(message);
        data = rest;
    }
    frames
}

/// The old configuration file: read or refused with at least one problem.
pub fn wins_config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match parse_wins("config", text) {
        Ok(config) => ask(&Policy::new(wins::rules(&config), Paths::Windows), &some_run()),
        Err(problems) => assert!(!problems.0.is_empty()),
    }
}

fn caller(door: Door) -> Caller {
    let account = Account { name: "root".to_owned(), id: "0".to_owned(), ..Account::default() };
    let program = Some(PathBuf::from("/usr/bin/x"));
    let process = Some(CallingProcess { pid: 7, started: 9, program, sha256: None });
    Caller { door, account, process, container: Some("/kubepods/x".to_owned()) }
}

fn some_run() -> Run {
    Run {
        program: PathBuf::from("/usr/bin/x"),
        arguments: vec!["--a".to_owned(), "ä".to_owned()],
        environment: vec![("ÄA".to_owned(), "b".to_owned())],
        ..Run::default()
    }
}

fn ask(policy: &Policy, run: &Run) {
    let path = run.program.as_path();
    for door in [Door::Local, Door::Wins, Door::WinsProxy] {
        let caller = caller(door);
        for request in [
            Request::Run(run),
            Request::Read(path),
            Request::Write(path),
            Request::AddRoute("10.0.0.0/8"),
            Request::Query(Query::Host),
        ] {
            drop(policy.judge(&caller, request));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fs_err as fs;
    use proptest::{prelude::*, sample::Index};

    use super::*;

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("an entry").path();
            path.file_stem().expect("a name").to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// What stands in a target's folder of seeds: examples, and what once broke it.
    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(fuzz().join("seeds").join(name)).expect("seeds");
        entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a seed")).collect()
    }

    #[test]
    fn each_target_is_known_to_the_fuzzer_and_has_seeds() {
        let all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&fuzz().join("fuzz_targets")), all);
        assert_eq!(names(&fuzz().join("seeds")), all);
    }

    #[test]
    fn the_seeds_break_nothing() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name}");
            seeds.iter().for_each(|seed| target(seed));
        }
    }

    /// A part of a seed that becomes something else.
    fn changes() -> impl Strategy<Value = Vec<(Index, Index, Vec<u8>)>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..4);
        proptest::collection::vec((any::<Index>(), any::<Index>(), bytes), 0..5)
    }

    proptest! {
        #[test]
        fn seeds_that_are_changed_here_and_there_break_nothing(changes in changes(), seed: Index, bytes: Vec<u8>) {
            for (name, target) in TARGETS {
                let seeds = seeds(name);
                let mut data = seeds[seed.index(seeds.len())].clone();
                for (from, length, other) in &changes {
                    let from = from.index(data.len() + 1);
                    let length = length.index(4).min(data.len() - from);
                    data.splice(from..from + length, other.iter().copied());
                }
                target(&data);
                target(&bytes);
            }
        }
    }
}
