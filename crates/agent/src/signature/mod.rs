//! Who signed a program. Only Windows knows; the same function on each system.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::signer;
#[cfg(windows)]
pub use windows::signer;
