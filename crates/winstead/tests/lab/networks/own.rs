//! Bridges of ours.

use std::path::Path;

use super::{BRIDGE, address, namespace::Namespace};
use crate::lab::{Lab, pool, ram};

#[test]
fn machines_on_a_bridge_reach_each_other_by_name_and_the_outside() {
    let Some(lab) = Lab::as_root() else { return };
    let (namespace, outside) = (Namespace::new("bridge"), Namespace::new("outside"));
    namespace.join("198.51.100.1", &outside, "198.51.100.2");
    let lab = namespace.lab(lab, &[]);
    lab.up(&lab.file(&format!("{}{BRIDGE}", pool("net", 2, &ram("24MiB")))));
    let (first, second) = (address(&lab, "net-0"), address(&lab, "net-1"));
    assert_ne!(first, second);
    reaches(&lab, ("net-0", "net-1"), &second);
    the_outside_sees_the_host(&lab, &outside);
    services_of_the_host_are_closed(&lab, &namespace);

    let mac = namespace.mac("wbr0");
    lab.ok(&["reset", "net-0"]);
    assert_eq!(lab.machine("net-0")["status"]["generation"], 2);
    assert_eq!(address(&lab, "net-0"), first);
    reaches(&lab, ("net-1", "net-0"), &first);
    reaches(&lab, ("net-0", "net-1"), &second);
    // The others know the way out by this address.
    assert_eq!(namespace.mac("wbr0"), mac);

    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&["cable"]);
}

#[test]
fn pools_share_a_bridge_and_change_to_it_and_away() {
    let Some(lab) = Lab::as_root() else { return };
    let namespace = Namespace::new("change");
    let lab = namespace.lab(lab, &[]);
    let (one, two) = (pool("one", 1, &ram("24MiB")), pool("two", 1, &ram("24MiB")));
    let file = lab.file(&format!("{one}{BRIDGE}---\n{two}"));
    lab.up(&file);
    let port = lab.machine("two-0")["status"]["ssh"]["port"].as_u64().unwrap();
    let forwarded = format!("127.0.0.1:{port}");
    assert!(namespace.connects(&forwarded));

    lab.up(&lab.file(&format!("{one}{BRIDGE}---\n{two}{BRIDGE}")));
    assert_eq!(generations(&lab), [1, 2]);
    assert!(!namespace.connects(&forwarded), "the old port is still forwarded");
    reaches(&lab, ("one-0", "two-0"), &address(&lab, "two-0"));
    reaches(&lab, ("two-0", "one-0"), &address(&lab, "one-0"));

    // The bridge stays for the other pool, then goes with its last machine.
    lab.up(&lab.file(&format!("{one}---\n{two}{BRIDGE}")));
    assert_eq!(generations(&lab), [2, 2]);
    assert_eq!(lab.exec("one-0", "hostname").stdout, "one-0\n");
    assert_eq!(taps(&namespace), 1);
    assert!(!reservation(&lab, "one-0").exists() && reservation(&lab, "two-0").exists());
    lab.ok(&["down", "two"]);
    namespace.assert_only(&[]);
    assert_eq!(lab.exec("one-0", "hostname").stdout, "one-0\n");
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
}

/// One machine finds another by its name, and reaches it.
fn reaches(lab: &Lab, (from, to): (&str, &str), address: &str) {
    let found = lab.exec(from, &format!("nslookup {to} | tail -n +3"));
    assert!(found.stdout.contains(&format!("Address: {address}\n")), "{from} → {to}: {found:?}");
    let pinged = lab.exec(from, &format!("ping -c 1 -W 5 {to}"));
    assert_eq!(pinged.code, Some(0), "{from} → {to}: {pinged:?}");
}

/// It knows no way to the bridge, so it answers only when the host speaks for the machines.
fn the_outside_sees_the_host(lab: &Lab, outside: &Namespace) {
    outside.serve("198.51.100.2:8080");
    let answered = lab.exec("net-0", "nc -w 5 198.51.100.2 8080 < /dev/null");
    assert_eq!(answered.stdout, "198.51.100.1", "{answered:?}");
    assert!(!outside.run(&["ip", "route"]).contains("10.77"));
}

fn services_of_the_host_are_closed(lab: &Lab, namespace: &Namespace) {
    namespace.serve("0.0.0.0:8080");
    for host in ["10.77.0.1:8080", "198.51.100.1:8080"] {
        assert!(namespace.connects(host), "the service itself does not answer");
        let (ip, port) = host.split_once(':').expect("host:port");
        let refused = lab.exec("net-0", &format!("nc -w 5 {ip} {port} < /dev/null"));
        assert!(refused.code == Some(1) && refused.stdout.is_empty(), "{host}: {refused:?}");
    }
    assert_eq!(lab.exec("net-0", "ping -c 1 -W 5 10.77.0.1").code, Some(0));
}

fn generations(lab: &Lab) -> Vec<u64> {
    let generation =
        |machine: &serde_json::Value| machine["status"]["generation"].as_u64().expect("a number");
    lab.machines().iter().map(generation).collect()
}

fn taps(namespace: &Namespace) -> usize {
    namespace.interfaces().iter().filter(|name| name.starts_with("wt")).count()
}

fn reservation(lab: &Lab, machine: &str) -> std::path::PathBuf {
    lab.home().join(Path::new("networks/wbr0/hosts.dhcp")).join(machine)
}
