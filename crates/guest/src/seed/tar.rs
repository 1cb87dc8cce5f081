//! The seed of our own images: an archive that busybox can unpack.

use ::tar::{Builder, EntryType, Header};
use winstead_spec::GuestOs;

use crate::seed::{Contents, GuestNetwork, Identity, SeedError, SeedFile, linux, windows};

/// The largest `fw_cfg` file that guests read reliably (64 KiB).
pub const SEED_LIMIT: usize = 64 * 1024;

/// The files that make a guest itself: before its first process (Linux, [`tar()`]), or when it wakes up as a clone.
///
/// # Errors
/// [`SeedError::Invalid`] for a value that would break its file.
pub fn files(identity: &Identity) -> Result<Vec<SeedFile>, SeedError> {
    identity.check()?;
    match identity.os {
        GuestOs::Linux => Ok(linux::files(identity)),
        GuestOs::Windows => Ok(windows::files(identity)),
    }
}

/// The archive that a template starts with: a guest that is nobody yet. It has a machine-id, because a guest without
/// one would make its own and keep it; it has no key, so that none is in the memory that others start from. Whatever its
/// network card is called later and whatever its address is, it uses the rest of `network`.
///
/// # Errors
/// When it cannot be packed.
pub fn neutral_tar(machine_id: [u8; 16], network: &GuestNetwork) -> Result<Vec<u8>, SeedError> {
    packed(&linux::neutral_files(machine_id, network))
}

fn packed(files: &[SeedFile]) -> Result<Vec<u8>, SeedError> {
    archive(files).map_err(|source| SeedError::Write { path: "seed.tar".into(), source })
}

/// The archive of [`files`]: everything owned by root and dated 1970, so that the same identity gives the same bytes.
///
/// # Errors
/// As [`files`], [`SeedError::NotForWindows`], and [`SeedError::TooLarge`] above [`SEED_LIMIT`].
pub fn tar(identity: &Identity) -> Result<Vec<u8>, SeedError> {
    if identity.os == GuestOs::Windows {
        return Err(SeedError::NotForWindows { host_name: identity.host_name.clone() });
    }
    let archive = packed(&files(identity)?)?;
    if archive.len() > SEED_LIMIT {
        return Err(SeedError::TooLarge { host_name: identity.host_name.clone(), size: archive.len() });
    }
    Ok(archive)
}

fn archive(files: &[SeedFile]) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for file in files {
        let bytes = file.contents.bytes();
        // The one format that every unpacker reads.
        let mut header = Header::new_ustar();
        header.set_path(&file.path)?;
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(file.mode);
        header.set_size(bytes.len() as u64);
        header.set_entry_type(match file.contents {
            Contents::Folder => EntryType::Directory,
            Contents::Public(_) | Contents::Secret(_) => EntryType::Regular,
        });
        header.set_cksum();
        builder.append(&header, bytes)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, io::Read};

    use super::*;
    use crate::seed::identity::tests::{dhcp, identity};

    /// The archive as a reader sees it, private keys replaced.
    fn listed(identity: &Identity) -> String {
        let bytes = tar(identity).unwrap();
        let mut text = String::new();
        for entry in ::tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut contents = String::new();
            entry.read_to_string(&mut contents).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            let (kind, mode) = (header.entry_type().as_byte() as char, header.mode().unwrap());
            writeln!(text, "--- {} {kind} {mode:o}", entry.path().unwrap().display()).unwrap();
            text += &contents;
        }
        let key = &identity.host_key;
        text.replace(key.private_openssh.expose(), "PRIVATE\n").replace(&key.public_openssh, "PUBLIC")
    }

    /// Otherwise a template watches for name servers that DHCP names, and each machine that starts from it empties its own
    /// list as soon as its cable is plugged in.
    #[test]
    fn a_template_has_the_name_server_that_all_who_start_from_it_have() {
        let user = GuestNetwork::user(String::new());
        let (with, without) = (user.clone(), GuestNetwork { nameserver: None, ..user });
        let resolver = |network| {
            linux::neutral_files([0; 16], network).into_iter().find(|file| file.path == "etc/resolv.conf")
        };
        assert_eq!(
            resolver(&with),
            linux::files(&identity()).into_iter().find(|file| file.path == "etc/resolv.conf")
        );
        assert_eq!(resolver(&without), None);
    }

    #[test]
    fn a_linux_guest_on_the_user_network_gets_these_files() {
        insta::assert_snapshot!(listed(&identity()), @r"
        --- etc/hostname 0 644
        agents-0
        --- etc/hosts 0 644
        127.0.0.1 localhost
        127.0.1.1 agents-0
        ::1 localhost ip6-localhost ip6-loopback
        --- etc/machine-id 0 444
        0a0102030405060708090a0b0c0d0eff
        --- etc/ssh/ssh_host_ed25519_key 0 600
        PRIVATE
        --- etc/ssh/ssh_host_ed25519_key.pub 0 644
        PUBLIC
        --- root/.ssh 5 700
        --- root/.ssh/authorized_keys 0 600
        ssh-ed25519 AAAAclient winstead
        --- etc/systemd/network/10-winstead.network 0 644
        [Match]
        MACAddress=52:54:00:0a:0b:0c

        [Network]
        Address=10.0.2.15/24
        Gateway=10.0.2.2
        DNS=10.0.2.3
        LinkLocalAddressing=no
        IPv6AcceptRA=no
        LLDP=no
        LLMNR=no
        MulticastDNS=no
        --- etc/resolv.conf 0 644
        nameserver 10.0.2.3
        ");
    }

    #[test]
    fn a_linux_guest_on_an_existing_bridge_gets_these_files() {
        let text = listed(&dhcp());
        let network = &text[text.find("--- etc/systemd").unwrap()..];
        insta::assert_snapshot!(network, @r"
        --- etc/systemd/network/10-winstead.network 0 644
        [Match]
        MACAddress=52:54:00:0a:0b:0c

        [Network]
        DHCP=ipv4
        LinkLocalAddressing=no
        IPv6AcceptRA=no
        LLDP=no
        LLMNR=no
        MulticastDNS=no

        [DHCPv4]
        ClientIdentifier=mac
        UseHostname=no
        ");
    }

    #[test]
    fn the_same_identity_gives_the_same_bytes() {
        let identity = identity();
        assert_eq!(tar(&identity).unwrap(), tar(&identity).unwrap());
    }

    #[test]
    fn a_seed_that_fw_cfg_cannot_hold_is_refused_with_its_size() {
        let key = format!("ssh-rsa {}", "A".repeat(1000));
        let many = Identity { authorized_keys: vec![key; 64], ..identity() };
        insta::assert_snapshot!(tar(&many).unwrap_err(), @r#"make the seed of "agents-0": it has 74240 bytes and a fw_cfg file holds 65536"#);
    }

    #[test]
    fn windows_is_told_to_take_the_cd() {
        let windows = Identity { os: GuestOs::Windows, ..identity() };
        assert!(matches!(tar(&windows), Err(SeedError::NotForWindows { .. })));
    }

    #[test]
    fn seed_files_do_not_show_private_keys() {
        let shown = format!("{:?}", files(&identity()).unwrap());
        assert!(shown.contains("Secret(") && !shown.contains("OPENSSH PRIVATE"));
    }
}
