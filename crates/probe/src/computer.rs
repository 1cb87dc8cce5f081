//! The computer a result comes from, as far as it can be known without rights: what one needs to see that two
//! results may be compared. What is not known is null, never guessed.

#[cfg_attr(windows, expect(dead_code, reason = "reads what Linux writes; its tests run everywhere"))]
pub(crate) mod linux;

use std::{collections::BTreeMap, thread};

use serde::Serialize;

/// A computer and the file system that is measured.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Computer {
    /// `Linux` or `Windows`.
    pub system: String,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// What the program was compiled for.
    pub architecture: &'static str,
    /// The processor.
    pub cpu: Processor,
    /// How many threads can run at once, limits of a container included.
    pub usable_cpus: Option<usize>,
    /// All of the computer's memory.
    pub memory_bytes: Option<u64>,
    /// What was left of it before measuring.
    pub memory_available_bytes: Option<u64>,
    /// What the container or service may take; null without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Whether the processor says that a hypervisor is beneath. Null where it does not say.
    pub under_hypervisor: Option<bool>,
    /// Vendor and product as the firmware has them: names the hypervisor or the cloud.
    pub product: Option<String>,
    /// Where it is measured.
    pub file_system: FileSystem,
}

/// A processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Processor {
    /// As it calls itself.
    pub model: Option<String>,
    /// How many the system has.
    pub count: Option<usize>,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileSystem {
    /// `ext4`, `tmpfs`, `overlay`, …
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What is mounted.
    pub source: Option<String>,
    /// The mount's options and the file system's own.
    pub options: Option<String>,
    /// What was free before measuring.
    pub free_bytes: u64,
    /// What the kernel says of the block device, in its own words. Empty where there is none.
    pub queue: BTreeMap<String, String>,
}

/// What was really moved to and from block devices: the witness for direct I/O. A tmpfs or a network file
/// system moves nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traffic {
    /// Bytes read from devices.
    pub read_bytes: u64,
    /// Bytes that were or will be written to devices.
    pub written_bytes: u64,
}

impl Computer {
    /// What the program knows without asking the system.
    pub(crate) fn of_this_program() -> Self {
        Self {
            architecture: std::env::consts::ARCH,
            usable_cpus: thread::available_parallelism().map(std::num::NonZero::get).ok(),
            ..Self::default()
        }
    }
}

impl FileSystem {
    /// Whether it is in memory, so that no disk is measured.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind.as_deref(), Some("tmpfs" | "ramfs"))
    }
}

impl Traffic {
    /// What both moved.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }

    /// What was moved since `before`.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}
