//! Files to and from guests, by `scp` over the SFTP protocol, in which the guest's shell reads no path.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use winstead_process::Command;

use crate::ssh::{Endpoint, SshFiles};

/// Whoever runs a copy without a terminal gives up on it after this, unless they say otherwise.
const COPY_DEADLINE: Duration = Duration::from_secs(3600);

/// A copy between this computer and a guest. Paths in the guest are relative to the user's home folder there; an
/// empty one is that folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// Into the guest.
    ToGuest {
        /// A file or folder here.
        from: PathBuf,
        /// Its place in the guest.
        to: OsString,
    },
    /// Out of the guest.
    FromGuest {
        /// A file or folder in the guest; wildcards have no meaning.
        from: OsString,
        /// Its place here.
        to: PathBuf,
    },
}

impl SshFiles {
    /// The `scp` command for a copy; `recursive` takes folders with all that is in them.
    #[must_use]
    pub fn copy(&self, guest: &Endpoint, copy: &Copy, recursive: bool) -> Command {
        // -s: SFTP mode, the default since OpenSSH 9.0 and an option since 8.7.
        let mut command = self.client("scp", guest).arg("-s").deadline(COPY_DEADLINE);
        if recursive {
            command = command.arg("-r");
        }
        let (from, to) = match copy {
            Copy::ToGuest { from, to } => (local(from), remote(guest, to)),
            Copy::FromGuest { from, to } => (remote(guest, &literal(from)), local(to)),
        };
        command.arg("--").arg(from).arg(to)
    }
}

/// scp takes what stands before a colon for a host unless a slash comes first.
fn local(path: &Path) -> OsString {
    if path.is_absolute() {
        return path.as_os_str().to_owned();
    }
    Path::new(".").join(path).into_os_string()
}

fn remote(guest: &Endpoint, path: &OsStr) -> OsString {
    let mut text = OsString::from(&guest.name);
    text.push(":");
    text.push(path);
    text
}

/// scp expands wildcards of remote sources itself; a backslash takes their meaning away.
fn literal(path: &OsStr) -> OsString {
    let mut text = Vec::with_capacity(path.len());
    for byte in path.as_bytes() {
        if b"*?[]\\{}".contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use winstead_spec::GuestOs;

    use super::*;

    fn shown(copy: &Copy, recursive: bool) -> String {
        let guest = Endpoint {
            host: "10.0.0.2".into(),
            port: 22,
            user: "root".into(),
            name: "agents-0".into(),
            os: GuestOs::Linux,
        };
        let text = SshFiles::new("/ssh").copy(&guest, copy, recursive).shown();
        text.split_once("HostKeyAlias=agents-0' ").unwrap().1.to_owned()
    }

    #[test]
    fn paths_that_look_like_options_or_hosts_are_paths() {
        let to = Copy::ToGuest { from: "-r".into(), to: "a:b".into() };
        insta::assert_snapshot!(shown(&to, false), @"-s -- ./-r agents-0:a:b");
        let from = Copy::FromGuest { from: "/tmp/a b*".into(), to: "host:file".into() };
        insta::assert_snapshot!(shown(&from, true), @r#"-s -r -- "agents-0:/tmp/a b\\*" ./host:file"#);
    }
}
