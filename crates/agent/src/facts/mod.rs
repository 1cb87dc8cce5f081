//! What a computer says of itself, as far as Kubernetes and whoever waits for it want to know.

#[cfg_attr(unix, path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
#[cfg(unix)]
mod read;
#[cfg(windows)]
mod readiness;

pub use platform::{FEATURES, boot_id, gather, reboot};
