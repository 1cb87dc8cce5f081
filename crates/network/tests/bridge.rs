//! An own bridge with real clients. Everything happens in network, mount and pid namespaces of the test's own:
//! the test starts itself again in them, and whatever is left ends with them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

use std::{fs::Permissions, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_network::{
    Lease, MacAddress, NetworkError, OwnBridge, Tap, add_lease, add_tap, address_of, ensure_bridge, presence,
    remove_bridge, remove_lease, remove_tap, tap_name,
};
use winstead_process::{Command, ProcessId};

const INSIDE: &str = "WINSTEAD_TEST_INSIDE";
const CLIENT: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/24" dev "$interface" && ip route add default via "$router" && echo "bound $ip"
"#;

#[tokio::test]
async fn a_bridge_serves_its_guests_heals_and_leaves_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        return again("a_bridge_serves_its_guests_heals_and_leaves_nothing").await;
    }
    sh("mount -t tmpfs tmpfs /run && ip link set lo up").await;
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
    fs::write(home.path().join("client"), CLIENT).unwrap();
    fs::set_permissions(home.path().join("client"), Permissions::from_mode(0o755)).unwrap();
    let stop = CancellationToken::new();
    let bridge = bridge(home.path());
    twice_and_leases(&bridge, &stop).await;
    clients_get_addresses_and_names(&bridge, home.path(), &stop).await;
    only_what_is_allowed_passes().await;
    leases_change_while_it_runs(&bridge, &stop).await;
    an_address_is_free_for_the_next_machine(&bridge, home.path(), &stop).await;
    it_heals(&bridge, &stop).await;
    another_subnet_replaces_the_first(&bridge, &stop).await;
    taps_come_and_go(&bridge, &stop).await;
    strangers_are_refused(&bridge, &stop).await;
    what_was_half_made_is_healed(&bridge, &stop).await;
    hosts_that_drop_are_told(&bridge, &stop).await;
    forwarding_stays_for_others(&bridge, &stop).await;
    nothing_is_left(&bridge, &stop).await;
    a_closed_folder_is_named(&bridge, home.path(), &stop).await;
    a_missing_program_is_named_and_hinders_no_removal(&bridge, &stop).await;
}

/// Starts this test again in namespaces of its own, or says why that cannot be.
#[expect(clippy::disallowed_macros, reason = "a skip is told on standard error")]
async fn again(name: &str) {
    let stop = CancellationToken::new();
    let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let unshare = Command::new("unshare").args(namespaces).deadline(Duration::from_secs(120));
    let able =
        unshare.clone().args(["sh", "-c", "ip link add x type bridge && nft list tables && busybox true"]);
    if let Err(error) = able.run(&stop).await {
        eprintln!("skipped: no network namespace with a bridge, nft and busybox here: {error}");
        return;
    }
    let me = std::env::current_exe().unwrap();
    let output = unshare.arg(me).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").run(&stop).await;
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    assert!(output.text().contains("1 passed"), "{}", output.text());
}

fn bridge(home: &Path) -> OwnBridge {
    let subnet = "10.77.0.0/24".parse().unwrap();
    OwnBridge {
        name: "fwd".into(),
        subnet,
        folder: home.join("networks/fwd"),
        tag: "winstead abcd1234".into(),
    }
}

fn lease(n: u8) -> Lease {
    let name = format!("agents-{n}");
    Lease { mac: MacAddress::of(&[n; 16]), address: Ipv4Addr::new(10, 77, 0, 10 + n), name }
}

async fn try_sh(script: &str) -> Result<String, String> {
    let command = Command::new("sh").args(["-c", script]);
    let output = command.run(&CancellationToken::new()).await;
    output.map(|output| output.text()).map_err(|error| error.to_string())
}

async fn sh(script: &str) -> String {
    try_sh(script).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn bridge_exists(name: &str) -> bool {
    try_sh(&format!("ip -d link show dev {name} | grep -w bridge")).await.is_ok()
}

fn server(bridge: &OwnBridge) -> ProcessId {
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(bridge.folder.join("dnsmasq.json")).unwrap()).unwrap();
    serde_json::from_value(record["process"].clone()).unwrap()
}

async fn twice_and_leases(bridge: &OwnBridge, stop: &CancellationToken) {
    assert!(!bridge_exists("fwd").await);
    ensure_bridge(bridge, stop).await.unwrap();
    let first = server(bridge);
    ensure_bridge(bridge, stop).await.unwrap();
    assert_eq!(server(bridge), first, "dnsmasq was started again without need");
    assert!(first.is_alive() && bridge_exists("fwd").await);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
    for n in 1..=2 {
        add_lease(bridge, &lease(n), stop).await.unwrap();
    }
}

async fn clients_get_addresses_and_names(bridge: &OwnBridge, home: &Path, stop: &CancellationToken) {
    for n in 1..=2 {
        let Lease { mac, address, .. } = lease(n);
        sh(&format!(
            "ip netns add c{n} && ip link add v{n} type veth peer name eth0 netns c{n} && ip link set v{n} master fwd up
             nsenter --net=/run/netns/c{n} sh -c 'ip link set lo up; ip link set eth0 address {mac} up'"
        ))
        .await;
        let client = home.join("client");
        let said = sh(&format!(
            "nsenter --net=/run/netns/c{n} busybox udhcpc -n -q -f -i eth0 -t 10 -T 1 -s {} 2>&1",
            client.display()
        ))
        .await;
        assert!(said.contains(&format!("bound {address}")), "{said}");
    }
    for name in ["agents-2", "agents-2.winstead.internal"] {
        let said =
            sh(&format!("nsenter --net=/run/netns/c1 busybox nslookup -type=a {name} 10.77.0.1")).await;
        assert!(said.contains("10.77.0.12"), "{said}");
    }
    let found = address_of(&bridge.name, lease(1).mac, stop).await.unwrap();
    assert_eq!(found, Some(lease(1).address));
}

async fn only_what_is_allowed_passes() {
    sh("ip netns add out && ip link add o type veth peer name eth0 netns out && ip address add 192.0.2.1/24 dev o
        ip link set o up; nsenter --net=/run/netns/out sh -c 'ip link set eth0 up; ip address add 192.0.2.2/24 dev eth0'
        for at in out c2; do setsid nsenter --net=/run/netns/$at busybox nc -ll -p 8080 -e echo hello >/dev/null 2>&1 & done
        setsid busybox nc -ll -p 9000 -e echo hello >/dev/null 2>&1 &
        sleep 0.5")
    .await;
    let from_guest = |to: &'static str| async move {
        try_sh(&format!("nsenter --net=/run/netns/c1 busybox nc -w 5 {to} </dev/null"))
            .await
            .unwrap_or_default()
    };
    assert_eq!(from_guest("10.77.0.12 8080").await, "hello\n", "guest to guest");
    // `out` has no route to 10.77.0.0/24: only a masqueraded connection is answered.
    assert_eq!(from_guest("192.0.2.2 8080").await, "hello\n", "guest to outside");
    assert_eq!(sh("busybox nc -w 5 10.77.0.1 9000 </dev/null").await, "hello\n", "host to itself");
    assert_eq!(from_guest("10.77.0.1 9000").await, "", "guest to the host's own service");
    assert_eq!(from_guest("192.0.2.1 9000").await, "", "guest to the host's other address");
}

async fn leases_change_while_it_runs(bridge: &OwnBridge, stop: &CancellationToken) {
    let resolve = "nsenter --net=/run/netns/c1 busybox nslookup -type=a agents-3 10.77.0.1";
    let mut three = lease(3);
    for last in [40, 41] {
        three.address = Ipv4Addr::new(10, 77, 0, last);
        add_lease(bridge, &three, stop).await.unwrap();
        eventually(resolve, |said| said.contains(&format!("10.77.0.{last}"))).await;
    }
    assert!(!sh(resolve).await.contains("10.77.0.40"), "the old address is still told");
    remove_lease(bridge, "agents-3", stop).await.unwrap();
    eventually(resolve, |said| !said.contains("10.77.0.41")).await;
}

async fn an_address_is_free_for_the_next_machine(bridge: &OwnBridge, home: &Path, stop: &CancellationToken) {
    let next = Lease { mac: MacAddress::of(&[77; 16]), address: lease(2).address, name: "next".into() };
    remove_lease(bridge, "agents-2", stop).await.unwrap();
    add_lease(bridge, &next, stop).await.unwrap();
    let (mac, client) = (next.mac, home.join("client"));
    let said = sh(&format!(
        "nsenter --net=/run/netns/c2 sh -c 'ip address flush dev eth0; ip link set eth0 address {mac}
         busybox udhcpc -n -q -f -i eth0 -t 10 -T 1 -s {} 2>&1'",
        client.display()
    ))
    .await;
    assert!(said.contains(&format!("bound {}", next.address)), "{said}");
    let gone = "nsenter --net=/run/netns/c1 busybox nslookup -type=a agents-2 10.77.0.1";
    assert!(!try_sh(gone).await.unwrap_or_default().contains("10.77.0.12"), "a removed name is still told");
    remove_lease(bridge, "next", stop).await.unwrap();
    add_lease(bridge, &lease(2), stop).await.unwrap();
}

async fn eventually(script: &str, good: impl Fn(&str) -> bool) {
    let mut said = String::new();
    for _ in 0..50 {
        said = try_sh(script).await.unwrap_or_else(|error| error);
        if good(&said) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{said}");
}

async fn it_heals(bridge: &OwnBridge, stop: &CancellationToken) {
    let before = server(bridge);
    before.kill().unwrap();
    sh("nft flush ruleset; ip address flush dev fwd; ip link set fwd down").await;
    ensure_bridge(bridge, stop).await.unwrap();
    assert!(server(bridge) != before && server(bridge).is_alive());
    assert!(sh("nft list tables").await.contains("winstead_fwd"));
    let said = sh("nsenter --net=/run/netns/c1 busybox nslookup -type=a agents-2 10.77.0.1").await;
    assert!(said.contains("10.77.0.12"), "{said}");
    // Started, but never recorded: it is found by its command line, not started twice.
    let unrecorded = server(bridge);
    fs::remove_file(bridge.folder.join("dnsmasq.json")).unwrap();
    ensure_bridge(bridge, stop).await.unwrap();
    assert!(!unrecorded.is_alive() && server(bridge).is_alive());
}

async fn another_subnet_replaces_the_first(bridge: &OwnBridge, stop: &CancellationToken) {
    let mac = sh("ip -o link show dev fwd | grep -o 'ether [^ ]*'").await;
    let moved = OwnBridge { subnet: "10.78.0.0/24".parse().unwrap(), ..bridge.clone() };
    ensure_bridge(&moved, stop).await.unwrap();
    let addresses = sh("ip -4 -o address show dev fwd").await;
    assert!(addresses.contains("10.78.0.1/24") && !addresses.contains("10.77."), "{addresses}");
    ensure_bridge(bridge, stop).await.unwrap();
    assert_eq!(sh("ip -o link show dev fwd | grep -o 'ether [^ ]*'").await, mac);
}

async fn taps_come_and_go(bridge: &OwnBridge, stop: &CancellationToken) {
    let name = tap_name(&[9; 16]);
    let tap = Tap { name, bridge: bridge.name.clone(), owner: Some(2_013_265_921), tag: bridge.tag.clone() };
    for _ in 0..2 {
        add_tap(&tap, stop).await.unwrap();
    }
    assert_eq!(presence(&bridge.tag, stop).await.unwrap().len(), 2);
    let said = sh(&format!("ip -d link show dev {}", tap.name)).await;
    assert!(said.contains("master fwd") && said.contains("user 2013265921"), "{said}");
    for _ in 0..2 {
        remove_tap(&tap, stop).await.unwrap();
    }
    let lost = Tap { bridge: "nowhere".into(), ..tap };
    assert!(matches!(add_tap(&lost, stop).await, Err(NetworkError::NoBridge { .. })));
    let on_veth = Tap { bridge: "o".into(), ..lost };
    assert!(matches!(add_tap(&on_veth, stop).await, Err(NetworkError::NoBridge { .. })));
}

async fn what_was_half_made_is_healed(bridge: &OwnBridge, stop: &CancellationToken) {
    let tap =
        Tap { name: tap_name(&[8; 16]), bridge: bridge.name.clone(), owner: None, tag: bridge.tag.clone() };
    sh(&format!("ip tuntap add dev {} mode tap; ip link set dev fwd alias ''", tap.name)).await;
    assert_eq!(presence(&bridge.tag, stop).await.unwrap(), []);
    ensure_bridge(bridge, stop).await.unwrap();
    add_tap(&tap, stop).await.unwrap();
    assert_eq!(presence(&bridge.tag, stop).await.unwrap().len(), 2);
    remove_tap(&tap, stop).await.unwrap();
    // A tap of that name on another's bridge is another's.
    sh(&format!("ip tuntap add dev {0} mode tap; ip link set dev {0} master theirs", tap.name)).await;
    assert!(matches!(add_tap(&tap, stop).await, Err(NetworkError::Foreign { .. })));
    sh(&format!("ip link delete {}", tap.name)).await;
}

async fn hosts_that_drop_are_told(bridge: &OwnBridge, stop: &CancellationToken) {
    remove_bridge(bridge, stop).await.unwrap();
    assert_eq!(ensure_bridge(bridge, stop).await.unwrap(), None);
    remove_bridge(bridge, stop).await.unwrap();
    sh("nft add table ip filter
        nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'")
    .await;
    let note = ensure_bridge(bridge, stop).await.unwrap().unwrap();
    assert!(note.contains("`nft insert rule ip filter FORWARD iifname '\"fwd\"' accept`"), "{note}");
    for rule in note.split('`').filter(|part| part.starts_with("nft ")) {
        sh(rule).await;
    }
    remove_bridge(bridge, stop).await.unwrap();
    assert_eq!(ensure_bridge(bridge, stop).await.unwrap(), None, "told although the rule is there");
    sh("nft delete table ip filter").await;
    // A table of our name that is not ours.
    sh("nft delete table inet winstead_fwd; nft add table inet winstead_fwd").await;
    assert!(matches!(ensure_bridge(bridge, stop).await, Err(NetworkError::ForeignTable { .. })));
    remove_bridge(bridge, stop).await.unwrap();
    assert!(sh("nft list tables").await.contains("winstead_fwd"), "another's table was removed");
    sh("nft delete table inet winstead_fwd").await;
    ensure_bridge(bridge, stop).await.unwrap();
}

async fn forwarding_stays_for_others(bridge: &OwnBridge, stop: &CancellationToken) {
    sh("echo 0 >/proc/sys/net/ipv4/ip_forward").await;
    ensure_bridge(bridge, stop).await.unwrap();
    sh("ip link add late type bridge && ip link set late up").await;
    remove_bridge(bridge, stop).await.unwrap();
    assert_eq!(
        sh("cat /proc/sys/net/ipv4/ip_forward").await.trim(),
        "1",
        "off although bridges of others are there"
    );
    sh("echo 0 >/proc/sys/net/ipv4/ip_forward
        for link in late theirs o v1 v2; do ip link delete $link; done")
    .await;
    ensure_bridge(bridge, stop).await.unwrap();
}

async fn a_closed_folder_is_named(bridge: &OwnBridge, home: &Path, stop: &CancellationToken) {
    fs::set_permissions(home, Permissions::from_mode(0o700)).unwrap();
    let error = ensure_bridge(bridge, stop).await.unwrap_err();
    assert!(matches!(&error, NetworkError::Closed { closed, .. } if closed == home), "{error}");
    assert!(!bridge_exists("fwd").await);
    remove_bridge(bridge, stop).await.unwrap();
    fs::set_permissions(home, Permissions::from_mode(0o711)).unwrap();
}

async fn a_missing_program_is_named_and_hinders_no_removal(bridge: &OwnBridge, stop: &CancellationToken) {
    ensure_bridge(bridge, stop).await.unwrap();
    // In this test's own mount namespace.
    sh("mkdir /run/real /run/sbin && mount --bind /usr/sbin /run/real && ln -s /run/real/* /run/sbin/
        rm /run/sbin/dnsmasq && mount --bind /run/sbin /usr/sbin")
    .await;
    let error = ensure_bridge(bridge, stop).await.unwrap_err();
    assert!(error.to_string().contains("`dnsmasq-base`"), "{error}");
    sh("rm /run/sbin/nft").await;
    remove_bridge(bridge, stop).await.unwrap();
    assert!(!bridge.folder.exists() && !bridge_exists("fwd").await);
    let error = ensure_bridge(bridge, stop).await.unwrap_err();
    assert!(error.to_string().contains("`nftables`"), "{error}");
    assert!(!bridge.folder.exists() && !bridge_exists("fwd").await);
}

async fn strangers_are_refused(bridge: &OwnBridge, stop: &CancellationToken) {
    sh("ip link add theirs type bridge").await;
    let theirs =
        OwnBridge { name: "theirs".into(), folder: bridge.folder.join("../theirs"), ..bridge.clone() };
    assert!(matches!(ensure_bridge(&theirs, stop).await, Err(NetworkError::Foreign { .. })));
    let overlap = OwnBridge { name: "second".into(), ..theirs };
    let error = ensure_bridge(&overlap, stop).await.unwrap_err();
    assert!(matches!(&error, NetworkError::Overlap { device, .. } if device == "fwd"), "{error}");
    assert!(!bridge_exists("second").await && bridge_exists("theirs").await);
}

async fn nothing_is_left(bridge: &OwnBridge, stop: &CancellationToken) {
    let process = server(bridge);
    for _ in 0..2 {
        remove_bridge(bridge, stop).await.unwrap();
    }
    assert!(!process.is_alive() && !bridge.folder.exists() && !bridge_exists("fwd").await);
    assert_eq!(presence(&bridge.tag, stop).await.unwrap(), []);
    assert_eq!(sh("nft list tables").await, "");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "0");
}
