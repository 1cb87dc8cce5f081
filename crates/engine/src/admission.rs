//! Hard arithmetic before anything starts: does everything that may ever be used fit into this host?
//!
//! Σ(guest RAM + cap + QEMU's own) + bases + growth reserve + host reserve ≤ what the host has. A tmpfs that
//! outgrows RAM deadlocks the host (the kernel's tmpfs documentation), so there is no warning level. A folder that several
//! disks share is a file system with a size of its own: the same sum is made for each.
//!
//! A host that says `overcommit` counts running machines as what was measured of them, and keeps a reserve for what they
//! may still take. Caps count whole all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;
use winstead_spec::{ByteSize, Host, MachineName, MachineShape, Sha256, StoreKind};

/// What QEMU takes beside the guest's RAM. Measured: 150 to 300 MiB with a translation buffer of 128 to 256 MiB
/// under TCG and QEMU 7.2 or 10.0; less under KVM.
pub const QEMU_OVERHEAD: ByteSize = ByteSize::from_mib(320);

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// RAM that is free now, or used by machines and bases of this home: what we may divide.
    pub memory: ByteSize,
    /// For each shared folder: what is free there now, or used by disks and bases of this home.
    pub folders: BTreeMap<PathBuf, ByteSize>,
}

/// What the RAM of machines counts as, QEMU itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ram {
    /// All that they may ever use.
    Whole,
    /// The same, because nothing like them was measured yet.
    Unmeasured,
    /// What was measured of them, all together.
    Measured(ByteSize),
    /// What was measured of the largest machine that is like them, for each.
    Expected(ByteSize),
}

/// Machines of one pool that are alike, and the image copy they stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whose: a pool's name, or its template's.
    pub whose: String,
    /// How many.
    pub machines: u32,
    /// What their RAM counts as.
    pub ram: Ram,
    /// What each looks like.
    pub shape: MachineShape,
    /// The folder that their disks share; `None`: each has a tmpfs of its own.
    pub folder: Option<PathBuf>,
    /// The image that they start from; `None` while it is still to be built.
    pub image: Option<(Sha256, ByteSize)>,
}

/// A finished template: it takes no more than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its name.
    pub name: MachineName,
    /// What its memory takes.
    pub ram: ByteSize,
    /// What its disk holds.
    pub disk: ByteSize,
    /// Whether its disk is in RAM.
    pub in_ram: bool,
    /// The folder that its disk shares with others.
    pub folder: Option<PathBuf>,
}

impl Demand {
    /// Both as one, if they are alike.
    pub(crate) fn with(&self, other: &Self) -> Option<Self> {
        let ram = match (self.ram, other.ram) {
            (Ram::Measured(one), Ram::Measured(two)) => Ram::Measured(one + two),
            (one, two) if one == two => one,
            _ => return None,
        };
        let both = Self { machines: self.machines + other.machines, ram, ..self.clone() };
        (Self { machines: self.machines, ram: self.ram, ..other.clone() } == *self).then_some(both)
    }
}

/// The RAM copy of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// How large.
    pub size: ByteSize,
    /// The shared folder it lies in; `None`: it has a tmpfs of its own.
    pub folder: Option<PathBuf>,
}

/// RAM copies by the first digits of their digests.
pub type Bases = BTreeMap<String, Base>;

/// Everything that is to fit.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    demands: Vec<Demand>,
    saved: Vec<Saved>,
    bases: Bases,
    reserve: ByteSize,
    host: &'a Host,
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
    /// Pools whose machines count whole although what was measured may be counted: nothing was yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
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

/// The sum over a folder that disks share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderSum {
    /// The folder.
    pub folder: PathBuf,
    /// Its sum.
    pub sum: Sum,
}

impl Sum {
    /// Whether everything fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.needed <= self.available
    }

    fn of(lines: Vec<Line>, available: ByteSize) -> Self {
        let needed = lines.iter().map(|line| line.size).sum();
        Self { lines, needed, available, unmeasured: Vec::new() }
    }
}

impl<'a> Load<'a> {
    /// What `demands` may ever use, beside the templates and bases that are there: these stay until the last machine has
    /// left them. What machines `grown` is part of the reserve, also when that was lowered meanwhile.
    #[must_use]
    pub fn new(
        demands: Vec<Demand>,
        (saved, bases): (Vec<Saved>, &Bases),
        grown: ByteSize,
        host: &'a Host,
    ) -> Self {
        let demands: Vec<Demand> = demands.into_iter().filter(|demand| demand.machines > 0).collect();
        let mut bases = bases.clone();
        for demand in demands.iter().filter(|demand| in_ram(&demand.shape)) {
            let Some((digest, size)) = &demand.image else { continue };
            let new = || Base { size: *size, folder: demand.folder.clone() };
            bases.entry(digest.short().to_owned()).or_insert_with(new);
        }
        Self { demands, saved, bases, reserve: host.growth.reserve.max(grown), host }
    }

    /// Whether everything fits.
    #[must_use]
    pub fn fits(&self, capacity: &Capacity) -> bool {
        self.memory(capacity).fits() && self.folders(capacity).iter().all(|folder| folder.sum.fits())
    }

    /// The sum over RAM.
    #[must_use]
    pub fn memory(&self, capacity: &Capacity) -> Sum {
        let mut lines: Vec<Line> = self.demands.iter().flat_map(machine_lines).collect();
        lines.extend(self.saved.iter().map(memory_line));
        lines.extend(self.saved.iter().filter(|saved| saved.in_ram).map(disk_line));
        lines.extend(self.bases.iter().map(base_line));
        lines.push(self.growth_line());
        lines.push(Line { what: "reserve for the host".into(), size: self.host.reserve.memory });
        if let Some(overcommit) = self.host.overcommit {
            let what = "reserve for what machines may still take".into();
            lines.push(Line { what, size: overcommit.reserve });
        }
        let unmeasured = self.demands.iter().filter(|demand| demand.ram == Ram::Unmeasured);
        let unmeasured: BTreeSet<_> = unmeasured.map(|demand| demand.whose.clone()).collect();
        Sum { unmeasured: unmeasured.into_iter().collect(), ..Sum::of(lines, capacity.memory) }
    }

    /// The sums over the folders that disks share.
    #[must_use]
    pub fn folders(&self, capacity: &Capacity) -> Vec<FolderSum> {
        let folders: BTreeSet<&PathBuf> =
            self.demands.iter().filter_map(|demand| demand.folder.as_ref()).collect();
        let sum = |folder: &PathBuf| FolderSum {
            folder: folder.clone(),
            sum: self.folder(folder, capacity.folders.get(folder).copied().unwrap_or_default()),
        };
        folders.into_iter().map(sum).collect()
    }

    fn folder(&self, folder: &Path, available: ByteSize) -> Sum {
        let here = |at: &Option<PathBuf>| at.as_deref() == Some(folder);
        let caps = self.demands.iter().filter(|demand| here(&demand.folder)).map(cap_line);
        let saved = self.saved.iter().filter(|saved| here(&saved.folder)).map(disk_line);
        let bases = self.bases.iter().filter(|(_, base)| here(&base.folder)).map(base_line);
        let lines = caps.chain(saved).chain(bases).chain([self.growth_line()]).collect();
        Sum::of(lines, available)
    }

    fn growth_line(&self) -> Line {
        Line { what: "reserve for growing overlays".into(), size: self.reserve }
    }
}

fn machine_lines(demand: &Demand) -> Vec<Line> {
    let (whose, number) = (&demand.whose, demand.machines);
    let mut lines = match demand.ram {
        Ram::Whole | Ram::Unmeasured => vec![
            per_machine(demand, "guest RAM", demand.shape.memory),
            per_machine(demand, "QEMU itself", QEMU_OVERHEAD),
        ],
        Ram::Measured(size) => {
            vec![Line { what: format!("{whose}: {number} × guest RAM and QEMU, as measured"), size }]
        }
        Ram::Expected(each) => {
            vec![per_machine(demand, "guest RAM and QEMU, as measured of its largest", each)]
        }
    };
    if in_ram(&demand.shape) {
        lines.push(cap_line(demand));
    }
    lines
}

fn cap_line(demand: &Demand) -> Line {
    per_machine(demand, "overlay cap", demand.shape.disk.cap)
}

fn memory_line(saved: &Saved) -> Line {
    Line { what: format!("{}: saved memory", saved.name), size: saved.ram }
}

fn disk_line(saved: &Saved) -> Line {
    Line { what: format!("{}: its disk", saved.name), size: saved.disk }
}

fn base_line((digest, base): (&String, &Base)) -> Line {
    Line { what: format!("image {digest}, one copy"), size: base.size }
}

fn per_machine(demand: &Demand, what: &str, each: ByteSize) -> Line {
    let (whose, number) = (&demand.whose, demand.machines);
    Line { what: format!("{whose}: {number} × {each} {what}"), size: each * u64::from(number) }
}

const fn in_ram(shape: &MachineShape) -> bool {
    matches!(shape.disk.store, StoreKind::Ram)
}
