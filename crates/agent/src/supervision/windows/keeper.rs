//! `winstead-agent keeper FOLDER`: holds one program with all that it starts, for as long as there is anything of it.
//!
//! It is in no job of its agent's and has a console of its own, so that an agent's end does not touch it. It alone has a
//! handle of the program's job: whoever ends it ends all of that. When the program has ended, the rest is ended, and then
//! `exit.json` appears: that file says that nothing is left, and that all that a terminal showed is in its pipe. After that
//! it waits until an agent has read the pipes to their ends, since what stands in them goes away with it.
//!
//! Two threads: this one waits for the program, the other one for what it is told.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::windows::io::{AsHandle, AsRawHandle as _, OwnedHandle},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use fs_err as fs;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_EXE_FORMAT, ERROR_DIRECTORY, ERROR_EXE_MACHINE_TYPE_MISMATCH,
    ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND,
};
use winstead_spec::ByteSize;

use crate::{
    access::Limits,
    supervision::{
        End, Identity, KeeperFailure, Running, Terminal,
        record::{Answer, Command, Launch},
        store,
        windows::{
            agent_side::{INTERRUPT, KILL},
            files::{WINDOWS, write_at},
            reach::{HANDLES, Handles, TAKEN, Told},
            terminal::{CTRL_C, Carried, END_OF_INPUT, Pseudo},
        },
    },
    windows::{
        ClientProcess, Event, For, Job, Login, PipeEnd, Program, Started, Streams, Suspended,
        signalled_within, to_read, to_write,
    },
};

/// What is taken out of a pipe at once.
const CHUNK: u64 = 256 * 1024;
/// The code of what is ended by force, as the Task Manager has it.
const FORCED: u32 = 1;
/// For how long one of many is waited for before all are looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps the program that standard input describes, in this folder, until it has ended.
///
/// # Errors
/// When it cannot even begin. That the program cannot be run is an answer, not an error.
pub fn keep(folder: &Path) -> io::Result<ExitCode> {
    let lock = fs::OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
    lock.file().try_lock().map_err(io::Error::from)?;
    let mut launch = Vec::new();
    io::stdin().lock().read_to_end(&mut launch)?;
    let launch: Launch = serde_json::from_slice(&launch)?;
    match start(folder, &launch) {
        Ok((running, kept, hearing)) => {
            // From here on `running.json` says that we are here; an open file would keep the folder from being removed.
            drop(lock);
            // An agent that is gone does not hear it; the program runs all the same, and the next one finds it.
            tell(&Answer::Started(running));
            kept.watch(hearing)
        }
        Err(failure) => {
            tell(&Answer::Failed(failure));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tell(what: &Answer) {
    let mut answer = io::stdout().lock();
    let sent = serde_json::to_writer(&mut answer, what).map_err(io::Error::from);
    if let Err(error) = sent.and_then(|()| answer.write_all(b"\n")).and_then(|()| answer.flush()) {
        tracing::debug!(%error, "nobody hears the answer");
    }
}

/// A program that runs, and what both threads see of it.
struct Kept {
    folder: PathBuf,
    program: Started,
    job: Job,
    terminal: Option<Carried>,
    over: Event,
    progress: Mutex<Progress>,
    released: Condvar,
}

#[derive(Default)]
struct Progress {
    ended: bool,
    released: bool,
}

/// What the thread that is told something has for itself.
struct Hearing {
    lines: File,
    _control: PipeEnd,
    outputs: [PipeEnd; 2],
    counts: File,
    taken: [(u64, Event); 2],
    input: Option<PipeEnd>,
    handles: Handles,
}

/// Starts the program. It is recorded before it can do anything.
fn start(folder: &Path, launch: &Launch) -> Result<(Running, Kept, Hearing), KeeperFailure> {
    let other = |error: io::Error| KeeperFailure::Other(error.to_string());
    let job = Job::new(&limits(launch)).map_err(|error| KeeperFailure::Limit(error.to_string()))?;
    let login = launch.account.as_ref().map(|account| Login::service(&account.name)).transpose();
    let login = login.map_err(|error| KeeperFailure::Account(error.to_string()))?;
    let place = Path::new(launch.folder.as_deref().unwrap_or(WINDOWS));
    fs::read_dir(place).map_err(|error| KeeperFailure::Folder(error.to_string()))?;
    let over = Event::new(For::All).map_err(other)?;
    let stdin = launch.stdin || launch.terminal.is_some();
    let (hearing, streams) = Hearing::open(folder, stdin, &over).map_err(other)?;
    let create = |streams: Streams<'_>| {
        let program = Program {
            file: Path::new(&launch.file),
            arguments: &launch.arguments,
            environment: &launch.environment,
            folder: place,
            streams,
            account: login.as_ref(),
        };
        Suspended::create(&program, &job).map_err(|error| failure(&error))
    };
    let (pseudo, suspended) = with_streams(launch.terminal, streams, create)?;
    let running = record(folder, suspended.started(), &hearing.handles).map_err(other)?;
    let terminal = pseudo.map(Pseudo::carry).transpose().map_err(other)?;
    let program = suspended.resume().map_err(|error| failure(&error))?;
    let kept = Kept {
        folder: folder.to_owned(),
        program,
        job,
        terminal,
        over,
        progress: Mutex::default(),
        released: Condvar::new(),
    };
    Ok((running, kept, hearing))
}

/// Creates it with these streams, or at a terminal between it and the first two of them.
fn with_streams(
    terminal: Option<Terminal>,
    streams: [OwnedHandle; 3],
    create: impl FnOnce(Streams<'_>) -> Result<Suspended, KeeperFailure>,
) -> Result<(Option<Pseudo>, Suspended), KeeperFailure> {
    let Some(size) = terminal else {
        let pipes = streams.each_ref().map(AsHandle::as_handle);
        return Ok((None, create(Streams::Pipes(pipes))?));
    };
    let [keys, shown, _] = streams;
    let pseudo = Pseudo::open(size, &keys, shown).map_err(|error| KeeperFailure::Other(error.to_string()))?;
    let suspended = create(Streams::Terminal(&pseudo.console))?;
    Ok((Some(pseudo), suspended))
}

fn limits(launch: &Launch) -> Limits {
    Limits {
        memory: launch.memory_bytes.map(ByteSize::from_bytes),
        processes: launch.processes,
        cpu_milli: launch.cpu_milli,
    }
}

/// An account that may not run the file is told as one that may not be run.
fn failure(error: &io::Error) -> KeeperFailure {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    match code {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => KeeperFailure::Missing,
        Some(ERROR_ACCESS_DENIED) => KeeperFailure::NotExecutable,
        Some(ERROR_BAD_EXE_FORMAT | ERROR_EXE_MACHINE_TYPE_MISMATCH) => KeeperFailure::BadFormat,
        Some(ERROR_DIRECTORY) => KeeperFailure::Folder(error.to_string()),
        _ => KeeperFailure::Other(error.to_string()),
    }
}

fn record(folder: &Path, program: &Started, handles: &Handles) -> io::Result<Running> {
    let program = identity(program.pid())?;
    let running = Running { keeper: handles.keeper, program, groups: Vec::new() };
    store::write(&folder.join(HANDLES), handles)?;
    store::write(&folder.join(store::RUNNING), &running)?;
    Ok(running)
}

fn identity(pid: u32) -> io::Result<Identity> {
    Ok(Identity { pid, started: ClientProcess::open(pid)?.started()? })
}

impl Hearing {
    /// All pipes: what stays here, and what is the program's.
    fn open(folder: &Path, stdin: bool, over: &Event) -> io::Result<(Self, [OwnedHandle; 3])> {
        let ((out, their_out), (err, their_err)) = (to_read()?, to_read()?);
        let (control, lines) = to_write()?;
        let (input, their_input) = if stdin {
            let (ours, theirs) = to_write()?;
            (Some(ours), theirs)
        } else {
            (None, fs::File::open("NUL")?.into_parts().0.into())
        };
        let counts =
            fs::OpenOptions::new().create(true).truncate(true).write(true).open(folder.join(TAKEN))?;
        let counts = counts.into_parts().0;
        write_at(&counts, &[0; 16], 0)?;
        let events = [Event::new(For::One)?, Event::new(For::One)?];
        let handles = Handles {
            keeper: identity(std::process::id())?,
            outputs: [number(&out), number(&err)],
            taken: events.each_ref().map(number),
            input: input.as_ref().map(number),
            control: number(&control),
            over: number(over),
        };
        let taken = events.map(|event| (0, event));
        let lines = File::from(lines);
        let outputs = [out, err];
        let hearing = Self { lines, _control: control, outputs, counts, taken, input, handles };
        Ok((hearing, [their_input, their_out, their_err]))
    }

    /// Takes out what an agent has. It copied that from the pipe, so it is there.
    fn take_out(&mut self, stream: usize, before: u64) -> io::Result<()> {
        let (Some(output), Some((taken, event))) = (self.outputs.get(stream), self.taken.get_mut(stream))
        else {
            return Ok(());
        };
        while *taken < before {
            let most = usize::try_from((before - *taken).min(CHUNK)).unwrap_or(usize::MAX);
            match output.take(most).map(|data| data.len()) {
                // It claims more than there was: that is not given again either.
                Ok(0) | Err(_) => *taken = before,
                Ok(count) => *taken += count as u64,
            }
        }
        write_at(&self.counts, &taken.to_le_bytes(), 8 * stream as u64)?;
        event.set()
    }

    /// No more input comes. First nobody copies its handle any more: its number may soon be another's.
    fn end_input(&mut self, folder: &Path, terminal: bool) -> io::Result<()> {
        if self.handles.input.take().is_none() {
            return Ok(());
        }
        store::write(&folder.join(HANDLES), &self.handles)?;
        if terminal {
            // A console whose keys have ended is closed, as when somebody closes its window.
            return self.press(END_OF_INPUT);
        }
        self.input = None;
        Ok(())
    }

    /// Types at the program's terminal.
    fn press(&self, keys: &'static [u8]) -> io::Result<()> {
        let input = self.input.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_within(Bytes::from_static(keys), LOOK)
    }
}

fn number(handle: &impl AsHandle) -> u64 {
    handle.as_handle().as_raw_handle().expose_provenance() as u64
}

impl Kept {
    /// Until nothing is left, and all was read.
    fn watch(self, mut hearing: Hearing) -> io::Result<ExitCode> {
        let kept = Arc::new(self);
        let hears = Arc::clone(&kept);
        thread::Builder::new().stack_size(512 * 1024).spawn(move || hears.hear(&mut hearing))?;
        let code = kept.program.wait()?;
        kept.lock().ended = true;
        end_all(&kept.job);
        if let Some(Err(error)) = kept.terminal.as_ref().map(Carried::finish) {
            tracing::warn!(%error, "what was shown last is lost");
        }
        let written = store::write(&kept.folder.join(store::END), &End::Code(code.cast_signed()))?;
        kept.over.set()?;
        // Seen by agents from its renaming on; on the disk a little later, which nobody waits for.
        written.sync_all()?;
        drop(written);
        let waiting = |progress: &mut Progress| !progress.released;
        drop(kept.released.wait_while(kept.lock(), waiting).unwrap_or_else(PoisonError::into_inner));
        Ok(ExitCode::SUCCESS)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what agents ask for, as long as this process lives.
    fn hear(&self, hearing: &mut Hearing) {
        let Ok(lines) = hearing.lines.try_clone() else { return };
        for line in BufReader::new(lines).lines() {
            let told = match line.map_err(serde_json::Error::io).and_then(|line| serde_json::from_str(&line))
            {
                Ok(told) => told,
                Err(error) if error.is_io() => return,
                Err(_) => continue,
            };
            let done = match told {
                Told::Has { stream, before } => hearing.take_out(stream, before),
                Told::Do(Command::EndInput) => hearing.end_input(&self.folder, self.terminal.is_some()),
                Told::Do(Command::Signal(INTERRUPT)) if self.terminal.is_some() => hearing.press(CTRL_C),
                Told::Do(command) => self.obey(command),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "something was not done");
            }
        }
    }

    fn obey(&self, command: Command) -> io::Result<()> {
        if command == Command::Release {
            self.lock().released = true;
            self.released.notify_all();
            return Ok(());
        }
        let progress = self.lock();
        // The waiting thread ends what is left anyway.
        if progress.ended {
            return Ok(());
        }
        match command {
            Command::Kill | Command::Signal(KILL) => self.job.terminate(FORCED),
            Command::Terminate | Command::Signal(_) => match &self.terminal {
                // Ctrl-Break reaches a console of our own only.
                Some(terminal) => terminal.close(),
                None => self.program.ask_to_end(),
            },
            Command::Resize(size) => self.terminal.as_ref().map_or(Ok(()), |it| it.resize(size)),
            Command::EndInput | Command::Release => Ok(()),
        }
    }
}

/// Ends all that is in a job, and waits for that. What starts others faster than it is ended meets the next round.
fn end_all(job: &Job) {
    loop {
        let left = match job.processes() {
            Ok(left) if left.is_empty() => return,
            Ok(left) => left,
            Err(error) => return tracing::warn!(%error, "what is left cannot be seen"),
        };
        if let Err(error) = job.terminate(FORCED) {
            tracing::warn!(%error, "what is left is not ended");
        }
        for process in left.into_iter().filter_map(|pid| ClientProcess::open(pid).ok()) {
            if let Err(error) = signalled_within(process.as_handle(), LOOK) {
                tracing::debug!(%error, "one of them is not waited for");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Foundation::WIN32_ERROR;

    use super::*;

    #[test]
    fn why_a_program_does_not_run_is_told_apart() {
        let failure = |code: WIN32_ERROR| failure(&io::Error::from_raw_os_error(code.cast_signed()));
        assert_eq!(failure(ERROR_FILE_NOT_FOUND), KeeperFailure::Missing);
        assert_eq!(failure(ERROR_ACCESS_DENIED), KeeperFailure::NotExecutable);
        assert_eq!(failure(ERROR_BAD_EXE_FORMAT), KeeperFailure::BadFormat);
        assert!(matches!(failure(ERROR_DIRECTORY), KeeperFailure::Folder(_)));
        assert!(matches!(failure(1450), KeeperFailure::Other(_)));
    }
}
