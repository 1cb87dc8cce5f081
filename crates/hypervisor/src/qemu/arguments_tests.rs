//! Command lines, pinned.

use std::{collections::BTreeSet, path::PathBuf};

use uuid::Uuid;
use winstead_spec::{DiskFormat, Flush};

use super::*;
use crate::qemu::{Backend, DiskConfig, Features, NicConfig, RunAs, SeedConfig, Version};

pub(crate) fn qemu(major: u32, minor: u32) -> Qemu {
    let version = Version { major, minor, micro: 2 };
    Qemu { binary: "/usr/bin/qemu-system-x86_64".into(), version, features: Features::of(version) }
}

fn linux() -> MachineConfig {
    MachineConfig {
        name: "web-0".to_owned(),
        uuid: Uuid::from_u128(0xb9b2_ef59_1443_410c_b731_fe59_88fb_6b8a),
        os: GuestOs::Linux,
        cpus: 2,
        memory: ByteSize::from_mib(384),
        ram: Ram::Own,
        firmware: FirmwareConfig::Direct {
            kernel: "../../../images/debian/0123456789ab/vmlinux".into(),
            initrd: Some("../../../images/debian/0123456789ab/initrd".into()),
            command_line: "root=/dev/vda1 quiet".to_owned(),
        },
        tpm: false,
        disk: DiskConfig {
            overlay: "../disk/overlay.qcow2".into(),
            layer: None,
            base: "../../../bases/0123456789ab/disk.qcow2".into(),
            base_format: DiskFormat::Qcow2,
            flush: Flush::Ignored,
            direct: true,
            io_uring: true,
        },
        nic: NicConfig {
            mac: "52:54:00:12:34:56".to_owned(),
            backend: Backend::User { ssh_port: 40022, host_name: "web-0".to_owned() },
        },
        seed: SeedConfig::FwCfg("../seed.tar".into()),
        agent: false,
        vsock: None,
        accelerator: Accelerator::Tcg,
        run_as: Some(RunAs { uid: 2_013_265_920, gid: 2_013_265_920, groups: vec![] }),
    }
}

fn linux_uefi() -> MachineConfig {
    MachineConfig {
        firmware: FirmwareConfig::Uefi,
        seed: SeedConfig::Cdrom("../seed.iso".into()),
        agent: false,
        nic: NicConfig { backend: Backend::Tap { name: "wt0123456789".to_owned() }, ..linux().nic },
        disk: DiskConfig {
            direct: false,
            flush: Flush::Honored,
            io_uring: false,
            base_format: DiskFormat::Raw,
            ..linux().disk
        },
        ..linux()
    }
}

pub(crate) fn windows() -> MachineConfig {
    MachineConfig {
        os: GuestOs::Windows,
        memory: ByteSize::from_mib(8192),
        firmware: FirmwareConfig::SecureBoot,
        tpm: true,
        seed: SeedConfig::Cdrom("../seed.iso".into()),
        agent: false,
        accelerator: Accelerator::Kvm,
        ..linux()
    }
}

/// One option with its value on each line.
fn shown(config: &MachineConfig, qemu: &Qemu) -> String {
    let mut text = String::new();
    for argument in arguments(config, qemu) {
        if argument.starts_with('-') && !text.is_empty() {
            text.push('\n');
        } else if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&argument);
    }
    text
}

/// What is in the second and not in the first: versions and accelerators are told apart by little.
fn difference(one: &str, other: &str) -> String {
    let known: BTreeSet<&str> = one.lines().collect();
    other.lines().filter(|line| !known.contains(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_linux_machine_with_a_direct_kernel_under_qemu_7_2s_tcg() {
    insta::assert_snapshot!(shown(&linux(), &qemu(7, 2)));
}

#[test]
fn newer_qemu_and_kvm_change_only_the_processor() {
    let debian_12 = shown(&linux(), &qemu(7, 2));
    insta::assert_snapshot!(difference(&debian_12, &shown(&linux(), &qemu(10, 0))), @"-cpu Nehalem,vendor=AuthenticAMD");
    let kvm = MachineConfig { accelerator: Accelerator::Kvm, ..linux() };
    insta::assert_snapshot!(difference(&debian_12, &shown(&kvm, &qemu(7, 2))), @r"
    -accel kvm
    -cpu host
    ");
}

#[test]
fn a_linux_machine_with_uefi_on_a_bridge() {
    insta::assert_snapshot!(shown(&linux_uefi(), &qemu(10, 0)));
}

#[test]
fn a_windows_machine_with_secure_boot_under_kvm() {
    insta::assert_snapshot!(shown(&windows(), &qemu(10, 0)));
}

#[test]
fn a_machine_with_vsock_has_one_device_more() {
    let agent = MachineConfig { agent: true, ..linux() };
    let vsock = MachineConfig { vsock: Some(4_000_000_001), ..agent.clone() };
    let (without, with) = (shown(&agent, &qemu(10, 0)), shown(&vsock, &qemu(10, 0)));
    insta::assert_snapshot!(difference(&without, &with), @"-device vhost-vsock-pci,id=vsock0,guest-cid=4000000001,vhostfd=3");
    assert_eq!(with.lines().count(), without.lines().count() + 1);
    // The file of its RAM is handed over first.
    let ram = shown(&MachineConfig { ram: Ram::Shared, ..vsock }, &qemu(10, 0));
    assert!(ram.contains("mem-path=/proc/self/fd/3,") && ram.contains(",vhostfd=4"), "{ram}");
}

#[test]
fn windows_keeps_cmpxchg16b_which_it_needs() {
    let tcg = MachineConfig { accelerator: Accelerator::Tcg, ..windows() };
    let line = shown(&tcg, &qemu(7, 2));
    assert!(line.contains("-cpu Nehalem,hv_relaxed"), "{line}");
}

#[test]
fn the_translation_buffer_follows_the_guests_memory() {
    let mib = |memory| translation_buffer(ByteSize::from_mib(memory), Accelerator::Tcg).mib_ceil();
    assert_eq!([mib(128), mib(384), mib(1024), mib(2048), mib(8192)], [128, 256, 256, 512, 512]);
    assert_eq!(translation_buffer(ByteSize::from_mib(8192), Accelerator::Kvm), ByteSize::default());
}

#[test]
fn a_comma_in_a_value_cannot_add_an_option() {
    let mut config = linux();
    config.name = "a,process=b".to_owned();
    config.nic.backend = Backend::User { ssh_port: 1, host_name: "h,restrict=on".to_owned() };
    config.seed = SeedConfig::FwCfg(PathBuf::from("../seed,string=x"));
    let line = shown(&config, &qemu(10, 0));
    for escaped in ["guest=a,,process=b,", "hostname=h,,restrict=on,", "file=../seed,,string=x"] {
        assert!(line.contains(escaped), "{line}");
    }
}

#[test]
fn no_machine_runs_without_sandbox_or_unpaused() {
    for config in [linux(), linux_uefi(), windows()] {
        let line = arguments(&config, &qemu(7, 2));
        assert!(line.contains(&"-S".to_owned()));
        let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned();
        assert!(line.windows(2).any(|pair| pair == ["-sandbox".to_owned(), sandbox.clone()]));
    }
}
