//! Copying from guests that lie.

use std::time::Duration;

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::UnixListener};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use winstead_protocol::v1::{
    GetRequest, GetResponse, PutRequest, PutResponse, WalkRequest, WalkResponse,
    files_server::{Files, FilesServer},
    get_response::Message,
};

use super::*;
use crate::hand::fake;

/// A guest whose folders hold what a test says, and whose files all hold the same word.
struct Liar {
    entries: Vec<FileStatus>,
    digest: Option<[u8; 32]>,
}

#[tonic::async_trait]
impl Files for Liar {
    async fn put(&self, _: Request<Streaming<PutRequest>>) -> Result<Response<PutResponse>, Status> {
        Err(Status::internal("no\x1b[2J"))
    }

    type GetStream = ReceiverStream<Result<GetResponse, Status>>;

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let (sender, stream) = tokio::sync::mpsc::channel(8);
        let digest = self.digest.unwrap_or_else(|| Sha256::digest(b"owned").into());
        for message in [
            Message::File(FileStatus::default()),
            Message::Data(Bytes::from_static(b"owned")),
            Message::Sha256(Bytes::copy_from_slice(&digest)),
        ] {
            sender.send(Ok(GetResponse { message: Some(message) })).await.expect("room");
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type WalkStream = ReceiverStream<Result<WalkResponse, Status>>;

    async fn walk(&self, _: Request<WalkRequest>) -> Result<Response<Self::WalkStream>, Status> {
        let (sender, stream) = tokio::sync::mpsc::channel(64);
        for file in self.entries.clone() {
            sender.send(Ok(WalkResponse { file: Some(file) })).await.expect("room");
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A machine of lies, and a folder of ours beside which nothing may be written.
struct Place {
    folder: TempDir,
    hand: Hand,
    tasks: tokio::task::JoinSet<()>,
}

impl Place {
    async fn new(entries: Vec<FileStatus>, digest: Option<[u8; 32]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::builder().add_service(FilesServer::new(Liar { entries, digest }));
        let mut tasks = tokio::task::JoinSet::new();
        let hand = fake::hand(folder.path(), server, &mut tasks).await;
        fs::create_dir(folder.path().join("ours")).unwrap();
        Self { folder, hand, tasks }
    }

    fn ours(&self) -> std::path::PathBuf {
        self.folder.path().join("ours")
    }

    /// Everything below the folder, but for the fake's own files.
    fn written(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = vec![self.folder.path().to_owned()];
        while let Some(folder) = next.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    next.push(path.clone());
                }
                found.push(path.strip_prefix(self.folder.path()).unwrap().display().to_string());
            }
        }
        found.retain(|name| !name.starts_with("hand"));
        found.sort();
        found
    }
}

fn entry(path: &str, kind: FileKind, target: &str) -> FileStatus {
    FileStatus {
        path: path.to_owned(),
        kind: kind.into(),
        mode: 0o4777,
        target: target.to_owned(),
        ..FileStatus::default()
    }
}

#[tokio::test]
async fn a_guest_that_names_files_elsewhere_writes_nothing_there() {
    for name in ["../evil", "/tmp/winstead-evil", "a/../../evil", "..", "x/../../../evil"] {
        let entries = vec![entry("", FileKind::Folder, ""), entry(name, FileKind::File, "")];
        let mut place = Place::new(entries, None).await;
        let error = copy_out(&place.hand, "/srv/data", &place.ours(), true).await.unwrap_err();
        assert!(matches!(&error.failure, HandFailure::Outside(told) if told == name), "{error:?}");
        assert_eq!(place.written(), ["ours", "ours/data"], "{name}");
        assert!(!Path::new("/tmp/winstead-evil").exists());
        place.tasks.abort_all();
    }
}

#[tokio::test]
async fn a_link_of_a_guest_becomes_a_file_and_never_a_way_out() {
    let entries = vec![
        entry("", FileKind::Folder, ""),
        entry("out", FileKind::Link, "/"),
        entry("out/winstead-evil", FileKind::File, ""),
    ];
    let mut place = Place::new(entries, None).await;
    let outcome = copy_out(&place.hand, "/srv/data", &place.ours(), true).await;
    outcome.expect_err("a file is no folder");
    assert_eq!(place.written(), ["ours", "ours/data", "ours/data/out"]);
    assert!(!place.ours().join("data/out").is_symlink() && !Path::new("/winstead-evil").exists());
    place.tasks.abort_all();
}

#[tokio::test]
async fn a_guest_sets_no_rights_but_those_to_read_write_and_run() {
    let mut place = Place::new(vec![entry("", FileKind::File, "")], None).await;
    copy_out(&place.hand, "/srv/tool", &place.ours(), false).await.unwrap();
    let mode = fs::metadata(place.ours().join("tool")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o777, "no setuid");
    place.tasks.abort_all();
}

#[tokio::test]
async fn a_file_whose_digest_is_wrong_is_not_left_behind() {
    let mut place = Place::new(vec![entry("", FileKind::File, "")], Some([7; 32])).await;
    copy_out(&place.hand, "/srv/data", &place.ours(), false).await.unwrap_err();
    assert_eq!(place.written(), ["ours"]);
    place.tasks.abort_all();
}

#[tokio::test]
async fn a_refusal_in_a_guests_words_moves_nothing_on_a_terminal() {
    let mut place = Place::new(vec![entry("", FileKind::Folder, "")], None).await;
    let source = place.folder.path().join("hand-source");
    fs::write(&source, "x").unwrap();
    let error = copy_in(&place.hand, &source, "/srv/", false).await.unwrap_err();
    let said = error.failure.to_string();
    assert!(said.contains("no\\u{1b}[2J") && !said.contains('\x1b'), "{said:?}");
    place.tasks.abort_all();
}

#[tokio::test]
async fn a_port_that_speaks_garbage_is_given_up_in_time_and_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("hand.sock")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever hangs up has heard enough.
            while stream.write_all(b"HTTP/1.1 400 \xf5\x02ffff\xf5\xf5\x03").await.is_ok() {}
        }
    });
    for _ in 0..2 {
        let error = fake::ports(folder.path()).reach(Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.to_string(), "be answered by the agent in liar-0");
        assert!(matches!(error.failure, HandFailure::Session(_) | HandFailure::Silent(_)), "{error:?}");
    }
    tasks.abort_all();
}

#[tokio::test]
async fn who_finds_all_ports_taken_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let _taken = winstead_process::try_lock(&folder.path().join("hand-0.lock")).unwrap().unwrap();
    let error = fake::ports(folder.path()).reach(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error.failure, HandFailure::Busy(1, _)), "{error:?}");
}
