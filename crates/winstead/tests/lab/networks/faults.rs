//! What goes wrong with bridges on real computers.

use rustix::process::Signal;

use super::{BRIDGE, namespace::Namespace};
use crate::{
    faults::{can_be_killed, killed_everywhere, qemu},
    lab::{Lab, Ran, eventually, kill, pool, ram},
};

fn lab(name: &str, wrapper: &[&str]) -> Option<(Namespace, Lab, std::path::PathBuf)> {
    let lab = Lab::as_root()?;
    let namespace = Namespace::new(name);
    let lab = namespace.lab(lab, wrapper);
    let file = lab.file(&format!("{}{BRIDGE}", pool(name, 1, &ram("24MiB"))));
    Some((namespace, lab, file))
}

/// `up` that must fail, with one error.
fn refused(lab: &Lab, file: &std::path::Path) -> Ran {
    let ran = lab.run(&["up", "-f", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // A note on the accelerator may quote QEMU's own "error:".
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error:")).count(), 1, "{}", ran.stderr);
    ran
}

#[test]
fn a_name_that_others_took_is_refused_and_theirs_stays() {
    let Some((namespace, lab, file)) = lab("taken", &[]) else { return };
    namespace.run(&["ip", "link", "add", "wbr0", "type", "bridge"]);
    let before = namespace.run(&["ip", "address", "show", "dev", "wbr0"]);
    let ran = refused(&lab, &file);
    assert!(ran.stderr.contains("interface wbr0: it was not made for these machines"), "{}", ran.stderr);
    lab.ok(&["down", "--all"]);
    assert_eq!(namespace.run(&["ip", "address", "show", "dev", "wbr0"]), before);
    namespace.assert_only(&["wbr0"]);
    namespace.run(&["ip", "link", "delete", "wbr0"]);

    // The same for a machine's own interface: its name is known once it was there.
    lab.up(&file);
    let tap = namespace.interfaces().into_iter().find(|name| name.starts_with("wt")).expect("a tap");
    kill(qemu(&lab), Signal::KILL).unwrap();
    lab.wait_for("taken-0", "Failed");
    namespace.run(&["ip", "link", "delete", &tap]);
    namespace.run(&["ip", "link", "add", &tap, "type", "bridge"]);
    let ran = refused(&lab, &file);
    let said = format!("interface {tap}: it was not made for these machines");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&[&tap]);
}

#[test]
fn a_bridge_that_lost_its_names_or_itself_is_healed_under_running_machines() {
    let Some((namespace, lab, file)) = lab("heal", &[]) else { return };
    lab.up(&file);
    let finds_itself = || lab.exec("heal-0", "nslookup heal-0").code == Some(0);
    assert!(finds_itself());
    let record = fs_err::read_to_string(lab.home().join("networks/wbr0/dnsmasq.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let dnsmasq = u32::try_from(record["process"]["pid"].as_u64().unwrap()).unwrap();
    kill(dnsmasq, Signal::KILL).unwrap();
    eventually("names are gone", || !finds_itself());
    lab.up(&file);
    assert!(finds_itself());

    namespace.run(&["ip", "link", "delete", "wbr0"]);
    assert_ne!(lab.exec("heal-0", "true").code, Some(0));
    lab.up(&file);
    assert!(finds_itself());
    assert_eq!(lab.machine("heal-0")["status"]["generation"], 1);

    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&[]);
}

#[test]
fn a_machine_that_lost_its_network_card_gets_another_and_keeps_its_disk() {
    let Some((namespace, lab, file)) = lab("card", &[]) else { return };
    lab.up(&file);
    assert_eq!(lab.exec("card-0", "echo kept > /root/note && sync").code, Some(0));
    let tap = namespace.interfaces().into_iter().find(|name| name.starts_with("wt")).expect("a tap");
    namespace.run(&["ip", "link", "delete", &tap]);
    lab.up(&file);
    assert_eq!(lab.exec("card-0", "cat /root/note").stdout, "kept\n");
    assert_eq!(lab.machine("card-0")["status"]["generation"], 1);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&[]);
}

#[test]
fn without_the_right_to_make_networks_the_right_and_the_alternative_are_named() {
    let without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    let Some((namespace, lab, file)) = lab("weak", &without) else { return };
    let ran = refused(&lab, &file);
    assert!(ran.stderr.contains("CAP_NET_ADMIN"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`network: {user: {}}`"), "{}", ran.stderr);
    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    namespace.assert_only(&[]);
}

#[test]
fn a_command_killed_at_any_transition_leaves_no_network() {
    if !can_be_killed() {
        return;
    }
    let Some((namespace, lab, file)) = lab("kill", &[]) else { return };
    let ups = killed_everywhere(&lab, &["up", "-f", file.to_str().unwrap()], |_| {
        lab.ok(&["down", "--all"]);
        lab.assert_nothing_left();
        namespace.assert_only(&[]);
    });
    assert!(ups > 10, "only {ups} points were passed");
    assert_eq!(lab.exec("kill-0", "nslookup kill-0").code, Some(0));
    let downs = killed_everywhere(&lab, &["down", "--all"], |_| {});
    assert!(downs > 4, "only {downs} points were passed");
    lab.assert_nothing_left();
    namespace.assert_only(&[]);
}
