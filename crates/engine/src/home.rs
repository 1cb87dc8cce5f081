//! The one folder that holds all state of one Winstead. Two homes never see each other.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err as fs;
use winstead_process::try_lock;
use winstead_spec::{MachineName, Sha256};

/// Where everything of one home lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// A home that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It cannot be made, opened or locked.
    #[error("use the home folder {path}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else's folder.
    #[error("use the home folder {path}: it belongs to user {owner}, not to {me}")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// Another command changes this home.
    #[error("lock the home folder {path}: another winstead command is changing it")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

/// The right to change a home; given back when dropped, also by a dying process.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "holding the descriptor is holding the lock")] fs::File);

impl Home {
    /// The home at `root`, made if it is not there. As root its folders can be crossed, not listed, by the users
    /// that QEMU runs as; otherwise nobody else enters.
    ///
    /// # Errors
    /// When the folder cannot be made or belongs to another user.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let failed = |source| HomeError::Io { path: root.to_owned(), source };
        let home = Self { root: std::path::absolute(root).map_err(failed)? };
        home.make(&home.root).map_err(failed)?;
        let (owner, me) =
            (fs::metadata(&home.root).map_err(failed)?.uid(), rustix::process::geteuid().as_raw());
        if owner != me {
            return Err(HomeError::Foreign { path: home.root, owner, me });
        }
        for folder in
            [home.machines(), home.images(), home.bases(), home.networks(), home.cache(), home.ssh()]
        {
            home.make(&folder).map_err(failed)?;
        }
        Ok(home)
    }

    /// A home that is only a name.
    #[cfg(test)]
    pub(crate) fn at(root: &str) -> Self {
        Self { root: root.into() }
    }

    /// Waits until no other command changes this home, at most `patience`, and takes the lock.
    ///
    /// # Errors
    /// [`HomeError::Busy`] when another command keeps it.
    pub async fn lock(&self, patience: std::time::Duration) -> Result<HomeLock, HomeError> {
        let path = self.root.join("lock");
        let failed = |source| HomeError::Io { path: path.clone(), source };
        let until = tokio::time::Instant::now() + patience;
        loop {
            match try_lock(&path).map_err(failed)? {
                Some(file) => return Ok(HomeLock(file)),
                None if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                None => return Err(HomeError::Busy { path: self.root.clone() }),
            }
        }
    }

    /// Makes a folder of this home with the right mode, and leaves one that is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, folder: &Path) -> io::Result<()> {
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(mode).create(folder)?;
        // A umask may have taken bits away that QEMU's user needs; an existing root of the user's stays as it is.
        if folder.starts_with(&self.root) && folder != self.root {
            fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The journal's database.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.sqlite")
    }
    /// Keys, known hosts and configuration of `ssh`.
    #[must_use]
    pub fn ssh(&self) -> PathBuf {
        self.root.join("ssh")
    }
    /// The image catalogue.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    /// Downloads and probe results: may be deleted at any time.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
    /// RAM copies of images in use.
    #[must_use]
    pub fn bases(&self) -> PathBuf {
        self.root.join("bases")
    }
    /// The RAM copy of one image.
    #[must_use]
    pub fn base(&self, digest: &Sha256) -> PathBuf {
        self.bases().join(digest.short())
    }
    /// Own bridges.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }
    /// All machines.
    #[must_use]
    pub fn machines(&self) -> PathBuf {
        self.root.join("machines")
    }
    /// One machine's folder: its disk, its seed, its host key. Only we write here.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> PathBuf {
        self.machines().join(name.to_string())
    }
    /// The private key by which a machine is known on SSH.
    #[must_use]
    pub fn host_key(&self, name: &MachineName) -> PathBuf {
        self.machine(name).join("host_key")
    }
    /// QEMU's working folder, the only one that its user may write to: sockets, the console log, QEMU's own output.
    /// Nothing that is read from here is trusted.
    #[must_use]
    pub fn run(&self, name: &MachineName) -> PathBuf {
        self.machine(name).join("run")
    }
    /// Held by the supervisor for as long as it lives.
    #[must_use]
    pub fn supervisor_lock(&self) -> PathBuf {
        self.root.join("supervisor.lock")
    }
    /// What the supervisor has to say.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }
}
