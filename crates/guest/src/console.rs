//! What a guest's serial console says when it cannot go on.
//!
//! A Linux guest that panics, or whose start ends in a rescue shell, would otherwise be waited for until time runs
//! out. Windows says nothing here: its stop screen is drawn, not sent to the serial port (its driver reports the crash
//! through the pvpanic device instead, which is the hypervisor's to watch).

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

/// How often the log is looked at. Reading costs microseconds; inotify would need a watch before the file exists, a
/// second one when it appears, and the same reading afterwards.
const INTERVAL: Duration = Duration::from_millis(200);
/// A panic is complete when its end marker is there, or this long after it was first seen.
const SETTLE: Duration = Duration::from_secs(1);
/// How much of the log's end is kept: a panic with its call trace has 3 to 8 KiB.
const WINDOW: usize = 64 * 1024;
/// A bigger piece at once would let a guest that floods its console fill our memory.
const READ_LIMIT: u64 = 1024 * 1024;
/// Lines before the panic, unless the oops that led to it stands among the [`OOPS_BEFORE`] lines before.
const LINES_BEFORE: usize = 5;
const OOPS_BEFORE: usize = 60;
/// Lines after it, when there is no end marker.
const LINES_AFTER: usize = 40;
/// Longer lines are cut in the text.
const LINE_LIMIT: usize = 300;

/// How each fatal message begins, behind the kernel's time stamp. Compared at the start of lines only, so that a
/// message that quotes one is not taken for it.
const FATAL: [&str; 5] = [
    "Kernel panic - not syncing:",
    "---[ end Kernel panic - not syncing",
    "winstead-initrd: FAILED:",
    "You are in emergency mode",
    "Entering emergency mode",
];
/// How the report of an oops begins.
const OOPS: [&str; 4] = ["BUG: ", "Oops: ", "general protection fault", "double fault"];
const PANIC_END: &str = "---[ end Kernel panic";
/// A guest that starts again after its panic (`panic=-1`) writes no end; then its next start begins like this.
const NEXT_START: [&str; 3] = ["SeaBIOS", "UEFI firmware", "Linux version "];

/// A guest that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it said, with the lines around, without time stamps and escape sequences.
    pub text: String,
}

impl Panic {
    /// The fatal line alone: `Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300`.
    #[must_use]
    pub fn headline(&self) -> &str {
        self.text.lines().find(|line| is_fatal(line)).unwrap_or(&self.text)
    }

    /// What went wrong, for people: a failed start is no panic, and its line says enough.
    #[must_use]
    pub fn verdict(&self) -> String {
        let headline = self.headline();
        if headline.contains("Kernel panic") {
            format!("its kernel panicked: {headline}")
        } else {
            headline.to_owned()
        }
    }
}

/// The fatal message in a console's text, with the lines around it; `None` when there is none.
///
/// Knows kernel panics, systemd's emergency mode and a failure of Winstead's own initial RAM disk.
#[must_use]
pub fn panic_in(text: &str) -> Option<String> {
    let lines: Vec<String> = text.split(['\n', '\r']).map(plain).filter(|line| !line.is_empty()).collect();
    let at = lines.iter().position(|line| is_fatal(line))?;
    let oops = (at.saturating_sub(OOPS_BEFORE)..at).find(|index| starts_with_any(&lines[*index], &OOPS));
    let from = oops.unwrap_or(at.saturating_sub(LINES_BEFORE));
    Some(lines[from..at + length(&lines[at..])].join("\n"))
}

/// How many lines belong to the fatal message that the first one begins.
fn length(lines: &[String]) -> usize {
    let most = &lines[..lines.len().min(LINES_AFTER + 1)];
    let end = most.iter().position(|line| line.starts_with(PANIC_END)).map(|end| end + 1);
    let next = most.iter().position(|line| starts_with_any(line, &NEXT_START));
    end.or(next).unwrap_or(most.len())
}

fn starts_with_any(line: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| line.starts_with(start))
}

fn is_fatal(line: &str) -> bool {
    starts_with_any(line, &FATAL)
}

/// A line without escape sequences, control characters and time stamp, and not too long.
fn plain(line: &str) -> String {
    let text = without_escapes(line);
    let text = without_stamp(text.trim());
    match text.char_indices().nth(LINE_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// ECMA-48: `ESC [` parameters and a final byte from `@` to `~`; `ESC ]` until BEL or `ESC \`; else one more letter.
fn without_escapes(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\u{1b}', Some('[')) => {
                letters.next();
                while letters.next().is_some_and(|letter| !('@'..='~').contains(&letter)) {}
            }
            ('\u{1b}', Some(']')) => {
                while letters.next().is_some_and(|end| end != '\u{7}' && end != '\u{1b}') {}
            }
            ('\u{1b}', _) => drop(letters.next()),
            ('\t', _) => text.push(' '),
            (letter, _) if letter.is_control() => {}
            (letter, _) => text.push(letter),
        }
    }
    text
}

/// `[   12.345678] `, and with `CONFIG_PRINTK_CALLER` `[   12.345678][    T1] `.
fn without_stamp(mut line: &str) -> &str {
    while let Some((stamp, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
        let stamp = stamp.trim();
        let time = stamp.contains('.') && stamp.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let caller = stamp.strip_prefix(['T', 'C']).is_some_and(|id| id.parse::<u32>().is_ok());
        if !time && !caller {
            break;
        }
        line = rest.trim_start();
    }
    line
}

/// Follows a console log from the byte `from` until a fatal message is in it, and returns that with the lines around;
/// `None` when `stop` is cancelled first.
///
/// The log may appear late, and may be cut (then it is read from its start). A log that cannot be read is tried again:
/// it is a side channel, and whoever waits for the guest itself learns of real trouble there.
/// Cancel safety: nothing is lost that a new call with the same `from` does not find.
pub async fn wait_for_panic(log: &Path, from: u64, stop: &CancellationToken) -> Option<Panic> {
    tokio::select! {
        panic = follow(log, from) => Some(panic),
        () = stop.cancelled() => None,
    }
}

async fn follow(log: &Path, from: u64) -> Panic {
    let mut tail = Tail { offset: from, text: Vec::new() };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !tail.look(log) || tail.panic().is_none() {
            continue;
        }
        let settled = Instant::now() + SETTLE;
        while !tail.is_complete() && timeout_at(settled, ticks.tick()).await.is_ok() {
            tail.look(log);
        }
        // It may have been pushed out of the window by a flood meanwhile; then another look at the log decides.
        if let Some(text) = tail.panic() {
            return Panic { text };
        }
    }
}

/// The end of a growing file.
struct Tail {
    offset: u64,
    text: Vec<u8>,
}

impl Tail {
    /// Whether there was something new. Reads at most [`READ_LIMIT`] bytes of a local file: no need for a thread.
    fn look(&mut self, log: &Path) -> bool {
        match self.read(log) {
            Ok(more) => more,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(%error, "the console log cannot be read now");
                }
                false
            }
        }
    }

    fn read(&mut self, log: &Path) -> io::Result<bool> {
        let mut file = winstead_process::open_log(log)?;
        let length = file.metadata()?.len();
        if length < self.offset {
            (self.offset, self.text) = (0, Vec::new());
        }
        if length == self.offset {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.take(READ_LIMIT).read_to_end(&mut self.text)?;
        self.offset += read as u64;
        // Searched before it is cut: what was just read is longer than the window when a guest floods its console.
        if self.panic().is_none() {
            let surplus = self.text.len().saturating_sub(WINDOW);
            self.text.drain(..surplus);
        } else {
            self.text.truncate(WINDOW + usize::try_from(READ_LIMIT).unwrap_or(WINDOW));
        }
        Ok(read > 0)
    }

    fn panic(&self) -> Option<String> {
        panic_in(&String::from_utf8_lossy(&self.text))
    }

    fn is_complete(&self) -> bool {
        self.panic().is_some_and(|text| text.lines().any(|line| line.starts_with(PANIC_END)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// In the form of Linux 6.12's messages, with all that consoles add to them.
    const RECORDED: &str = "[    1.016437] List of all partitions:\r\n\
        [    1.017012] No filesystem could mount root, tried: \r\n\
        \u{1b}[0;1;31m[    1.017340] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\u{1b}[0m\r\n\
        [    1.018102][    T1] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.48-cloud-amd64 #1  Debian 6.12.48-1\r\n\
        [    1.019000] Call Trace:\r\n\
        [    1.019211]  panic+0x118/0x2dd\r\n\
        [    1.020007] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---\r\n\
        [    2.000000] something after it\r\n";

    #[test]
    fn a_kernel_panic_is_found_with_the_lines_around_it() {
        insta::assert_snapshot!(panic_in(RECORDED).unwrap(), @r"
        List of all partitions:
        No filesystem could mount root, tried:
        Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
        CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.48-cloud-amd64 #1  Debian 6.12.48-1
        Call Trace:
        panic+0x118/0x2dd
        ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
        ");
    }

    #[test]
    fn a_real_panic_of_a_guest_that_starts_again_ends_before_the_next_start() {
        let recorded = include_str!("../testdata/console-panic-linux-6.12.txt");
        let again = format!("{recorded}SeaBIOS (version 1.16.2)\n[    0.000000] Linux version 6.12\n");
        let text = panic_in(&again).unwrap();
        assert!(text.starts_with("tsc: Refined TSC") && text.contains("\nPANICKING\nKernel panic"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("Kernel Offset: 0x6000000"), "{text}");
        let headline = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300";
        let panic = Panic { text };
        assert_eq!(panic.headline(), headline);
        assert_eq!(panic.verdict(), format!("its kernel panicked: {headline}"));
    }

    #[test]
    fn an_oops_before_the_panic_belongs_to_it() {
        let trace = "[    3.1] more\n".repeat(40);
        let text = format!(
            "before\n[    3.0] BUG: unable to handle page fault\n{trace}[    3.2] Kernel panic - not syncing: Fatal exception\n"
        );
        assert!(panic_in(&text).unwrap().starts_with("BUG: unable to handle page fault\nmore"));
    }

    #[test]
    fn a_failed_start_is_found_as_well() {
        for (line, plain) in [
            ("winstead-initrd: FAILED: no root disk", "winstead-initrd: FAILED: no root disk"),
            (
                "\u{1b}]0;title\u{7}You are in emergency mode. After logging in, type",
                "You are in emergency mode. After",
            ),
        ] {
            let text = format!("booting\n{line}\n");
            assert!(panic_in(&text).unwrap().contains(plain), "{line}");
            assert!(Panic { text: panic_in(&text).unwrap() }.verdict().starts_with(plain), "{line}");
        }
    }

    #[test]
    fn text_that_only_mentions_a_panic_is_none() {
        for text in [
            "",
            "all is well",
            "grep: Kernel panic - not syncing: found in log",
            "echo 'Kernel panic - not syncing: x'",
            "[ OK ] Kernel panic - not syncing",
        ] {
            assert_eq!(panic_in(text), None, "{text}");
        }
    }

    fn append(path: &Path, text: &str) {
        use std::io::Write;
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_appears_late_and_grows_in_pieces_is_followed_to_the_panics_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        let stop = CancellationToken::new();
        let write = async {
            let (head, tail) = RECORDED.split_at(RECORDED.find("not syncing").unwrap() + 40);
            for piece in ["early words\n", head, tail] {
                sleep(Duration::from_millis(250)).await;
                append(&log, piece);
            }
        };
        let (panic, ()) = tokio::join!(wait_for_panic(&log, 0, &stop), write);
        let text = panic.unwrap().text;
        assert!(text.starts_with("early words") && text.ends_with("unknown-block(0,0) ]---"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_panic_before_the_offset_does_not_count_but_one_after_a_cut_does() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        append(&log, RECORDED);
        let stop = CancellationToken::new();
        let from = RECORDED.len() as u64;
        let nothing = timeout(Duration::from_millis(500), wait_for_panic(&log, from, &stop)).await;
        assert!(nothing.is_err(), "{nothing:?}");
        let cut = async {
            sleep(Duration::from_millis(300)).await;
            fs_err::write(&log, "winstead-initrd: FAILED: seed\n").unwrap();
        };
        let (panic, ()) = tokio::join!(wait_for_panic(&log, from, &stop), cut);
        assert_eq!(panic.unwrap().text, "winstead-initrd: FAILED: seed");
    }

    #[tokio::test]
    async fn a_flood_on_the_console_hides_no_panic_and_fills_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        let flood = "x".repeat(99) + "\n";
        append(&log, &flood.repeat(30_000));
        append(&log, RECORDED);
        append(&log, &flood.repeat(3_000));
        let found = wait_for_panic(&log, 0, &CancellationToken::new()).await.unwrap();
        assert!(found.text.len() < 20_000);
        assert!(found.text.contains("Unable to mount root"));
    }

    #[tokio::test]
    async fn stopping_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(wait_for_panic(Path::new("/no/such/log"), 0, &stop).await, None);
    }

    proptest! {
        #[test]
        fn no_text_panics_us(text in "(\u{1b}|\\[|\\]|[0-9.T]|Kernel panic - not syncing:|\n|é|.){0,40}") {
            drop(panic_in(&text));
        }
    }
}
