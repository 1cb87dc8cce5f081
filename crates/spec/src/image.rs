//! `kind: Image`: a golden image and the recipe that makes it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Name, Sha256};

/// A golden image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name; pools refer to it.
    pub name: Name,
    /// What runs in it: decides the machine's shape, not an afterthought.
    pub os: GuestOs,
    /// How it is made.
    pub recipe: Recipe,
    /// Virtual size of the disk; `None`: as the recipe's file has it (Debian: 4 GiB).
    pub disk: Option<ByteSize>,
    /// How the guest takes its identity.
    pub seed: SeedKind,
    /// Whether `winstead-agent` runs in it.
    #[serde(default)]
    pub agent: bool,
}

/// The operating system inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestOs {
    /// Linux.
    Linux,
    /// Windows 10, Server 2019 and later.
    Windows,
}

/// How a guest takes its identity at first boot; nothing of it is inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeedKind {
    /// Winstead's own: a `fw_cfg` file that the initial RAM disk applies before the first process (Debian recipe).
    FwCfg,
    /// cloud-init and cloudbase-init: a small CD with the label `CIDATA` (images of others).
    NoCloud,
    /// The image takes no identity.
    None,
}

/// How an image is made. Exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recipe {
    /// Built here from Debian packages.
    Debian(DebianRecipe),
    /// A file on this computer.
    File(FileRecipe),
    /// A download with a known digest.
    Url(UrlRecipe),
}

/// A Debian system built with mmdebstrap from the machine's configured mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DebianRecipe {
    /// `trixie`, `bookworm`, …
    pub suite: String,
    /// Packages besides those that every image has.
    pub packages: Vec<String>,
}

/// A disk image on this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRecipe {
    /// Absolute, or relative to the file that names it (already joined).
    pub path: PathBuf,
    /// `None`: read from the file itself by qemu-img.
    pub format: Option<DiskFormat>,
    /// What the file must hash to, if the user wants that checked.
    pub sha256: Option<Sha256>,
    /// Started without a boot loader.
    pub kernel: Option<DirectKernel>,
}

/// A disk image from an HTTP(S) server, or from the artefact folder under the last part of its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlRecipe {
    /// Where it is; `https`, or `http` (the digest guards both).
    pub url: String,
    /// What it must hash to. Required: a mirror is not trusted.
    pub sha256: Sha256,
    /// `None`: read from the file itself by qemu-img.
    pub format: Option<DiskFormat>,
}

/// A kernel that QEMU loads itself, without firmware or boot loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectKernel {
    /// A bzImage, or an uncompressed ELF kernel with a PVH entry (no decompression in the guest).
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line, without the console that Winstead adds.
    pub command_line: String,
}

/// A disk image's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// Plain sectors.
    Raw,
    /// QEMU.
    Qcow2,
    /// Hyper-V.
    Vhdx,
    /// `VMware`.
    Vmdk,
}
