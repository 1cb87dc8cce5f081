//! What the six services ask of the computer. The same functions on each system.

mod network;

#[cfg(unix)]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use linux::{adapters, add_route, default_route, host_name, networks, version};
pub(crate) use network::{Adapter, DefaultRoute, HostError};
#[cfg(windows)]
pub(crate) use windows::{adapters, add_route, default_route, host_name, networks, version};
