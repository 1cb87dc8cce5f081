//! What Windows' answers mean for who wants to put Kubernetes there. Pure: it is given answers, and knows no system.

use winstead_protocol::v1::Feature;

use crate::{
    service::{Phase, Status},
    windows::{Licence, Volume},
};

/// Keys of the registry that are there as long as a restart is waited for, and what each says.
pub(super) const PENDING_KEYS: [(&str, &str); 4] = [
    (
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
        "a feature or an update is to be finished",
    ),
    (
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\PackagesPending",
        "packages are to be installed",
    ),
    (
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
        "an update is to be finished",
    ),
    (r"SOFTWARE\Microsoft\ServerManager\CurrentRebootAttempts", "a role or a feature is to be finished"),
];

/// Services that the Containers feature installs, and the one that keeps the clock.
pub(super) const SERVICES: [&str; 3] = ["hns", "vmcompute", "w32time"];

/// Windows Server 2019, 2022 and 2025: those that Kubernetes' nodes run on.
const BUILDS: [&str; 3] = ["17763", "20348", "26100"];
/// NetBIOS cuts longer names, and then a node and its certificate have two.
const LONGEST_NAME: usize = 15;
/// Of `DisabledComponents`: no IPv6 on real network cards. Others prefer IPv4, or switch tunnels off, which does no harm.
const NO_IPV6: u32 = 0x10;
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// What was found out; what was not is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    /// `Windows Server 2022 Standard Evaluation`.
    pub(super) product: Option<String>,
    /// `ServerStandardEval`.
    pub(super) edition: Option<String>,
    /// `Server`, `Server Core`, `Client`.
    pub(super) installation: Option<String>,
    /// `21H2`.
    pub(super) release: Option<String>,
    pub(super) build: Option<String>,
    pub(super) ubr: Option<u32>,
    /// `WinNT`: for people. `ServerNT`, and `LanmanNT`, a domain controller.
    pub(super) role: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) host_name: Option<String>,
    /// Bits; nothing there is nothing switched off.
    pub(super) ipv6_switched_off: Option<u32>,
    pub(super) volume: Option<Volume>,
    pub(super) services: Vec<Status>,
}

/// What may wait for a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// Those of [`PENDING_KEYS`] that are there.
    pub(super) keys: Vec<(&'static str, &'static str)>,
    /// Pairs of paths, each ended by a zero: from where, and to where; without the second one it is deleted.
    pub(super) files: [Vec<u16>; 2],
    /// The computer's names, as they are and as they are to be.
    pub(super) names: [Option<(String, String)>; 2],
    /// The domain that is to be joined.
    pub(super) joins: Option<String>,
}

/// `Windows Server 2022 Standard Evaluation 21H2`; empty when Windows does not say it.
pub(super) fn os_name(system: &System) -> String {
    [&system.product, &system.release].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

/// Why the computer wants a restart.
pub(super) fn pending_reboot(pending: &Pending) -> Vec<String> {
    let mut reasons: Vec<String> = pending.keys.iter().map(|(key, why)| format!("{why} ({key})")).collect();
    let files: Vec<String> = pending.files.iter().flat_map(|pairs| waiting_files(pairs)).collect();
    if let Some(first) = files.first() {
        reasons.push(format!("{} files are to be replaced or deleted, {first} first", files.len()));
    }
    let renamed = pending.names.iter().flatten().find(|(now, later)| !now.eq_ignore_ascii_case(later));
    reasons
        .extend(renamed.map(|(now, later)| format!("the computer is to be called {later} instead of {now}")));
    let joins = pending.joins.as_ref().filter(|domain| !domain.is_empty());
    reasons.extend(joins.map(|domain| format!("the computer is to join {domain}")));
    reasons
}

/// The files of `PendingFileRenameOperations`, without what Windows writes before paths.
fn waiting_files(pairs: &[u16]) -> Vec<String> {
    let texts: Vec<String> = pairs.split(|unit| *unit == 0).map(String::from_utf16_lossy).collect();
    let from = texts.iter().step_by(2).filter(|path| !path.is_empty());
    from.map(|path| path.trim_start_matches(r"\??\").to_owned()).collect()
}

/// Whether its licence ends by itself.
pub(super) fn is_evaluation(system: &System) -> bool {
    system.edition.as_ref().is_some_and(|edition| edition.ends_with("Eval"))
}

/// Whole days until an evaluation ends; nothing when no licence says it.
pub(super) fn days_left(licences: &[Licence]) -> Option<i32> {
    let days = |licence: &Licence| match licence {
        Licence { over: true, .. } => Some(0),
        Licence { minutes: 0, .. } => None,
        Licence { minutes, .. } => i32::try_from(minutes / MINUTES_OF_A_DAY).ok(),
    };
    licences.iter().filter_map(days).max()
}

/// What Kubernetes needs on a Windows node: the rules of the feasibility check that a node itself can answer. One that
/// depends on what is not known is left out.
pub(super) fn features(system: &System) -> Vec<Feature> {
    let feature = |name: &str, present, seen: String| Some(Feature { name: name.to_owned(), present, seen });
    // What the installers of nodes ask for is there on servers only.
    let server = system.installation.as_ref().and_then(|installation| {
        let edition = system.edition.as_deref().unwrap_or("edition not known");
        feature("server", installation != "Client", format!("{edition}, {installation}"))
    });
    let build = system.build.as_ref().and_then(|build| {
        let ubr = system.ubr.map(|ubr| format!(".{ubr}")).unwrap_or_default();
        feature("supported-build", BUILDS.contains(&build.as_str()), format!("{build}{ubr}"))
    });
    let role = system.role.as_ref();
    let role = role.and_then(|role| feature("no-domain-controller", role != "LanmanNT", role.clone()));
    let machine = system.architecture.as_ref();
    let machine = machine.and_then(|it| feature("amd64", it.eq_ignore_ascii_case("amd64"), it.clone()));
    let name = system.host_name.as_ref();
    let name = name.and_then(|it| feature("name-15", it.chars().count() <= LONGEST_NAME, it.clone()));
    let off = system.ipv6_switched_off.unwrap_or(0);
    let ipv6 = feature("ipv6", off & NO_IPV6 == 0, format!("DisabledComponents {off:#x}"));
    let all = [server, build, role, machine, name, ipv6].into_iter().flatten();
    all.chain(services(system)).chain(system.volume.iter().flat_map(volume)).collect()
}

/// Paths of Kubernetes' programs begin with `C:`, and layers of containers lie on NTFS.
fn volume(volume: &Volume) -> [Feature; 2] {
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30);
    let seen = format!(
        "{} {}, {} free of {}",
        volume.drive,
        volume.file_system,
        gib(volume.free),
        gib(volume.bytes)
    );
    [
        Feature { name: "system-drive-c".to_owned(), present: volume.drive == "C:", seen: seen.clone() },
        Feature { name: "ntfs".to_owned(), present: volume.file_system == "NTFS", seen },
    ]
}

/// `Containers` as the two services that it consists of, which may rest until they are needed; and the clock's, which
/// must run. Left out where the service manager did not answer.
fn services(system: &System) -> Vec<Feature> {
    let find = |name: &str| system.services.iter().find(|status| status.name == name);
    let said = |statuses: &[&Status]| statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let containers = find("hns").zip(find("vmcompute")).map(|(hns, compute)| Feature {
        name: "Containers".to_owned(),
        present: [hns, compute].iter().all(|status| status.phase != Phase::NotInstalled),
        seen: said(&[hns, compute]),
    });
    let clock = find("w32time").map(|clock| Feature {
        name: "time-service".to_owned(),
        present: clock.phase == Phase::Running,
        seen: said(&[clock]),
    });
    [containers, clock].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn status(name: &str, phase: Phase) -> Status {
        Status { name: name.to_owned(), phase, pid: None }
    }

    /// Windows Server 2022, evaluation, Core, as its registry says it.
    fn node() -> System {
        System {
            product: text("Windows Server 2022 Standard Evaluation"),
            edition: text("ServerStandardEval"),
            installation: text("Server Core"),
            release: text("21H2"),
            build: text("20348"),
            ubr: Some(2582),
            role: text("ServerNT"),
            architecture: text("AMD64"),
            host_name: text("WIN-1"),
            ipv6_switched_off: None,
            volume: Some(Volume {
                drive: "C:".to_owned(),
                file_system: "NTFS".to_owned(),
                bytes: 60 << 30,
                free: (20 << 30) + (1 << 29),
            }),
            services: vec![
                status("hns", Phase::Running),
                status("vmcompute", Phase::Stopped),
                status("w32time", Phase::Running),
            ],
        }
    }

    fn lacking(system: &System) -> Vec<String> {
        features(system).into_iter().filter(|it| !it.present).map(|it| it.name).collect()
    }

    #[test]
    fn a_node_that_is_ready_lacks_nothing_and_says_what_it_is() {
        let node = node();
        assert_eq!(lacking(&node), Vec::<String>::new());
        assert_eq!(os_name(&node), "Windows Server 2022 Standard Evaluation 21H2");
        let seen: Vec<String> =
            features(&node).into_iter().map(|it| format!("{}: {}", it.name, it.seen)).collect();
        assert_eq!(seen[0], "server: ServerStandardEval, Server Core");
        assert_eq!(seen[1], "supported-build: 20348.2582");
        assert!(seen.contains(&"ntfs: C: NTFS, 20.5 GiB free of 60.0 GiB".to_owned()), "{seen:?}");
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn a_node_that_is_not_ready_says_what_is_missing() {
        let desktop = System {
            installation: text("Client"),
            build: text("19045"),
            role: text("LanmanNT"),
            architecture: text("ARM64"),
            host_name: text("a-name-with-sixteen"),
            ipv6_switched_off: Some(0xff),
            volume: Some(Volume {
                drive: "D:".to_owned(),
                file_system: "ReFS".to_owned(),
                bytes: 1,
                free: 0,
            }),
            services: vec![
                status("hns", Phase::Running),
                status("vmcompute", Phase::NotInstalled),
                status("w32time", Phase::Stopped),
            ],
            ..node()
        };
        assert_eq!(lacking(&desktop).len(), features(&desktop).len());
        // Preferring IPv4 is no harm.
        assert!(!lacking(&System { ipv6_switched_off: Some(0x20), ..node() }).contains(&"ipv6".to_owned()));
    }

    #[test]
    fn what_is_not_known_is_neither_there_nor_missing() {
        let names: Vec<String> = features(&System::default()).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["ipv6"], "no value there is Windows' way to say that nothing is switched off");
        assert_eq!(os_name(&System::default()), "");
        assert!(!is_evaluation(&System::default()));
    }

    #[test]
    fn every_reason_for_a_restart_is_told_and_nothing_else() {
        let same = Some(("WIN-1".to_owned(), "win-1".to_owned()));
        let none = Pending { names: [same.clone(), same.clone()], joins: text(""), ..Pending::default() };
        assert_eq!(pending_reboot(&none), Vec::<String>::new());
        // As Windows stores it: a file that is deleted, and one that replaces another.
        let files = "\\??\\C:\\a.tmp\0\0\\??\\C:\\new.dll\0!\\??\\C:\\old.dll\0\0";
        let all = Pending {
            keys: vec![PENDING_KEYS[2]],
            files: [files.encode_utf16().collect(), "\\??\\C:\\b\0\0\0".encode_utf16().collect()],
            names: [same, Some(("WIN-1".to_owned(), "node-7".to_owned()))],
            joins: text("example.org"),
        };
        assert_eq!(
            pending_reboot(&all),
            [
                r"an update is to be finished (SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired)",
                r"3 files are to be replaced or deleted, C:\a.tmp first",
                "the computer is to be called node-7 instead of WIN-1",
                "the computer is to join example.org",
            ]
        );
    }

    #[test]
    fn an_evaluation_counts_whole_days_and_one_that_is_over_has_none() {
        let licence = |minutes, over| Licence { minutes, over };
        assert_eq!(days_left(&[licence(MINUTES_OF_A_DAY * 180 - 1, false)]), Some(179));
        assert_eq!(days_left(&[licence(0, true)]), Some(0));
        assert_eq!(days_left(&[licence(0, true), licence(MINUTES_OF_A_DAY, false)]), Some(1));
        assert_eq!(days_left(&[licence(0, false)]), None);
        assert_eq!(days_left(&[]), None);
        assert!(is_evaluation(&node()));
        assert!(!is_evaluation(&System { edition: text("ServerStandard"), ..node() }));
    }
}
