//! Bridges that somebody else looks after.

use super::{address, namespace::Namespace};
use crate::lab::{Lab, pool, ram};

#[test]
fn machines_on_a_bridge_of_others_are_reached_where_its_dhcp_put_them() {
    let Some(lab) = Lab::as_root() else { return };
    let namespace = Namespace::new("existing");
    let lab = namespace.lab(lab, &[]);
    namespace.run(&["ip", "link", "add", "br0", "type", "bridge"]);
    namespace.run(&["ip", "address", "add", "10.88.0.1/24", "dev", "br0"]);
    namespace.run(&["ip", "link", "set", "br0", "up"]);
    // A port like a host's own card: without an address of its own, the bridge has this one's.
    namespace.run(&["ip", "link", "add", "card", "type", "veth", "peer", "name", "wire"]);
    namespace.run(&["ip", "link", "set", "card", "address", "fc:24:11:00:00:01", "master", "br0"]);
    let before = bridge(&namespace);
    let leases = lab.folder().join("leases");
    let _dhcp = namespace.start(&[
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--port=0",
        "--interface=br0",
        "--bind-interfaces",
        "--dhcp-authoritative",
        "--dhcp-range=10.88.0.50,10.88.0.59,1h",
        "--user=root",
        &format!("--dhcp-leasefile={}", leases.display()),
    ]);
    let file =
        lab.file(&format!("{}  network: {{bridge: {{existing: br0}}}}\n", pool("theirs", 2, &ram("24MiB"))));
    lab.up(&file);
    assert_eq!(lab.phases(), ["Ready", "Ready"]);
    for name in ["theirs-0", "theirs-1"] {
        is_reached(&lab, name, &leases);
    }
    assert_eq!(bridge(&namespace), before, "while machines are on it");

    lab.ok(&["reset", "theirs-0"]);
    is_reached(&lab, "theirs-0", &leases);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    assert_eq!(bridge(&namespace), before, "afterwards");
    namespace.assert_only(&["br0", "wire", "card"]);
}

#[test]
fn a_bridge_that_is_not_there_is_named_and_not_made() {
    let Some(lab) = Lab::as_root() else { return };
    let namespace = Namespace::new("nowhere");
    let lab = namespace.lab(lab, &[]);
    let file =
        lab.file(&format!("{}  network: {{bridge: {{existing: br7}}}}\n", pool("lost", 1, &ram("24MiB"))));
    let ran = lab.run(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("bridge br7: there is no such bridge"), "{}", ran.stderr);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&[]);
}

/// What the machine was given is what `get` says and where `exec` goes.
fn is_reached(lab: &Lab, name: &str, leases: &std::path::Path) {
    let address = address(lab, name);
    let given = fs_err::read_to_string(leases).expect("the leases");
    assert!(given.lines().any(|line| line.contains(&format!(" {address} "))), "{address} in {given:?}");
    assert_eq!(lab.machine(name)["status"]["ssh"]["host"], address.as_str());
    let ran = lab.exec(name, "hostname; ip -4 addr");
    assert!(ran.stdout.starts_with(&format!("{name}\n")) && ran.stdout.contains(&address), "{ran:?}");
}

/// What nobody but its owner may change.
fn bridge(namespace: &Namespace) -> [serde_json::Value; 4] {
    let links = namespace.run(&["ip", "-j", "-d", "address", "show", "dev", "br0"]);
    let mut links: serde_json::Value = serde_json::from_str(&links).expect("JSON from ip");
    let link = &mut links[0];
    let addresses = link["addr_info"].as_array().expect("a list").iter();
    let addresses: Vec<_> = addresses.filter(|address| address["family"] == "inet").cloned().collect();
    [link["ifindex"].take(), link["address"].take(), link["ifalias"].take(), addresses.into()]
}
