//! A terminal of a test's own, and a command at it, as somebody types it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// How long anything may take on a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A terminal of 80 columns and 24 rows, and a command at it, which ends with this.
#[derive(Debug)]
pub struct Typed {
    master: File,
    /// Held, so that its settings can be read when the command has ended.
    slave: File,
    said: Arc<Screen>,
    child: Child,
}

/// What was ever shown.
#[derive(Debug, Default)]
struct Screen {
    bytes: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Typed {
    /// Starts `command`, with its arguments and what it says of its environment.
    ///
    /// # Panics
    /// When there is no terminal, or no such command.
    #[must_use]
    pub fn start(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let slave = fs_err::OpenOptions::new().read(true).write(true).open(name.to_str().expect("text"));
        let slave: File = slave.expect("it is there").into();
        let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
        let mut leader = leader(command);
        let child = leader.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        let typed = Self { master: File::from(master), slave, said: Arc::default(), child };
        typed.size(80, 24);
        typed.listen();
        typed
    }

    fn listen(&self) {
        let (mut from, said) = (self.master.try_clone().expect("a descriptor"), Arc::clone(&self.said));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                said.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
                said.more.notify_all();
            }
        });
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// When it is gone.
    pub fn size(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("it is ours");
    }

    /// Presses these keys.
    ///
    /// # Panics
    /// When it is gone.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it is read");
    }

    /// All that was ever shown.
    #[must_use]
    pub fn all(&self) -> String {
        let bytes = self.said.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until this stands on the screen.
    ///
    /// # Panics
    /// When it does not come.
    pub fn shows(&self, words: &str) {
        let bytes = self.said.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |bytes: &mut Vec<u8>| !String::from_utf8_lossy(bytes).contains(words);
        let waited = self.said.more.wait_timeout_while(bytes, PATIENCE, missing);
        let came = !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        assert!(came, "{words:?} in {:?}", self.all());
    }

    /// Whether its keys are edited as lines, and Ctrl-C is a signal.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Sends the command SIGTERM.
    ///
    /// # Panics
    /// When it has ended.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// Waits for the command's end.
    ///
    /// # Panics
    /// When that does not come.
    pub fn ends(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it goes on: {:?}", self.all());
            thread::park_timeout(LOOK);
        }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // A test that fails ends here too; it has said why already.
        self.child.kill().and_then(|()| self.child.wait()).map(drop).unwrap_or_default();
    }
}

/// The terminal must be the command's own for it to hear of another size. Not `--fork`: the command keeps its number.
#[expect(clippy::disallowed_methods, reason = "the command under test, whose end is waited for")]
fn leader(command: &Command) -> Command {
    let mut leader = Command::new("setsid");
    leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leader.env(name, value),
            None => leader.env_remove(name),
        };
    }
    leader
}
