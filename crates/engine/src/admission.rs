//! Hard arithmetic before anything starts: does everything that may ever be used fit into this host?
//!
//! Σ(guest RAM + cap + QEMU's own) + bases + growth reserve + host reserve ≤ what the host has. A tmpfs that
//! outgrows RAM deadlocks the host (the kernel's tmpfs documentation), so there is no warning level.

use std::collections::BTreeMap;

use serde::Serialize;
use winstead_spec::{ByteSize, Host, Name, Pool, Sha256, StoreKind};

/// What QEMU takes beside the guest's RAM. Measured: 150 to 300 MiB with a translation buffer of 128 to 256 MiB
/// under TCG and QEMU 7.2 or 10.0; less under KVM.
pub const QEMU_OVERHEAD: ByteSize = ByteSize::from_mib(320);

/// What the host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// RAM that is free now, or used by machines and bases of this home: what we may divide.
    pub memory: ByteSize,
    /// Free space on the disk store, and what our overlays there use already.
    pub disk: ByteSize,
}

/// One pool's machines, and the image copy they stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The pool.
    pub pool: Pool,
    /// The RAM copy that its machines share; `None` while the image is still to be built.
    pub base: Option<(Sha256, ByteSize)>,
}

/// The sum, line by line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// Every summand.
    pub lines: Vec<Line>,
    /// Their total.
    pub needed: ByteSize,
    /// What there is.
    pub available: ByteSize,
}

/// One summand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What it is for.
    pub what: String,
    /// How much.
    pub size: ByteSize,
}

impl Sum {
    /// Whether everything fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.needed <= self.available
    }

    fn of(lines: Vec<Line>, available: ByteSize) -> Self {
        let needed = lines.iter().map(|line| line.size).sum();
        Self { lines, needed, available }
    }
}

/// The sum over RAM of everything that `demands` may ever use.
#[must_use]
pub fn memory(demands: &[Demand], host: &Host, capacity: Capacity) -> Sum {
    let mut lines: Vec<Line> =
        demands.iter().filter(|demand| demand.pool.replicas > 0).flat_map(machine_lines).collect();
    let bases: BTreeMap<&Sha256, ByteSize> = demands
        .iter()
        .filter(|demand| in_ram(&demand.pool) && demand.pool.replicas > 0)
        .filter_map(|demand| demand.base.as_ref().map(|(digest, size)| (digest, *size)))
        .collect();
    lines.extend(
        bases
            .into_iter()
            .map(|(digest, size)| Line { what: format!("image {}, one copy", digest.short()), size }),
    );
    lines.push(Line { what: "reserve for growing overlays".into(), size: host.growth.reserve });
    lines.push(Line { what: "reserve for the host".into(), size: host.reserve.memory });
    Sum::of(lines, capacity.memory)
}

/// The sum over the disk store; empty when no pool uses it.
#[must_use]
pub fn disk(demands: &[Demand], capacity: Capacity) -> Sum {
    let lines = demands
        .iter()
        .filter(|demand| !in_ram(&demand.pool) && demand.pool.replicas > 0)
        .map(|demand| {
            per_machine(&demand.pool, &demand.pool.name, "overlay cap", demand.pool.machine.disk.cap)
        })
        .collect();
    Sum::of(lines, capacity.disk)
}

fn machine_lines(demand: &Demand) -> Vec<Line> {
    let (pool, name) = (&demand.pool, &demand.pool.name);
    let mut lines = vec![
        per_machine(pool, name, "guest RAM", pool.machine.memory),
        per_machine(pool, name, "QEMU itself", QEMU_OVERHEAD),
    ];
    if in_ram(pool) {
        lines.push(per_machine(pool, name, "overlay cap", pool.machine.disk.cap));
    }
    lines
}

fn per_machine(pool: &Pool, name: &Name, what: &str, each: ByteSize) -> Line {
    let replicas = pool.replicas;
    Line { what: format!("{name}: {replicas} × {each} {what}"), size: each * u64::from(replicas) }
}

const fn in_ram(pool: &Pool) -> bool {
    matches!(pool.machine.disk.store, StoreKind::Ram)
}
