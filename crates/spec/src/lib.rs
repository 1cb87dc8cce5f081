//! What the user wrote: `Image`, `Pool`, `Host`, `Agent` and `AgentPolicy` documents as validated types without invalid
//! values.
//!
//! Pure: no I/O, no clock, no hypervisor. Reading files is the caller's; see [`parse()`].

mod agent;
mod check;
mod digest;
mod format;
mod host;
mod image;
mod meaning;
mod name;
mod parse;
mod policy;
mod pool;
mod problem;
mod raw;
mod schema;
mod shape;
mod together;
mod tree;
mod units;
mod wins;

pub use agent::{Agent, AgentDoor, AgentDoors, AgentLimits, AgentTcpDoor, Connect, Door};
pub use digest::{Sha256, Sha256Error};
pub use host::{Growth, Host, HostStores, Overcommit, Reserve};
pub use image::{
    DebianRecipe, DirectKernel, DiskFormat, FileRecipe, GuestOs, Image, Recipe, SeedKind, UrlRecipe,
};
pub use meaning::TEMPLATES;
pub use name::{MachineName, Name, NameError};
pub use parse::{Documents, Source, parse};
pub use policy::{
    AgentPolicy, AgentQuery, AgentRule, CallerRule, CertificateRule, ContainerRule, IpNet, PortError,
    PortRange, PortTarget, Protocol, RunRule, SignerRule,
};
pub use pool::{
    Bridge, Disk, Firmware, Flush, MachineShape, Network, Pool, Probe, Readiness, Start, StoreKind, Subnet,
    SubnetError,
};
pub use problem::{Problem, Problems};
pub use schema::schema;
pub use units::{ByteSize, Span, UnitError};
pub use wins::{WinsConfig, parse_wins};

/// The only `apiVersion` this release reads.
pub const API_VERSION: &str = "winstead.dev/v1alpha1";
