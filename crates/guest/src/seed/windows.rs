//! The files of a Windows guest with OpenSSH that wakes up as a clone; one that boots reads a NoCloud CD instead.
//!
//! They follow OpenSSH's documentation and have not been used on a real Windows yet.

use crate::seed::{Identity, SeedFile, public, secret};

/// All files of the guest's identity. Windows has no modes: who writes them lets only the system and administrators
/// read them, which `sshd` asks for.
///
/// An administrator's keys are where `sshd_config` has them by default: <https://learn.microsoft.com/windows-server/administration/openssh/openssh_keymanagement>.
pub(super) fn files(identity: &Identity) -> Vec<SeedFile> {
    let host_key = &identity.host_key;
    let public_key = format!("{}\n", host_key.public_openssh);
    vec![
        secret("ProgramData/ssh/ssh_host_ed25519_key", 0o600, host_key.private_openssh.expose().to_owned()),
        public("ProgramData/ssh/ssh_host_ed25519_key.pub", 0o600, public_key),
        public("ProgramData/ssh/administrators_authorized_keys", 0o600, identity.authorized_keys_text()),
    ]
}
