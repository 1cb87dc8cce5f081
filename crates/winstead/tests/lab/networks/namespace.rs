//! A network namespace that ends with its test, and what tests do inside.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    process::{Child, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab::{Lab, system};

/// A network namespace that ends with the test.
pub(crate) struct Namespace(String);

/// A program in a namespace, killed at the end of the test.
pub(crate) struct Program(Child);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("winstead-{name}-{}", std::process::id());
        system(&["ip", "netns", "add", &name]).expect("a network namespace");
        let inside = Self(name);
        inside.run(&["ip", "link", "set", "lo", "up"]);
        inside.run(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
        inside
    }

    /// A lab whose commands all run in here, through `wrapper` if there is one.
    pub(crate) fn lab(&self, lab: Lab, wrapper: &[&str]) -> Lab {
        let entering = self.entering();
        let all: Vec<&str> = entering.iter().map(String::as_str).chain(wrapper.iter().copied()).collect();
        lab.through(&all)
    }

    /// Joins this namespace and another by a cable, with these two addresses.
    pub(crate) fn join(&self, mine: &str, other: &Self, theirs: &str) {
        self.run(&["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &other.0]);
        for (end, address) in [(self, mine), (other, theirs)] {
            end.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "cable"]);
            end.run(&["ip", "link", "set", "cable", "up"]);
        }
    }

    pub(crate) fn run(&self, words: &[&str]) -> String {
        let all: Vec<String> =
            self.entering().into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        system(&all).expect("a command in the namespace")
    }

    #[expect(clippy::disallowed_methods, reason = "the test is the host: it has daemons of its own")]
    pub(crate) fn start(&self, words: &[&str]) -> Program {
        let entering = self.entering();
        let mut command = std::process::Command::new(&entering[0]);
        command.args(&entering[1..]).args(words).stdin(Stdio::null()).stderr(Stdio::null());
        Program(command.spawn().expect("start a program in the namespace"))
    }

    /// Runs something on a thread of its own that is in the namespace.
    pub(crate) fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = fs_err::File::open(format!("/var/run/netns/{}", self.0)).expect("open the namespace");
        let enter_and_do = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter it");
            what()
        };
        thread::scope(|scope| scope.spawn(enter_and_do).join().expect("the thread in the namespace"))
    }

    /// A TCP service that tells everyone their own address, until the test ends.
    pub(crate) fn serve(&self, address: &str) {
        let listener = self.inside(|| TcpListener::bind(address)).expect("listen in the namespace");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                drop(stream.write_all(peer.as_bytes()));
            }
        });
    }

    pub(crate) fn connects(&self, address: &str) -> bool {
        self.inside(|| TcpStream::connect(address)).is_ok()
    }

    /// The hardware address of an interface.
    pub(crate) fn mac(&self, interface: &str) -> String {
        let links = self.run(&["ip", "-j", "link", "show", "dev", interface]);
        let links: serde_json::Value = serde_json::from_str(&links).expect("JSON from ip");
        links[0]["address"].as_str().expect("an address").to_owned()
    }

    pub(crate) fn interfaces(&self) -> Vec<String> {
        let links = self.run(&["ip", "-j", "link", "show"]);
        let links: serde_json::Value = serde_json::from_str(&links).expect("JSON from ip");
        let links = links.as_array().expect("a list").iter();
        links.filter_map(|link| Some(link["ifname"].as_str()?.to_owned())).collect()
    }

    /// Asserts that only these interfaces are left beside the loopback, no rules, and no forwarding.
    pub(crate) fn assert_only(&self, interfaces: &[&str]) {
        let mut left = self.interfaces();
        left.retain(|name| name != "lo");
        assert_eq!(left, interfaces);
        assert_eq!(self.run(&["nft", "list", "ruleset"]), "");
        assert_eq!(self.run(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "0\n");
    }

    // Not `ip netns exec`: that mounts /sys anew, without the control groups.
    fn entering(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/var/run/netns/{}", self.0), "--".to_owned()]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = system(&["ip", "netns", "delete", &self.0]);
        // A second panic would hide the first.
        if !thread::panicking() {
            deleted.unwrap_or_else(|error| panic!("the namespace {} is left: {error}", self.0));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
