//! The tiny guest's files.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use fs_err as fs;

const FOLDERS: &[&str] = &[
    "bin",
    "dev",
    "etc/dropbear",
    "etc/ssh",
    "etc/init.d",
    "lib/x86_64-linux-gnu",
    "lib64",
    "proc",
    "root/.ssh",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "var/lib",
    "var/log",
];
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/bin/busybox", "bin/busybox"),
    ("usr/sbin/dropbear", "usr/sbin/dropbear"),
    ("usr/lib/dropbear/dropbearconvert", "usr/bin/dropbearconvert"),
    ("usr/lib/openssh/sftp-server", "usr/lib/sftp-server"),
];
const LIBRARIES: &[&str] = &[
    "ld-linux-x86-64",
    "libc.so",
    "libcrypt.so",
    "libgmp.so",
    "libtomcrypt.so",
    "libtommath.so",
    "libz.so",
    "libm.so",
];
const LIBRARY_FOLDER: &str = "usr/lib/x86_64-linux-gnu";
const TEXTS: &[(&str, u32, &str)] = &[
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    // No password opens it; a key does.
    ("etc/shadow", 0o600, "root:*:1::::::\n"),
    ("etc/shells", 0o644, "/bin/sh\n"),
    ("etc/inittab", 0o644, INITTAB),
    ("etc/init.d/rcS", 0o755, RC),
    ("etc/udhcpc", 0o755, UDHCPC),
];

/// The same with winstead-agent, which is put in when a test asks for it.
pub(super) const INITTAB_WITH_AGENT: &str = "\
::sysinit:/etc/init.d/rcS
::respawn:/etc/init.d/agent
::respawn:/usr/sbin/dropbear -F -E -s -j -k -r /etc/dropbear/host_key
::ctrlaltdel:/bin/busybox reboot
::shutdown:/bin/busybox umount -a -r
";

/// What systemd does for a service elsewhere.
pub(super) const START_AGENT: &str = "\
#!/bin/sh
mkdir -p /run/winstead-agent /var/lib/winstead-agent
exec /usr/sbin/winstead-agent serve
";

const INITTAB: &str = "\
::sysinit:/etc/init.d/rcS
::respawn:/usr/sbin/dropbear -F -E -s -j -k -r /etc/dropbear/host_key
::ctrlaltdel:/bin/busybox reboot
::shutdown:/bin/busybox umount -a -r
";

/// Reads the same network file that systemd-networkd reads in Debian; only what Winstead's seeds hold.
const RC: &str = r#"#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mkdir -p /dev/pts
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /run
busybox --install -s
# The disk may have been made by a normal user; dropbear refuses keys in other users' folders.
chown 0:0 / /root
hostname -F /etc/hostname
if [ -e /etc/ssh/ssh_host_ed25519_key ]; then
    dropbearconvert openssh dropbear /etc/ssh/ssh_host_ed25519_key /etc/dropbear/host_key 2>/dev/null
fi
setting() { sed -n "s/^$1=//p" /etc/systemd/network/10-winstead.network 2>/dev/null | head -n 1; }
ip link set lo up
card=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
if [ -n "$card" ]; then
    ip link set "$card" up
    address=$(setting Address) gateway=$(setting Gateway)
    if [ -n "$address" ]; then
        ip addr add "$address" dev "$card"
        [ -z "$gateway" ] || ip route add default via "$gateway"
    else
        udhcpc -b -q -t 30 -T 1 -S -i "$card" -s /etc/udhcpc &
    fi
fi
# A test of full disks asks for a boot that writes: 2.5 MiB, before anybody can log in.
case " $(cat /proc/cmdline) " in
    *" tiny.write "*) dd if=/dev/urandom of=/root/boot bs=64k count=40 conv=fsync 2>/dev/null ;;
esac
echo "tiny: ready" >/dev/console
"#;

const UDHCPC: &str = r#"#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace "$ip/${mask:-24}" dev "$interface"
[ -z "$router" ] || ip route replace default via "${router%% *}"
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
"#;

/// Lays the root file system out in `root`, from unpacked packages.
pub(super) fn lay_out(packages: &Path, root: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    for (from, to) in PROGRAMS {
        copy(&packages.join(from), &root.join(to))?;
    }
    for entry in fs::read_dir(packages.join(LIBRARY_FOLDER))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if LIBRARIES.iter().any(|library| name.starts_with(library)) {
            // `copy` follows links: the guest gets one file for each name that is asked for.
            copy(&entry.path(), &root.join("lib/x86_64-linux-gnu").join(name))?;
        }
    }
    copy(
        &packages.join(LIBRARY_FOLDER).join("ld-linux-x86-64.so.2"),
        &root.join("lib64/ld-linux-x86-64.so.2"),
    )?;
    for name in ["bin/sh", "sbin/init"] {
        symlink("/bin/busybox", root.join(name))?;
    }
    for (path, mode, text) in TEXTS {
        fs::write(root.join(path), text)?;
        fs::set_permissions(root.join(path), std::fs::Permissions::from_mode(*mode))?;
    }
    fs::set_permissions(root.join("root"), std::fs::Permissions::from_mode(0o700))?;
    Ok(fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))?)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)?;
    Ok(fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?)
}
