//! A console on Windows.
//!
//! Lent, it hands keys on as the bytes that a terminal sends, and obeys what a terminal obeys. Of another size it tells only
//! who reads its events instead, so that is looked at.
#![expect(unsafe_code, reason = "std reads a console's lines, and sets nothing of it")]

use std::{
    fs::File,
    io::{self, Write as _},
    os::windows::io::{AsHandle as _, AsRawHandle as _},
    ptr::null,
    sync::{Mutex, Once, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::sleep};
use windows_sys::Win32::{
    Foundation::ERROR_OPERATION_ABORTED,
    System::Console::{
        CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_ECHO_INPUT,
        ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_PROCESSED_OUTPUT, ENABLE_VIRTUAL_TERMINAL_INPUT,
        ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode, GetConsoleOutputCP, GetConsoleScreenBufferInfo,
        ReadConsoleW, SetConsoleMode, SetConsoleOutputCP,
    },
};
use winstead_protocol::v1::TerminalSize;

use super::{TerminalError, streams::handed_on};

/// How often its size is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// `CP_UTF8`.
const UTF8: u32 = 65001;
/// Characters of 16 bits that are read at once; as UTF-8 each is three bytes at most.
const AT_ONCE: usize = 4096;

/// What the console was before it was lent; also put back when this process panics, which ends it where `panic` means that.
static BEFORE: Mutex<Option<Settings>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Our console.
#[derive(Debug)]
pub struct Screen {
    /// The last one that was told.
    size: TerminalSize,
}

/// It, as long as it is a program's.
#[derive(Debug)]
pub(super) struct Lent {
    screen: File,
}

/// How keys are read, and how what is written is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    keys: CONSOLE_MODE,
    screen: CONSOLE_MODE,
    page: u32,
}

impl Screen {
    /// The one that we are started at; it stays as it is.
    ///
    /// # Errors
    /// When standard input or output is none.
    pub fn open() -> Result<Self, TerminalError> {
        Settings::now().map_err(|_| TerminalError::none())?;
        Ok(Self { size: size() })
    }

    /// How large it is now; one that does not know is as large as they once were.
    #[must_use]
    pub fn size(&self) -> TerminalSize {
        size()
    }

    /// Waits for another size. Cancel safe.
    pub(super) async fn resized(&mut self) -> TerminalSize {
        while size() == self.size {
            sleep(LOOK).await;
        }
        self.size = size();
        self.size
    }

    /// Lends it, until what is returned is dropped, or this process ends or panics: every key is the program's.
    ///
    /// # Errors
    /// When it cannot be set.
    pub(super) fn lend(&self) -> io::Result<Lent> {
        let before = Settings::now()?;
        let screen = File::from(io::stdout().as_handle().try_clone_to_owned()?);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_back();
                usual(panic);
            }));
        });
        let lent = Lent { screen };
        before.lent().set()?;
        Ok(lent)
    }
}

impl Lent {
    /// Every key that is pressed from here on.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(super) fn keys(&self) -> io::Result<mpsc::Receiver<Bytes>> {
        let mut half = None;
        handed_on(move |into| read(&mut half, into))
    }

    /// Shows what a program says, whatever bytes that are: std refuses those that are no text.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn show(&mut self, said: &[u8]) -> io::Result<()> {
        self.screen.write_all(said)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Err(error)) = before.map(Settings::set) {
        tracing::warn!(%error, "the console could not be put back");
    }
}

impl Settings {
    fn now() -> io::Result<Self> {
        let (mut keys, mut screen) = (0, 0);
        // SAFETY: both handles are ours, if any, and there is room for two numbers.
        unsafe {
            let read = GetConsoleMode(io::stdin().as_raw_handle(), &raw mut keys) != 0;
            if !read || GetConsoleMode(io::stdout().as_raw_handle(), &raw mut screen) == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { keys, screen, page: GetConsoleOutputCP() })
        }
    }

    /// As they are for a program elsewhere.
    const fn lent(self) -> Self {
        let lines = ENABLE_PROCESSED_INPUT | ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT;
        let obeyed = ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING;
        Self {
            keys: self.keys & !lines | ENABLE_VIRTUAL_TERMINAL_INPUT,
            screen: self.screen | obeyed | DISABLE_NEWLINE_AUTO_RETURN,
            page: UTF8,
        }
    }

    fn set(self) -> io::Result<()> {
        // SAFETY: both handles are ours.
        let done = unsafe {
            SetConsoleMode(io::stdin().as_raw_handle(), self.keys) != 0
                && SetConsoleMode(io::stdout().as_raw_handle(), self.screen) != 0
                && SetConsoleOutputCP(self.page) != 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn size() -> TerminalSize {
    let mut about = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the handle is ours, and there is room for what is told.
    let told = unsafe { GetConsoleScreenBufferInfo(io::stdout().as_raw_handle(), &raw mut about) };
    let window = about.srWindow;
    let count = |first: i16, last: i16| u32::try_from(i32::from(last) - i32::from(first) + 1).ok();
    match (count(window.Left, window.Right), count(window.Top, window.Bottom)) {
        (Some(columns), Some(rows)) if told != 0 => TerminalSize { columns, rows },
        _ => TerminalSize { columns: 80, rows: 24 },
    }
}

/// Waits for keys, and writes them as UTF-8. Not by std, for which Ctrl-Z is the end.
fn read(half: &mut Option<u16>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut units = [0_u16; AT_ONCE];
        let (most, mut count) = ((into.len() / 3).min(AT_ONCE - 1), 0);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        // SAFETY: the handle is ours, there is as much room as is said, and room for a number.
        let done = unsafe {
            let keys = io::stdin().as_raw_handle();
            ReadConsoleW(keys, units.as_mut_ptr().cast(), most, &raw mut count, null())
        };
        let error = io::Error::last_os_error();
        let count = usize::try_from(count).unwrap_or_default();
        // An event of the console has come between.
        let aborted = error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed());
        match (done, count) {
            (0, _) if !aborted => return Err(error),
            (0, _) => continue,
            (_, 0) if aborted => continue,
            (_, 0) => return Ok(0),
            _ => {}
        }
        let text = decoded(half, &units[..count]);
        if !text.is_empty() {
            into[..text.len()].copy_from_slice(text.as_bytes());
            return Ok(text.len());
        }
    }
}

/// As text; half a character at its end waits for the other one.
fn decoded(half: &mut Option<u16>, units: &[u16]) -> String {
    let units: Vec<u16> = half.take().into_iter().chain(units.iter().copied()).collect();
    let whole = match units.split_last() {
        Some((last, before)) if (0xd800..0xdc00).contains(last) => {
            *half = Some(*last);
            before
        }
        _ => &units,
    };
    String::from_utf16_lossy(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_wherever_they_are_cut() {
        let units: Vec<u16> = "aä\u{1a}😀z".encode_utf16().collect();
        for at in 0..=units.len() {
            let mut half = None;
            let text = decoded(&mut half, &units[..at]) + &decoded(&mut half, &units[at..]);
            assert_eq!((text.as_str(), half), ("aä\u{1a}😀z", None), "cut at {at}");
        }
        // Half a character that no other one follows.
        assert_eq!(decoded(&mut Some(0xd83d), &[0x61]), "\u{fffd}a");
    }

    #[test]
    fn a_lent_console_reads_keys_and_not_lines() {
        let usual = ENABLE_PROCESSED_INPUT | ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT;
        let lent = Settings { keys: usual, screen: ENABLE_PROCESSED_OUTPUT, page: 437 }.lent();
        assert_eq!((lent.keys, lent.page), (ENABLE_VIRTUAL_TERMINAL_INPUT, UTF8));
    }
}
