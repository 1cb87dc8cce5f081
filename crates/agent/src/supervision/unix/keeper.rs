//! `winstead-agent keeper FOLDER`: the parent of one program, for as long as there is anything of it.
//!
//! It has a session of its own and no descriptor of its agent's, so that an agent's end does not touch it. It is the subreaper
//! of all that the program starts; when the program has ended, the rest is killed, and then `exit.json` appears: that
//! file says that nothing is left. After that it waits until an agent has read the pipes to their ends, since what stands in
//! them goes away with their last reader.
//!
//! Two threads: this one waits for children, the other one reads commands. One lock between them keeps a signal from a
//! process that was reaped meanwhile, whose number may be another's.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ExitCode, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use fs_err as fs;
use rustix::{
    process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus},
    stdio::{dup2_stdin, dup2_stdout},
};
use serde::{Deserialize, Serialize};
use winstead_process::{ProcessId, keep_inherited_descriptors};

use crate::supervision::{
    End, Identity, KeeperFailure, Running,
    record::{Answer, Command, Launch},
    store,
    unix::{cgroup::Group, pipes::Ends, terminal::Pseudo, tree},
};

/// What its last step before the program is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) launch: Launch,
    pub(super) groups: Vec<PathBuf>,
    pub(super) terminal: Option<String>,
}

/// Keeps the program that standard input describes, in this folder, until it has ended.
///
/// # Errors
/// When it cannot even begin. That the program cannot be run is an answer, not an error.
pub fn keep(folder: &Path) -> io::Result<ExitCode> {
    keep_inherited_descriptors()?;
    // A terminal's Ctrl-C is for the agent; what leads a session already was started by hand.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "it has a session already");
    }
    std::env::set_current_dir("/")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let lock = fs::OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
    lock.file().try_lock().map_err(io::Error::from)?;
    let mut launch = Vec::new();
    io::stdin().lock().read_to_end(&mut launch)?;
    let launch: Launch = serde_json::from_slice(&launch)?;
    let mut answer = leave_standard_streams()?;
    match start(folder, launch) {
        Ok(kept) => {
            // An agent that is gone does not hear it; the program runs all the same, and the next one finds it.
            tell(&mut answer, &Answer::Started(kept.running.clone()));
            drop(answer);
            kept.watch(folder)
        }
        Err(failure) => {
            tell(&mut answer, &Answer::Failed(failure));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tell(answer: &mut File, what: &Answer) {
    let sent = serde_json::to_writer(&mut *answer, what).map_err(io::Error::from);
    if let Err(error) = sent.and_then(|()| answer.write_all(b"\n")) {
        tracing::debug!(%error, "nobody hears the answer");
    }
}

/// Standard input and output lead nowhere from here on; the answer's pipe is for this process only.
fn leave_standard_streams() -> io::Result<File> {
    let answer = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let nowhere = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(nowhere.file())?;
    dup2_stdout(nowhere.file())?;
    Ok(File::from(answer))
}

/// A program that runs.
struct Kept {
    running: Running,
    program: Child,
    group: Group,
    ends: Ends,
    pseudo: Option<Pseudo>,
}

/// Starts the program. It is recorded before it can do anything: its last step waits for the launch, and ends when that
/// does not come.
fn start(folder: &Path, launch: Launch) -> Result<Kept, KeeperFailure> {
    let other = |error: io::Error| KeeperFailure::Other(error.to_string());
    let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut ends = Ends::make(folder, launch.stdin).map_err(other)?;
    let pseudo = launch.terminal.map(Pseudo::open).transpose().map_err(other)?;
    let group = Group::create(&id, &launch)?;
    let mut program = stage(folder).map_err(other)?;
    let begun = record(folder, &program, &group).and_then(|running| {
        let terminal = pseudo.as_ref().map(|pseudo| pseudo.name.clone());
        let groups = group.folders.clone();
        hand_over(&mut program, &Stage { launch, groups, terminal })?;
        Ok(running)
    });
    let outcome = begun.map_err(other).and_then(|running| hear(&mut program).map(|()| running));
    match outcome {
        Ok(running) => {
            ends.keep_input();
            Ok(Kept { running, program, group, ends, pseudo })
        }
        Err(failure) => {
            drop(program.stdin.take());
            if let Err(error) = program.wait() {
                tracing::debug!(%error, "the last step was not reaped");
            }
            group.remove();
            Err(failure)
        }
    }
}

/// The step between this process and the program: the same executable, which becomes the program.
fn stage(folder: &Path) -> io::Result<Child> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervised program itself, whose status its keeper reads"
    )]
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg("become").arg(folder).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn record(folder: &Path, program: &Child, group: &Group) -> io::Result<Running> {
    let identity = |pid: u32| {
        let found = ProcessId::of(pid).ok_or_else(|| io::Error::other("a process ended at once"))?;
        Ok::<_, io::Error>(Identity { pid: found.pid, started: found.started })
    };
    let groups = group.folders.iter().map(|folder| folder.display().to_string()).collect();
    let running = Running { keeper: identity(std::process::id())?, program: identity(program.id())?, groups };
    store::write(&folder.join(store::RUNNING), &running)?;
    Ok(running)
}

fn hand_over(program: &mut Child, stage: &Stage) -> io::Result<()> {
    let mut pipe = program.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?;
    pipe.write_all(&serde_json::to_vec(stage)?)
}

/// The pipe closes without a word when the program takes over.
fn hear(program: &mut Child) -> Result<(), KeeperFailure> {
    let mut said = Vec::new();
    if let Some(mut pipe) = program.stdout.take() {
        pipe.read_to_end(&mut said).map_err(|error| KeeperFailure::Other(error.to_string()))?;
    }
    if said.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice(&said).unwrap_or_else(|error| KeeperFailure::Other(error.to_string())))
}

/// What both threads see.
struct State {
    program: Pid,
    end: Mutex<Progress>,
    released: Condvar,
}

#[derive(Default)]
struct Progress {
    ended: bool,
    released: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Until nothing is left, and all was read.
    fn watch(self, folder: &Path) -> io::Result<ExitCode> {
        let Self { program, group, mut ends, pseudo, .. } = self;
        let id = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
        let program = id.ok_or_else(|| io::Error::other("no process has this number"))?;
        let state = Arc::new(State { program, end: Mutex::default(), released: Condvar::new() });
        let control = ends.take_control()?;
        let terminal = pseudo.as_ref().map(Pseudo::handle).transpose()?;
        let input = ends.take_input();
        let shared = Arc::clone(&state);
        let commands = move || obey(&shared, control, input, terminal.as_ref());
        thread::Builder::new().stack_size(128 * 1024).spawn(commands)?;
        let carried = pseudo.map(|pseudo| pseudo.carry(folder)).transpose()?;
        let end = wait(&state)?;
        group.kill();
        reap_rest();
        group.remove();
        if let Some(carried) = carried {
            carried.finish();
        }
        let written = store::write(&folder.join(store::END), &end)?;
        ends.over();
        // Seen by agents from its renaming on; on the disk a little later, which nobody waits for.
        written.sync_all()?;
        let waiting = |progress: &mut Progress| !progress.released;
        drop(state.released.wait_while(state.lock(), waiting).unwrap_or_else(PoisonError::into_inner));
        Ok(ExitCode::SUCCESS)
    }
}

/// Until the program has ended; others are reaped on the way.
fn wait(state: &State) -> io::Result<End> {
    loop {
        // Looks only: whoever ended keeps its number until the lock is held.
        match rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => drop(outcome?),
        }
        let mut progress = state.lock();
        while let Some((pid, status)) = reaped(WaitOptions::NOHANG)? {
            if pid == state.program {
                progress.ended = true;
                return Ok(end(status));
            }
        }
    }
}

fn reaped(options: WaitOptions) -> io::Result<Option<(Pid, WaitStatus)>> {
    loop {
        match rustix::process::wait(options) {
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

fn end(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Lost,
    }
}

/// Kills and reaps all that the program left. What forks faster than it is killed meets the next round.
fn reap_rest() {
    let me = std::process::id();
    // No child: nothing is left, and `/proc` need not be read.
    while !matches!(
        rustix::process::waitid(
            WaitId::All,
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG
        ),
        Err(rustix::io::Errno::CHILD)
    ) {
        tree::signal_below(me, Signal::KILL);
        match reaped(WaitOptions::empty()) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "something was not reaped"),
        }
    }
}

/// Does what agents ask for, as long as this process lives.
fn obey(state: &State, control: File, mut input: Option<File>, terminal: Option<&File>) {
    for line in BufReader::new(control).lines() {
        let command = match line.map_err(serde_json::Error::io).and_then(|line| serde_json::from_str(&line)) {
            Ok(command) => command,
            Err(error) if error.is_io() => return,
            Err(_) => continue,
        };
        match command {
            Command::EndInput => drop(input.take()),
            Command::Resize(size) => {
                if let Some(terminal) = terminal {
                    super::terminal::resize(terminal, size);
                }
            }
            Command::Release => {
                state.lock().released = true;
                state.released.notify_all();
            }
            Command::Signal(_) | Command::Terminate | Command::Kill => signal(state, command),
        }
    }
}

fn signal(state: &State, command: Command) {
    let progress = state.lock();
    // The waiting thread kills what is left anyway.
    if progress.ended {
        return;
    }
    match command {
        Command::Kill => drop(tree::signal_below(std::process::id(), Signal::KILL)),
        Command::Terminate => drop(tree::signal_below(std::process::id(), Signal::TERM)),
        Command::Signal(number) => {
            let sent = Signal::from_named_raw(number)
                .map(|signal| rustix::process::kill_process_group(state.program, signal));
            if let Some(Err(error)) = sent {
                tracing::debug!(%error, "a signal was not sent");
            }
        }
        Command::EndInput | Command::Resize(_) | Command::Release => {}
    }
}
