//! Files over the agent's own protocol.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use fs_err as fs;
use tempfile::TempDir;
use tonic::Code;
use winstead_agent_client::{Connection, FileError};
use winstead_protocol::v1::{FileKind, PutFile, PutRequest, put_request::Message};

use crate::common::Agent;

/// An agent of a test's own, and a folder to play in.
struct Place {
    folder: TempDir,
    agent: Connection,
    daemon: Agent,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("play")).expect("a folder");
        let daemon = Agent::start().await;
        Self { folder, agent: daemon.connect().await, daemon }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join("play").join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// What lies in the folder, hidden files too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("play")).expect("the folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<u64, FileError> {
        let file = PutFile { path: self.path(name), mode: 0o640, ..PutFile::default() };
        self.agent.put(file, content).await
    }

    async fn stop(self) {
        drop(self.agent);
        self.daemon.stop().await;
    }
}

/// Bytes of all kinds, more than one message of them.
fn content() -> Vec<u8> {
    (0..1_500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn code(error: &FileError) -> Code {
    match error {
        FileError::Refused(status) => status.code(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent_with_its_mode() {
    let place = Place::new().await;
    let sent = content();
    assert_eq!(place.put("file", &sent).await.expect("written"), sent.len() as u64);
    assert_eq!(fs::metadata(place.path("file")).expect("it is there").permissions().mode() & 0o777, 0o640);
    let mut back = Vec::new();
    let status = place.agent.get(place.path("file"), &mut back).await.expect("read");
    assert!(back == sent);
    assert_eq!((status.bytes, status.mode, status.kind()), (sent.len() as u64, 0o640, FileKind::File));
    assert_eq!(place.names(), ["file"], "nothing lies beside it");
    place.stop().await;
}

#[tokio::test]
async fn a_file_whose_digest_is_wrong_or_missing_replaces_nothing() {
    let place = Place::new().await;
    place.put("file", b"old").await.expect("written");
    for end in [Some(Message::Sha256(vec![7; 32].into())), Some(Message::Sha256(vec![].into())), None] {
        let file = PutFile { path: place.path("file"), ..PutFile::default() };
        let messages = [Some(Message::File(file)), Some(Message::Data("new".into())), end];
        let messages = messages.into_iter().flatten().map(|message| PutRequest { message: Some(message) });
        let stream = tokio_stream::iter(messages.collect::<Vec<_>>());
        place.agent.files().put(stream).await.expect_err("it is not whole");
        assert_eq!(fs::read(place.path("file")).expect("it is there"), b"old");
        assert_eq!(place.names(), ["file"], "nothing lies beside it");
    }
    place.stop().await;
}

#[tokio::test]
async fn only_files_are_read_and_only_absolute_paths_are_taken() {
    let place = Place::new().await;
    let pipe = place.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    for (path, expected) in [
        (pipe.as_str(), Code::FailedPrecondition),
        (place.path("").as_str(), Code::FailedPrecondition),
        (place.path("no such file").as_str(), Code::NotFound),
        ("relative", Code::InvalidArgument),
        ("/etc/../etc/passwd", Code::InvalidArgument),
    ] {
        let error = place.agent.get(path.to_owned(), tokio::io::sink()).await.expect_err("refused");
        assert_eq!(code(&error), expected, "{path}: {error}");
    }
    let error = place.put("pipe", b"x").await.expect_err("a pipe is not replaced");
    assert_eq!(code(&error), Code::FailedPrecondition);
    place.stop().await;
}

#[tokio::test]
async fn a_folder_is_told_sorted_and_links_are_told_and_not_entered() {
    let place = Place::new().await;
    place.agent.make_folder(place.path("b/c"), 0o700).await.expect("made");
    place.agent.make_folder(place.path("b/c"), 0).await.expect("it is there already");
    place.put("b/c/file", b"x").await.expect("written");
    place.put("a", b"x").await.expect("written");
    symlink("/", place.path("b/root")).expect("a link");
    let found = place.agent.walk(place.path(""), 100).await.expect("walked");
    let told: Vec<_> =
        found.iter().map(|file| (file.path.as_str(), file.kind(), file.target.as_str())).collect();
    let expected = [
        ("", FileKind::Folder, ""),
        ("a", FileKind::File, ""),
        ("b", FileKind::Folder, ""),
        ("b/c", FileKind::Folder, ""),
        ("b/c/file", FileKind::File, ""),
        ("b/root", FileKind::Link, "/"),
    ];
    assert_eq!(told, expected);
    let error = place.agent.walk(place.path(""), 3).await.expect_err("too many");
    assert!(matches!(error, FileError::TooMany(3)), "{error}");
    assert!(place.agent.look(place.path("nothing")).await.expect("an answer").is_none());
    place.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_leaves_nothing() {
    let place = Place::new().await;
    let (mut writer, reader) = tokio::io::duplex(1024);
    let agent = place.agent.clone();
    let file = PutFile { path: place.path("file"), ..PutFile::default() };
    let putting = tokio::spawn(async move { agent.put(file, reader).await });
    tokio::io::AsyncWriteExt::write_all(&mut writer, &vec![1; 2_000_000]).await.expect("written");
    let beside = |place: &Place| place.names().iter().any(|name| name.starts_with(".winstead-"));
    while !beside(&place) {
        tokio::task::yield_now().await;
    }
    putting.abort();
    while beside(&place) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(place.names(), [] as [&str; 0]);
    assert!(!Path::new(&place.path("file")).exists());
    place.stop().await;
}
