//! What comes from a client to a process.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use winstead_protocol::v1::{Input, input};

use crate::{
    services::order::terminal,
    supervision::{Offsets, Process, named_signal},
};

/// A client's messages.
pub(super) struct Inputs {
    messages: Pin<Box<dyn Stream<Item = Result<Input, Status>> + Send>>,
}

/// What one message asks for beside what is done to the process.
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// The client has so much.
    Received(Offsets),
    /// No more comes from the client.
    End,
}

impl Inputs {
    pub(super) fn new(messages: impl Stream<Item = Result<Input, Status>> + Send + 'static) -> Self {
        Self { messages: Box::pin(messages) }
    }

    /// Does what the next message says. Waits for a program that does not read its input; dropped meanwhile, the rest of
    /// that message is lost.
    ///
    /// # Errors
    /// When the client is gone, or asks for what makes no sense.
    pub(super) async fn obey(&mut self, process: &Arc<Process>) -> Result<Asked, Status> {
        let Some(input) = self.messages.next().await.transpose()? else { return Ok(Asked::End) };
        let done = match input.message {
            Some(input::Message::Stdin(data)) => process.write(data).await,
            Some(input::Message::StdinEnd(_)) => process.end_input().await,
            Some(input::Message::Resize(size)) => process.resize(terminal(size)),
            Some(input::Message::Signal(name)) => {
                let signal = named_signal(&name)
                    .ok_or_else(|| Status::invalid_argument(format!("no signal is called {name}")))?;
                process.signal(signal)
            }
            Some(input::Message::Received(received)) => {
                return Ok(Asked::Received(Offsets { stdout: received.stdout, stderr: received.stderr }));
            }
            None => Ok(()),
        };
        // A program that reads no more, or has ended: its end tells the client.
        if let Err(error) = done {
            tracing::debug!(%error, id = process.id(), "input was not taken");
        }
        Ok(Asked::Nothing)
    }
}
