//! The QEMU driver.
//!
//! Deciding is pure ([`arguments`], [`qmp::codec`](qmp)); acting is thin. QEMU outlives whoever started it: it is
//! found again by its `-uuid` and confirmed over QMP.

mod accelerator;
mod adopt;
mod arguments;
mod config;
mod devices;
mod firmware;
mod kvm;
mod launch;
mod line;
mod processes;
pub mod qmp;
mod resident;
mod saved;
mod start;
mod state;
mod stop;
mod tap;
mod tpm;
mod usernet;
mod version;
mod vsock;

pub use accelerator::{AcceleratorChoice, AcceleratorError, choose_accelerator};
pub use adopt::{AdoptError, adopt, pause, resume, set_link};
pub use arguments::{arguments, translation_buffer};
pub use config::{
    AGENT_SOCKET, Accelerator, Backend, COMMAND_SOCKET, CONSOLE_SOCKET, DiskConfig, FirmwareConfig,
    HAND_SOCKETS, MachineConfig, NicConfig, Ram, RunAs, SUPERVISOR_SOCKET, SeedConfig, console_log, cut_logs,
    machine_log,
};
pub use processes::{find_process, find_tpm, is_machine};
pub use qmp::RunState;
pub use resident::{Resident, resident};
pub use saved::{MemoryError, new_ram, restore, save, seal_ram};
pub use start::{Handed, Running, StartError, start};
pub use state::forget_state;
pub use stop::stop;
pub use tap::holds_tap;
pub use usernet::{Handshake, handshake};
pub use version::{Features, Qemu, QemuError, Version, find};
pub use vsock::{Vsock, open_vsock};
