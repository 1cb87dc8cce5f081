//! What the journal's rows say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use winstead_spec::{ByteSize, MachineName, Name, Pool, Sha256};

use crate::{MachineRecord, Phase, template::Template};

/// A machine as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it was made to be.
    pub record: MachineRecord,
    /// Where it is in its life.
    pub phase: Phase,
    /// For `Held`: what it waits for.
    pub held: Option<Held>,
    /// Why it is there.
    pub message: String,
    /// Its overlay's growth, if it grew.
    pub growth: Option<Growth>,
}

/// Why a machine is held. It stays true over the end of the supervisor that held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Where it goes back to.
    pub from: Phase,
    /// What it waits for.
    pub lack: Lack,
    /// Since when.
    pub since: Timestamp,
}

/// What a held machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lack {
    /// Room on its disk.
    Disk,
    /// Memory of the host.
    Memory,
}

impl Entry {
    /// Whether it is held for want of this.
    #[must_use]
    pub fn lacks(&self, what: Lack) -> bool {
        self.held.is_some_and(|held| held.lack == what)
    }

    /// The cap in force: the file's, or what it grew to if that is more.
    #[must_use]
    pub fn cap(&self) -> ByteSize {
        let cap = self.record.shape.disk.cap;
        self.growth.map_or(cap, |growth| growth.cap.max(cap))
    }

    /// What it took from the host's growth reserve.
    #[must_use]
    pub fn grown(&self) -> ByteSize {
        self.cap() - self.record.shape.disk.cap
    }
}

/// How far an overlay grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The cap now.
    pub cap: ByteSize,
    /// How often it grew.
    pub times: u64,
}

/// A pool as it was last applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecord {
    /// What the file said.
    pub pool: Pool,
    /// The image version its machines should stand on.
    pub digest: Sha256,
    /// When it was applied.
    pub applied_at: Timestamp,
}

/// Something that several machines share, recorded before it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Shared {
    /// What machines start from whose memory was saved.
    Template(Box<Template>),
    /// The RAM copy of an image.
    Base(winstead_store::BaseLocation),
    /// A bridge of ours.
    Bridge(winstead_network::OwnBridge),
    /// This home's folder in a store that others use too.
    Folder(std::path::PathBuf),
}

/// What kind of shared thing a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedKind {
    /// A template; its name is its machine's.
    Template,
    /// The RAM copy of an image; its name is the digest's first digits.
    Base,
    /// A bridge of ours; its name is the interface's.
    Bridge,
    /// A folder of ours; its name is its path.
    Folder,
}

impl SharedKind {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Base => "base",
            Self::Bridge => "bridge",
            Self::Folder => "folder",
        }
    }
}

impl Shared {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> SharedKind {
        match self {
            Self::Template(_) => SharedKind::Template,
            Self::Base(_) => SharedKind::Base,
            Self::Bridge(_) => SharedKind::Bridge,
            Self::Folder(_) => SharedKind::Folder,
        }
    }
}

/// One line of a machine's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// Which machine.
    pub machine: MachineName,
    /// From where; `None` when it was recorded first.
    pub from: Option<Phase>,
    /// To where; the same as `from` for an event within a phase (a growth).
    pub to: Phase,
    /// Why.
    pub message: String,
    /// Numbers that belong to it: `growMicros`, `capBytes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, u64>,
}

/// Everything in the journal that a plan looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// All machines by name.
    pub machines: BTreeMap<MachineName, Entry>,
    /// All pools by name.
    pub pools: BTreeMap<Name, PoolRecord>,
    /// Everything shared, in the order in which it is taken away: what stands on something before that.
    pub shared: Vec<(String, Shared)>,
}

impl Snapshot {
    /// All templates.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.shared.iter().filter_map(|(_, shared)| match shared {
            Shared::Template(template) => Some(&**template),
            _ => None,
        })
    }

    /// Whatever has a disk: the machines, and those that templates were.
    pub fn records(&self) -> impl Iterator<Item = &MachineRecord> {
        let machines = self.machines.values().map(|entry| &entry.record);
        machines.chain(self.templates().map(|template| &template.machine))
    }
}
