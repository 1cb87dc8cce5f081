//! The shell text that mmdebstrap runs in its own name space when all packages are installed: the only place where
//! the tree's files belong to its root, whoever we are. It takes the kernel out, removes what is unique or only
//! needed for building, and writes the root file system straight into the disk file.

use std::path::Path;

use winstead_spec::ByteSize;

use crate::{disk::Layout, initrd::ROOT_LABEL};

/// What the hook leaves in the exchange folder.
pub(crate) const DISK: &str = "disk.raw";
pub(crate) const KERNEL: &str = "vmlinuz";
pub(crate) const BUSYBOX: &str = "busybox";
pub(crate) const BOOT_LOADER: &str = "systemd-bootx64.efi";
pub(crate) const PACKAGES: &str = "packages";
pub(crate) const MODULES: &str = "modules.tar";

/// The hook; it makes the folder `exchange`, in a place that both we and its user reach. Everything in it can be read
/// by all, and written by the hook's user only.
pub(crate) fn customize(exchange: &Path, layout: &Layout) -> String {
    let exchange = winstead_process::shown([exchange]);
    HOOK.replace("@EXCHANGE@", &exchange)
        .replace("@OFFSET@", &layout.root.start.bytes().to_string())
        .replace("@SIZE_KIB@", &(layout.root.size.bytes() / 1024).to_string())
        .replace("@DISK_SIZE@", &layout.size.bytes().to_string())
        .replace("@LABEL@", ROOT_LABEL)
}

/// The smallest disk that the base system leaves room to work in.
pub(crate) const SMALLEST: ByteSize = ByteSize::from_mib(1024);

/// Notes on single lines:
/// * The bind mount shows the tree without the /proc, /sys and /dev that mmdebstrap mounted in it.
/// * mmdebstrap's own settings lie in the tree's /tmp and are still needed (without them its apt would clean the
///   host's files), so the image gets an empty folder in its place.
/// * No journal: it would be written to every machine's RAM overlay again and again, for a disk that is thrown away
///   after a crash. Inode tables are written now, else the guest's kernel does it in the background, into RAM.
/// * The recipe may bring a second kernel; the machines' one is the cloud kernel.
/// * Folders in /var/log belong to packages: nginx does not start without its own.
/// * `mkdir` fails on a folder that is there already: nobody else can have prepared one.
pub(crate) const HOOK: &str = r#"#!/bin/sh
set -eu
tree=$1
out=@EXCHANGE@
umask 022
mkdir "$out"
kernel=$(ls "$tree"/boot/vmlinuz-*-cloud-amd64 | sort -V | tail -n 1)
cp "$kernel" "$out/vmlinuz"
cp "$tree/usr/bin/busybox" "$out/busybox"
cp "$tree/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$out/"
tar -c -f "$out/modules.tar" -C "$tree/usr/lib/modules/${kernel##*/vmlinuz-}" modules.dep modules.builtin kernel
dpkg-query --admindir="$tree/var/lib/dpkg" -W -f '${Package} ${Version} ${Architecture}\n' >"$out/packages"
rm -rf "$tree"/boot/* "$tree"/etc/ssh/ssh_host_* "$tree/etc/resolv.conf" "$tree/var/lib/systemd/random-seed" \
    "$tree/var/lib/dbus/machine-id" "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/var/cache/debconf/*-old \
    "$tree"/var/lib/dpkg/*-old "$tree"/root/.ssh "$tree"/var/cache/ldconfig/aux-cache \
    "$tree"/etc/*-
find "$tree/var/log" ! -type d -delete
# A mirror's address may hold a password, and the keyring is this computer's.
sed -i -e 's|//[^/@ ]*@|//|' -e 's|^deb \[signed-by=[^]]*\] |deb |' "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/* 2>/dev/null || true
sed -i 's/^root:[^:]*:/root:*:/' "$tree/etc/shadow"
truncate -s @DISK_SIZE@ "$out/disk.raw"
mkdir "$out/tree" "$out/tmp"
chmod 1777 "$out/tmp"
mount --bind "$tree" "$out/tree"
mount --bind "$out/tmp" "$out/tree/tmp"
mke2fs -q -F -t ext4 -L @LABEL@ -m 0 -O ^has_journal -E offset=@OFFSET@,lazy_itable_init=0,root_owner=0:0 \
    -d "$out/tree" "$out/disk.raw" @SIZE_KIB@k
umount "$out/tree/tmp" "$out/tree"
rmdir "$out/tree" "$out/tmp"
chmod 0644 "$out"/*
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_complete_and_quotes_its_folder() {
        let layout = Layout::of(ByteSize::from_mib(4096)).unwrap();
        let text = customize(Path::new("/var/lib/a b/out"), &layout);
        assert!(text.contains("out='/var/lib/a b/out'\n"), "{text}");
        assert!(text.contains("offset=68157440,") && text.contains(" 4127680k\n"), "{text}");
        assert!(
            !text.contains("@O") && !text.contains("@E") && !text.contains("@S") && !text.contains("@D"),
            "a placeholder is left: {text}"
        );
    }
}
