//! vsock, from a host into its guest: where the agent listens, and by what it knows its host.
//!
//! No marks as on a serial port ([`crate::port`]): each caller has a connection. But everybody on the host may open one, and so
//! may root in a container there. So a connection begins with [`password`], which the agent answers with [`ACCEPTED`]; then it
//! is as at its other doors.

use sha2::{Digest as _, Sha256};

/// The last port that the kernel gives only to who has `CAP_NET_BIND_SERVICE` (`LAST_RESERVED_PORT` of Linux's
/// `net/vmw_vsock/af_vsock.c`).
pub const LAST_RESERVED_PORT: u32 = 1023;

/// Where the agent of a guest listens: reserved, so that no ordinary program of the guest takes its place. The first digits of
/// its port over the network, 9796; nobody else is known there.
pub const PORT: u32 = 979;

/// The key by which a guest is known on SSH, whose file is root's alone. Who made the guest gave it this key, and has it, too.
pub const GUEST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// How long a password is, in bytes.
pub const PASSWORD: usize = 32;

/// What the agent says to who knows its password; on others it hangs up without a word. So a host whose key is not the guest's
/// any more learns it before it asks for anything, and may go another way.
pub const ACCEPTED: u8 = 0x06;

/// What a host says first: only who has the guest's own key can. `key` is its file; spaces around it do not count.
#[must_use]
pub fn password(key: &[u8]) -> [u8; PASSWORD] {
    let mut digest = Sha256::new();
    // No other use of the key gives the same bytes.
    digest.update(b"winstead-agent at vsock, version 1\n");
    digest.update(key.trim_ascii());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_its_keys_alone() {
        assert_eq!(password(b"key\n"), password(b"key"));
        assert_ne!(password(b"key"), password(b"yek"));
        assert_ne!(password(b"key"), <[u8; PASSWORD]>::from(Sha256::digest(b"key")));
    }
}
