//! Where disks live: tmpfs mounts and shared folders, overlays, caps and growth.
//!
//! What it does not do: deciding whether a disk fits (the engine's admission) and watching how full it gets.

mod area;
mod base;
mod error;
mod memory;
mod mountinfo;
mod overlay;
mod probe;

pub use area::{Placement, Presence};
pub use base::{BaseLocation, base_usage, has_base, mounted_base, place_base, remove_base};
pub use error::StoreError;
pub use memory::{HostMemory, free_space, host_memory, meminfo};
pub use mountinfo::{Mount, Mounts, tag_at};
pub use overlay::{Location, OVERLAY, OverlaySpec, Usage, create, exists, grow, remove, seal, survey, usage};
pub use probe::{Features, probe, takes_direct};
