//! QEMU's command line, built from data. Pure.
//!
//! Devices that carry the guest are in `devices.rs`; here stands what is the machine itself.

use std::path::Path;

use winstead_spec::{ByteSize, GuestOs};

use super::{
    Accelerator, FirmwareConfig, MachineConfig, Qemu, Ram,
    config::{RAM_DESCRIPTOR, VARIABLES},
    devices, firmware,
    launch::SANDBOX,
    line::{Line, value},
};

/// What Windows asks a hypervisor for so that it neither spins nor polls (QEMU's "Hyper-V Enlightenments").
const ENLIGHTENMENTS: &str =
    "hv_relaxed,hv_vapic,hv_spinlocks=0x1fff,hv_runtime,hv_time,hv_frequencies,hv_reset";
/// Those that stand on `hv_vpindex`, which TCG refuses ("kernel doesn't allow setting HyperV VP_INDEX"). Without
/// `hv_stimer` Windows idles at high CPU.
const KVM_ENLIGHTENMENTS: &str = "hv_vpindex,hv_synic,hv_stimer,hv_tlbflush,hv_ipi";

/// The arguments of a machine's QEMU, without the program. The machine starts paused (`-S`); paths are the config's.
#[must_use]
pub fn arguments(config: &MachineConfig, qemu: &Qemu) -> Vec<String> {
    let mut line = Line::default();
    identity(&mut line, config);
    processor(&mut line, config, qemu);
    boot(&mut line, config);
    clock(&mut line, config);
    devices::monitors(&mut line);
    devices::console(&mut line);
    devices::disk(&mut line, config);
    devices::network(&mut line, config);
    devices::seed(&mut line, config);
    devices::small_ones(&mut line, config);
    line.into_words()
}

/// RAM that QEMU needs under TCG for translated code, beside the guest's own. Measured with Debian guests: 256 MiB
/// are as quick as more, 128 MiB cost a fifth more CPU; a guest that runs a Kubernetes control plane flushes 256 MiB
/// again and again. So small guests, of which there are many, must not pay more for it than for their RAM, and big
/// ones may. QEMU's own default takes 1.2 GB.
#[must_use]
pub fn translation_buffer(memory: ByteSize, accelerator: Accelerator) -> ByteSize {
    match accelerator {
        Accelerator::Kvm => ByteSize::default(),
        Accelerator::Tcg if memory < ByteSize::from_mib(256) => ByteSize::from_mib(128),
        Accelerator::Tcg if memory < ByteSize::from_mib(2048) => ByteSize::from_mib(256),
        Accelerator::Tcg => ByteSize::from_mib(512),
    }
}

fn identity(line: &mut Line, config: &MachineConfig) {
    let name = value(&config.name);
    line.option("-name", format!("guest={name},process=winstead-{name},debug-threads=on"));
    line.option("-uuid", config.uuid.to_string());
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-display", "none");
    line.flag("-S");
    line.option("-msg", "timestamp=on");
    line.option("-sandbox", SANDBOX);
    // A panicked guest stays, paused, so that the panic can be told from an end and its memory looked at.
    line.option("-action", "panic=pause");
}

fn processor(line: &mut Line, config: &MachineConfig, qemu: &Qemu) {
    line.option("-machine", machine(config));
    match config.accelerator {
        Accelerator::Kvm => line.option("-accel", "kvm"),
        Accelerator::Tcg => {
            let buffer = translation_buffer(config.memory, config.accelerator).mib_ceil();
            line.option("-accel", format!("tcg,tb-size={buffer}"));
        }
    }
    line.option("-cpu", cpu(config, qemu));
    let cpus = config.cpus;
    line.option("-smp", format!("{cpus},sockets=1,cores={cpus},threads=1,maxcpus={cpus}"));
    line.option("-m", format!("{}M", config.memory.mib_ceil()));
    ram(line, config);
}

/// RAM in a file that is handed over as an open descriptor: nobody finds it by a name, and it can be sealed.
fn ram(line: &mut Line, config: &MachineConfig) {
    let share = match config.ram {
        Ram::Own => return,
        Ram::Shared => "on",
        Ram::Saved => "off",
    };
    let size = config.memory.mib_ceil();
    let file = format!("/proc/self/fd/{RAM_DESCRIPTOR}");
    line.option("-object", format!("memory-backend-file,id=ram,mem-path={file},size={size}M,share={share}"));
    if config.ram == Ram::Saved {
        line.option("-incoming", "defer");
    }
}

fn machine(config: &MachineConfig) -> String {
    // `pc` boots a direct kernel in 5 % less CPU than `q35`. dump-guest-core=off: a crash must not write a guest's RAM.
    let (base, flash) = match config.firmware {
        FirmwareConfig::Direct { .. } => ("pc", ""),
        FirmwareConfig::Uefi => ("q35", ",pflash0=firmware,pflash1=variables"),
        FirmwareConfig::SecureBoot => ("q35,smm=on", ",pflash0=firmware,pflash1=variables"),
    };
    // Windows with hv_stimer needs no HPET, and polls it if there is one.
    let hpet = if config.os == GuestOs::Windows { ",hpet=off" } else { "" };
    let ram = if config.ram == Ram::Own { "" } else { ",memory-backend=ram" };
    format!("{base},vmport=off,dump-guest-core=off{hpet}{flash}{ram}")
}

/// An emulator looks at each access before it is made, so it has no Meltdown. A kernel that believes in an Intel takes
/// precautions all the same: it keeps its pages from programs, and each of their calls empties the emulator's TLB twice. A
/// boot of Debian took 17.4 s of CPU so; it takes 12.5 s with the vendor that never had this fault.
const NO_MELTDOWN: &str = "vendor=AuthenticAMD";

fn cpu(config: &MachineConfig, qemu: &Qemu) -> String {
    let model = match (config.accelerator, config.os) {
        (Accelerator::Kvm, _) => "host",
        // QEMU 7.2's TCG corrupts EFLAGS around cmpxchg16b: Linux 6.12 panics at random with "double fault" in __kmalloc.
        (Accelerator::Tcg, GuestOs::Linux) if !qemu.features.tcg_cmpxchg16b => "Nehalem,-cx16",
        // A named old model: `max` costs 1.7 times the CPU. Windows does not start without cmpxchg16b.
        (Accelerator::Tcg, _) => "Nehalem",
    };
    match (config.os, config.accelerator) {
        (GuestOs::Linux, Accelerator::Kvm) => model.to_owned(),
        (GuestOs::Linux, Accelerator::Tcg) => format!("{model},{NO_MELTDOWN}"),
        (GuestOs::Windows, Accelerator::Tcg) => format!("{model},{ENLIGHTENMENTS}"),
        (GuestOs::Windows, Accelerator::Kvm) => format!("{model},{ENLIGHTENMENTS},{KVM_ENLIGHTENMENTS}"),
    }
}

fn boot(line: &mut Line, config: &MachineConfig) {
    if let FirmwareConfig::Direct { kernel, initrd, command_line } = &config.firmware {
        line.option("-kernel", kernel.to_string_lossy());
        if let Some(initrd) = initrd {
            line.option("-initrd", initrd.to_string_lossy());
        }
        let console = if command_line.contains("console=ttyS0") { "" } else { "console=ttyS0 " };
        line.option("-append", format!("{console}{command_line}").trim_end());
    }
    let Some(files) = firmware::of(&config.firmware) else { return };
    line.option("-blockdev", devices::flash("firmware", Path::new(files.code), true));
    line.option("-blockdev", devices::flash("variables", Path::new(VARIABLES), false));
    if config.firmware == FirmwareConfig::SecureBoot {
        // Without it the guest could write the variables around the firmware, and with them its own keys.
        line.option("-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    line.option("-boot", "strict=on,menu=off");
    // OVMF brings a network boot of its own, which waits for more than a minute: the image is on the disk.
    line.option("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n");
    line.option("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n");
}

fn clock(line: &mut Line, config: &MachineConfig) {
    if config.os == GuestOs::Linux {
        line.option("-rtc", "base=utc");
        return;
    }
    line.option("-rtc", "base=localtime,driftfix=slew");
    if config.accelerator == Accelerator::Kvm {
        line.option("-global", "kvm-pit.lost_tick_policy=discard");
    }
    // A guest that sleeps is a guest that nobody reaches.
    line.option("-global", "ICH9-LPC.disable_s3=1");
    line.option("-global", "ICH9-LPC.disable_s4=1");
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "proxmox_tests.rs"]
mod proxmox_tests;
