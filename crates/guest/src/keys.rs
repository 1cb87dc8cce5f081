//! Ed25519 key pairs in OpenSSH's format: one client key per home, one host key per machine.
//!
//! Keys are made here and not by `ssh-keygen`, which would need a file for each and 5 ms of a process.

use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ssh_key::{Algorithm, LineEnding, rand_core::OsRng};
use winstead_process::try_lock;
use zeroize::Zeroizing;

use crate::files;

/// The client key's file name in the `ssh/` folder; its public half has `.pub` behind it.
pub const CLIENT_KEY: &str = "id_ed25519";
/// Making a key takes a millisecond: whoever holds the lock longer than 50 of these is stopped or stuck.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const LOCK_ATTEMPTS: u32 = 50;

/// A private key as OpenSSH writes it. Not shown by `Debug`, wiped from memory when dropped, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// The key itself, for the one place that writes it where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// A private key and its public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key, in OpenSSH's PEM-like format.
    pub private_openssh: PrivateKey,
    /// `ssh-ed25519 AAAA… COMMENT`, one line without its end.
    pub public_openssh: String,
}

/// A key that could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key library or the random source refused.
    #[error("make an ed25519 key pair")]
    Make(#[source] ssh_key::Error),
    /// A file could not be read, written or locked.
    #[error("keep the secret file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has been making this key for a second.
    #[error("make the key {}: another process holds the lock {}", path.display(), lock.display())]
    Locked {
        /// The key's file.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
}

/// Makes a new key pair from the system's random source.
///
/// # Errors
/// [`KeyError::Make`] when the random source fails or the comment cannot be part of a key.
pub fn generate(comment: &str) -> Result<KeyPair, KeyError> {
    let mut key = ssh_key::PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(KeyError::Make)?;
    key.set_comment(comment);
    pair(&key).map_err(KeyError::Make)
}

/// The home's client key, `id_ed25519` in `folder`; made when it is missing. See [`ensure_key`].
///
/// # Errors
/// As [`ensure_key`].
pub fn ensure_client_key(folder: &Path) -> Result<KeyPair, KeyError> {
    ensure_key(&folder.join(CLIENT_KEY), "winstead")
}

/// The key pair kept in `path` (0600) and `path.pub`; made when it is missing.
///
/// Safe to call from several processes at once: all get the same key. A file that holds no usable key (cut off by a
/// power loss, or encrypted, which nobody could answer for) is kept as `path.broken` and replaced.
///
/// # Errors
/// [`KeyError::File`] when the folder cannot be read or written, [`KeyError::Locked`] when another process hangs
/// while making this key (waits for one second), [`KeyError::Make`] as [`generate`].
pub fn ensure_key(path: &Path, comment: &str) -> Result<KeyPair, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    if let Stored::Usable(key) = read(path).map_err(failed)? {
        return complete(path, &key).map_err(failed);
    }
    let _lock = lock(path)?;
    match read(path).map_err(failed)? {
        // Another process was quicker.
        Stored::Usable(key) => return complete(path, &key).map_err(failed),
        Stored::Broken => {
            let aside = with_suffix(path, ".broken");
            tracing::warn!(path = %path.display(), aside = %aside.display(), "the key is unusable and was replaced");
            fs_err::rename(path, aside).map_err(failed)?;
        }
        Stored::Missing => {}
    }
    let made = generate(comment)?;
    files::write_private(path, made.private_openssh.expose().as_bytes()).map_err(failed)?;
    write_public(path, &made.public_openssh).map_err(failed)?;
    Ok(made)
}

/// Writes a file that holds a secret: mode 0600 from the first byte, in place whole or not at all. Waits for the disk.
///
/// # Errors
/// [`KeyError::File`].
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), KeyError> {
    files::write_private(path, contents).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

enum Stored {
    Missing,
    Broken,
    Usable(Box<ssh_key::PrivateKey>),
}

fn read(path: &Path) -> io::Result<Stored> {
    let text = match fs_err::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::Missing),
        Err(error) => return Err(error),
    };
    match ssh_key::PrivateKey::from_openssh(text.as_slice()) {
        Ok(key) if !key.is_encrypted() => Ok(Stored::Usable(Box::new(key))),
        _ => Ok(Stored::Broken),
    }
}

/// Mends what a death between two steps leaves: a wide mode (ssh refuses such a key) and a missing public half.
fn complete(path: &Path, key: &ssh_key::PrivateKey) -> io::Result<KeyPair> {
    let pair = pair(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if fs_err::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    write_public(path, &pair.public_openssh)?;
    Ok(pair)
}

fn write_public(path: &Path, public: &str) -> io::Result<()> {
    let (target, line) = (with_suffix(path, ".pub"), format!("{public}\n"));
    match fs_err::read(&target) {
        Ok(old) if old == line.as_bytes() => Ok(()),
        _ => files::write_private(&target, line.as_bytes()),
    }
}

fn pair(key: &ssh_key::PrivateKey) -> ssh_key::Result<KeyPair> {
    let private_openssh = PrivateKey(key.to_openssh(LineEnding::LF)?);
    Ok(KeyPair { private_openssh, public_openssh: key.public_key().to_openssh()? })
}

fn lock(path: &Path) -> Result<fs_err::File, KeyError> {
    let lock = with_suffix(path, ".lock");
    for _ in 0..LOCK_ATTEMPTS {
        match try_lock(&lock).map_err(|source| KeyError::File { path: lock.clone(), source })? {
            Some(file) => return Ok(file),
            None => std::thread::park_timeout(LOCK_PAUSE),
        }
    }
    Err(KeyError::Locked { path: path.to_owned(), lock })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs_err::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_pair_is_readable_by_the_format_and_never_shown() {
        let made = generate("agents-0").unwrap();
        let read = ssh_key::PrivateKey::from_openssh(made.private_openssh.expose()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), made.public_openssh);
        assert!(
            made.public_openssh.starts_with("ssh-ed25519 ") && made.public_openssh.ends_with(" agents-0")
        );
        let shown = format!("{made:?}");
        assert!(shown.contains("redacted") && !shown.contains("OPENSSH PRIVATE"), "{shown}");
        assert_ne!(generate("agents-0").unwrap(), made);
    }

    #[test]
    fn the_client_key_is_made_once_and_mended_when_a_half_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let first = ensure_client_key(folder.path()).unwrap();
        let (key, public) = (folder.path().join(CLIENT_KEY), folder.path().join("id_ed25519.pub"));
        assert_eq!(mode(&key), 0o600);
        fs_err::remove_file(&public).unwrap();
        fs_err::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ensure_client_key(folder.path()).unwrap(), first);
        assert_eq!(mode(&key), 0o600);
        assert_eq!(fs_err::read_to_string(&public).unwrap().trim_end(), first.public_openssh);
    }

    #[test]
    fn a_half_written_key_is_kept_aside_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(CLIENT_KEY);
        let whole = generate("x").unwrap();
        let half = &whole.private_openssh.expose()[..120];
        fs_err::write(&key, half).unwrap();
        let made = ensure_client_key(folder.path()).unwrap();
        assert_ne!(made, whole);
        assert_eq!(ensure_client_key(folder.path()).unwrap(), made);
        assert_eq!(fs_err::read_to_string(folder.path().join("id_ed25519.broken")).unwrap(), half);
    }

    #[test]
    fn all_who_race_for_a_key_get_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..10 {
            let path = folder.path().join(format!("key-{round}"));
            fs_err::write(&path, if round % 2 == 0 { "" } else { "-----BEGIN" }).unwrap();
            let keys: Vec<KeyPair> = std::thread::scope(|scope| {
                let racers: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| ensure_key(&path, "race").unwrap())).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| *key == keys[0]), "round {round}");
            assert_eq!(ensure_key(&path, "race").unwrap(), keys[0]);
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_with_the_path() {
        let error = ensure_client_key(Path::new("/no/such/folder")).unwrap_err();
        assert_eq!(error.to_string(), "keep the secret file /no/such/folder/id_ed25519.lock");
    }
}
