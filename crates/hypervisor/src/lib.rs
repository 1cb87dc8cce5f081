//! Hypervisor drivers: what runs machines. Today [`qemu`], on this computer.
//!
//! A driver builds arguments, starts, finds, adopts and stops machines. It knows nothing of images, stores, networks
//! or plans: paths, ports and tap names come in as data.

pub mod qemu;
