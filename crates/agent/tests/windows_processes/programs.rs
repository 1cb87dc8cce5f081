//! Programs that the tests run: this very program in another role, told by its environment.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use fs_err as fs;

/// What makes libtest run nothing but [`as_a_program`], and say no more than [`BEGINS`] before.
pub(crate) const ARGUMENTS: [&str; 3] = ["--exact", "programs::as_a_program", "--nocapture"];
/// The line that libtest begins with.
pub(crate) const BEGINS: &[u8] = b"\nrunning 1 test\n";
/// What [`as_a_program`] is to do.
pub(crate) const ROLE: &str = "WINSTEAD_TEST_ROLE";
/// Where it is to do it.
pub(crate) const FILE: &str = "WINSTEAD_TEST_FILE";

/// Not a test, but what the tests run: a program that does what its environment says, and ends before libtest does.
#[test]
#[expect(clippy::disallowed_methods, reason = "a program that the tests run, not one that runs others")]
fn as_a_program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = std::env::var(FILE).expect("a file's name");
    let mut out = std::io::stdout().lock();
    match role.as_str() {
        "cat" => drop(std::io::copy(&mut std::io::stdin().lock(), &mut out).expect("it is copied")),
        "count" => out.write_all(counted(LINES).as_bytes()).expect("somebody reads"),
        "count much" => out.write_all(counted(50 * LINES).as_bytes()).expect("somebody reads"),
        "ask" | "wait" => {
            out.write_all(b"before\n").expect("somebody reads");
            out.flush().expect("somebody reads");
            match role.as_str() {
                "ask" => drop(std::io::stdin().read_line(&mut String::new()).expect("a line comes")),
                _ => std::thread::park_timeout(std::time::Duration::from_secs(1)),
            }
            out.write_all(b"after\n").expect("somebody reads");
        }
        "hold" => hold(Path::new(&file)),
        "talk" => talk(),
        "leave" | "lead" => {
            let mut child = Command::new(std::env::current_exe().expect("a path"));
            let child = child.args(ARGUMENTS).env(ROLE, "hold");
            let left = child.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
            // It is left, as programs leave others.
            std::mem::forget(left);
            while is_free(Path::new(&file)) {
                std::thread::yield_now();
            }
            if role == "lead" {
                std::io::stdin().lock().read_to_end(&mut Vec::new()).expect("it ends");
            }
        }
        other => panic!("nobody is {other}"),
    }
    out.flush().expect("somebody reads");
    std::process::exit(3);
}

/// How much `count` counts.
pub(crate) const LINES: usize = 40_000;

/// Numbers, one in a line.
pub(crate) fn counted(lines: usize) -> String {
    (0..lines).map(|line| format!("{line}\n")).collect()
}

/// Has a file for itself as long as it lives.
fn hold(file: &Path) {
    let file = fs::File::create(file).expect("a file");
    file.file().lock().expect("nobody else has it");
    loop {
        std::thread::park();
    }
}

/// Says at its terminal what it hears there, and goes when it hears `bye`. By the terminal's names: Wine gives a program at one
/// no standard streams.
fn talk() {
    let open = |name| fs::OpenOptions::new().read(true).write(true).open(name).expect("a terminal");
    let (mut keys, mut screen) = (open("CONIN$"), open("CONOUT$"));
    let mut say = |words: &str| screen.write_all(words.as_bytes()).expect("it is shown");
    say("ready\r\n");
    let mut line = [0; 256];
    loop {
        let count = keys.read(&mut line).expect("it can be read");
        let heard = String::from_utf8_lossy(&line[..count]);
        say(&format!("heard <{}>\r\n", heard.trim_end()));
        if heard.trim_end() == "bye" {
            return;
        }
    }
}

/// Whether nobody holds it.
pub(crate) fn is_free(file: &Path) -> bool {
    let opened = fs::OpenOptions::new().create(true).truncate(false).write(true).open(file).expect("a file");
    opened.file().try_lock().is_ok()
}

/// This very program's path, and the environment in which it has this role.
pub(crate) fn role(role: &str, file: &Path) -> (String, Vec<(String, String)>) {
    let program = std::env::current_exe().expect("a path").display().to_string();
    let environment = [(ROLE, role), (FILE, &file.display().to_string())];
    (program, environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// What a program of Windows has said.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
}
