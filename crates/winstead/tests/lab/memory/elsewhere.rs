//! Starting from memory on a bridge, and as a normal user.

use super::{WARM, file_with, look, prepared, templates};
use crate::{
    lab::{Lab, system},
    networks::{BRIDGE, address, namespace::Namespace},
};

#[test]
fn clones_on_a_bridge_have_addresses_of_their_own_and_find_each_other_by_name() {
    let Some(lab) = Lab::as_root() else { return };
    let (namespace, outside) = (Namespace::new("memory"), Namespace::new("beyond"));
    namespace.join("198.51.100.1", &outside, "198.51.100.2");
    outside.serve("198.51.100.2:8080");
    let Some(lab) = prepared(namespace.lab(lab, &[])) else { return };
    lab.up(&file_with(&lab, 2, &[WARM], "ssh", BRIDGE.trim()));
    for turn in ["made", "reset"] {
        let (first, second) = (address(&lab, "mem-0"), address(&lab, "mem-1"));
        assert_ne!(first, second);
        reaches(&lab, ("mem-0", "mem-1"), &second);
        reaches(&lab, ("mem-1", "mem-0"), &first);
        for machine in ["mem-0", "mem-1"] {
            assert!(look(&lab, machine).has_started_from_memory(), "{machine}, {turn}");
            let answered = lab.exec(machine, "bash -c 'cat </dev/tcp/198.51.100.2/8080'");
            assert_eq!(answered.stdout, "198.51.100.1", "{machine}, {turn}: {answered:?}");
        }
        if turn == "made" {
            lab.ok(&["reset", "mem-0", "mem-1"]);
            assert_eq!((address(&lab, "mem-0"), address(&lab, "mem-1")), (first, second));
        }
    }
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&["cable"]);
}

/// One machine finds another by its name, and reaches it.
fn reaches(lab: &Lab, (from, to): (&str, &str), address: &str) {
    let found = lab.exec(from, &format!("getent ahostsv4 {to}"));
    assert!(found.stdout.starts_with(&format!("{address} ")), "{from} → {to}: {found:?}");
    let banner = lab.exec(from, &format!("bash -c 'head -c 4 </dev/tcp/{to}/22'"));
    assert_eq!(banner.stdout, "SSH-", "{from} → {to}: {banner:?}");
}

#[test]
fn a_normal_users_machines_start_from_memory_too() {
    let Some(lab) = Lab::as_root() else { return };
    let user = "65534";
    let Some(lab) = prepared(lab) else { return };
    let lab = lab.through(&["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]);
    system(&["chown", "-R", user, lab.folder().to_str().expect("a path in UTF-8")]).expect("give it away");
    lab.up(&file_with(&lab, 1, &[WARM], "agent", "keepTemplate: 1h"));
    assert!(look(&lab, "mem-0").has_started_from_memory());
    lab.ok(&["reset", "mem-0"]);
    let seen = look(&lab, "mem-0");
    assert!(seen.has_started_from_memory() && seen.get("host name") == "mem-0", "{seen:?}");
    lab.ok(&["down", "mem-0"]);
    assert_eq!(templates(&lab).len(), 0, "its pool is gone");
    lab.assert_nothing_left();
}
