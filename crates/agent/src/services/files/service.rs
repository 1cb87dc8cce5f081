//! The calls: decided here, done on threads that may block.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use winstead_protocol::v1::{
    FileKind, GetRequest, GetResponse, PutRequest, PutResponse, WalkRequest, WalkResponse,
    files_server::Files, put_request::Message,
};

use super::{
    place::{named, real},
    read, walk,
    write::{Incoming, Part},
};
use crate::{
    access::{self, Access, Caller},
    services::caller,
};

/// Chunks on their way between a disk and a caller.
const WAITING: usize = 4;
/// Entries of a folder on their way to a caller.
const ENTRIES: usize = 256;

/// Answers for this computer's files.
#[derive(Debug)]
pub struct FilesService {
    access: Arc<Access>,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Read,
    Write,
}

impl Deed {
    const fn at(self, path: &Path) -> access::Request<'_> {
        match self {
            Self::Read => access::Request::Read(path),
            Self::Write => access::Request::Write(path),
        }
    }
}

impl FilesService {
    /// Lets those at files whom `access` lets.
    #[must_use]
    pub const fn new(access: Arc<Access>) -> Self {
        Self { access }
    }

    /// Decides about the path as it is named, and about where it leads to.
    async fn allowed(&self, caller: &Caller, path: &str, deed: Deed) -> Result<PathBuf, Status> {
        let path = named(path)?;
        self.access.decide(caller, deed.at(&path))?;
        let (path, real) = blocking(move || {
            let real = real(&path);
            (path, real)
        })
        .await?;
        if real != path {
            self.access.decide(caller, deed.at(&real))?;
        }
        Ok(real)
    }

    async fn take(&self, caller: &Caller, mut messages: Streaming<PutRequest>) -> Result<u64, Status> {
        let Some(Message::File(file)) = next(&mut messages).await? else {
            return Err(Status::invalid_argument("the first message says which file"));
        };
        let path = self.allowed(caller, &file.path, Deed::Write).await?;
        let incoming = Incoming { path, file };
        if incoming.file.kind() == FileKind::Folder {
            blocking(move || incoming.make_folder()).await??;
            return Ok(0);
        }
        let (sender, parts) = mpsc::channel(WAITING);
        let writing = tokio::task::spawn_blocking(move || incoming.write(parts));
        let handed_on = hand_on(&mut messages, sender).await;
        // What the disk says comes first: a writer that gives up ends the handing on.
        let bytes = writing.await.map_err(|_| Status::internal("the writer broke"))??;
        handed_on?;
        Ok(bytes)
    }
}

/// Hands the parts on, as fast as they are written.
async fn hand_on(messages: &mut Streaming<PutRequest>, writer: mpsc::Sender<Part>) -> Result<(), Status> {
    while let Some(message) = next(messages).await? {
        let (part, last) = match message {
            Message::Data(data) => (Part::Data(data), false),
            Message::Sha256(digest) => (Part::End(digest), true),
            Message::File(_) => return Err(Status::invalid_argument("one file in each call")),
        };
        if writer.send(part).await.is_err() || last {
            break;
        }
    }
    Ok(())
}

async fn next(messages: &mut Streaming<PutRequest>) -> Result<Option<Message>, Status> {
    Ok(messages.message().await?.and_then(|request| request.message))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::internal("a thread broke"))
}

#[tonic::async_trait]
impl Files for FilesService {
    async fn put(&self, request: Request<Streaming<PutRequest>>) -> Result<Response<PutResponse>, Status> {
        let caller = caller(&request)?.clone();
        let bytes = self.take(&caller, request.into_inner()).await?;
        Ok(Response::new(PutResponse { bytes }))
    }

    type GetStream = ReceiverStream<Result<GetResponse, Status>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let path = self.allowed(caller(&request)?, &request.get_ref().path, Deed::Read).await?;
        let (answers, stream) = mpsc::channel(WAITING);
        // Ends with its file, or with whoever reads the answers.
        tokio::task::spawn_blocking(move || read::send(&path, &answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type WalkStream = ReceiverStream<Result<WalkResponse, Status>>;

    async fn walk(&self, request: Request<WalkRequest>) -> Result<Response<Self::WalkStream>, Status> {
        let path = self.allowed(caller(&request)?, &request.get_ref().path, Deed::Read).await?;
        let (answers, stream) = mpsc::channel(ENTRIES);
        // Ends with its folder, or with whoever reads the answers.
        tokio::task::spawn_blocking(move || walk::send(&path, &answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
