//! Running programs at an agent that plays one, and at agents that lie about it.

use std::sync::{Arc, Mutex};

use prost::bytes::Bytes;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use winstead_protocol::v1::{
    AttachRequest, Exited, ListRequest, ListResponse, ProcessEvent, RemoveRequest, RemoveResponse,
    StartResponse, StopRequest, StopResponse,
    processes_server::{Processes, ProcessesServer},
};

use super::*;
use crate::hand::fake;

/// What the player does after it was told what to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// Says again on both outputs what it reads, and ends with 3 when there is no more.
    Echo,
    /// Leaves bytes out.
    Gap,
    /// Goes away.
    Vanish,
    /// There is no such program.
    Missing,
}

struct Player {
    play: Play,
    started: Arc<Mutex<Option<StartRequest>>>,
}

type Events = ReceiverStream<Result<ProcessEvent, Status>>;

#[tonic::async_trait]
impl Processes for Player {
    type RunStream = Events;
    type AttachStream = Events;

    async fn run(&self, request: Request<Streaming<RunRequest>>) -> Result<Response<Events>, Status> {
        let mut messages = request.into_inner();
        let Some(Message::Start(start)) = messages.message().await?.and_then(|message| message.message)
        else {
            return Err(Status::invalid_argument("what to start comes first"));
        };
        *self.started.lock().unwrap() = Some(start);
        if self.play == Play::Missing {
            return Err(Status::not_found("no such program"));
        }
        let (sender, events) = mpsc::channel(4);
        tokio::spawn(act(self.play, messages, sender));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn start(&self, _: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn attach(&self, _: Request<Streaming<AttachRequest>>) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn remove(&self, _: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}

async fn act(
    play: Play,
    mut messages: Streaming<RunRequest>,
    events: mpsc::Sender<Result<ProcessEvent, Status>>,
) {
    let tell = async |message| drop(events.send(Ok(ProcessEvent { message: Some(message) })).await);
    let piece = |offset, data: &Bytes| Output { offset, data: data.clone() };
    let (mut offset, mut known) = (0, 0);
    match play {
        Play::Gap => tell(Event::Stdout(piece(7, &Bytes::from_static(b"late")))).await,
        Play::Vanish | Play::Missing => {}
        Play::Echo => {
            while let Ok(Some(RunRequest { message: Some(Message::Input(Input { message })) })) =
                messages.message().await
            {
                match message {
                    Some(input::Message::Stdin(data)) => {
                        tell(Event::Stdout(piece(offset, &data))).await;
                        tell(Event::Stderr(piece(offset, &data))).await;
                        offset += data.len() as u64;
                    }
                    Some(input::Message::Received(received)) => known = received.stdout,
                    _ => break,
                }
            }
            let code = if offset > 10_000_000 && known == 0 { 99 } else { 3 };
            tell(Event::Exited(Exited { code, signal: 0 })).await;
        }
    }
}

/// What became of a program that reads `sent`: its outcome, its two outputs, and how it was started.
async fn run(play: Play, sent: &[u8]) -> (Result<i32, HandError>, Vec<u8>, Vec<u8>, Option<StartRequest>) {
    let (folder, started) = (tempfile::tempdir().unwrap(), Arc::default());
    let player = Player { play, started: Arc::clone(&started) };
    let server = Server::builder().add_service(ProcessesServer::new(player));
    let mut tasks = tokio::task::JoinSet::new();
    let hand = fake::hand(folder.path(), server, &mut tasks).await;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let streams = Streams { input: sent, output: &mut output, errors: &mut errors };
    let words = ["tool", "a b", "'$HOME"].map(OsString::from);
    let ended = hand.exec(&words, streams).await;
    tasks.abort_all();
    let start = started.lock().unwrap().take();
    (ended, output, errors, start)
}

#[tokio::test]
async fn streams_pass_byte_by_byte_and_the_exit_code_comes_back() {
    let sent: Vec<u8> = (0..12_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (ended, output, errors, start) = run(Play::Echo, &sent).await;
    assert_eq!(ended.unwrap(), 3, "the agent was told what it may forget");
    assert!(output == sent && errors == sent);
    let start = start.unwrap();
    assert_eq!(
        (start.program.as_str(), start.arguments.clone()),
        ("tool", vec!["a b".to_owned(), "'$HOME".to_owned()])
    );
    assert_eq!((start.stdin, start.on_disconnect()), (true, OnDisconnect::Stop));
}

#[tokio::test]
async fn bytes_that_were_lost_and_an_agent_that_goes_away_are_errors_and_no_exit_code() {
    let (ended, ..) = run(Play::Gap, b"").await;
    assert!(matches!(ended.unwrap_err().failure, HandFailure::Gap { at: 0, next: 7 }));
    let (ended, ..) = run(Play::Vanish, b"").await;
    assert!(matches!(ended.unwrap_err().failure, HandFailure::NoEnd));
}

#[test]
fn a_terminal_has_its_size_and_its_kind_and_nothing_else_of_a_program_changes() {
    let plain = start(&["top".into()]).unwrap();
    let size = TerminalSize { columns: 101, rows: 37 };
    let lent = at_terminal(plain.clone(), size, Some("foot"));
    let environment = [&plain.environment[..], &["TERM=foot".to_owned()]].concat();
    assert_eq!(lent, StartRequest { terminal: Some(size), environment, ..plain.clone() });
    let unknown = at_terminal(plain.clone(), size, None);
    assert_eq!(unknown, StartRequest { terminal: Some(size), ..plain });
}

#[tokio::test]
async fn a_program_that_is_not_there_has_a_shells_exit_code() {
    let (ended, ..) = run(Play::Missing, b"").await;
    assert_eq!(ended.unwrap_err().failure.not_started(), Some(127));
}
