//! A guest agent for tests: obeys what is known of the real one, and can misbehave in one way at a time.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::agent::{Decoder, Frame};

/// What the agent does with a question.
pub(crate) enum Reply {
    Value(Value),
    Refuse(&'static str, &'static str),
    /// Instead of an answer.
    Raw(Vec<u8>),
    Nothing,
    Close,
}

/// Answers a question; gets the command, its arguments and how many questions came before.
pub(crate) type Play = Box<dyn FnMut(&str, &Value, usize) -> Reply + Send>;

/// A socket with an agent behind it, which serves one client after the other, as QEMU does.
pub(crate) struct Fake {
    _folder: TempDir,
    pub(crate) socket: PathBuf,
}

/// `first` is sent to each client unasked, as what an earlier one left behind.
pub(crate) fn start(first: &'static [u8], mut play: Play) -> Fake {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // A client that goes away in the middle is not the fake's fault.
            drop(serve(&mut stream, first, &mut play).await);
        }
    });
    Fake { _folder: folder, socket }
}

async fn serve(stream: &mut UnixStream, first: &[u8], play: &mut Play) -> std::io::Result<()> {
    let (mut decoder, mut asked, mut buffer) = (Decoder::new(1 << 26), 0, vec![0; 65536]);
    stream.write_all(first).await?;
    loop {
        while let Some(frame) = decoder.next_frame().unwrap() {
            let Frame::Line(line) = frame else { continue };
            let question: Value = serde_json::from_slice(&line).unwrap();
            let command = question["execute"].as_str().unwrap();
            let sync = command == "guest-sync-delimited";
            let reply = match play(command, &question["arguments"], asked) {
                Reply::Value(Value::Null) if sync => Reply::Value(question["arguments"]["id"].clone()),
                reply => reply,
            };
            asked += 1;
            if sync && matches!(reply, Reply::Value(_)) {
                stream.write_all(b"\xff").await?;
            }
            match reply {
                Reply::Value(value) => {
                    let answer = json!({"return": value});
                    stream.write_all(format!("{answer}\n").as_bytes()).await?;
                }
                Reply::Refuse(class, desc) => {
                    let error = json!({"error": {"class": class, "desc": desc}});
                    stream.write_all(format!("{error}\n").as_bytes()).await?;
                }
                Reply::Raw(bytes) => stream.write_all(&bytes).await?,
                Reply::Nothing => {}
                Reply::Close => return Ok(()),
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => decoder.feed(&buffer[..length]),
        }
    }
}

/// An agent that does as the real one.
pub(crate) fn honest() -> Play {
    Box::new(|command, _, _| match command {
        "guest-sync-delimited" => Reply::Value(Value::Null),
        "guest-ping" => Reply::Value(json!({})),
        "guest-info" => Reply::Value(info(&[])),
        "guest-network-get-interfaces" => Reply::Value(json!([{"name": "lo"}])),
        "guest-get-time" => Reply::Value(json!(1_000_000_000_i64)),
        "guest-exec" => Reply::Value(json!({"pid": 7})),
        "guest-exec-status" => Reply::Value(json!({"exited": true, "exitcode": 3, "out-data": "aGk="})),
        _ => Reply::Refuse("CommandNotFound", "The command has not been found"),
    })
}

/// The answer to `guest-info` of an agent with these commands disabled.
pub(crate) fn info(disabled: &[&str]) -> Value {
    let all = ["guest-ping", "guest-network-get-interfaces", "guest-exec"];
    let commands: Vec<Value> = all
        .iter()
        .map(|name| json!({"name": name, "enabled": !disabled.contains(name), "success-response": true}))
        .collect();
    json!({"version": "7.2.19", "supported_commands": commands})
}
