//! Windows: the registry, the service manager, the licensing service, and the list of network cards.

use std::io;

use windows_registry::{LOCAL_MACHINE, Result as Looked};
use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND};
use winstead_protocol::v1::{Adapter, FactsResponse};

use super::readiness::{self, PENDING_KEYS, Pending, SERVICES, System};
use crate::{
    service,
    windows::{self, AdapterKind, ClientProcess, NetworkAdapter},
};

/// What an agent can do on this system.
pub const FEATURES: &[&str] = &["processes", "tunnels", "files", "facts", "reboot"];

const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const PRODUCT: &str = r"SYSTEM\CurrentControlSet\Control\ProductOptions";
const ENVIRONMENT: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
const SESSIONS: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager";
const NAMES: &str = r"SYSTEM\CurrentControlSet\Control\ComputerName";
const IPV4: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
const IPV6: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters";
const NETLOGON: &str = r"SYSTEM\CurrentControlSet\Services\Netlogon";
/// The process that is there from the first moment to the last: the kernel itself.
const KERNEL: u32 = 4;

/// Another one after each start of the computer: how many times it was started, and when the kernel began, so that two
/// machines from one disk have two. Empty where Windows says neither, as under Wine.
#[must_use]
pub fn boot_id() -> String {
    let began = ClientProcess::open(KERNEL).and_then(|kernel| kernel.started()).ok();
    let parts = [windows::boots().map(u64::from), began];
    parts.iter().flatten().map(|part| format!("{part:x}")).collect::<Vec<_>>().join("-")
}

/// What this computer says of itself now. Blocks, for some milliseconds, and as long as the licensing service takes.
///
/// # Errors
/// Never on this system: what cannot be found out is left out, with its reason.
pub fn gather() -> io::Result<FactsResponse> {
    let mut unknown = Unknown::default();
    let system = system(&mut unknown);
    Ok(FactsResponse {
        host_name: unknown.or_default("host name", windows::host_name()),
        os_name: readiness::os_name(&system),
        build: system.build.clone().unwrap_or_default(),
        ubr: system.ubr,
        uptime_ms: windows::uptime_ms(),
        pending_reboot: readiness::pending_reboot(&pending(&mut unknown)),
        licence_days_left: licence_days_left(&system, &mut unknown),
        adapters: adapters(&mut unknown),
        features: readiness::features(&system),
        memory_bytes: unknown.or_default("memory", windows::memory_bytes()),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        unknown: unknown.0,
    })
}

/// Restarts the computer; services end as they should. Returns when that has begun.
///
/// # Errors
/// When the agent may not, or Windows refuses.
pub fn reboot() -> io::Result<()> {
    windows::restart("winstead-agent was asked to restart this computer")
}

/// What could not be found out, and why.
#[derive(Debug, Default)]
struct Unknown(Vec<String>);

impl Unknown {
    fn or_default<T: Default>(&mut self, what: &str, found: io::Result<T>) -> T {
        found.unwrap_or_else(|error| {
            self.0.push(format!("{what}: {error}"));
            T::default()
        })
    }

    /// What the registry has at a place; nothing there is an answer, too.
    fn look<T>(&mut self, place: &str, found: Looked<T>) -> Option<T> {
        let missing =
            [ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND].map(|code| (code | 0x8007_0000).cast_signed());
        match found {
            Ok(found) => Some(found),
            Err(error) if missing.contains(&error.code().0) => None,
            Err(error) => {
                self.0.push(format!("{place}: {}", error.message()));
                None
            }
        }
    }

    fn text(&mut self, key: &str, name: &str) -> Option<String> {
        let found = LOCAL_MACHINE.open(key).and_then(|key| key.get_string(name));
        self.look(&format!(r"{key}\{name}"), found)
    }

    fn number(&mut self, key: &str, name: &str) -> Option<u32> {
        let found = LOCAL_MACHINE.open(key).and_then(|key| key.get_u32(name));
        self.look(&format!(r"{key}\{name}"), found)
    }
}

fn system(unknown: &mut Unknown) -> System {
    let volume = windows::system_volume().map(Some);
    System {
        product: unknown.text(VERSION, "ProductName"),
        edition: unknown.text(VERSION, "EditionID"),
        installation: unknown.text(VERSION, "InstallationType"),
        release: unknown.text(VERSION, "DisplayVersion"),
        build: unknown.text(VERSION, "CurrentBuildNumber"),
        ubr: unknown.number(VERSION, "UBR"),
        role: unknown.text(PRODUCT, "ProductType"),
        architecture: unknown.text(ENVIRONMENT, "PROCESSOR_ARCHITECTURE"),
        host_name: unknown.text(IPV4, "Hostname"),
        ipv6_switched_off: unknown.number(IPV6, "DisabledComponents"),
        volume: unknown.or_default("system volume", volume),
        services: services(unknown),
    }
}

fn services(unknown: &mut Unknown) -> Vec<service::Status> {
    let looked = SERVICES.iter().filter_map(|name| match service::look_at(name) {
        Ok(status) => Some(status),
        Err(error) => {
            unknown.0.push(format!("service {name}: {error}"));
            None
        }
    });
    looked.collect()
}

fn pending(unknown: &mut Unknown) -> Pending {
    let mut files = |name: &str| {
        let found = LOCAL_MACHINE.open(SESSIONS).and_then(|key| key.get_value(name));
        let found = unknown.look(&format!(r"{SESSIONS}\{name}"), found);
        found.map(|value| value.as_wide().to_vec()).unwrap_or_default()
    };
    let files = [files("PendingFileRenameOperations"), files("PendingFileRenameOperations2")];
    let mut there = |key: &str| unknown.look(key, LOCAL_MACHINE.open(key)).is_some();
    let keys = PENDING_KEYS.into_iter().filter(|(key, _)| there(key)).collect();
    let mut pair = |one: (&str, &str), other: (&str, &str)| {
        Some((unknown.text(one.0, one.1)?, unknown.text(other.0, other.1)?))
    };
    let (now, later) = (format!(r"{NAMES}\ActiveComputerName"), format!(r"{NAMES}\ComputerName"));
    let names = [
        pair((&now, "ComputerName"), (&later, "ComputerName")),
        pair((IPV4, "Hostname"), (IPV4, "NV Hostname")),
    ];
    Pending { keys, files, names, joins: unknown.text(NETLOGON, "JoinDomain") }
}

fn licence_days_left(system: &System, unknown: &mut Unknown) -> Option<i32> {
    if !readiness::is_evaluation(system) {
        return None;
    }
    let told = windows::licences().and_then(|licences| {
        readiness::days_left(&licences)
            .map(Some)
            .ok_or_else(|| io::Error::other("the licensing service does not say how long it lasts"))
    });
    unknown.or_default("licence", told)
}

/// All network cards but the loopback, sorted by name.
fn adapters(unknown: &mut Unknown) -> Vec<Adapter> {
    let found = unknown.or_default("network cards", windows::network_adapters());
    let others = found.into_iter().filter(|adapter| adapter.kind != AdapterKind::Loopback);
    let mut adapters: Vec<Adapter> = others.map(adapter).collect();
    adapters.sort_by(|a, b| a.name.cmp(&b.name));
    adapters
}

fn adapter(adapter: NetworkAdapter) -> Adapter {
    let mac: Vec<String> = adapter.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let addresses = adapter.addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}"));
    Adapter { mac: mac.join(":"), addresses: addresses.collect(), up: adapter.up, name: adapter.name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_computer_tells_of_itself_and_says_what_it_does_not_know() {
        let facts = gather().expect("this system says it");
        assert!(facts.cpus > 0 && facts.memory_bytes > 1 << 27 && facts.uptime_ms > 0, "{facts:?}");
        assert!(!facts.host_name.is_empty() && facts.os_name.contains("Windows"), "{facts:?}");
        assert!(facts.build.parse::<u32>().is_ok(), "{facts:?}");
        assert!(facts.features.iter().any(|feature| feature.name == "system-drive-c"), "{facts:?}");
        assert!(facts.adapters.iter().all(|adapter| !adapter.addresses.contains(&"127.0.0.1/8".to_owned())));
        assert_eq!(facts.licence_days_left, None, "neither Wine nor a bought Windows is an evaluation");
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn what_is_not_there_is_an_answer_and_what_may_not_be_read_is_not() {
        let mut unknown = Unknown::default();
        assert_eq!(unknown.text(r"SOFTWARE\Winstead\nowhere", "name"), None);
        assert_eq!(unknown.number(VERSION, "no such value"), None);
        assert!(unknown.0.is_empty(), "{unknown:?}");
        assert_eq!(unknown.number(VERSION, "ProductName"), None);
        assert!(unknown.0[0].starts_with(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProductName: "));
    }
}
