//! What we put into a Debian tree besides its packages: settings, two small units, and masks of everything that a
//! guest which lives for minutes never needs. Each masked unit is boot time of every machine, every time.

use std::io;

use tar::{Builder, EntryType, Header};

/// A file or link in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeFile {
    /// Relative to the root.
    pub(crate) path: String,
    /// What it is.
    pub(crate) contents: Contents,
}

/// What a [`TreeFile`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A text, mode 0644.
    Text(&'static str),
    /// One that is made for this image, mode 0644.
    Written(String),
    /// A program, mode 0755.
    Program(Vec<u8>),
    /// A symbolic link.
    Link(String),
}

/// Units that are masked, and why a throw-away guest does without.
const MASKED_UNITS: &[&str] = &[
    // Periodic care for a disk that is thrown away.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    "systemd-tmpfiles-clean.timer",
    // What a person at a screen needs. Logins come through sshd; shutting down is the guest agent's.
    "getty.target",
    "getty@.service",
    "serial-getty@.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-logind.service",
    "systemd-user-sessions.service",
    // First-boot work that the seed has done, or that would write to the overlay for nothing.
    "ldconfig.service",
    "sshd-keygen.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    // Devices and file systems that our machines do not have.
    "dev-hugepages.mount",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "proc-sys-fs-binfmt_misc.automount",
    "remote-fs.target",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-boot-random-seed.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service",
];

/// Generators run one after the other before anything starts; none of these has anything to generate here.
const MASKED_GENERATORS: &[&str] = &[
    "systemd-debug-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
];

const TEXTS: &[(&str, &str)] = &[
    ("etc/fstab", "# The root disk is mounted by Winstead's initial RAM disk.\n"),
    // Empty: known to be unset. The seed brings one.
    ("etc/machine-id", ""),
    ("etc/hostname", "localhost\n"),
    ("etc/ssh/sshd_config.d/10-winstead.conf", SSHD),
    ("etc/systemd/journald.conf.d/10-winstead.conf", JOURNALD),
    ("etc/systemd/system/ssh.service", SSH_SERVICE),
    ("etc/systemd/system/winstead-resolv.path", RESOLV_PATH),
    ("etc/systemd/system/winstead-resolv.service", RESOLV_SERVICE),
    ("usr/lib/winstead/asleep", ASLEEP),
    ("usr/lib/winstead/asleep.d/ssh.conf", SSH_ASLEEP),
    ("usr/lib/winstead/asleep.d/systemd-journald.conf", JOURNALD_ASLEEP),
];

/// No PAM: it opens a session for every login, which nothing here uses and which costs an emulated guest half a
/// second.
const SSHD: &str = "\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
";

/// Not compressed: it is small, and an emulated guest first translates 6,000 instructions of the code that would do it.
const JOURNALD: &str = "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nCompress=no\n";

/// Debian's unit waits for the network and tests its configuration first. sshd needs neither to listen: this one
/// starts as soon as files can be written. Without a host key, in a template whose memory others start from, it does not.
const SSH_SERVICE: &str = "\
[Unit]
Description=OpenSSH server
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
After=systemd-journald.socket
ConditionPathExists=/etc/ssh/ssh_host_ed25519_key

[Service]
Type=notify
ExecStart=/usr/sbin/sshd -D
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755

[Install]
WantedBy=sysinit.target
Alias=sshd.service
";

/// Runs in a template, whose memory others start from, in place of a program that must begin as somebody: until a machine
/// that knows who it is opens the pipe, it is a shell that waits. Whatever the service manager has to do for a service has
/// been done by then, once for all machines; and what the program reads and draws, it reads and draws in each of them. Where
/// there is no pipe (any more), the program simply starts.
const ASLEEP: &str = "\
# asleep UNIT PROGRAM ARGUMENT...
pipe=/run/winstead/asleep/$1
shift
if [ -p \"$pipe\" ]; then
    systemd-notify --ready
    : <\"$pipe\"
fi
exec \"$@\"
";

/// For a template, which has no host key. The file tells whoever wakes the server that it listens.
const SSH_ASLEEP: &str = "\
[Unit]
ConditionPathExists=

[Service]
ExecStart=
ExecStart=/bin/sh /usr/lib/winstead/asleep ssh /usr/sbin/sshd -D -o PidFile=/run/sshd.pid
";

/// A shell that waits answers no watchdog.
const JOURNALD_ASLEEP: &str = "\
[Service]
WatchdogSec=0
ExecStart=
ExecStart=/bin/sh /usr/lib/winstead/asleep systemd-journald /usr/lib/systemd/systemd-journald
";

/// A seed that knows the name server writes resolv.conf itself. On a bridge whose DHCP names it, this copies what
/// systemd-networkd learnt; systemd-resolved would do it too, for a daemon and 10 MB in every guest. It watches before
/// networkd starts, so that no change is missed (`PathExists=` would start the service again and again).
const RESOLV_PATH: &str = "\
[Unit]
Description=Name servers from DHCP
DefaultDependencies=no
Conflicts=shutdown.target
Before=systemd-networkd.service shutdown.target
ConditionPathExists=!/etc/resolv.conf

[Path]
PathChanged=/run/systemd/netif/state

[Install]
WantedBy=sysinit.target
";

const RESOLV_SERVICE: &str = "\
[Unit]
Description=Name servers from DHCP
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for server in $(sed -n \"s/^DNS=//p\" /run/systemd/netif/state); do echo \"nameserver $server\"; done >/etc/resolv.conf'
";

/// Everything that is put into the tree.
pub(crate) fn tree_files() -> Vec<TreeFile> {
    let text = |(path, text): &(&str, &'static str)| TreeFile {
        path: (*path).to_owned(),
        contents: Contents::Text(text),
    };
    let link = |path: String, to: &str| TreeFile { path, contents: Contents::Link(to.to_owned()) };
    let mut files: Vec<TreeFile> = TEXTS.iter().map(text).collect();
    files.extend(MASKED_UNITS.iter().map(|unit| link(format!("etc/systemd/system/{unit}"), "/dev/null")));
    files.extend(
        MASKED_GENERATORS
            .iter()
            .map(|name| link(format!("etc/systemd/system-generators/{name}"), "/dev/null")),
    );
    for (target, unit, folder) in [
        ("sysinit.target", "ssh.service", "/etc/systemd/system"),
        ("sysinit.target", "winstead-resolv.path", "/etc/systemd/system"),
        ("multi-user.target", "systemd-networkd.service", "/usr/lib/systemd/system"),
        ("sockets.target", "systemd-networkd.socket", "/usr/lib/systemd/system"),
    ] {
        files.push(link(format!("etc/systemd/system/{target}.wants/{unit}"), &format!("{folder}/{unit}")));
    }
    files
}

/// The archive of `files`, owned by root.
///
/// # Errors
/// When a path does not fit into an archive.
pub(crate) fn archive(files: &[TreeFile]) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for file in files {
        let mut header = Header::new_ustar();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match &file.contents {
            Contents::Text(text) => append(&mut builder, &mut header, 0o644, &file.path, text.as_bytes())?,
            Contents::Written(text) => append(&mut builder, &mut header, 0o644, &file.path, text.as_bytes())?,
            Contents::Program(bytes) => append(&mut builder, &mut header, 0o755, &file.path, bytes)?,
            Contents::Link(target) => {
                header.set_mode(0o777);
                header.set_size(0);
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, &file.path, target)?;
            }
        }
    }
    builder.into_inner()
}

fn append(
    builder: &mut Builder<Vec<u8>>,
    header: &mut Header,
    mode: u32,
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    builder.append_data(header, path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_given_twice_and_none_is_absolute() {
        let mut paths: Vec<String> = tree_files().into_iter().map(|file| file.path).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
        assert!(paths.iter().all(|path| !path.starts_with('/') && !path.contains("..")));
    }

    #[test]
    fn nothing_unique_or_secret_is_put_into_the_tree() {
        for file in tree_files() {
            assert!(!file.path.starts_with("etc/ssh/ssh_host"), "{}", file.path);
            assert!(!file.path.starts_with("etc/resolv"), "a seed or DHCP brings it");
            if file.path == "etc/machine-id" {
                assert_eq!(file.contents, Contents::Text(""));
            }
        }
    }

    #[test]
    fn the_archive_belongs_to_root_and_keeps_links() {
        let bytes = archive(&tree_files()).unwrap();
        let mut links = 0;
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
            links += usize::from(entry.header().entry_type().is_symlink());
        }
        assert_eq!(links, MASKED_UNITS.len() + MASKED_GENERATORS.len() + 4);
    }
}
