//! The agent as a service: of Windows' service manager, of systemd.
//!
//! Both systems have the same functions here. What the service does is not this module's matter: it is told when it is
//! ready and tells when it is to stop.

mod definition;
#[cfg_attr(unix, path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
#[cfg(windows)]
mod program;

pub use definition::{Phase, Service, ServiceError, Status};
#[cfg(windows)]
pub(crate) use platform::look_at;
#[cfg(unix)]
pub use platform::{Systemd, alive, ready};
#[cfg(windows)]
pub use platform::{behind, command_line, recovers, settle};
pub use platform::{install, start, status, stop, uninstall};
#[cfg(windows)]
pub use program::{Outcome, run};
