//! Windows says nothing here yet.

use std::io;

use winstead_protocol::v1::FactsResponse;

/// What an agent can do on this system.
pub const FEATURES: &[&str] = &["processes", "tunnels", "files"];

/// Not known.
#[must_use]
pub const fn boot_id() -> String {
    String::new()
}

/// Not known.
///
/// # Errors
/// Always.
pub fn gather() -> io::Result<FactsResponse> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not done.
///
/// # Errors
/// Always.
pub fn reboot() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
