//! What the texts of a Linux system say. Pure: each function is given a text, and knows no system.

use winstead_protocol::v1::Feature;

/// `PRETTY_NAME` of os-release(5); empty when there is none.
pub(super) fn os_name(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

/// Milliseconds since the start, by `/proc/uptime` (`350735.47 234388.90`).
pub(super) fn uptime_ms(uptime: &str) -> u64 {
    let (seconds, rest) = uptime.split_once('.').unwrap_or((uptime, ""));
    let hundredths = rest.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    seconds.trim().parse::<u64>().unwrap_or(0).saturating_mul(1000).saturating_add(hundredths.min(99) * 10)
}

/// Bytes of memory, by `/proc/meminfo`.
pub(super) fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Swap areas that are in use, by `/proc/swaps`.
pub(super) fn swaps(swaps: &str) -> Vec<String> {
    let lines = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    lines.map(str::to_owned).collect()
}

/// Whether a file system is known, by `/proc/filesystems`.
pub(super) fn has_file_system(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

/// A kernel's release, so that two of them can be compared: its numbers.
fn release_numbers(release: &str) -> Vec<u64> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The newest of `installed` kernels that is newer than the one that runs and of its flavour (`-cloud-amd64`).
pub(super) fn newer_kernel<'a>(running: &str, installed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let flavour = |release: &str| {
        let letters = release.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words = letters.filter(|word| word.starts_with(|letter: char| letter.is_ascii_alphabetic()));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let same = installed.filter(|release| flavour(release) == flavour(running));
    let newer = same.filter(|release| release_numbers(release) > release_numbers(running));
    newer.max_by_key(|release| release_numbers(release))
}

/// Whether the kernel is at least this version: `6.12.43+deb13-cloud-amd64` is at least 5.10.
pub(super) fn is_at_least(release: &str, major: u64, minor: u64) -> bool {
    release_numbers(release).get(..2).is_some_and(|found| found >= [major, minor].as_slice())
}

/// Whether a `sysctl` file holds 1.
pub(super) fn is_on(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.trim() == "1")
}

/// The texts that tell what Kubernetes finds on a Linux node; `None`: there is no such file.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) release: String,
    pub(super) filesystems: String,
    pub(super) swaps: String,
    /// `cgroup.controllers` of the root of cgroup version 2, where that is at its usual place.
    pub(super) controllers: Option<String>,
    pub(super) bridge_call: Option<String>,
    pub(super) forward: Option<String>,
    /// Whether the module is loaded, which shows in `/sys/module`, or is in the kernel.
    pub(super) br_netfilter: bool,
    pub(super) version: String,
    pub(super) ipv6_addresses: String,
}

/// What Kubernetes needs on a Linux node: the rules of the feasibility check that a node itself can answer.
pub(super) fn features(texts: &Texts) -> Vec<Feature> {
    let feature = |name: &str, present, seen: String| Feature { name: name.to_owned(), present, seen };
    let swaps = swaps(&texts.swaps);
    let global = global_ipv6(&texts.ipv6_addresses);
    let wsl = texts.version.to_ascii_lowercase().contains("microsoft");
    let sysctl = |value: &Option<String>| {
        value.as_deref().map_or("no such file".to_owned(), |text| text.trim().to_owned())
    };
    vec![
        feature("overlay", has_file_system(&texts.filesystems, "overlay"), "/proc/filesystems".to_owned()),
        feature("br_netfilter", texts.br_netfilter, "/sys/module/br_netfilter".to_owned()),
        feature("bridge-nf-call-iptables", is_on(texts.bridge_call.as_deref()), sysctl(&texts.bridge_call)),
        feature("ip_forward", is_on(texts.forward.as_deref()), sysctl(&texts.forward)),
        feature("swap-off", swaps.is_empty(), swaps.join(" ")),
        feature("cgroup-v2", texts.controllers.is_some(), sysctl(&texts.controllers)),
        // Calico 3.30 and later.
        feature("kernel-5.10", is_at_least(&texts.release, 5, 10), texts.release.clone()),
        // A node behind WSL's NAT is reached by no other.
        feature("not-wsl", !wsl, texts.version.trim().to_owned()),
        // Rancher takes the last address of a control plane for its join URL, which must not be one of these.
        feature("no-global-ipv6", global.is_empty(), global.join(" ")),
    ]
}

/// Cards with a global address, by `/proc/net/if_inet6`: address, index, prefix, scope (00: global), flags, name.
fn global_ipv6(if_inet6: &str) -> Vec<String> {
    let global = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(3) == Some(&"00")).then(|| words.get(5).map(|name| (*name).to_owned())).flatten()
    };
    if_inet6.lines().filter_map(global).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_debian_are_read() {
        let os = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\n";
        assert_eq!(os_name(os), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(os_name("ID=x"), "");
        assert_eq!(uptime_ms("350735.47 234388.90\n"), 350_735_470);
        assert_eq!(uptime_ms("?"), 0);
        assert_eq!(memory("MemTotal:       24622048 kB\nMemFree: 1 kB\n"), 24_622_048 * 1024);
        assert_eq!(memory("MemTotal: much"), 0);
        let swap = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 8 0 -2\n";
        assert_eq!(swaps(swap), ["/dev/sda2"]);
        assert!(swaps("Filename Type Size Used Priority\n").is_empty());
        assert!(has_file_system("nodev\tsysfs\n\text4\nnodev\toverlay\n", "overlay"));
        assert!(!has_file_system("nodev\tsysfs\n", "nodev"));
    }

    #[test]
    fn only_a_newer_kernel_of_the_same_flavour_waits_for_a_restart() {
        let running = "6.12.43+deb13-cloud-amd64";
        let newer = |installed: &[&'static str]| newer_kernel(running, installed.iter().copied());
        assert_eq!(newer(&[running]), None);
        assert_eq!(newer(&["6.12.9+deb13-cloud-amd64", running]), None);
        assert_eq!(newer(&["6.16.1+deb13-amd64"]), None, "another flavour is another kernel");
        let two = ["6.12.48+deb13-cloud-amd64", "6.12.57+deb13-cloud-amd64", running];
        assert_eq!(newer(&two), Some("6.12.57+deb13-cloud-amd64"));
    }

    #[test]
    fn a_node_that_is_not_ready_says_what_is_missing() {
        let texts = Texts {
            release: "5.4.0-150-generic".to_owned(),
            filesystems: "nodev\toverlay\n".to_owned(),
            swaps: "Filename\n/swap.img file 1 0 -2\n".to_owned(),
            controllers: None,
            bridge_call: Some("0\n".to_owned()),
            forward: Some("1\n".to_owned()),
            version: "Linux version 5.15.153.1-microsoft-standard-WSL2".to_owned(),
            ipv6_addresses: "fe80000000000000021155fffe8a1a3c 02 40 20 80 eth0\n\
                             20010db8000000000000000000000001 02 40 00 80 eth0\n"
                .to_owned(),
            br_netfilter: false,
        };
        let found = features(&texts);
        let present: Vec<&str> =
            found.iter().filter(|feature| feature.present).map(|feature| feature.name.as_str()).collect();
        assert_eq!(present, ["overlay", "ip_forward"]);
        let seen = |name: &str| found.iter().find(|feature| feature.name == name).map(|it| it.seen.as_str());
        assert_eq!(seen("swap-off"), Some("/swap.img"));
        assert_eq!(seen("cgroup-v2"), Some("no such file"));
        assert_eq!(seen("no-global-ipv6"), Some("eth0"));
    }

    #[test]
    fn versions_are_numbers_and_not_texts() {
        assert!(is_at_least("6.1.0-40-amd64", 5, 10) && is_at_least("5.10.0", 5, 10));
        assert!(!is_at_least("5.9.16", 5, 10) && !is_at_least("5", 5, 10) && !is_at_least("", 0, 0));
    }
}
