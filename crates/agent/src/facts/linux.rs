//! Linux: files of /proc, /sys and /etc, and the kernel's list of addresses.

use std::{io, path::Path};

use fs_err as fs;
use if_addrs::{IfAddr, Interface};
use winstead_protocol::v1::{Adapter, FactsResponse};

use super::read::{self, Texts};

/// What an agent can do on this system.
pub const FEATURES: &[&str] = &["processes", "tunnels", "files", "facts", "reboot"];

/// Another one after each start of the computer; empty where the kernel does not say it.
#[must_use]
pub fn boot_id() -> String {
    text("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// What this computer says of itself now. Blocks, for some milliseconds.
///
/// # Errors
/// Never on this system.
pub fn gather() -> io::Result<FactsResponse> {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    Ok(FactsResponse {
        host_name: system.nodename().to_string_lossy().into_owned(),
        os_name: read::os_name(&text("/etc/os-release")),
        uptime_ms: read::uptime_ms(&text("/proc/uptime")),
        pending_reboot: pending_reboot(&release),
        adapters: adapters(),
        features: read::features(&texts(&release)),
        memory_bytes: read::memory(&text("/proc/meminfo")),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        ubr: None,
        licence_days_left: None,
        unknown: Vec::new(),
        build: release,
    })
}

/// Restarts the computer by its service manager, so that everything ends as it should; by the kernel itself where there
/// is none. Returns when that has begun.
///
/// # Errors
/// When the kernel refuses both.
pub fn reboot() -> io::Result<()> {
    by_service_manager().or_else(|_| by_kernel())
}

/// SIGINT to process 1 means Ctrl-Alt-Del to systemd, busybox and sysvinit alike (systemd(1), "Signals"): a restart with
/// all that belongs to it.
fn by_service_manager() -> io::Result<()> {
    let init = rustix::process::Pid::from_raw(1).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::kill_process(init, rustix::process::Signal::INT)?)
}

fn by_kernel() -> io::Result<()> {
    rustix::fs::sync();
    Ok(rustix::system::reboot(rustix::system::RebootCommand::Restart)?)
}

/// Empty for what is not there or cannot be read.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_default()
}

fn texts(release: &str) -> Texts {
    let there = |path: &str| fs::read_to_string(path).ok();
    Texts {
        release: release.to_owned(),
        filesystems: text("/proc/filesystems"),
        swaps: text("/proc/swaps"),
        controllers: there("/sys/fs/cgroup/cgroup.controllers"),
        bridge_call: there("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        forward: there("/proc/sys/net/ipv4/ip_forward"),
        br_netfilter: Path::new("/sys/module/br_netfilter").exists(),
        version: text("/proc/version"),
        ipv6_addresses: text("/proc/net/if_inet6"),
    }
}

fn pending_reboot(release: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    // Debian and Ubuntu: update-notifier and unattended-upgrades. Its packages are in a file beside it.
    if Path::new("/run/reboot-required").exists() {
        let packages = text("/run/reboot-required.pkgs").split_whitespace().collect::<Vec<_>>().join(" ");
        reasons.push(format!("/run/reboot-required: {packages}").trim_end_matches([':', ' ']).to_owned());
    }
    let entries = fs::read_dir("/lib/modules").into_iter().flatten().flatten();
    let installed: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if let Some(newer) = read::newer_kernel(release, installed.iter().map(String::as_str)) {
        reasons.push(format!("kernel {newer} is installed, {release} runs"));
    }
    reasons
}

/// All network cards but the loopback, sorted by name.
fn adapters() -> Vec<Adapter> {
    let mut adapters: Vec<Adapter> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lo")
        .map(adapter)
        .collect();
    adapters.sort_by(|a, b| a.name.cmp(&b.name));
    let addresses = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "no addresses");
        Vec::new()
    });
    for adapter in &mut adapters {
        let own = addresses.iter().filter(|address| address.name == adapter.name);
        adapter.addresses = own.map(shown).collect();
    }
    adapters
}

fn adapter(name: String) -> Adapter {
    let about = Path::new("/sys/class/net").join(&name);
    let mac = text(about.join("address")).trim().to_owned();
    // A tunnel has no carrier to speak of: its state is unknown, and it works.
    let up = matches!(text(about.join("operstate")).trim(), "up" | "unknown");
    Adapter { name, mac, addresses: Vec::new(), up }
}

fn shown(interface: &Interface) -> String {
    let prefix = match &interface.addr {
        IfAddr::V4(address) => address.prefixlen,
        IfAddr::V6(address) => address.prefixlen,
    };
    format!("{}/{prefix}", interface.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_computer_tells_of_itself() {
        let facts = gather().expect("this system says it");
        assert!(facts.cpus > 0 && facts.memory_bytes > 1 << 20 && facts.uptime_ms > 0, "{facts:?}");
        assert!(!facts.build.is_empty() && facts.features.iter().any(|feature| feature.name == "overlay"));
        assert!(facts.adapters.iter().all(|adapter| adapter.name != "lo"));
        assert_eq!(boot_id().len(), 36);
        assert_eq!(boot_id(), boot_id());
    }
}
