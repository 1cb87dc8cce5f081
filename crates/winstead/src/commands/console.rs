//! `winstead console`: a machine's serial console.

use std::{
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::FileTypeExt},
    path::Path,
};

use clap::Args;
use rustix::fs::{Mode, OFlags};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc::{Receiver, channel},
};

use winstead_engine::EngineError;
use winstead_process::{ProcessId, Raw};
use winstead_spec::MachineName;

use crate::{commands::logs, context::Context, error::CliError, selection::machine_name};

/// Ctrl-], as in telnet and virsh.
const LEAVE: u8 = 0x1d;
const CHUNK: usize = 4096;
/// The socket's name in the machine's folder.
const SOCKET: &str = "console.sock";

const EXAMPLES: &str = "\
Examples:
  winstead console agents-0             Ctrl-] leaves
  winstead console agents-0 --log       what it said so far

One console at a time: a second one waits until the first has left.";

/// Attaches the terminal to a machine's serial console: what a screen and a keyboard would be.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConsoleArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
    /// Prints what the console said so far, and ends.
    #[arg(long)]
    log: bool,
}

/// Runs `console`.
///
/// # Errors
/// When there is no such machine, or it does not run.
pub(crate) async fn run(context: &Context, args: &ConsoleArgs) -> Result<(), CliError> {
    let name = machine_name(&args.name)?;
    let engine = context.engine().await?;
    engine.machine(&name).await?;
    let folder = engine.home().run(&name);
    if args.log {
        return logs::print_console(context, &folder);
    }
    let Some(process) = engine.process(&name).await? else {
        return Err(EngineError::NotRunning { machine: name, state: "not running".to_owned() }.into());
    };
    let socket = connect(&folder, process).await.map_err(|source| not_open(&name, source))?;
    context.ui.note(&format!("console of {name}; Ctrl-] leaves"));
    let raw = Raw::enter().map_err(CliError::runtime)?;
    let outcome = attach(context, socket).await;
    drop(raw);
    context.ui.note("");
    outcome.map(|end| context.ui.note(end))
}

fn not_open(name: &MachineName, source: io::Error) -> CliError {
    // QEMU makes the socket; one that was killed leaves it, and nobody answers.
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let state = "not running".to_owned();
            EngineError::NotRunning { machine: name.clone(), state }.into()
        }
        _ => CliError::System {
            what: format!("open the console of {name}"),
            source,
            hints: vec![format!("`winstead describe {name}` says whether it runs")],
        },
    }
}

/// Connects by the folder's descriptor, because a socket's whole path may be longer than 107 bytes (unix(7)), and makes
/// sure that the machine's QEMU is at the other end: what is typed here may be a password.
async fn connect(folder: &Path, process: ProcessId) -> io::Result<UnixStream> {
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    // The folder belongs to QEMU's user: a link would lead to somebody else's socket.
    if !fs_err::symlink_metadata(&path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no socket"));
    }
    let stream = UnixStream::connect(path).await?;
    process.confirm_peer(&stream)?;
    Ok(stream)
}

/// Passes bytes both ways until one side ends, and says which.
async fn attach(context: &Context, socket: UnixStream) -> Result<&'static str, CliError> {
    let (mut from_guest, mut to_guest) = socket.into_split();
    let mut keys = keys();
    let mut typing = true;
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            read = from_guest.read(&mut chunk) => match read.map_err(lost)? {
                0 => return Ok("the machine has ended"),
                read => context.ui.bytes(&chunk[..read])?,
            },
            typed = keys.recv(), if typing => match typed {
                Some(Typed::Bytes(bytes)) => to_guest.write_all(&bytes).await.map_err(lost)?,
                Some(Typed::Leave) => return Ok("left; the machine runs on"),
                // Standard input was a file or a pipe and is at its end: what comes from the guest is still shown.
                None => typing = false,
            },
        }
    }
}

fn lost(source: io::Error) -> CliError {
    CliError::System { what: "keep the console".to_owned(), source, hints: Vec::new() }
}

enum Typed {
    Bytes(Vec<u8>),
    Leave,
}

/// Reads standard input on a thread of its own: a read of a terminal cannot be cancelled, and ends with the process.
fn keys() -> Receiver<Typed> {
    let (sender, keys) = channel(16);
    std::thread::spawn(move || {
        let terminal = rustix::termios::isatty(io::stdin());
        let mut chunk = [0; CHUNK];
        while let Ok(read @ 1..) = io::stdin().lock().read(&mut chunk) {
            let (bytes, leaves) = until_leave(&chunk[..read], terminal);
            if sender.blocking_send(Typed::Bytes(bytes.to_vec())).is_err() {
                return;
            }
            if leaves {
                // The receiver has ended already when this fails.
                sender.blocking_send(Typed::Leave).ok();
                return;
            }
        }
    });
    keys
}

/// What is typed before Ctrl-], and whether that came. In a pipe it is a byte like any other.
fn until_leave(typed: &[u8], terminal: bool) -> (&[u8], bool) {
    match typed.iter().position(|byte| *byte == LEAVE).filter(|_| terminal) {
        Some(at) => (&typed[..at], true),
        None => (typed, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_leaves_only_a_terminal() {
        assert_eq!(until_leave(b"ab\x1dc", true), (&b"ab"[..], true));
        assert_eq!(until_leave(b"ab\x1dc", false), (&b"ab\x1dc"[..], false));
    }

    #[tokio::test]
    async fn a_console_is_reached_below_a_long_path_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        fs_err::create_dir(&deep).unwrap();
        let listener = tokio::net::UnixListener::bind(folder.path().join("real")).unwrap();
        fs_err::rename(folder.path().join("real"), deep.join(SOCKET)).unwrap();
        let me = ProcessId::of(std::process::id()).unwrap();
        let stranger = connect(&deep, ProcessId::of(1).unwrap()).await.unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::PermissionDenied);
        let (client, server) = tokio::join!(connect(&deep, me), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        drop(listener);
        let name: MachineName = "agents-0".parse().unwrap();
        for dead in [deep.as_path(), folder.path(), &folder.path().join("none")] {
            let error = not_open(&name, connect(dead, me).await.unwrap_err());
            insta::allow_duplicates! {
                insta::assert_snapshot!(error, @"reach agents-0: it is not running");
            }
        }
        let linked = folder.path().join("linked");
        fs_err::create_dir(&linked).unwrap();
        fs_err::os::unix::fs::symlink(deep.join(SOCKET), linked.join(SOCKET)).unwrap();
        assert_eq!(connect(&linked, me).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
