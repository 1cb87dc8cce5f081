//! Bridges, in a network namespace of the test's own: never in the machine's.

use crate::lab::{Lab, pool, ram, system};

/// A network namespace that ends with the test.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let name = format!("winstead-{name}-{}", std::process::id());
        system(&["ip", "netns", "add", &name]).expect("a network namespace");
        let inside = Self(name);
        inside.run(&["ip", "link", "set", "lo", "up"]);
        inside
    }

    fn run(&self, words: &[&str]) -> String {
        let mut all = vec!["nsenter".to_owned(), format!("--net=/var/run/netns/{}", self.0), "--".to_owned()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        system(&all).expect("a command in the namespace")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = system(&["ip", "netns", "delete", &self.0]) {
            winstead_testing::skip(&format!("the namespace {} is left: {error}", self.0));
        }
    }
}

#[test]
fn machines_on_a_bridge_reach_each_other_by_name_and_keep_their_addresses() {
    let Some(lab) = Lab::as_root() else { return };
    let namespace = Namespace::new("bridge");
    let inside = format!("--net=/var/run/netns/{}", namespace.0);
    let lab = lab.through(&["nsenter", &inside, "--"]);
    let network = "  network: {bridge: {name: wbr0, subnet: 10.77.0.0/24}}\n";
    let file = lab.file(&format!("{}{network}", pool("net", 2, &ram("24MiB"))));
    lab.up(&file);
    let address = |name| lab.machine(name)["status"]["addresses"][0].as_str().unwrap().to_owned();
    let (first, second) = (address("net-0"), address("net-1"));
    assert_ne!(first, second);
    for target in [second.as_str(), "10.77.0.1"] {
        let pinged = lab.exec("net-0", &format!("ping -c 1 -W 5 {target}"));
        assert_eq!(pinged.code, Some(0), "{target}: {pinged:?}");
    }
    lab.ok(&["reset", "net-0"]);
    assert_eq!(address("net-0"), first);

    lab.ok(&["down", "--all"]);
    lab.assert_nothing_left();
    assert!(!namespace.run(&["ip", "-o", "link"]).contains("wbr0"));
    assert!(!namespace.run(&["nft", "list", "ruleset"]).contains("wbr0"));
}
