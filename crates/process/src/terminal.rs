//! The user's terminal, lent to a guest or a program elsewhere.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{Mutex, Once, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// What the terminal was before it was lent; also put back when this process panics, whatever `panic` means in its
/// profile.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal in raw mode: every key goes to somebody else. Put back when dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Lends standard input to a guest or a program; `None` when it is no terminal.
    ///
    /// # Errors
    /// When the terminal cannot be set.
    pub fn enter() -> io::Result<Option<Self>> {
        let terminal = io::stdin();
        if !isatty(&terminal) {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_back();
                usual(panic);
            }));
        });
        let entered = Self(());
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &raw)?;
        Ok(Some(entered))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before
        && let Err(error) = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &before)
    {
        tracing::warn!(%error, "the terminal could not be put back");
    }
}
