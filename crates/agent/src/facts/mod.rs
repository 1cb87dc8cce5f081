//! What a computer says of itself, as far as Kubernetes and whoever waits for it want to know.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod read;

#[cfg(target_os = "linux")]
pub use linux::{boot_id, gather, reboot};
