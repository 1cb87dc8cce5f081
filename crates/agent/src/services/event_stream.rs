//! What goes from a process to a client, and what happens when the client goes away.

use std::{io, sync::Arc};

use futures_util::stream;
use tokio::{sync::watch, task::JoinSet};
use tokio_stream::Stream;
use tonic::Status;
use winstead_protocol::v1::{Output, ProcessEvent, process_event::Message};

use crate::{
    services::{
        input::{Asked, Inputs},
        processes::{exited, started},
    },
    supervision::{Attachment, Event, Offsets, Process, Supervisor},
};

/// Ends a process when it is dropped, unless that has ended.
pub(super) struct Leash {
    supervisor: Supervisor,
    process: Arc<Process>,
}

impl Leash {
    pub(super) const fn new(supervisor: Supervisor, process: Arc<Process>) -> Self {
        Self { supervisor, process }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.process.end().is_none() {
            self.supervisor.release(&self.process);
        }
    }
}

/// Both directions of one client.
struct Talk {
    attachment: Attachment,
    received: watch::Receiver<Option<Offsets>>,
    /// One task, which ends with this.
    inputs: JoinSet<Result<(), Status>>,
    _leash: Option<Leash>,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Begin,
    Middle,
    End,
}

/// All that a process says, from what the client has on. Dropped when the client is gone. With a leash the process goes
/// along, and the end of what the client sends is the end of its input.
pub(super) fn events(
    attachment: Attachment,
    inputs: Inputs,
    leash: Option<Leash>,
    own: bool,
) -> impl Stream<Item = Result<ProcessEvent, Status>> + Send {
    let (tell, received) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(obey_all(inputs, Arc::clone(attachment.process()), tell, own));
    let talk = Talk { attachment, received, inputs: tasks, _leash: leash, at: At::Begin };
    stream::unfold(talk, |mut talk| async move {
        let item = talk.next().await?;
        Some((item, talk))
    })
}

async fn obey_all(
    mut inputs: Inputs,
    process: Arc<Process>,
    tell: watch::Sender<Option<Offsets>>,
    own: bool,
) -> Result<(), Status> {
    loop {
        match inputs.obey(&process).await? {
            Asked::Nothing => {}
            Asked::Received(offsets) => drop(tell.send_replace(Some(offsets))),
            Asked::End => break,
        }
    }
    if own
        && process.has_input()
        && let Err(error) = process.end_input().await
    {
        tracing::debug!(%error, id = process.id(), "its input cannot be ended");
    }
    Ok(())
}

impl Talk {
    async fn next(&mut self) -> Option<Result<ProcessEvent, Status>> {
        match self.at {
            At::Begin => {
                self.at = At::Middle;
                return Some(Ok(event(Message::Started(started(self.attachment.process())))));
            }
            At::Middle => {}
            At::End => return None,
        }
        loop {
            tokio::select! {
                next = self.attachment.next() => return Some(self.told(next)),
                Ok(()) = self.received.changed() => {
                    let offsets = *self.received.borrow_and_update();
                    if let Some(offsets) = offsets {
                        self.attachment.received(offsets);
                    }
                }
                Some(ended) = self.inputs.join_next() => {
                    let ended = ended.unwrap_or_else(|error| Err(Status::internal(error.to_string())));
                    if let Err(status) = ended {
                        self.at = At::End;
                        return Some(Err(status));
                    }
                }
            }
        }
    }

    fn told(&mut self, next: io::Result<Event>) -> Result<ProcessEvent, Status> {
        let message = match next {
            Ok(Event::Stdout { offset, data }) => Message::Stdout(Output { offset, data }),
            Ok(Event::Stderr { offset, data }) => Message::Stderr(Output { offset, data }),
            Ok(Event::Ended(end)) => {
                self.at = At::End;
                Message::Exited(exited(end))
            }
            Err(error) => {
                self.at = At::End;
                return Err(Status::internal(format!("failed to read what it said: {error}")));
            }
        };
        Ok(event(message))
    }
}

const fn event(message: Message) -> ProcessEvent {
    ProcessEvent { message: Some(message) }
}
