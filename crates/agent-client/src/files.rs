//! Files to and from an agent, as streams.

use std::io;

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use winstead_protocol::v1::{
    FileKind, FileStatus, GetRequest, PutFile, PutRequest, WalkRequest, get_response, put_request::Message,
};

use crate::Connection;

/// Bytes in one message.
const CHUNK: usize = 512 * 1024;
/// Messages on their way.
const WAITING: usize = 4;

/// A file that was not moved. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The agent says no, or is gone.
    #[error("have the agent do it: {:?}: {}", .0.code(), shortened(.0.message()))]
    Refused(Status),
    /// This side's file.
    #[error("use the file here")]
    Io(#[from] io::Error),
    /// What came is not what was sent, or not all of it.
    #[error("take what came: {0}")]
    Broken(&'static str),
    /// A folder without end.
    #[error("take the list of files: it has more than {0} entries")]
    TooMany(usize),
}

impl From<Status> for FileError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl FileError {
    /// Whether there is nothing at the path.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::NotFound)
    }
}

/// What an agent says may be anything, and is shown to people.
fn shortened(text: &str) -> String {
    text.chars().take(500).flat_map(char::escape_debug).collect()
}

impl Connection {
    /// Writes a file on the agent's computer: all of `content`, in one step; returns its size.
    ///
    /// # Errors
    /// See [`FileError`]; then nothing was replaced.
    pub async fn put(&self, file: PutFile, content: impl AsyncRead + Unpin) -> Result<u64, FileError> {
        let (sender, messages) = mpsc::channel(WAITING);
        let mut files = self.files();
        let call = files.put(ReceiverStream::new(messages));
        let (answer, fed) = tokio::join!(call, feed(file, content, sender));
        // Without the end of the content the agent refuses too: the cause is ours then.
        fed?;
        Ok(answer?.into_inner().bytes)
    }

    /// Makes a folder on the agent's computer, if it is not there.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn make_folder(&self, path: String, mode: u32) -> Result<(), FileError> {
        let folder = PutFile { path, mode, make_folders: true, kind: FileKind::Folder.into() };
        let first = PutRequest { message: Some(Message::File(folder)) };
        self.files().put(tokio_stream::once(first)).await?;
        Ok(())
    }

    /// Reads a file of the agent's computer into `content`, and returns what it is. The digest is checked when all has
    /// come: what was written before an error is nothing to be used.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn get(
        &self,
        path: String,
        mut content: impl AsyncWrite + Unpin,
    ) -> Result<FileStatus, FileError> {
        let mut messages = self.files().get(GetRequest { path }).await?.into_inner();
        let (mut status, mut hash) = (None, Sha256::new());
        while let Some(message) = messages.message().await? {
            match message.message {
                Some(get_response::Message::File(file)) => status = Some(file),
                Some(get_response::Message::Data(data)) => {
                    hash.update(&data);
                    content.write_all(&data).await?;
                }
                Some(get_response::Message::Sha256(digest)) => {
                    content.flush().await?;
                    return match status {
                        Some(status) if hash.finalize()[..] == digest[..] => Ok(status),
                        Some(_) => Err(FileError::Broken("its digest is another")),
                        None => Err(FileError::Broken("it was not said what it is")),
                    };
                }
                None => return Err(FileError::Broken("a message without content")),
            }
        }
        Err(FileError::Broken("it ended early"))
    }

    /// What is at a path of the agent's computer, and below it, as the agent says: at most `limit` entries.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn walk(&self, path: String, limit: usize) -> Result<Vec<FileStatus>, FileError> {
        let mut messages = self.files().walk(WalkRequest { path }).await?.into_inner();
        let mut found = Vec::new();
        while let Some(message) = messages.message().await? {
            if found.len() == limit {
                return Err(FileError::TooMany(limit));
            }
            found.extend(message.file);
        }
        Ok(found)
    }

    /// What is at a path of the agent's computer; `None`: nothing.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn look(&self, path: String) -> Result<Option<FileStatus>, FileError> {
        match self.files().walk(WalkRequest { path }).await {
            Ok(messages) => match messages.into_inner().message().await {
                Ok(message) => Ok(message.and_then(|message| message.file)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status.into()),
            },
            Err(status) => Err(status.into()),
        }
    }
}

/// Sends a file; ends early when nobody takes it any more.
async fn feed(
    file: PutFile,
    mut content: impl AsyncRead + Unpin,
    messages: mpsc::Sender<PutRequest>,
) -> Result<(), FileError> {
    let send = async |message| messages.send(PutRequest { message: Some(message) }).await.is_ok();
    let (mut hash, mut wanted) = (Sha256::new(), send(Message::File(file)).await);
    while wanted {
        let mut data = Vec::with_capacity(CHUNK);
        while data.len() < CHUNK && content.read_buf(&mut data).await? > 0 {}
        if data.is_empty() {
            send(Message::Sha256(Bytes::from(hash.finalize().to_vec()))).await;
            break;
        }
        hash.update(&data);
        wanted = send(Message::Data(data.into())).await;
    }
    Ok(())
}
