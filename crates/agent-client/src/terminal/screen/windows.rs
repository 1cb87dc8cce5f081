//! A console on Windows, which is not lent yet.

use std::{convert::Infallible, io};

use winstead_protocol::v1::TerminalSize;

use super::TerminalError;

/// None.
#[derive(Debug)]
pub struct Screen(Infallible);

impl Screen {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn open() -> Result<Self, TerminalError> {
        let why = "consoles of Windows are not lent to programs yet";
        Err(TerminalError::Lend(io::Error::new(io::ErrorKind::Unsupported, why)))
    }

    /// Cannot be asked.
    #[must_use]
    pub fn size(&self) -> TerminalSize {
        match self.0 {}
    }

    /// Cannot be asked.
    #[expect(clippy::unused_async, reason = "as on other systems")]
    pub(super) async fn resized(&mut self) -> TerminalSize {
        match self.0 {}
    }

    /// Cannot be asked.
    pub(super) fn lend(&self) -> io::Result<Infallible> {
        match self.0 {}
    }
}
