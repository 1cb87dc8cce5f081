//! `kind: Host`: a computer with a hypervisor, and how much of it Winstead may use.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Name};

/// A computer with a hypervisor. Without a `Host` document, [`Host::local`] is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name; `local` is this computer.
    pub name: Name,
    /// RAM that machines never get.
    pub reserve: Reserve,
    /// Where disks live.
    pub stores: HostStores,
    /// What happens when an overlay reaches its cap.
    pub growth: Growth,
    /// Whether machines may count as what was measured of them; `None`: each counts as all that it may ever use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit: Option<Overcommit>,
}

/// Running machines count as what was measured of them, not as all that they may ever use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overcommit {
    /// What machines may take beyond what was measured, all together, before anything more is started.
    pub reserve: ByteSize,
}

/// RAM that machines never get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// For the host itself.
    pub memory: ByteSize,
}

/// Where disks live. `None`: the default for the rights we have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStores {
    /// A tmpfs folder to share when we may not mount: default `/dev/shm`.
    pub ram: Option<PathBuf>,
    /// The folder of disk overlays: default `HOME/disk`.
    pub disk: Option<PathBuf>,
}

/// What happens when an overlay reaches its cap: it grows by `step` while the host's `reserve` lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// RAM (or disk) that all machines together may grow into.
    pub reserve: ByteSize,
    /// How much one growth adds.
    pub step: ByteSize,
}

impl Host {
    /// This computer, with the defaults that the schema documents.
    ///
    /// # Panics
    /// Never: `local` is a name.
    #[must_use]
    pub fn local() -> Self {
        Self {
            name: "local".parse().expect("`local` is a name"),
            reserve: Reserve { memory: ByteSize::from_mib(1024) },
            stores: HostStores::default(),
            growth: Growth { reserve: ByteSize::from_mib(1024), step: ByteSize::from_mib(64) },
            overcommit: None,
        }
    }
}
