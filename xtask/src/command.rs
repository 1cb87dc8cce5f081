//! External commands: started in one place, never without reading their status.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{
    interrupt::{self, Interrupted},
    place, report,
};

/// How often a running command is looked at: for an interrupt, its deadline and its memory.
const TICK: Duration = Duration::from_millis(20);
/// How long a command may take to end after it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(60);

/// A command as data.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    argv: Vec<String>,
    environment: Vec<(String, String)>,
    deadline: Duration,
    foreground: bool,
}

/// Which of its two outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) took: Duration,
    /// The most memory that it held, as its last looks at `/proc` saw it.
    pub(crate) peak_bytes: u64,
}

/// A command that runs beside us. Dropped, it is killed with all that it started.
#[cfg(feature = "bench")]
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    shown: String,
}

#[cfg(feature = "bench")]
impl Drop for Beside {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let killed = group.map_or(Ok(()), |group| kill_process_group(group, Signal::KILL));
        if let Err(error) = killed.map_err(std::io::Error::from).and_then(|()| self.child.wait().map(drop)) {
            report::note(format_args!("`{}` may be left: {error}", self.shown));
        }
    }
}

enum News {
    Line(Stream, String),
    Closed,
    Ended(std::io::Result<ExitStatus>),
}

impl Command {
    /// The program with its arguments, run in the workspace's root.
    pub(crate) fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            deadline: Duration::from_mins(30),
            foreground: false,
        }
    }

    /// Sets a variable for the child.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// How long it may take; 30 minutes unless said.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Leaves it in the terminal's foreground, so that it may ask for a password.
    pub(crate) fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// Runs it with the terminal's own outputs.
    ///
    /// # Errors
    /// When it cannot be started, ends with another status than 0, takes too long or is interrupted.
    pub(crate) fn run(&self) -> anyhow::Result<Ended> {
        let child = self.spawn(Stdio::inherit(), Stdio::inherit())?;
        self.checked(self.follow(child, &mut |_, _| {})?)
    }

    /// Runs it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let child = self.spawn(Stdio::piped(), Stdio::inherit())?;
        let ended = self.follow(child, &mut |_, line| text.extend([line, "\n"]))?;
        self.checked(ended)?;
        Ok(text)
    }

    /// Runs it and hands over each line of both outputs; any status is an answer.
    ///
    /// # Errors
    /// When it cannot be started, takes too long or is interrupted.
    pub(crate) fn lines(&self, on_line: &mut dyn FnMut(Stream, &str)) -> anyhow::Result<Ended> {
        let child = self.spawn(Stdio::piped(), Stdio::piped())?;
        self.follow(child, on_line)
    }

    /// Runs it without showing anything; any status is an answer. What it said on either output is returned.
    ///
    /// # Errors
    /// When it cannot be started, takes too long or is interrupted.
    pub(crate) fn quiet(&self) -> anyhow::Result<(Ended, String)> {
        let mut said = String::new();
        let ended = self.lines(&mut |_, line| said.extend([line, "\n"]))?;
        Ok((ended, said))
    }

    /// Starts it and goes on; it lives as long as what is returned. Its outputs are the terminal's.
    ///
    /// # Errors
    /// When it cannot be started.
    #[cfg(feature = "bench")]
    pub(crate) fn beside(&self) -> anyhow::Result<Beside> {
        Ok(Beside { child: self.spawn(Stdio::null(), Stdio::inherit())?, shown: self.to_string() })
    }

    /// Runs it and shows what it said only when it fails.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub(crate) fn quiet_run(&self) -> anyhow::Result<()> {
        let (ended, said) = self.quiet()?;
        anyhow::ensure!(ended.status.success(), "`{self}` failed: {}\n{}", ended.status, said.trim_end());
        Ok(())
    }

    /// Becomes the command: it has the terminal, the signals and the exit code to itself. Returns only what went wrong.
    #[cfg(any(test, not(feature = "bench")))]
    pub(crate) fn exec(&self) -> anyhow::Error {
        anyhow::Error::new(self.bare().exec()).context(format!("start `{self}`"))
    }

    fn spawn(&self, out: Stdio, err: Stdio) -> anyhow::Result<Child> {
        let mut command = self.bare();
        command.stdout(out).stderr(err);
        if !self.foreground {
            // A group of its own: a Ctrl-C reaches it once, from us, and all that it started can be ended with it.
            command.stdin(Stdio::null()).process_group(0);
        }
        command.spawn().with_context(|| format!("start `{self}`"))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of xtask that starts processes; all callers read the status"
    )]
    fn bare(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).current_dir(place::root());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn checked(&self, ended: Ended) -> anyhow::Result<Ended> {
        anyhow::ensure!(ended.status.success(), "`{self}` failed: {}", ended.status);
        Ok(ended)
    }

    fn follow(&self, mut child: Child, on_line: &mut dyn FnMut(Stream, &str)) -> anyhow::Result<Ended> {
        let begun = Instant::now();
        let pid = child.id();
        let (news, inbox) = channel();
        let mut open = 0;
        open += usize::from(forward(child.stdout.take(), Stream::Out, &news));
        open += usize::from(forward(child.stderr.take(), Stream::Err, &news));
        std::thread::spawn(move || news.send(News::Ended(child.wait())));
        let (deadline, foreground) = (begun + self.deadline, self.foreground);
        let mut watch = Watch { pid, foreground, deadline, asked: None, peak_bytes: 0 };
        let status =
            attend(&inbox, open, &mut watch, on_line).with_context(|| format!("wait for `{self}`"))?;
        match watch.asked {
            Some(Asked { by: Reason::Interrupt, .. }) => Err(Interrupted.into()),
            Some(Asked { by: Reason::Deadline, .. }) => {
                anyhow::bail!("`{self}` took longer than {:?}", self.deadline)
            }
            None => Ok(Ended { status, took: begun.elapsed(), peak_bytes: watch.peak_bytes }),
        }
    }
}

/// The command as one would type it.
impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(out, "{name}={} ", quoted(value))?;
        }
        out.write_str(&self.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
    }
}

/// A word as a POSIX shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Sends a pipe's lines on; says whether there is a pipe. Bytes that are no UTF-8 are replaced.
fn forward(pipe: Option<impl Read + Send + 'static>, stream: Stream, news: &Sender<News>) -> bool {
    let Some(pipe) = pipe else { return false };
    let news = news.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if news.send(News::Line(stream, text)).is_err() {
                return;
            }
        }
        // The other side is gone only when nobody waits any more.
        news.send(News::Closed).unwrap_or_default();
    });
    true
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Interrupt,
    Deadline,
}

struct Asked {
    by: Reason,
    /// When it is killed; that is tried once.
    kill_at: Option<Instant>,
}

struct Watch {
    pid: u32,
    foreground: bool,
    deadline: Instant,
    asked: Option<Asked>,
    peak_bytes: u64,
}

impl Watch {
    /// One look: asks the command to end when it must, kills it when it does not.
    fn look(&mut self) {
        self.peak_bytes = self.peak_bytes.max(peak_of(self.pid).unwrap_or(0));
        let now = Instant::now();
        match &mut self.asked {
            Some(asked) if asked.kill_at.is_some_and(|at| now > at) => {
                asked.kill_at = None;
                self.signal(Signal::KILL);
            }
            Some(_) => {}
            None if interrupt::requested() => self.ask(Reason::Interrupt, Signal::INT),
            None if now > self.deadline => self.ask(Reason::Deadline, Signal::TERM),
            None => {}
        }
    }

    fn ask(&mut self, by: Reason, signal: Signal) {
        self.asked = Some(Asked { by, kill_at: Some(Instant::now() + GRACE) });
        self.signal(signal);
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        // What runs in the foreground is in our own group.
        let signalled =
            if self.foreground { kill_process(pid, signal) } else { kill_process_group(pid, signal) };
        if let Err(error) = signalled {
            report::note(format_args!("cannot signal process {}: {error}", self.pid));
        }
    }
}

/// Reads the news until the command has ended and its outputs are closed. Outputs that a grandchild keeps open are
/// not waited for longer than a moment.
fn attend(
    inbox: &Receiver<News>,
    mut open: usize,
    watch: &mut Watch,
    on_line: &mut dyn FnMut(Stream, &str),
) -> anyhow::Result<ExitStatus> {
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(News::Line(stream, line)) => on_line(stream, &line),
            Ok(News::Closed) => open -= 1,
            Ok(News::Ended(status)) => ended = Some((status?, Instant::now() + Duration::from_secs(1))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        match ended {
            Some((status, until)) if open == 0 || Instant::now() > until => return Ok(status),
            Some(_) => {}
            None => watch.look(),
        }
    }
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let command = Command::new(["winstead", "exec", "a-0", "--", "echo", "it's"]).env("HOME", "/x y");
        assert_eq!(command.to_string(), r"HOME='/x y' winstead exec a-0 -- echo 'it'\''s'");
    }

    #[test]
    fn output_lines_and_status_come_through() {
        let mut seen = Vec::new();
        let command = Command::new(["sh", "-c", "echo one; echo two >&2; exit 3"]);
        let ended = command.lines(&mut |stream, line| seen.push((stream, line.to_owned()))).unwrap();
        seen.sort_by_key(|(stream, _)| *stream == Stream::Err);
        assert_eq!(seen, [(Stream::Out, "one".to_owned()), (Stream::Err, "two".to_owned())]);
        assert_eq!(ended.status.code(), Some(3));
        let error = Command::new(["false"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`false` failed: exit status: 1");
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        // Its length is what it is found by: nobody else sleeps as long.
        let sleep = format!("sleep 4712.{}", std::process::id());
        let script = format!("{sleep} & wait");
        let command = Command::new(["sh", "-c", script.as_str()]).deadline(Duration::from_millis(100));
        let error = command.run().unwrap_err();
        assert!(error.to_string().contains("took longer than 100ms"), "{error}");
        let pattern = format!("^{sleep}$");
        let is_left =
            || Command::new(["pgrep", "-f", pattern.as_str()]).quiet().unwrap().0.status.code() != Some(1);
        let until = Instant::now() + Duration::from_secs(10);
        while is_left() {
            assert!(Instant::now() < until, "a grandchild outlived the deadline");
        }
    }

    #[test]
    fn a_deadline_ends_a_command_in_the_foreground_too() {
        let begun = Instant::now();
        let command = Command::new(["sleep", "300"]).foreground().deadline(Duration::from_millis(100));
        let error = command.run().unwrap_err();
        assert!(error.to_string().contains("took longer than 100ms"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(200), "it was let run to its own end");
    }

    #[test]
    fn what_cannot_be_become_is_an_error_that_names_it() {
        let error = Command::new(["no-such-program-here"]).exec();
        assert_eq!(error.to_string(), "start `no-such-program-here`");
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = Command::new(["no-such-program-here"]).run().unwrap_err();
        assert_eq!(error.to_string(), "start `no-such-program-here`");
    }
}
