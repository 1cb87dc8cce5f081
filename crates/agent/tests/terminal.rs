//! `winstead-agent run -t` and `--detach` as one types them, at a terminal of the test's own.

#![cfg(target_os = "linux")]

mod daemon;
mod place;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use daemon::{Daemon, PATIENCE, PROGRAM};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// A terminal, and a command at it.
struct Typed {
    master: File,
    /// Held, so that its settings can be read when the command has ended.
    slave: File,
    said: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Typed {
    #[expect(clippy::disallowed_methods, reason = "the command under test, whose end is waited for")]
    fn start(daemon: &Daemon, words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let slave = fs_err::OpenOptions::new().read(true).write(true).open(name.to_str().expect("text"));
        let slave: File = slave.expect("it is there").into();
        let mut typed = Self {
            master: File::from(master),
            said: Arc::default(),
            child: {
                let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
                let (first, rest) = words.split_first().expect("a command");
                // The terminal must be the command's own for it to hear of another size.
                let mut command = std::process::Command::new("setsid");
                command
                    .args(["--ctty", "--wait", PROGRAM, first, "--address"])
                    .arg(daemon.address.to_string())
                    .args(rest);
                command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts")
            },
            slave,
        };
        typed.size(80, 24);
        typed.listen();
        typed
    }

    fn listen(&mut self) {
        let (mut from, said) = (self.master.try_clone().expect("a descriptor"), Arc::clone(&self.said));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                said.lock().expect("nobody panics").extend_from_slice(&bytes[..count]);
            }
        });
    }

    fn size(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("it is ours");
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it is read");
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("nobody panics")).into_owned()
    }

    /// Waits until this stands on the screen.
    async fn shows(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.all().contains(words) {
            assert!(Instant::now() < until, "{words:?} in {:?}", self.all());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether its keys are edited as lines, and Ctrl-C is a signal.
    fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    async fn ends(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it goes on: {:?}", self.all());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // A test that fails ends here too; it has said why already.
        self.child.kill().and_then(|()| self.child.wait()).map(drop).unwrap_or_default();
    }
}

#[tokio::test]
async fn all_keys_are_the_programs_and_the_terminal_is_put_back() {
    let daemon = Daemon::start().await;
    let script =
        "trap 'echo heard' INT; stty size; echo ready; read none; read line; echo \"got $line\"; exit 7";
    let mut typed = Typed::start(&daemon, &["run", "-t", "--", "/bin/sh", "-c", script]);
    typed.shows("24 80\r\nready").await;
    assert!(!typed.is_usual(), "it is lent");
    typed.types("\u{3}");
    typed.shows("heard").await;
    // Without --keep nobody can leave: this key is the program's, too.
    typed.types("a\u{1d}b\r");
    typed.shows("got a\u{1d}b").await;
    assert_eq!(typed.ends().await.code(), Some(7));
    assert!(typed.is_usual(), "it was put back");
    daemon.end().await;
}

#[tokio::test]
async fn the_program_hears_of_another_size() {
    let daemon = Daemon::start().await;
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut typed = Typed::start(&daemon, &["run", "-t", "--", "/bin/sh", "-c", script]);
    typed.shows("ready").await;
    typed.size(101, 37);
    typed.shows("37 101").await;
    assert_eq!(typed.ends().await.code(), Some(0));
    daemon.end().await;
}

#[tokio::test]
async fn a_program_that_is_kept_can_be_left_and_come_back_to() {
    let daemon = Daemon::start().await;
    let script = "stty size; read line; echo \"first $line\"; stty size; read line; echo \"then $line\"";
    let mut typed = Typed::start(&daemon, &["run", "-t", "--keep", "--", "/bin/sh", "-c", script]);
    // What is typed before is thrown away.
    typed.shows("24 80").await;
    typed.types("one\r");
    typed.shows("first one").await;
    typed.types("\u{1d}");
    typed.shows("left; the program runs on: winstead-agent attach -t ").await;
    assert_eq!(typed.ends().await.code(), Some(0));
    assert!(typed.is_usual(), "it was put back");
    let said = typed.all();
    let id = said.rsplit("attach -t ").next().expect("its id").trim();
    let mut typed = Typed::start(&daemon, &["attach", "-t", id]);
    typed.shows("first one").await;
    typed.types("two\r");
    typed.shows("then two").await;
    assert_eq!(typed.ends().await.code(), Some(0));
    daemon.end().await;
}

#[tokio::test]
async fn the_terminal_is_put_back_when_the_agent_is_killed() {
    let mut daemon = Daemon::start().await;
    let mut typed = Typed::start(&daemon, &["run", "-t", "--", "/bin/sh", "-c", "echo ready; sleep 60"]);
    typed.shows("ready").await;
    daemon.kill();
    assert_eq!(typed.ends().await.code(), Some(255));
    assert!(typed.is_usual(), "it was put back");
    typed.shows("error: failed to listen to").await;
    daemon.start_again().await;
    daemon.end().await;
}

#[tokio::test]
async fn without_a_terminal_none_is_lent() {
    let daemon = Daemon::start().await;
    let output = daemon.run(&["run", "-t", "--", "/bin/true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = "error: failed to lend the terminal to the program\n  cause: standard input and output are no terminal\n";
    assert_eq!((output.status.code(), said.as_ref()), (Some(255), expected));
    daemon.end().await;
}

#[tokio::test]
async fn a_detached_program_is_told_by_its_id_and_stays() {
    let daemon = Daemon::start().await;
    let output =
        daemon.run(&["run", "--detach", "--label", "job", "--", "/bin/sh", "-c", "cat; echo done; exit 3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let id = String::from_utf8(output.stdout).expect("text");
    let listed = daemon.connect().await.list_processes().await.expect("a list");
    assert_eq!((listed[0].id.as_str(), listed[0].label.as_str()), (id.trim(), "job"));
    let attached = daemon.run(&["attach", id.trim()]);
    assert_eq!((attached.stdout.as_slice(), attached.status.code()), (b"done\n".as_slice(), Some(3)));
    for together in ["--keep", "-t"] {
        assert_eq!(daemon.run(&["run", "--detach", together, "--", "/bin/true"]).status.code(), Some(2));
    }
    daemon.end().await;
}
