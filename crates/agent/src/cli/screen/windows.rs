//! A console on Windows, which is not lent yet.

use std::{convert::Infallible, io};

use winstead_protocol::v1::TerminalSize;

/// None.
#[derive(Debug)]
pub(crate) struct Screen(Infallible);

impl Screen {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "consoles of Windows are not lent to programs yet"))
    }

    /// Cannot be asked.
    pub(crate) fn size(&self) -> TerminalSize {
        match self.0 {}
    }

    /// Cannot be asked.
    #[expect(clippy::unused_async, reason = "as on other systems")]
    pub(crate) async fn resized(&mut self) -> TerminalSize {
        match self.0 {}
    }

    /// Cannot be asked.
    pub(crate) fn lend(&self) -> io::Result<Infallible> {
        match self.0 {}
    }
}
