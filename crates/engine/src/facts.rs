//! What this computer can do, asked once for each command.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_hypervisor::qemu::{self, Accelerator, AcceleratorChoice, Qemu, RunAs};
use winstead_spec::{Host, StoreKind};
use winstead_store::{Features, Placement};

use crate::{EngineError, Home, MachineRecord, error::chain, journal::Journal, plan::Places};

/// The first of the user ids that machines run as when we are root, one each. Far above what distributions and
/// container runtimes hand out (they end below 2³¹ − 2²⁷), and with all homes' shares below 2³¹.
const FIRST_USER: u32 = 2_013_265_920;
/// User ids of one home, and how many shares there are: machines of two homes should not be one user either.
const USERS: u32 = 8192;
const SHARES: u128 = 16_384;

/// What one gives up by naming a folder where a mount of its own were possible.
const SHARED: &str = "`stores.ram` is given: disks share that folder, caps are watched instead of enforced";

/// The remembered answer of the accelerator trial, in the cache folder.
const ACCELERATOR: &str = "accelerator.json";

/// The QEMU that machines are started with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QemuStatus {
    /// Its version; `None` when there is none.
    pub version: Option<String>,
    /// `kvm` or `tcg`; `None` until the first start has tried.
    pub accelerator: Option<Accelerator>,
    /// Why: the reason of the choice, or what is missing.
    pub reason: String,
}

/// What this computer can do.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The QEMU that will be used.
    pub(crate) qemu: Qemu,
    /// How guests run, and why so.
    pub(crate) accelerator: AcceleratorChoice,
    /// What the stores can do.
    pub(crate) store: Features,
    /// The processor as guests under KVM see it; `None` where they are emulated.
    pub(crate) host_cpu: Option<String>,
}

/// The users that machines run as when we are root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users {
    /// The first of this home's share of ids.
    first: u32,
    /// The group that may open `/dev/kvm`.
    kvm_group: Option<u32>,
}

impl Users {
    /// Those of the home with this identity.
    pub(crate) fn of(home: Uuid) -> Self {
        Self { first: first_user(home), kvm_group: kvm_group() }
    }

    /// The user that a machine's QEMU runs as: its own when we are root, ours otherwise.
    pub(crate) fn run_as(self, record: &MachineRecord) -> Option<RunAs> {
        self.user(record.number % USERS)
    }

    /// The user that KVM is tried as, which may do what machines' users may: the last of a home's share.
    fn trial(self) -> Option<RunAs> {
        self.user(USERS - 1)
    }

    fn user(self, number: u32) -> Option<RunAs> {
        let id = self.first + number;
        is_root().then(|| RunAs { uid: id, gid: id, groups: self.kvm_group.into_iter().collect() })
    }
}

impl Facts {
    /// Looks at this computer; `kernel` is tried under KVM when that was never tried before.
    pub(crate) async fn gather(
        home: &Home,
        users: Users,
        kernel: Option<&Path>,
        stop: &CancellationToken,
    ) -> Result<Self, EngineError> {
        let qemu = find_qemu(stop).await?;
        let cache = home.cache().join(ACCELERATOR);
        let user = users.trial();
        let accelerator = qemu::choose_accelerator(&qemu, user.as_ref(), kernel, &cache, stop)
            .await
            .map_err(|error| EngineError::host("choose an accelerator")(error.into()))?;
        let store = features(home, stop).await?;
        let host_cpu = (accelerator.accelerator == Accelerator::Kvm).then(cpu);
        Ok(Self { qemu, accelerator, store, host_cpu })
    }

    /// What a user should know of this computer before machines start: a slow accelerator, a weaker store.
    pub(crate) fn notes(&self, host: &Host) -> impl Iterator<Item = &str> {
        let slow =
            (self.accelerator.accelerator == Accelerator::Tcg).then_some(self.accelerator.reason.as_str());
        // Without the right to mount the store's own notes say so.
        let shared = (self.store.can_mount && host.stores.ram.is_some()).then_some(SHARED);
        slow.into_iter().chain(shared).chain(self.store.notes.iter().map(String::as_str))
    }
}

/// The QEMU that is installed: a cheap question, for before long work that would be in vain.
pub(crate) async fn find_qemu(stop: &CancellationToken) -> Result<Qemu, EngineError> {
    qemu::find(stop).await.map_err(|error| EngineError::host("use QEMU")(error.into()))
}

/// What the stores of this home can do.
pub(crate) async fn features(home: &Home, stop: &CancellationToken) -> Result<Features, EngineError> {
    let probed = winstead_store::probe(&home.cache(), stop).await;
    probed.map_err(|error| EngineError::host("probe the stores")(error.into()))
}

/// The QEMU that machines would be started with, as far as that is known without starting one.
pub(crate) async fn qemu_status(home: &Home) -> QemuStatus {
    let stop = CancellationToken::new();
    let qemu = match qemu::find(&stop).await {
        Ok(qemu) => qemu,
        Err(error) => return QemuStatus { version: None, accelerator: None, reason: chain(&error) },
    };
    let version = Some(qemu.version.to_string());
    let cache = home.cache().join(ACCELERATOR);
    match qemu::choose_accelerator(&qemu, Users::of(Uuid::nil()).trial().as_ref(), None, &cache, &stop).await
    {
        Ok(choice) => QemuStatus { version, accelerator: Some(choice.accelerator), reason: choice.reason },
        Err(error) => QemuStatus { version, accelerator: None, reason: chain(&error) },
    }
}

/// Where disks of a kind live on this host, with the rights that we have.
async fn placement(
    kind: StoreKind,
    host: &Host,
    can_mount: bool,
    (home, journal): (&Home, &Journal),
) -> Result<Placement, EngineError> {
    let id = journal.home_id().await?.simple().to_string();
    let own = format!("winstead-{}-{}", rustix::process::geteuid().as_raw(), &id[..8]);
    Ok(match (kind, &host.stores.ram) {
        (StoreKind::Ram, None) if can_mount => Placement::OwnTmpfs,
        (StoreKind::Ram, folder) => {
            let parent = folder.clone().unwrap_or_else(|| PathBuf::from("/dev/shm"));
            Placement::SharedRam { folder: parent.join(own) }
        }
        (StoreKind::Disk, _) => {
            let parent = host.stores.disk.clone().unwrap_or_else(|| home.root().join("disk"));
            Placement::Folder { folder: parent.join(own) }
        }
    })
}

/// Where new disks live on this host, with the rights that we have.
pub(crate) async fn places(host: &Host, whose: (&Home, &Journal)) -> Result<Places, EngineError> {
    let can_mount = features(whose.0, &CancellationToken::new()).await?.can_mount;
    Ok(Places {
        ram: placement(StoreKind::Ram, host, can_mount, whose).await?,
        disk: placement(StoreKind::Disk, host, can_mount, whose).await?,
    })
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Drawn from the home's own identity, so that it stays.
fn first_user(home: Uuid) -> u32 {
    FIRST_USER + u32::try_from(home.as_u128() % SHARES).unwrap_or(0) * USERS
}

/// The processor as the kernel lists it: what a guest under KVM has seen of it.
fn cpu() -> String {
    let all = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = all.split("\n\n").next().unwrap_or_default();
    let telling = |line: &&str| line.starts_with("model name") || line.starts_with("flags");
    first.lines().filter(telling).collect::<Vec<_>>().join("\n")
}

fn kvm_group() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs_err::metadata("/dev/kvm").ok().map(|device| device.gid()).filter(|group| *group != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_home_has_a_share_of_users_below_the_largest_id() {
        for id in [0, 1, SHARES - 1, u128::MAX] {
            let first = first_user(Uuid::from_u128(id));
            assert!(first >= FIRST_USER && first + USERS <= 1 << 31, "{id}: {first}");
        }
        assert_ne!(first_user(Uuid::from_u128(1)), first_user(Uuid::from_u128(2)));
    }
}
