//! Our own initial RAM disk: mounts the root disk, unpacks the seed over it, and hands over to the first process.
//!
//! Twenty times smaller than Debian's and without udev. Because it applies the seed **before** the first process
//! starts, the guest never runs a moment with the wrong identity, and no service in the guest must wait for one.

use crate::{
    cpio::{self, Kind, Member},
    modules::Module,
};

/// The file system label of a root disk that we make.
pub const ROOT_LABEL: &str = "winstead-root";
/// What QEMU must call the seed: `-fw_cfg name=opt/dev.winstead/seed,file=seed.tar`.
pub const SEED_NAME: &str = "opt/dev.winstead/seed";
/// What a disk needs before it can be mounted.
pub const REQUIRED_MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "qemu_fw_cfg"];
/// What else is loaded here when the kernel has it: other hypervisors' disks; the network card and the random numbers
/// that sshd waits for, long before udev would come to them.
pub const OPTIONAL_MODULES: &[&str] =
    &["virtio_rng", "virtio_net", "virtio_console", "virtio_scsi", "sd_mod"];

/// The initial RAM disk, uncompressed: unpacking costs an emulated guest more than reading.
#[must_use]
pub fn initrd(busybox: Vec<u8>, modules: Vec<Module>) -> Vec<u8> {
    let member = |path: &str, kind| Member { path: path.to_owned(), kind };
    let load: String =
        modules.iter().map(|module| format!("insmod /modules/{} || true\n", module.name)).collect();
    let mut members: Vec<Member> =
        ["bin", "dev", "proc", "sys", "modules", "root"].map(|path| member(path, Kind::Folder)).into();
    // The kernel opens /dev/console for the first process before anything can be mounted.
    members.push(member("dev/console", Kind::Device(5, 1)));
    members.push(member("bin/busybox", Kind::Program(busybox)));
    members.push(member("bin/sh", Kind::Link("busybox".to_owned())));
    members.extend(
        modules
            .into_iter()
            .map(|module| member(&format!("modules/{}", module.name), Kind::File(module.bytes))),
    );
    members.push(member("init", Kind::Program(script(&load).into_bytes())));
    cpio::archive(&members)
}

/// The first process. It works with busybox's own commands only, and says on the console what failed: exiting as
/// process 1 is a kernel panic, which is what the engine looks for.
fn script(load: &str) -> String {
    INIT.replace("@LOAD@\n", load).replace("@SEED@", SEED_NAME)
}

pub(crate) const INIT: &str = r#"#!/bin/sh
# Winstead's initial RAM disk. See ARCHITECTURE.md, "Seed".
export PATH=/bin
say() {
    echo "winstead-initrd: $*" >/dev/console
}
fail() {
    say "FAILED: $*"
    exit 1
}
busybox mount -t proc proc /proc || fail "mount /proc"
busybox mount -t sysfs sysfs /sys || fail "mount /sys"
busybox mount -t devtmpfs devtmpfs /dev || fail "mount /dev"
busybox --install -s /bin
@LOAD@
root= init=/sbin/init
read -r line </proc/cmdline
for word in $line; do
    case "$word" in
        root=*) root=${word#root=} ;;
        init=*) init=${word#init=} ;;
    esac
done
[ -n "$root" ] || fail "no root= on the kernel's command line"
# A disk appears some milliseconds after its driver; ten seconds are for a host that is overloaded.
device= tries=0
while :; do
    case "$root" in
        LABEL=*|UUID=*) device=$(findfs "$root" 2>/dev/null) ;;
        *) device=$root ;;
    esac
    [ -b "$device" ] && break
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "no disk with $root after 10 s; there are: $(ls /sys/class/block | tr '\n' ' ')"
    usleep 50000
done
# A machine that was killed left its root as it was, and without a journal only a check makes it whole. s_state (ext4,
# 0x3a in the superblock at 1024): bit 0 is "unmounted", bit 1 is "errors were found".
state=$(dd if="$device" bs=1 skip=1082 count=1 2>/dev/null | od -A n -t u1)
if [ $((state & 3)) -ne 1 ]; then
    mount -t ext4 -o ro "$device" /root || fail "mount $device ($root) to check it"
    if [ -x /root/sbin/e2fsck ]; then
        say "checking the root file system"
        mount --bind /dev /root/dev || fail "show /dev to e2fsck"
        mount -t proc proc /root/proc || fail "show /proc to e2fsck"
        chroot /root /sbin/e2fsck -f -y "$device" >/dev/console 2>&1
        found=$?
        umount /root/proc
        umount /root/dev
        [ $found -lt 4 ] || fail "repair the root file system: e2fsck ended with $found"
    else
        say "the root file system was not unmounted, and cannot be checked: it has no /sbin/e2fsck"
    fi
    umount /root || fail "unmount $device after its check"
fi
# discard: what the guest deletes is given back to the host's RAM. noatime: reading must not write.
mount -t ext4 -o rw,noatime,discard "$device" /root || fail "mount $device ($root)"
seed=/sys/firmware/qemu_fw_cfg/by_name/@SEED@/raw
if [ -e "$seed" ]; then
    tar -x -f "$seed" -C /root || fail "unpack the seed"
fi
[ -x "/root$init" ] || [ -L "/root$init" ] || fail "no $init on $device"
mount --move /dev /root/dev || fail "move /dev"
umount /sys
umount /proc
exec switch_root /root "$init" || fail "start $init"
"#;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use winstead_process::Command;

    use super::*;

    #[tokio::test]
    async fn the_init_script_is_a_shell_script_that_loads_every_module_in_order() {
        let text = script("insmod /modules/a.ko || true\ninsmod /modules/b.ko || true\n");
        assert!(text.contains(
            "--install -s /bin\ninsmod /modules/a.ko || true\ninsmod /modules/b.ko || true\nroot="
        ));
        assert!(!text.contains('@'), "a placeholder is left");
        let check = Command::new("sh").arg("-n").input(text);
        check.run(&CancellationToken::new()).await.unwrap();
    }

    #[test]
    fn an_initial_ram_disk_starts_with_its_folders_and_ends_with_init() {
        let module = Module { name: "x.ko".into(), bytes: vec![9] };
        let bytes = initrd(b"busybox".to_vec(), vec![module]);
        let text = String::from_utf8_lossy(&bytes);
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("no {needle}"));
        assert!(at("bin/busybox") < at("modules/x.ko") && at("modules/x.ko") < at("init\0"));
    }
}
