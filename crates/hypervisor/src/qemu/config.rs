//! What a machine is, as data: enough to build its command line, and journalled as it is.
//!
//! Every path is relative to the machine's run folder, QEMU's working folder, or absolute.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use winstead_spec::{ByteSize, DiskFormat, Flush, GuestOs};

/// The socket for commands, in the run folder.
pub const COMMAND_SOCKET: &str = "qmp.sock";
/// The second monitor, for the supervisor only: a monitor serves one client.
pub const SUPERVISOR_SOCKET: &str = "supervisor.sock";
/// The guest agent's port.
pub const AGENT_SOCKET: &str = "agent.sock";
/// The ports of `winstead-agent`, if it runs in the guest: each serves one client.
pub const HAND_SOCKETS: [&str; 4] = ["hand-0.sock", "hand-1.sock", "hand-2.sock", "hand-3.sock"];
/// The serial console, both ways.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// All that the serial console ever said.
pub(crate) const CONSOLE_LOG: &str = "console.log";
/// What QEMU itself says.
pub(crate) const QEMU_LOG: &str = "qemu.log";
/// The machine's own UEFI variables.
pub(crate) const VARIABLES: &str = "vars.fd";
/// The descriptor under which QEMU finds the file of its guest's RAM, if it is given one; its vsock is the next.
pub(crate) const RAM_DESCRIPTOR: u32 = 3;
/// The state of the machine's TPM.
pub(crate) const TPM_FOLDER: &str = "tpm";

/// The TPM's socket. The machine's identity is in the name, so that the process can be found by it.
pub(crate) fn tpm_socket(uuid: &Uuid) -> String {
    format!("{TPM_FOLDER}/{uuid}.sock")
}

/// Everything that a machine has written on its serial console.
#[must_use]
pub fn console_log(folder: &Path) -> PathBuf {
    folder.join(CONSOLE_LOG)
}

/// What the machine's QEMU itself said.
#[must_use]
pub fn machine_log(folder: &Path) -> PathBuf {
    folder.join(QEMU_LOG)
}

/// Empties those of a machine's logs that have grown too long: what a guest writes on its serial console, it writes on
/// the host's disk. QEMU appends to both, so it goes on at the new end.
///
/// # Errors
/// When something else stands in a log's place.
pub fn cut_logs(folder: &Path) -> io::Result<()> {
    winstead_process::cut_log(&console_log(folder)).and(winstead_process::cut_log(&machine_log(folder)))
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineConfig {
    /// Its name, in process lists and as the guest's name in QEMU.
    pub name: String,
    /// Its identity: how its process is found again.
    pub uuid: Uuid,
    /// What runs in it; decides clock, Hyper-V enlightenments and display.
    pub os: GuestOs,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM.
    pub memory: ByteSize,
    /// Where that RAM lies.
    #[serde(default)]
    pub ram: Ram,
    /// How it boots.
    pub firmware: FirmwareConfig,
    /// Whether it has a TPM 2.0.
    pub tpm: bool,
    /// Its only disk.
    pub disk: DiskConfig,
    /// Its only network card.
    pub nic: NicConfig,
    /// What it takes its identity from.
    pub seed: SeedConfig,
    /// Whether `winstead-agent` runs in it and gets its ports.
    #[serde(default)]
    pub agent: bool,
    /// The number under which it is called by vsock, if it has that: of the device that QEMU is handed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<u32>,
    /// How it runs.
    pub accelerator: Accelerator,
    /// The user that its processes run as; `None`: ours.
    pub run_as: Option<RunAs>,
}

/// Where a guest's RAM lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ram {
    /// In QEMU alone.
    #[default]
    Own,
    /// In a file that is handed over: what the guest writes is in it, and others can start from it.
    Shared,
    /// A copy-on-write view of such a file. The machine waits for the state that belongs to it ([`super::restore`]).
    Saved,
}

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// Translated by QEMU: works everywhere, several times slower.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// How a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FirmwareConfig {
    /// QEMU loads the kernel itself: no boot loader, the quickest start.
    Direct {
        /// A bzImage, or an ELF kernel with a PVH entry.
        kernel: PathBuf,
        /// The initial RAM disk.
        initrd: Option<PathBuf>,
        /// The kernel's command line; the serial console is added if it names none.
        #[serde(rename = "commandLine")]
        command_line: String,
    },
    /// OVMF.
    Uefi,
    /// OVMF with secure boot and Microsoft's keys.
    SecureBoot,
}

/// A copy-on-write disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskConfig {
    /// The machine's own qcow2 file.
    pub overlay: PathBuf,
    /// What a template wrote, between the overlay and the image; never written.
    #[serde(default)]
    pub layer: Option<PathBuf>,
    /// The image at the bottom, never written.
    pub base: PathBuf,
    /// The image's format.
    pub base_format: DiskFormat,
    /// Whether the overlay's file system takes `O_DIRECT`.
    pub direct: bool,
    /// What becomes of the guest's flushes.
    #[serde(default)]
    pub flush: Flush,
    /// Whether the kernel lets QEMU use `io_uring`; worker threads otherwise.
    pub io_uring: bool,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicConfig {
    /// `52:54:00:…`
    pub mac: String,
    /// What it is plugged into.
    pub backend: Backend,
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// QEMU's own network stack: needs no rights; the guest's SSH is a port of this computer's loopback.
    User {
        /// The loopback port.
        #[serde(rename = "sshPort")]
        ssh_port: u16,
        /// What its DHCP calls the guest.
        #[serde(rename = "hostName")]
        host_name: String,
    },
    /// An existing tap interface.
    Tap {
        /// Its name.
        name: String,
    },
    /// Nothing.
    None,
}

/// What a machine takes its identity from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeedConfig {
    /// The file `opt/dev.winstead/seed` of QEMU's firmware configuration device.
    FwCfg(PathBuf),
    /// A second, read-only disk (Linux) or CD (Windows).
    Cdrom(PathBuf),
    /// Nothing.
    None,
}

/// A user without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunAs {
    /// User id; never 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups: the one that may open `/dev/kvm`.
    pub groups: Vec<u32>,
}
