//! What an agent does to keepers.

use std::{
    io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _, pipe},
    os::windows::io::AsHandle as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use fs_err as fs;

use crate::{
    supervision::{
        Running, StartError,
        record::{Answer, Command, Launch},
        windows::{
            files::WINDOWS,
            orphans::kill,
            reach::{Reached, Told, tell},
        },
    },
    windows::{Program, Started, Streams, signalled},
};

/// A keeper answers as soon as its program runs; a disk may be slow.
const ANSWER: Duration = Duration::from_secs(60);
/// More than any answer.
const ANSWER_BYTES: u64 = 64 * 1024;
/// As everywhere.
pub(super) const INTERRUPT: i32 = 2;
/// `SIGBREAK` of Microsoft's C runtime.
const BREAK: i32 = 21;
/// As everywhere.
pub(super) const KILL: i32 = 9;

/// A keeper of ours, whose end can be waited for.
#[derive(Debug)]
pub(crate) struct Keeper(Arc<Started>);

impl Keeper {
    /// Waits for its end. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        signalled(self.0.as_handle()).await
    }
}

/// Starts a keeper for what `launch` says, in a folder that is there. Returns when the program runs, with the keeper.
///
/// # Errors
/// When it does not run; nothing of it is left then.
pub(crate) async fn spawn_keeper(
    keeper: &Path,
    folder: &Path,
    launch: &Launch,
) -> Result<(Running, Keeper), StartError> {
    let failed = |source| StartError::Keeper { program: launch.program.clone(), source };
    let (input, output, keeper) = start(keeper, folder)?;
    let keeper = Arc::new(keeper);
    let launch = serde_json::to_vec(launch).map_err(io::Error::from)?;
    let talk = tokio::task::spawn_blocking(move || talk(input, output, &launch));
    let answer = match tokio::time::timeout(ANSWER, talk).await {
        Ok(answer) => answer.map_err(io::Error::other)?,
        // That ends the talk, too.
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match answer {
        Ok(Answer::Started(running)) => Ok((running, Keeper(keeper))),
        Ok(Answer::Failed(source)) => {
            signalled(keeper.as_handle()).await?;
            Err(failed(source))
        }
        Err(error) => {
            keeper.kill();
            Err(error.into())
        }
    }
}

/// It inherits its three streams, and nothing else of ours.
fn start(keeper: &Path, folder: &Path) -> io::Result<(PipeWriter, PipeReader, Started)> {
    let ((its_input, input), (output, its_output)) = (pipe()?, pipe()?);
    let nowhere = fs::OpenOptions::new().write(true).open("NUL")?;
    let program = Program {
        file: keeper,
        arguments: &["keeper".to_owned(), folder.to_string_lossy().into_owned()],
        environment: &[],
        folder: Path::new(WINDOWS),
        streams: Streams::Pipes([its_input.as_handle(), its_output.as_handle(), nowhere.file().as_handle()]),
        account: None,
    };
    Ok((input, output, Started::detached(&program)?))
}

/// Its answer is one line: the pipe stays open as long as it lives.
fn talk(mut input: PipeWriter, output: PipeReader, launch: &[u8]) -> io::Result<Answer> {
    input.write_all(launch)?;
    drop(input);
    let mut answer = String::new();
    BufReader::new(output.take(ANSWER_BYTES)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Tells the keeper of this folder something. A keeper that is gone hears nothing, which is an error.
///
/// # Errors
/// When nobody hears it.
pub(crate) fn command(folder: &Path, command: Command) -> io::Result<()> {
    let keeper = Reached::open(folder)?.ok_or(io::ErrorKind::NotFound)?;
    tell(&keeper.copy(keeper.handles.control)?, Told::Do(command))
}

/// Ends what a killed keeper left: nothing, since the job has ended with it; if that was not all, the program.
pub(crate) fn end_lost(running: &Running) {
    if let Err(error) = kill(running.program) {
        tracing::warn!(%error, pid = running.program.pid, "a program without its keeper was not killed");
    }
}

/// A signal by its Unix name: those that have a counterpart.
pub(crate) fn named_signal(name: &str) -> Option<i32> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "INT" => Some(INTERRUPT),
        "TERM" | "BREAK" => Some(BREAK),
        "KILL" => Some(KILL),
        _ => None,
    }
}
