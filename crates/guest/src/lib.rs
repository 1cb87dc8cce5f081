//! Talking to guests: the keys they trust, the seed that makes each one itself, SSH, the QEMU guest agent, Winstead's
//! own agent, and what their console says.
//!
//! Knows no hypervisor: a guest is an address, a socket or a file here. Everything that a guest sends is treated as
//! hostile: bounded in length and time, never a reason to panic.

pub mod agent;
pub mod console;
pub mod hand;
pub mod keys;
pub mod seed;
pub mod specialise;
pub mod ssh;

mod files;
mod socket;

/// Bytes as lower-case hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
