//! What the journal knows of one machine: enough to make it, find it again and take it away after any crash.

use std::{net::Ipv4Addr, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use winstead_hypervisor::qemu::{self, MachineConfig};
use winstead_process::ProcessId;
use winstead_spec::{
    ByteSize, DirectKernel, DiskFormat, GuestOs, MachineName, MachineShape, Name, Network, Readiness,
    SeedKind, Sha256,
};
use winstead_store::Location;

/// One machine, as recorded before any of it is created. Only a command that holds the home's lock writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineRecord {
    /// Its name, which stays over a reset.
    pub name: MachineName,
    /// What everything created for it carries, as long as it lives.
    pub uid: Uuid,
    /// Smallest free number in this home: gives the machine a user of its own when we are root.
    pub number: u32,
    /// How often it was started from golden: 1 the first time.
    pub generation: u64,
    /// What it looks like.
    pub shape: MachineShape,
    /// What it is connected to.
    pub network: Network,
    /// When it counts as ready.
    pub ready: Readiness,
    /// The image it starts from.
    pub image: ImageRef,
    /// Where its disk lives.
    pub location: Location,
    /// Its network card.
    pub mac: String,
    /// Its address on a bridge of ours; on one of others, the one that it last became ready with.
    pub address: Option<Ipv4Addr>,
    /// Where its SSH is forwarded from, with user networking.
    pub ssh_port: Option<u16>,
    /// Its SSH host key, public half.
    pub host_key: String,
    /// How QEMU is started; `None` until the first start.
    pub qemu: Option<MachineConfig>,
    /// The running QEMU.
    pub process: Option<ProcessId>,
    /// The running TPM.
    pub tpm: Option<ProcessId>,
    /// When QEMU was last started.
    pub started_at: Option<Timestamp>,
    /// When the guest became ready since its last start.
    pub ready_at: Option<Timestamp>,
    /// Whether it was ready since its overlay is new: then its disk may hold work, and is kept.
    #[serde(default)]
    pub was_ready: bool,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// What its disk and memory began as.
    #[serde(default)]
    pub origin: Origin,
}

/// What a machine is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// To be used.
    #[default]
    Machine,
    /// To be saved: nobody reaches it, and it becomes a template.
    Template,
}

/// What a machine's disk and memory began as, since it was last put back to golden.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The template whose disk lies under its overlay; `None`: the image itself.
    pub template: Option<MachineName>,
    /// Whether it has become itself; a machine that boots is itself from the start.
    pub is_itself: bool,
}

impl Origin {
    /// Whether this template's disk lies under the machine's overlay.
    #[must_use]
    pub fn is(&self, template: &MachineName) -> bool {
        self.template.as_ref() == Some(template)
    }

    /// Whether the machine began as a copy of its template and has not become itself since.
    #[must_use]
    pub const fn awaits_identity(&self) -> bool {
        self.template.is_some() && !self.is_itself
    }
}

/// The version of an image that a machine stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRef {
    /// The image's name.
    pub name: Name,
    /// The version.
    pub digest: Sha256,
    /// Of its disk alone. Journals of release 0.1 have none: there it was the version's.
    #[serde(default)]
    pub disk_digest: Option<Sha256>,
    /// What runs in it.
    pub os: GuestOs,
    /// How it takes its identity.
    pub seed: SeedKind,
    /// Whether `winstead-agent` runs in it.
    #[serde(default)]
    pub agent: bool,
    /// Its disk in the catalogue.
    pub disk: PathBuf,
    /// The disk's format.
    pub format: DiskFormat,
    /// The disk's size as the guest sees it.
    pub virtual_size: ByteSize,
    /// The disk's size as it is stored.
    pub stored_size: ByteSize,
    /// Its kernel, if it can be started without firmware.
    pub kernel: Option<DirectKernel>,
}

impl ImageRef {
    /// Whether it is the version of `image` whose digest begins with `digits`, its [`Sha256::short`].
    pub(crate) fn is(&self, image: &Name, digits: &str) -> bool {
        self.name == *image && self.digest.short() == digits
    }

    /// What its disk must be.
    pub(crate) fn disk_digest(&self) -> &Sha256 {
        self.disk_digest.as_ref().unwrap_or(&self.digest)
    }
}

impl MachineRecord {
    /// Who logs in.
    #[must_use]
    pub const fn login(&self) -> &'static str {
        match self.image.os {
            GuestOs::Linux => "root",
            GuestOs::Windows => "Administrator",
        }
    }

    /// What of `resident` is this machine's alone. What machines have in common that started from the same memory is
    /// their template's; one that booted has all of it for itself.
    #[must_use]
    pub fn private(&self, resident: &qemu::Resident) -> ByteSize {
        if self.is_clone() { resident.private() } else { resident.proportional() }
    }

    /// Whether its QEMU was started from a template's memory.
    pub(crate) fn is_clone(&self) -> bool {
        self.qemu.as_ref().is_some_and(|config| config.ram == qemu::Ram::Saved)
    }

    /// Where SSH answers, if that is known yet.
    #[must_use]
    pub fn ssh_address(&self) -> Option<(std::net::IpAddr, u16)> {
        match (self.ssh_port, self.address) {
            (Some(port), _) => Some((Ipv4Addr::LOCALHOST.into(), port)),
            (None, Some(address)) => Some((address.into(), 22)),
            (None, None) => None,
        }
    }
}
