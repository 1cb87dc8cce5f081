//! The `ssh/` folder: which guests there are, by which keys they are known, and how to reach them.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use winstead_process::Command;
use winstead_spec::GuestOs;

use crate::{
    files::write_private,
    keys::CLIENT_KEY,
    ssh::quote::{QuoteError, quote},
};

/// Where a guest's SSH server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Address or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// The machine's name: what one types, and under which its host key is known.
    pub name: String,
    /// Which shell reads the command line.
    pub os: GuestOs,
}

/// The folder with the client key, `known_hosts` and `config`. Writing waits for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFiles {
    folder: PathBuf,
}

/// A file of the folder, or a command, that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value would break the file that it goes into.
    #[error("write {}: {what} {value:?} holds characters that OpenSSH's files cannot", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// The command line cannot be carried.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

impl SshFiles {
    /// The files in this folder, which must be there; an absolute path, because `ssh` is run from anywhere.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The configuration: `ssh -F PATH NAME` works in any terminal.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// The file of host keys.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// Replaces the list of known hosts by these names and public keys (`ssh-ed25519 AAAA…`), at once.
    ///
    /// # Errors
    /// [`SshError::Write`], or [`SshError::Unusable`] for a name or key that is not one word or line.
    pub fn write_known_hosts(&self, hosts: &[(String, String)]) -> Result<(), SshError> {
        let path = self.known_hosts();
        let text = known_hosts(hosts).map_err(|(what, value)| unusable(&path, what, value))?;
        write_private(&path, text.as_bytes()).map_err(|source| SshError::Write { path, source })
    }

    /// Replaces the configuration by one for these guests, at once.
    ///
    /// # Errors
    /// [`SshError::Write`], or [`SshError::Unusable`] for a value that OpenSSH's configuration cannot hold.
    pub fn write_config(&self, guests: &[Endpoint]) -> Result<(), SshError> {
        let path = self.config();
        let text = config(&self.folder, guests).map_err(|(what, value)| unusable(&path, what, value))?;
        write_private(&path, text.as_bytes()).map_err(|source| SshError::Write { path, source })
    }

    /// The `ssh` command that runs these words in the guest, or its login shell when there are none. Binary-safe both
    /// ways unless `tty` asks for a terminal.
    ///
    /// Where the guest is comes from `guest`, not from the configuration, which may be one reset older.
    ///
    /// # Errors
    /// [`SshError::Quote`] for words that its shell cannot be given.
    pub fn command(&self, guest: &Endpoint, argv: &[OsString], tty: bool) -> Result<Command, SshError> {
        let line = quote(guest.os, argv)?;
        let command = self.client("ssh", guest).arg(if tty { "-tt" } else { "-T" });
        let command = command.args(["--", guest.name.as_str()]);
        // An empty line would be a command too, and end at once instead of giving a shell.
        Ok(if argv.is_empty() { command } else { command.arg(line) })
    }

    /// `ssh` or `scp` with everything that tells this guest from others.
    pub(super) fn client(&self, program: &str, guest: &Endpoint) -> Command {
        let option = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        let mut command = Command::new(program).arg("-F").arg(self.config());
        for set in [
            option("HostName", &guest.host),
            option("Port", &guest.port),
            option("User", &guest.user),
            option("HostKeyAlias", &guest.name),
        ] {
            command = command.arg("-o").arg(set);
        }
        command
    }
}

fn unusable(path: &Path, what: &'static str, value: String) -> SshError {
    SshError::Unusable { path: path.to_owned(), what, value }
}

type Rendered = Result<String, (&'static str, String)>;

fn known_hosts(hosts: &[(String, String)]) -> Rendered {
    let mut text = String::from("# Written by Winstead: the host keys of its machines.\n");
    for (name, key) in hosts {
        is_word(name).then_some(()).ok_or_else(|| ("machine name", name.clone()))?;
        let good = !key.is_empty() && !key.contains(|c: char| c.is_control());
        good.then_some(()).ok_or_else(|| ("host key", key.clone()))?;
        writeln!(text, "{name} {key}").expect("writing to a String cannot fail");
    }
    Ok(text)
}

/// OpenSSH takes the first value that it finds for each option, so guests come before what holds for all.
fn config(folder: &Path, guests: &[Endpoint]) -> Rendered {
    let mut text = String::from("# Written by Winstead. `ssh -F THIS_FILE NAME` reaches a machine.\n");
    for guest in guests {
        let Endpoint { host, port, user, name, os: _ } = guest;
        for (what, value) in [("machine name", name), ("host", host), ("user", user)] {
            is_word(value).then_some(()).ok_or_else(|| (what, value.clone()))?;
        }
        write!(
            text,
            "\nHost {name}\n  HostName {host}\n  Port {port}\n  User {user}\n  HostKeyAlias {name}\n"
        )
        .expect("writing to a String cannot fail");
    }
    let key = quoted_path(&folder.join(CLIENT_KEY))?;
    let known_hosts = quoted_path(&folder.join("known_hosts"))?;
    text.push_str(&common(&key, &known_hosts));
    Ok(text)
}

/// What holds for all guests. `ConnectTimeout` covers the banner too, which a busy guest sends late; the server's
/// keep-alive notices a guest that was taken away, without giving up one that is held for some minutes.
fn common(key: &str, known_hosts: &str) -> String {
    format!(
        "
Host *
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  BatchMode yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  CheckHostIP no
  HostKeyAlgorithms ssh-ed25519
  UpdateHostKeys no
  ConnectTimeout 60
  ServerAliveInterval 30
  ServerAliveCountMax 10
  ForwardAgent no
  ForwardX11 no
  ControlMaster no
  ControlPath none
  LogLevel ERROR
"
    )
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '#', '!', '|', '@'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:%@\\".contains(&byte))
}

/// In double quotes, because of spaces; `%` doubled, because OpenSSH expands it. It also expands `${NAME}` and takes a
/// double quote as the end, and has no way to write either.
fn quoted_path(path: &Path) -> Rendered {
    let text =
        path.as_os_str().to_str().filter(|text| !text.contains(['"', '\\', '\n']) && !text.contains("${"));
    let refused = || ("path", OsStr::to_string_lossy(path.as_os_str()).into_owned());
    text.map(|text| format!("\"{}\"", text.replace('%', "%%"))).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Endpoint {
        Endpoint {
            host: "127.0.0.1".into(),
            port: 40022,
            user: "root".into(),
            name: "agents-0".into(),
            os: GuestOs::Linux,
        }
    }

    #[test]
    fn the_configuration_asks_nothing_and_checks_everything() {
        let text = config(Path::new("/home/a b/100%/ssh"), &[guest()]).unwrap();
        insta::assert_snapshot!(text, @r#"
        # Written by Winstead. `ssh -F THIS_FILE NAME` reaches a machine.

        Host agents-0
          HostName 127.0.0.1
          Port 40022
          User root
          HostKeyAlias agents-0

        Host *
          IdentityFile "/home/a b/100%%/ssh/id_ed25519"
          IdentitiesOnly yes
          IdentityAgent none
          PreferredAuthentications publickey
          BatchMode yes
          UserKnownHostsFile "/home/a b/100%%/ssh/known_hosts"
          GlobalKnownHostsFile /dev/null
          StrictHostKeyChecking yes
          CheckHostIP no
          HostKeyAlgorithms ssh-ed25519
          UpdateHostKeys no
          ConnectTimeout 60
          ServerAliveInterval 30
          ServerAliveCountMax 10
          ForwardAgent no
          ForwardX11 no
          ControlMaster no
          ControlPath none
          LogLevel ERROR
        "#);
    }

    #[test]
    fn known_hosts_are_known_by_machine_name() {
        let text = known_hosts(&[("agents-0".into(), "ssh-ed25519 AAAA agents-0".into())]).unwrap();
        insta::assert_snapshot!(text, @r"
        # Written by Winstead: the host keys of its machines.
        agents-0 ssh-ed25519 AAAA agents-0
        ");
    }

    #[test]
    fn values_that_would_add_lines_are_refused() {
        for name in ["a\nProxyCommand x", "a b", "", "-oProxyCommand=x", "*"] {
            let bad = Endpoint { name: name.into(), ..guest() };
            assert!(config(Path::new("/ssh"), &[bad]).is_err(), "{name:?}");
            assert!(known_hosts(&[(name.into(), "ssh-ed25519 A".into())]).is_err(), "{name:?}");
        }
        assert!(known_hosts(&[("a".into(), "ssh-ed25519 A\nb ssh-ed25519 B".into())]).is_err());
        for path in ["/a\"b", "/${HOME}", "/a\nb"] {
            assert!(config(Path::new(path), &[]).is_err(), "{path:?}");
        }
    }

    #[test]
    fn files_are_replaced_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let files = SshFiles::new(folder.path());
        for guests in [vec![guest()], vec![]] {
            files.write_config(&guests).unwrap();
            files.write_known_hosts(&[]).unwrap();
        }
        let config = fs_err::read_to_string(files.config()).unwrap();
        assert!(!config.contains("agents-0") && config.contains("Host *"));
        assert_eq!(fs_err::metadata(files.known_hosts()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2, "temporary files are left");
    }

    #[test]
    fn commands_carry_quoted_words_behind_a_double_dash() {
        let files = SshFiles::new("/ssh");
        let words = ["echo", "a b", "$x"].map(OsString::from);
        insta::assert_snapshot!(files.command(&guest(), &words, false).unwrap().shown(), @r#"ssh -F /ssh/config -o 'HostName=127.0.0.1' -o 'Port=40022' -o 'User=root' -o 'HostKeyAlias=agents-0' -T -- agents-0 "echo 'a b' '"'$x'"'""#);
        insta::assert_snapshot!(files.command(&guest(), &[], true).unwrap().shown(), @"ssh -F /ssh/config -o 'HostName=127.0.0.1' -o 'Port=40022' -o 'User=root' -o 'HostKeyAlias=agents-0' -tt -- agents-0");
    }
}
