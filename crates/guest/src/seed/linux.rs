//! The files of a Linux guest made from our own image: systemd and OpenSSH, no cloud-init.

use std::{fmt::Write, net::Ipv4Addr};

use crate::{
    hexadecimal,
    seed::{Address, GuestNetwork, Identity, SeedFile, folder, public, secret},
};

/// What a template is called.
const NEUTRAL: &str = "template";

/// All files of the guest's identity.
pub(super) fn files(identity: &Identity) -> Vec<SeedFile> {
    let name = &identity.host_name;
    let host_key = &identity.host_key;
    let mut files = vec![
        public("etc/hostname", 0o644, format!("{name}\n")),
        public("etc/hosts", 0o644, hosts(name)),
        // As systemd makes it: readable, not writable.
        public("etc/machine-id", 0o444, format!("{}\n", identity.machine_id_text())),
        secret("etc/ssh/ssh_host_ed25519_key", 0o600, host_key.private_openssh.expose().to_owned()),
        public("etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{}\n", host_key.public_openssh)),
        folder("root/.ssh", 0o700),
        public("root/.ssh/authorized_keys", 0o600, identity.authorized_keys_text()),
        public("etc/systemd/network/10-winstead.network", 0o644, own_network(&identity.network)),
    ];
    files.extend(identity.network.nameserver.map(resolver));
    files
}

/// All files of a guest that is nobody yet.
pub(super) fn neutral_files(machine_id: [u8; 16], own: &GuestNetwork) -> Vec<SeedFile> {
    let mut card = network("Type=ether", own.address, own.nameserver);
    if let Address::Static { .. } = own.address {
        // Its cable is plugged in only when it is somebody: then nothing is left to be done.
        card.push_str("ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n");
    }
    let mut files = vec![
        public("etc/systemd/network/10-winstead.network", 0o644, card),
        public("etc/hostname", 0o644, format!("{NEUTRAL}\n")),
        public("etc/hosts", 0o644, hosts(NEUTRAL)),
        public("etc/machine-id", 0o444, format!("{}\n", hexadecimal(&machine_id))),
    ];
    files.extend(own.nameserver.map(resolver));
    files
}

/// Where it is, nothing that DHCP says is put in its place.
fn resolver(nameserver: Ipv4Addr) -> SeedFile {
    public("etc/resolv.conf", 0o644, format!("nameserver {nameserver}\n"))
}

/// 127.0.1.1 is Debian's place for a host's own name (Debian reference, 5.1.1).
fn hosts(name: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n")
}

/// What is off here is off because it takes time at boot: router solicitations, duplicate address detection of a
/// link-local address, LLDP, LLMNR and mDNS.
fn own_network(card: &GuestNetwork) -> String {
    network(&format!("MACAddress={}", card.mac), card.address, card.nameserver)
}

fn network(card: &str, address: Address, nameserver: Option<Ipv4Addr>) -> String {
    let mut text = format!("[Match]\n{card}\n\n[Network]\n");
    match address {
        Address::Dhcp => text.push_str("DHCP=ipv4\n"),
        Address::Static { address, prefix, gateway } => {
            write!(text, "Address={address}/{prefix}\nGateway={gateway}\n")
                .expect("writing to a String cannot fail");
        }
    }
    if let Some(nameserver) = nameserver {
        writeln!(text, "DNS={nameserver}").expect("writing to a String cannot fail");
    }
    text.push_str("LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\nLLMNR=no\nMulticastDNS=no\n");
    if address == Address::Dhcp {
        // A DHCP server knows the guest by its hardware address, which stays over a reset; systemd's own
        // identifier would too, but leases are reserved and looked up by hardware address.
        text.push_str("\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n");
    }
    text
}
