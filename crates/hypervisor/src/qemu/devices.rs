//! The devices of a machine, as arguments. Pure.

use std::path::Path;

use serde_json::json;
use winstead_spec::{DiskFormat, Flush, GuestOs};

use super::{
    Backend, FirmwareConfig, MachineConfig, Ram, SeedConfig,
    config::{
        self, AGENT_SOCKET, COMMAND_SOCKET, CONSOLE_LOG, CONSOLE_SOCKET, HAND_SOCKETS, RAM_DESCRIPTOR,
        SUPERVISOR_SOCKET,
    },
    line::{Line, path, value},
};

/// The overlay's cluster size. A guest that discards less than a cluster gives no memory back, so it is told.
const CLUSTER: u32 = 128 * 1024;
/// Upper limit of the cache for the overlay's tables: 16 bytes for each cluster with sub-clusters, so 1 TiB of disk.
/// QEMU lowers it to what the disk needs and takes memory as it is used; its own limit of 32 MiB ends at 256 GiB.
const TABLE_CACHE: u32 = 128 * 1024 * 1024;

/// A flash chip of UEFI.
pub(crate) fn flash(node: &str, file: &Path, read_only: bool) -> String {
    json!({
        "node-name": node, "driver": "raw", "read-only": read_only,
        "file": {"driver": "file", "filename": file, "read-only": read_only},
    })
    .to_string()
}

/// Two monitors, since one serves one client: for commands, and for the supervisor.
pub(crate) fn monitors(line: &mut Line) {
    for (id, socket) in [("qmp", COMMAND_SOCKET), ("supervisor", SUPERVISOR_SOCKET)] {
        line.option("-chardev", format!("socket,id={id},path={socket},server=on,wait=off"));
        line.option("-mon", format!("chardev={id},mode=control"));
    }
}

/// The serial console: a socket for whoever types, a log for whoever reads. The log is appended to over a restart.
pub(crate) fn console(line: &mut Line) {
    let log = format!("logfile={CONSOLE_LOG},logappend=on");
    line.option("-chardev", format!("socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,{log}"));
    line.option("-serial", "chardev:console");
}

/// The disk: an overlay over a shared, read-only base.
pub(crate) fn disk(line: &mut Line, config: &MachineConfig) {
    let disk = &config.disk;
    let aio = if disk.io_uring { "io_uring" } else { "threads" };
    // The base goes through the page cache even where O_DIRECT works: all machines of an image share it.
    let base = json!({
        "node-name": "base", "driver": driver(disk.base_format), "read-only": true,
        "file": {"driver": "file", "filename": disk.base, "read-only": true, "aio": aio},
    });
    // no-flush, mostly: the data dies with the machine, in RAM or not. discard, detect-zeroes: memory goes back to the
    // host.
    let cache = json!({"direct": disk.direct, "no-flush": disk.flush == Flush::Ignored});
    let layer = disk.layer.as_ref().map(|layer| {
        json!({
            "node-name": "layer", "driver": "qcow2", "backing": "base", "read-only": true,
            "file": {"driver": "file", "filename": layer, "read-only": true, "aio": aio},
        })
    });
    let backing = if layer.is_some() { "layer" } else { "base" };
    let overlay = json!({
        "node-name": "disk", "driver": "qcow2", "backing": backing, "cache": cache,
        "discard": "unmap", "detect-zeroes": "unmap", "l2-cache-size": TABLE_CACHE,
        "file": {
            "driver": "file", "filename": disk.overlay, "cache": cache, "aio": aio, "discard": "unmap",
        },
    });
    line.option("-blockdev", base.to_string());
    if let Some(layer) = layer {
        line.option("-blockdev", layer.to_string());
    }
    line.option("-blockdev", overlay.to_string());
    line.option("-object", "iothread,id=disk-thread");
    // A full overlay stops the machine instead of failing the guest's write: it can grow and go on. With -blockdev
    // werror and rerror belong to the device.
    let policy = "werror=enospc,rerror=stop";
    let shape = format!("discard_granularity={CLUSTER},iothread=disk-thread,num-queues={}", config.cpus);
    // QEMU's own loader of a direct kernel takes index 0 itself, and there is nothing else to boot.
    let order = if matches!(config.firmware, FirmwareConfig::Direct { .. }) { "" } else { ",bootindex=0" };
    line.option("-device", format!("virtio-blk-pci,id=disk0,drive=disk,serial=root{order},{policy},{shape}"));
}

const fn driver(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Vmdk => "vmdk",
    }
}

/// The network card.
pub(crate) fn network(line: &mut Line, config: &MachineConfig) {
    let backend = match &config.nic.backend {
        Backend::User { ssh_port, host_name } => {
            let name = value(host_name);
            Some(format!("user,id=net0,ipv6=off,hostname={name},hostfwd=tcp:127.0.0.1:{ssh_port}-:22"))
        }
        // The open tap is its standard input: see `tap`.
        Backend::Tap { .. } => Some("tap,id=net0,fd=0".to_owned()),
        Backend::None => None,
    };
    let plug = if backend.is_some() { ",netdev=net0" } else { "" };
    if let Some(backend) = backend {
        line.option("-netdev", backend);
    }
    // romfile= (nothing): no PXE in front of the disk.
    let mac = value(&config.nic.mac);
    // As after a move to another computer, QEMU would have a restored guest tell its network five times where it is: work for
    // nothing, its cable is not plugged in and its card is about to be another one. (`announce-rounds` 0 says the same, but
    // QEMU 7.2 and 10.0 then crash when the guest reboots.)
    let silent = if config.ram == Ram::Own { "" } else { ",guest_announce=off" };
    line.option("-device", format!("virtio-net-pci,id=nic0{plug},mac={mac},romfile={silent}"));
}

/// What the guest takes its identity from.
pub(crate) fn seed(line: &mut Line, config: &MachineConfig) {
    let iso = match &config.seed {
        SeedConfig::None => return,
        SeedConfig::FwCfg(file) => {
            return line.option("-fw_cfg", format!("name=opt/dev.winstead/seed,file={}", path(file)));
        }
        SeedConfig::Cdrom(iso) => iso,
    };
    line.option("-blockdev", flash("seed", iso, true));
    // Linux finds the label on any disk, and Debian's cloud kernel has no driver for a CD; Windows wants a CD.
    let device = match config.os {
        GuestOs::Linux => "virtio-blk-pci,id=seed0,drive=seed",
        GuestOs::Windows => "ide-cd,id=seed0,drive=seed,bus=ide.0",
    };
    line.option("-device", device);
}

/// The ports of `winstead-agent`: several, because each serves one client and there is no daemon on the host.
fn hand(line: &mut Line) {
    for (number, socket) in HAND_SOCKETS.iter().enumerate() {
        line.option("-chardev", format!("socket,id=hand{number},path={socket},server=on,wait=off"));
        let name = format!("name=dev.winstead.agent.{number},id=port{number}");
        line.option("-device", format!("virtserialport,bus=ports.0,chardev=hand{number},{name}"));
    }
}

/// The same agent's vsock: the device is open already, see [`super::open_vsock`].
fn vsock(line: &mut Line, config: &MachineConfig, cid: u32) {
    let descriptor = RAM_DESCRIPTOR + u32::from(config.ram != Ram::Own);
    line.option("-device", format!("vhost-vsock-pci,id=vsock0,guest-cid={cid},vhostfd={descriptor}"));
}

/// Random numbers, the guest agent's port, the panic device, and what Windows needs besides.
pub(crate) fn small_ones(line: &mut Line, config: &MachineConfig) {
    line.option("-object", "rng-builtin,id=random");
    line.option("-device", "virtio-rng-pci,rng=random");
    line.option("-device", "virtio-serial-pci,id=ports");
    line.option("-chardev", format!("socket,id=agent,path={AGENT_SOCKET},server=on,wait=off"));
    line.option("-device", "virtserialport,bus=ports.0,chardev=agent,name=org.qemu.guest_agent.0,id=agent0");
    if config.agent {
        hand(line);
    }
    if let Some(cid) = config.vsock {
        vsock(line, config, cid);
    }
    line.option("-device", "pvpanic");
    if config.os == GuestOs::Windows {
        // A new generation at each start: Windows then knows that it was put back.
        line.option("-device", "vmgenid,guid=auto");
        line.option("-device", "VGA,id=screen");
    }
    if config.tpm {
        line.option("-chardev", format!("socket,id=tpm,path={}", config::tpm_socket(&config.uuid)));
        line.option("-tpmdev", "emulator,id=tpm0,chardev=tpm");
        line.option("-device", "tpm-crb,tpmdev=tpm0");
    }
}
