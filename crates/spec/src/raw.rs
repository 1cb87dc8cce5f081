//! The file exactly as the user writes it. The comments here are what editors show for a key: the schema is made
//! from these types, and so are the checks.
//!
//! Plain data without rules between keys; those are in [`crate::meaning`]. A key that most users leave out has its
//! default here once, and only here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DiskFormat, Firmware, Flush, GuestOs, Name, Probe, SeedKind, Sha256, StoreKind, Subnet};

mod agent;
mod text;

pub(crate) use agent::{
    AgentDoor, AgentMetrics, AgentPolicySpec, AgentSpec, AgentTcpDoor, Connect, FileGlob, Rule, RuleCaller,
    RuleProgram, RuleSigner,
};
pub(crate) use text::{Cidr, Size, Time};

/// A Winstead document: an Image, a Pool or a Host, or for winstead-agent an Agent or an AgentPolicy. A file holds any number of them, with `---` between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    /// The version of this format.
    pub(crate) api_version: ApiVersion,
    /// What the document describes.
    pub(crate) kind: Kind,
    /// What it is called.
    pub(crate) metadata: Metadata,
    /// What it should be like.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub(crate) spec: serde_json::Value,
}

/// The version of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum ApiVersion {
    /// The only version so far.
    #[serde(rename = "winstead.dev/v1alpha1")]
    V1Alpha1,
}

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Kind {
    /// A golden image and the recipe that makes it.
    Image,
    /// A number of machines from one image.
    Pool,
    /// A computer with a hypervisor, and how much of it Winstead may use.
    Host,
    /// The winstead-agent of one computer.
    Agent,
    /// Who may do what through a winstead-agent.
    AgentPolicy,
}

/// What a document is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Its name, unique among the documents of its kind. The machines of a pool are called `NAME-0`, `NAME-1` and so on.
    pub(crate) name: Name,
}

/// A golden image. Exactly one recipe: `debian`, `file` or `url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["debian"]}, {"required": ["file"]}, {"required": ["url"]}]))]
pub(crate) struct ImageSpec {
    /// The operating system inside. It decides the machine's devices.
    #[serde(default = "linux")]
    pub(crate) os: GuestOs,
    /// Recipe: built here from Debian packages.
    pub(crate) debian: Option<Debian>,
    /// Recipe: a disk image on this computer.
    pub(crate) file: Option<File>,
    /// Recipe: a disk image to download.
    pub(crate) url: Option<Url>,
    /// Size of the disk that the guest sees. Default: 4GiB for `debian`, else the size of the disk image. At least 64MiB (`debian`: 1GiB).
    #[schemars(extend("x-minimum" = "64MiB", "x-maximum" = "16TiB"))]
    pub(crate) disk: Option<Size>,
    /// How the guest takes its host name, keys and addresses at first boot. Default: `fw-cfg` for `debian`, else `no-cloud`.
    pub(crate) seed: Option<SeedKind>,
    /// Whether `winstead-agent` runs in the guest: `debian` puts it there, other images have it already. `exec` and `cp` then need no network in the guest.
    #[serde(default)]
    pub(crate) agent: bool,
}

/// A Debian system, built with mmdebstrap from the mirror that this computer is configured for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Debian {
    /// Debian's release: `trixie`, `bookworm`, ….
    #[schemars(extend("format" = "debian-suite", "pattern" = crate::format::Format::Suite.pattern()))]
    pub(crate) suite: String,
    /// Packages to install besides those that every image has (kernel, systemd, OpenSSH, guest agent).
    #[serde(default)]
    pub(crate) packages: Vec<Package>,
}

/// The name of a Debian package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "debian-package", "pattern" = crate::format::Format::Package.pattern()))]
pub(crate) struct Package(pub(crate) String);

/// A disk image on this computer. It is read only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct File {
    /// Where it is: absolute, or relative to the folder of the file that says so.
    #[schemars(extend("format" = "file-path", "pattern" = crate::format::Format::Path.pattern()))]
    pub(crate) path: String,
    /// Its format. Default: found out from the file itself.
    pub(crate) format: Option<DiskFormat>,
    /// What it must hash to. Default: not checked when it is taken in (it is hashed all the same, and checked from then on).
    pub(crate) sha256: Option<Sha256>,
    /// A Linux kernel that is started without boot loader. Default: the disk's own boot loader is started.
    pub(crate) kernel: Option<Kernel>,
}

/// A Linux kernel that is started without firmware and boot loader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kernel {
    /// The kernel: a bzImage, or an uncompressed ELF file with a PVH entry.
    #[schemars(extend("format" = "file-path", "pattern" = crate::format::Format::Path.pattern()))]
    pub(crate) path: String,
    /// The initial RAM disk. Default: none.
    #[schemars(extend("format" = "file-path", "pattern" = crate::format::Format::Path.pattern()))]
    pub(crate) initrd: Option<String>,
    /// Kernel parameters; the console is added.
    #[serde(default = "root_on_first_partition")]
    #[schemars(extend("format" = "kernel-command-line", "pattern" = crate::format::Format::CommandLine.pattern()))]
    pub(crate) command_line: String,
}

/// A disk image to download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Url {
    /// Its address, `https` or `http`.
    #[schemars(extend("format" = "http-url", "pattern" = crate::format::Format::Url.pattern()))]
    pub(crate) url: String,
    /// What it must hash to.
    pub(crate) sha256: Sha256,
    /// Its format. Default: found out from the file itself.
    pub(crate) format: Option<DiskFormat>,
}

/// A number of machines from one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PoolSpec {
    /// Name of the image that the machines start from: a document of this run, or one built earlier.
    pub(crate) image: Name,
    /// How many machines. 0 takes all away and keeps the pool.
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    pub(crate) replicas: u32,
    /// What each machine looks like.
    #[serde(default)]
    pub(crate) machine: Machine,
    /// What each machine is connected to. Exactly one of `user` and `bridge`.
    #[serde(default)]
    pub(crate) network: Network,
    /// When a machine counts as ready.
    #[serde(default)]
    pub(crate) ready: Ready,
    /// With `machine.start: memory`: commands that the template runs as root before its memory is saved, each a list of a program and its arguments. What they load is in every machine from the start.
    #[serde(default)]
    pub(crate) warm: Vec<Argv>,
    /// With `machine.start: memory`: for how long the template stays when the last machine has left it. Default: not at all. It goes earlier when the room is needed, and always with its pool.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "24h"))]
    pub(crate) keep_template: Option<Time>,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(crate) struct Argv(pub(crate) Vec<String>);

/// What one machine looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Machine {
    /// Virtual CPUs.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) cpus: u32,
    /// Its RAM, at least 64MiB. The Debian recipe is content with 384MiB; Windows wants 4GiB.
    #[schemars(extend("x-minimum" = "64MiB", "x-maximum" = "16TiB"))]
    pub(crate) memory: Size,
    /// Its own layer over the image: all that it writes.
    pub(crate) disk: Disk,
    /// How it starts. Default: `direct` when the image has a kernel, `secure-boot` for Windows, else `uefi`.
    pub(crate) firmware: Option<Firmware>,
    /// A TPM 2.0, its content thrown away with the machine. Default: true for Windows, else false.
    pub(crate) tpm: Option<bool>,
    /// From what it starts: a boot, or the saved memory of a machine that booted once.
    pub(crate) start: Start,
}

/// From what a machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// A boot.
    Boot,
    /// The saved memory of a machine that booted once: seconds instead of a boot. Where that cannot be, a boot, and a line that says why.
    Memory,
}

/// A machine's own layer over the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Disk {
    /// Where it lives.
    pub(crate) store: StoreKind,
    /// The most that the machine may write, at least 1MiB; beyond it the layer grows from the host's reserve. In the store `ram` all of it is counted against the host's memory before a machine starts.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "16TiB"))]
    pub(crate) cap: Size,
    /// What becomes of a guest's flushes: data of a throw-away machine need not survive a power cut.
    pub(crate) flush: Flush,
}

/// What a machine is connected to. Exactly one of `user` and `bridge`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["user"]}, {"required": ["bridge"]}]))]
pub(crate) struct Network {
    /// Outward only, through QEMU itself; SSH is forwarded from this computer. Needs no rights.
    pub(crate) user: Option<User>,
    /// A bridge of this computer: machines reach each other and the outside. Needs root.
    pub(crate) bridge: Option<Bridge>,
}

/// QEMU's own network. It has no settings: write `{}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {}

/// A bridge: `name` and `subnet` for one that Winstead makes and takes away, or `existing` for one that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{"required": ["name"]}, {"required": ["existing"]}],
    "dependentRequired" = {"name": ["subnet"], "subnet": ["name"]}
))]
pub(crate) struct Bridge {
    /// Name of the interface that Winstead makes, with DHCP, names and NAT.
    #[schemars(extend("format" = "interface-name", "pattern" = crate::format::Format::Interface.pattern()))]
    pub(crate) name: Option<String>,
    /// Its addresses. The host has the first, machines have the following.
    pub(crate) subnet: Option<Subnet>,
    /// Name of a bridge that is there already (virbr0, vmbr0). Nothing of it is changed; its DHCP gives the addresses.
    #[schemars(extend("format" = "interface-name", "pattern" = crate::format::Format::Interface.pattern()))]
    pub(crate) existing: Option<String>,
}

/// When a machine counts as ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Ready {
    /// What must answer.
    pub(crate) probe: Probe,
    /// The longest wait from start to answer, 1s to 24h. Long, because without KVM one Linux guest takes about 20 seconds and four at once take more than a minute.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "24h"))]
    pub(crate) deadline: Time,
}

/// How much of a computer Winstead may use. This release runs machines on `local` only: this computer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HostSpec {
    /// Its RAM.
    pub(crate) memory: HostMemory,
    /// Where the disks of machines live.
    pub(crate) stores: Stores,
    /// What happens when a machine's disk reaches its cap: it grows by `step` while `reserve` lasts.
    pub(crate) growth: Growth,
    /// Lets more machines run than the RAM would carry if all of them used all of theirs at once. Default: none, and no machine is ever held for the host's RAM.
    pub(crate) overcommit: Option<Overcommit>,
}

/// Running machines count as what was measured of them, not as all that they may ever use. The risk: when they take more after all, those that grow are paused before the host runs out, and stay so until memory is given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Overcommit {
    /// `true`: a running machine counts as its measured private memory, one that is to be started as the largest that was measured of its pool. Caps of disks in RAM count whole all the same.
    #[schemars(extend("const" = true))]
    pub(crate) measured: bool,
    /// What all machines together may take beyond what was measured, at least 1MiB. It must be free before a machine is started. When no more than `memory.reserve` is left, machines that grow are held; when half of this is free beyond that, they go on.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "16TiB"))]
    pub(crate) reserve: Size,
}

/// A host's RAM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct HostMemory {
    /// What machines never get: it is left to the host itself.
    #[schemars(extend("x-maximum" = "16TiB"))]
    pub(crate) reserve: Size,
}

/// Where the disks of machines live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Stores {
    /// For `ram`, when Winstead may not mount: a tmpfs folder that all machines share. Default: `/dev/shm`.
    #[schemars(extend("format" = "file-path", "pattern" = crate::format::Format::Path.pattern()))]
    pub(crate) ram: Option<String>,
    /// For `disk`: a folder on a disk. Default: `disk` in Winstead's home folder.
    #[schemars(extend("format" = "file-path", "pattern" = crate::format::Format::Path.pattern()))]
    pub(crate) disk: Option<String>,
}

/// What happens when a machine's disk reaches its cap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Growth {
    /// What all disks together may grow by. 0B: none grows, a machine with a full disk is held.
    #[schemars(extend("x-maximum" = "16TiB"))]
    pub(crate) reserve: Size,
    /// What one growth adds, 4KiB (a page) to 64GiB.
    #[schemars(extend("x-minimum" = "4KiB", "x-maximum" = "64GiB"))]
    pub(crate) step: Size,
}

fn linux() -> GuestOs {
    GuestOs::Linux
}

fn one() -> u32 {
    1
}

fn root_on_first_partition() -> String {
    "root=/dev/vda1 rw".to_owned()
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: Size::from_mib(1024),
            disk: Disk::default(),
            firmware: None,
            tpm: None,
            start: Start::Boot,
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { store: StoreKind::Ram, cap: Size::from_mib(2048), flush: Flush::Ignored }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { user: Some(User {}), bridge: None }
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self { probe: Probe::Ssh, deadline: Time(crate::Span::from_secs(300)) }
    }
}

impl Default for HostMemory {
    fn default() -> Self {
        Self { reserve: Size(crate::Host::local().reserve.memory) }
    }
}

impl Default for Growth {
    fn default() -> Self {
        let local = crate::Host::local().growth;
        Self { reserve: Size(local.reserve), step: Size(local.step) }
    }
}
