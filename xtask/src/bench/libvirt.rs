//! The same machines by libvirt: `virsh create`, same image, same accelerator, same disk in RAM, until SSH answers.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use fs_err as fs;
use winstead_hypervisor::qemu;

use crate::{
    bench::{
        guests::{self, Copies, Guest},
        lab::{Lab, timed},
        record::{Bench, Series},
        script::{self, Start},
        up,
    },
    command::Command,
    interrupt,
};

const COUNTS: [usize; 2] = [1, 4];

/// Runs both arms in turn, for one machine and for four.
///
/// # Errors
/// When libvirt cannot be started or a machine does not answer.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let libvirt = Libvirt::start(lab)?;
    let measured =
        COUNTS.iter().map(|count| measure(lab, &libvirt, *count)).collect::<anyhow::Result<Vec<_>>>();
    libvirt.stop()?;
    let series = measured?.into_iter().flatten().collect();
    let method = "from the command until SSH answers on the last one; arms in turn; as many at a time as cores in both; \
                  virsh finds overlays, seeds and the image's RAM copy ready, `up` makes its own; both wait alike; libvirt adds a USB \
                  controller, and neither an I/O thread nor a larger cache for the overlay's tables"
        .to_owned();
    Ok(Bench { name: "libvirt", method, series, goals: Vec::new() })
}

fn measure(lab: &Lab, libvirt: &Libvirt, count: usize) -> anyhow::Result<[Series; 2]> {
    lab.winstead(&["up", "-f", &lab.pool(count, "started")?])?;
    let mut copies = Copies::of(lab, guests::running(lab)?)?;
    let ready = lab.clear().and_then(|()| copies.give_to(qemu_user()?));
    let measured = ready.and_then(|()| interleaved(lab, libvirt, &copies, count));
    copies.remove()?;
    measured
}

fn interleaved(lab: &Lab, libvirt: &Libvirt, copies: &Copies, count: usize) -> anyhow::Result<[Series; 2]> {
    let file = lab.pool(count, "ssh")?;
    let mut ours = Series::new(format!("winstead up, {count}"), "s");
    let mut theirs = Series::new(format!("virsh create, {count}"), "s");
    for repeat in 0..lab.repeats() {
        for turn in 0..2 {
            if (repeat + turn) % 2 == 0 {
                ours.samples.push(timed("winstead up", || lab.winstead(&["up", "-f", &file]).map(drop))?);
                lab.clear()?;
            } else {
                theirs.samples.push(libvirt.create_all(lab, copies)?);
            }
        }
    }
    Ok([ours, theirs])
}

/// The user and group that libvirt runs QEMU as: it may read nothing that is not its own, and libvirt gives it only the
/// files that it knows of, not the seed.
fn qemu_user() -> anyhow::Result<(u32, u32)> {
    let entry = Command::new(["getent", "passwd", "libvirt-qemu"]).read().context("find libvirt's user")?;
    let mut numbers = entry.split(':').skip(2).map(|field| field.trim().parse());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok((user, group)),
        _ => anyhow::bail!("no user and group in {entry:?}"),
    }
}

/// A libvirt daemon of our own, if none runs.
struct Libvirt {
    folder: PathBuf,
    started: bool,
}

impl Libvirt {
    fn start(lab: &Lab) -> anyhow::Result<Self> {
        let folder = lab.scratch().join("libvirt");
        fs::create_dir_all(&folder)?;
        if virsh(&["version"]).quiet()?.0.status.success() {
            return Ok(Self { folder, started: false });
        }
        let libvirt = Self { folder, started: true };
        if let Err(error) = libvirt.start_daemons(lab) {
            interrupt::heard();
            return Err(match libvirt.stop() {
                Ok(()) => error,
                Err(second) => error.context(format!("its daemons stay, because: {second:#}")),
            });
        }
        Ok(libvirt)
    }

    /// Its package leaves this to systemd, which not every computer runs.
    fn start_daemons(&self, lab: &Lab) -> anyhow::Result<()> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        fs::write(at("libvirtd.conf"), "unix_sock_group = \"root\"\nauth_unix_rw = \"none\"\n")?;
        fs::create_dir_all("/var/log/libvirt")?;
        Command::new(["virtlogd", "-d", "-p", &at("virtlogd.pid")]).run()?;
        let libvirtd = ["libvirtd", "-d", "-f", &at("libvirtd.conf"), "-p", &at("libvirtd.pid")];
        // Where what root sees of KVM and what libvirt's user may do differ, libvirt asks QEMU anew at every start what it
        // can: half a minute. What neither side uses is covered by a file that nobody may open.
        fs::write(at("no-kvm"), "")?;
        fs::set_permissions(at("no-kvm"), Permissions::from_mode(0o000))?;
        // Its private /dev for each machine, which cannot hold such a file, goes with it.
        fs::write(at("qemu.conf"), "namespaces = []\n")?;
        let covered = "mount --bind \"$0/no-kvm\" /dev/kvm && \
                       mount --bind \"$0/qemu.conf\" /etc/libvirt/qemu.conf && exec \"$@\"";
        let alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", covered, &at("")];
        let without_kvm = Path::new("/dev/kvm").exists() && !lab.uses_kvm()?;
        let prefix = if without_kvm { alone.as_slice() } else { &[] };
        Command::new(prefix.iter().chain(&libvirtd).copied()).run()?;
        // The first call probes QEMU, 12 s; it is not part of any sample.
        let asked =
            virsh(&["domcapabilities", "--virttype", "qemu"]).deadline(Duration::from_mins(2)).quiet()?;
        anyhow::ensure!(asked.0.status.success(), "libvirt does not answer: {}", asked.1);
        Ok(())
    }

    fn create_all(&self, lab: &Lab, copies: &Copies) -> anyhow::Result<f64> {
        copies.renew()?;
        let xtask = std::env::current_exe()?;
        let mut starts = Vec::new();
        for guest in &copies.guests {
            let path = self.folder.join(format!("{}.xml", guest.name));
            fs::write(&path, domain(guest, &copies.base(guest)?.display().to_string())?)?;
            // A machine that was not made will never answer: the script ends with an error at once.
            let command =
                format!("virsh -q -c qemu:///system create {} > /dev/null || kill $$", path.display());
            starts.push(Start { command, wait: script::wait(guest, &xtask) });
        }
        let cores = std::thread::available_parallelism()?.get();
        let name = format!("virsh-{}", copies.guests.len());
        let seconds = up::run_script(lab, &name, &script::text(&starts, cores));
        // Also after Ctrl-C: nobody else knows of libvirt's machines.
        interrupt::heard();
        for guest in &copies.guests {
            virsh(&["destroy", &guest.name]).quiet()?;
        }
        seconds
    }

    fn stop(&self) -> anyhow::Result<()> {
        if !self.started {
            return Ok(());
        }
        for file in ["libvirtd.pid", "virtlogd.pid"].map(|name| self.folder.join(name)) {
            // Each removes its file when it ends; one that never started made none.
            if file.exists() {
                Command::new(["kill", fs::read_to_string(file)?.trim()]).run()?;
            }
        }
        Ok(())
    }
}

fn virsh(arguments: &[&str]) -> Command {
    Command::new(["virsh", "-q", "-c", "qemu:///system"].iter().chain(arguments).copied())
}

/// The machine as libvirt describes it. What it cannot say (a seed by fw_cfg, forwarded ports) is passed on to QEMU.
fn domain(guest: &Guest, base: &str) -> anyhow::Result<String> {
    let value = |option: &str| {
        let at = guest.argv.iter().position(|word| word == option);
        at.and_then(|at| guest.argv.get(at + 1)).cloned().with_context(|| format!("find {option}"))
    };
    let absolute = |path: String| guest.run.join(path).display().to_string();
    let passed = ["-netdev", "-fw_cfg"].map(|option| value(option).map(|value| [option.to_owned(), value]));
    let [netdev, seed] = passed;
    let [netdev, mut seed] = [netdev?, seed?];
    seed[1] = seed[1].replace("../", &format!("{}/", guest.run.with_file_name("").display()));
    let card =
        guest.argv.iter().find(|word| word.starts_with("virtio-net-pci")).context("find the network card")?;
    // libvirt numbers only its own devices, from the first slot on.
    let card = ["-device".to_owned(), format!("{card},addr=0x10")];
    // libvirt keeps its own monitor to itself, and the wait asks QEMU too.
    let monitor = format!("unix:{},server=on,wait=off", guest.run.join(qemu::COMMAND_SOCKET).display());
    let passed = [netdev, seed, card, ["-qmp".to_owned(), monitor]].concat();
    let passed = passed.iter().map(|word| format!("    <qemu:arg value='{}'/>\n", escaped(word)));
    let (kind, processor) = processor(&value("-accel")?);
    Ok(TEMPLATE
        .replace("@TYPE@", kind)
        .replace("@PROCESSOR@", processor)
        .replace("@NAME@", &guest.name)
        .replace("@UUID@", &guest.uid)
        .replace("@MEMORY@", value("-m")?.trim_end_matches('M'))
        .replace("@KERNEL@", &absolute(value("-kernel")?))
        .replace("@INITRD@", &absolute(value("-initrd")?))
        .replace("@CMDLINE@", &escaped(&value("-append")?))
        .replace("@OVERLAY@", &absolute("../disk/overlay.qcow2".into()))
        .replace("@BASE@", base)
        .replace("@PASSED@", &passed.collect::<String>()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

/// How libvirt says what `-accel` and `-cpu` say of ours: its domain type, and its elements.
fn processor(accelerator: &str) -> (&'static str, &'static str) {
    if accelerator.starts_with("kvm") {
        return ("kvm", "  <features><acpi/></features>\n  <cpu mode='host-passthrough'/>");
    }
    let emulated = "  <features><acpi/><tcg><tb-cache unit='MiB'>256</tb-cache></tcg></features>\n  \
                    <cpu mode='custom' match='exact' check='none'><model>Nehalem</model><feature policy='disable' name='cx16'/></cpu>";
    ("qemu", emulated)
}

const TEMPLATE: &str = "<domain type='@TYPE@' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>@NAME@</name>
  <uuid>@UUID@</uuid>
  <memory unit='MiB'>@MEMORY@</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>@KERNEL@</kernel>
    <initrd>@INITRD@</initrd>
    <cmdline>@CMDLINE@</cmdline>
  </os>
@PROCESSOR@
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='io_uring' discard='unmap' detect_zeroes='unmap'/>
      <source file='@OVERLAY@'/>
      <backingStore type='file'><format type='qcow2'/><source file='@BASE@'/></backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='null'/>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='builtin'/></rng>
  </devices>
  <seclabel type='none'/>
  <qemu:commandline>
@PASSED@  </qemu:commandline>
</domain>
";
