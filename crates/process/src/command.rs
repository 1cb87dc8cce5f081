//! A command: built as data, run once.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{CommandError, Failure},
    log::last_lines,
    shown,
};

/// Commands are short; whatever takes longer says so with [`Command::deadline`].
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Enough of a command's last words to understand it, not enough to drown the reader.
const SAID_LINES: usize = 6;

/// How long a killed command may take to be gone: one that waits for a broken disk is not, whatever is done.
const KILL_GRACE: Duration = Duration::from_secs(20);
/// The most that is kept of each output. What says more belongs in a file.
const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// An external command.
#[derive(Clone, Debug)]
pub struct Command {
    argv: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    input: Vec<u8>,
    deadline: Duration,
}

/// What a successful command said.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Command {
    /// The program, looked up in `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            environment: Vec::new(),
            folder: None,
            input: Vec::new(),
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.argv.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable for the child.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder it runs in.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// What it reads on standard input: the way for secrets, never the arguments.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may take; 30 s unless said.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The command as one would type it.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.argv)
    }

    /// Runs it to its end and returns what it said.
    ///
    /// # Errors
    /// When it is missing, ends with another status than 0, takes longer than its deadline, or `stop` is cancelled.
    /// In the last two cases its whole process group has been killed and reaped, as far as the kernel lets it go. So
    /// has that of a command which says more than 16 MiB on one of its outputs.
    ///
    /// Cancel safety: dropping the future kills the child, not its grandchildren; cancel `stop` instead.
    pub async fn run(&self, stop: &CancellationToken) -> Result<Output, CommandError> {
        let (status, output) = self.run_any_status(stop).await?;
        if status.success() {
            return Ok(output);
        }
        Err(self.error(Failure::Status(status), &output))
    }

    /// Runs it to its end and returns its status, whatever it is, with what it said.
    ///
    /// # Errors
    /// As [`Command::run`], but an unsuccessful status is an answer.
    pub async fn run_any_status(
        &self,
        stop: &CancellationToken,
    ) -> Result<(ExitStatus, Output), CommandError> {
        let mut child = self.spawn_piped().map_err(|error| self.spawn_error(error))?;
        tracing::debug!(command = self.shown(), "started");
        let mut output = Output::default();
        let end = tokio::select! {
            ended = feed_and_collect(&mut child, &self.input, &mut output) => ended.map_err(Failure::Io),
            () = tokio::time::sleep(self.deadline) => Err(Failure::TimedOut(self.deadline)),
            () = stop.cancelled() => Err(Failure::Cancelled),
        };
        match end {
            Ok(status) => Ok((status, output)),
            Err(failure) => {
                let failure = if kill_tree(&mut child).await { failure } else { Failure::Stays(KILL_GRACE) };
                Err(self.error(failure, &output))
            }
        }
    }

    /// Starts it in a session of its own, so that it outlives this process and its terminal, with both outputs
    /// appended to `log`. The child keeps the returned process id through `setsid`.
    ///
    /// # Errors
    /// When it cannot be started. What it does afterwards, the caller observes; a started child is reaped by
    /// awaiting the returned handle, or by init when this process ends first.
    pub fn start_detached(&self, log: &File) -> Result<Child, CommandError> {
        self.start_detached_with(log, Stdio::null(), Vec::new())
    }

    /// The same with an open file as its standard input, and `further` as its descriptors 3, 4, …: the way to hand over
    /// what it may not open itself.
    ///
    /// # Errors
    /// As [`Command::start_detached`].
    pub fn start_detached_with(
        &self,
        log: &File,
        input: Stdio,
        further: Vec<OwnedFd>,
    ) -> Result<Child, CommandError> {
        // setsid(1) is part of util-linux, which Debian calls essential; the system call would need unsafe code here.
        let mut detached = self.clone();
        detached.argv.insert(0, "setsid".into());
        let spawn = || -> io::Result<Child> {
            let mut command = detached.tokio_command();
            command.stdin(input).stdout(log.try_clone()?).stderr(log.try_clone()?);
            let numbered = (3..).zip(further).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
            command.fd_mappings(numbered.collect()).map_err(io::Error::other)?;
            command.spawn()
        };
        let child = spawn().map_err(|error| detached.spawn_error(error))?;
        tracing::debug!(command = self.shown(), pid = child.id(), "started detached");
        Ok(child)
    }

    /// This command as a plain `std` one that inherits the terminal: for `ssh`, whose user sits in front of it.
    #[must_use]
    pub fn interactive(&self) -> std::process::Command {
        #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
        let mut command = std::process::Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env("PATH", search_path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    fn tokio_command(&self) -> tokio::process::Command {
        tokio::process::Command::from(self.interactive())
    }

    fn spawn_piped(&self) -> io::Result<Child> {
        self.tokio_command()
            .env("LC_ALL", "C.UTF-8")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn spawn_error(&self, error: io::Error) -> CommandError {
        let missing =
            error.kind() == io::ErrorKind::NotFound && self.folder.as_ref().is_none_or(|at| at.is_dir());
        let failure = if missing { Failure::NotFound } else { Failure::Io(error) };
        self.error(failure, &Output::default())
    }

    fn error(&self, failure: Failure, output: &Output) -> CommandError {
        let words = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        CommandError { command: self.shown(), failure, said: last_lines(words, SAID_LINES) }
    }
}

/// Where programs are looked for: as our user does, and then where Debian keeps those that it thinks a normal user does
/// not need (sfdisk, mke2fs), although they need no rights.
fn search_path() -> OsString {
    // Handed on, not read: what the children find is our user's business.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    // An empty part would mean the working folder.
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/sbin:/sbin");
    path
}

async fn feed_and_collect(child: &mut Child, input: &[u8], output: &mut Output) -> io::Result<ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that ends without reading everything is judged by its status, not by the broken pipe.
            match stdin.write_all(input).await {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    let read_out = read_all(stdout, &mut output.stdout);
    let read_err = read_all(stderr, &mut output.stderr);
    tokio::try_join!(feed, read_out, read_err)?;
    child.wait().await
}

async fn read_all(pipe: Option<impl tokio::io::AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    if pipe.take(OUTPUT_LIMIT + 1).read_to_end(into).await? as u64 > OUTPUT_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it said more than {OUTPUT_LIMIT} bytes"),
        ));
    }
    Ok(())
}

/// Kills a command with all its children; returns whether it is gone.
async fn kill_tree(child: &mut Child) -> bool {
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::warn!(%error, "process group could not be killed");
    }
    is_reaped_within(child, KILL_GRACE).await
}

async fn is_reaped_within(child: &mut Child, limit: Duration) -> bool {
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Err(error)) => {
            tracing::warn!(%error, "killed process could not be reaped");
            true
        }
        Ok(Ok(_)) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_detached_program_finds_what_it_is_handed_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (log, given) = (folder.path().join("log"), folder.path().join("given"));
        fs_err::write(&given, "handed over").unwrap();
        let (log_file, _) = fs_err::File::create(&log).unwrap().into_parts();
        let (given, _) = fs_err::File::open(&given).unwrap().into_parts();
        let command = Command::new("sh").args(["-c", "cat <&3; [ -e /proc/self/fd/4 ] || echo ', alone'"]);
        let mut child = command.start_detached_with(&log_file, Stdio::null(), vec![given.into()]).unwrap();
        child.wait().await.unwrap();
        assert_eq!(fs_err::read_to_string(&log).unwrap(), "handed over, alone\n");
    }

    #[tokio::test]
    async fn output_input_and_status_come_through() {
        let stop = CancellationToken::new();
        let output = Command::new("cat").input("a\0b").run(&stop).await.unwrap();
        assert_eq!(output.stdout, b"a\0b");
        let error = Command::new("ls").arg("/does not exist").run(&stop).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("run `ls '/does not exist'`: exit status: 2; it said: "), "{text}");
    }

    #[tokio::test]
    async fn a_missing_program_is_told_from_a_missing_folder() {
        let stop = CancellationToken::new();
        assert!(Command::new("no-such-program-here").run(&stop).await.unwrap_err().is_not_found());
        let elsewhere = Command::new("true").folder("/no/such/folder").run(&stop).await.unwrap_err();
        assert!(!elsewhere.is_not_found());
    }

    #[tokio::test]
    async fn a_deadline_kills_the_whole_tree() {
        // Of this test's own: another one's grandchild is none of ours.
        let marker = format!("4711.{}", std::process::id());
        let command = Command::new("sh").args(["-c", &format!("sleep {marker} & wait")]);
        let limit = Duration::from_millis(200);
        let error = command.deadline(limit).run(&CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error.failure, Failure::TimedOut(_)));
        let left = Command::new("pgrep").args(["-f", &format!("^sleep {marker}")]);
        // It was signalled, and is gone when the kernel comes to it.
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let (status, _) = left.run_any_status(&CancellationToken::new()).await.unwrap();
            if status.code() == Some(1) {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "a grandchild outlived the deadline");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn what_a_command_says_has_a_limit() {
        let endless = Command::new("cat").arg("/dev/zero").deadline(Duration::from_secs(600));
        let error = endless.run(&CancellationToken::new()).await.unwrap_err();
        assert!(matches!(&error.failure, Failure::Io(why) if why.kind() == io::ErrorKind::FileTooLarge));
        assert!(error.said.len() <= 64 * 1024, "{}", error.said.len());
    }

    #[tokio::test]
    async fn a_process_that_does_not_go_away_is_not_waited_for_without_end() {
        let mut child = Command::new("sleep").arg("1000").spawn_piped().unwrap();
        assert!(!is_reaped_within(&mut child, Duration::from_millis(100)).await);
        assert!(kill_tree(&mut child).await);
    }

    #[tokio::test]
    async fn cancelling_ends_a_command() {
        let stop = CancellationToken::new();
        stop.cancel();
        let error = Command::new("sleep").arg("1000").run(&stop).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Cancelled));
    }
}
