//! From raw documents to validated ones: defaults that depend on other keys, and the rules between keys.
//!
//! Each value alone is right already ([`crate::check`]). A document with a problem is returned all the same, so that the
//! rules between documents can be checked in the same run; the caller drops it.

mod agent;

pub(crate) use agent::{agent, policy};

use std::path::{Path, PathBuf};

use crate::{
    Bridge, ByteSize, DebianRecipe, DirectKernel, Disk, FileRecipe, Firmware, Growth, GuestOs, Host,
    HostStores, Image, MachineShape, Network, Overcommit, Pool, Probe, Readiness, Recipe, Reserve, SeedKind,
    Start, UrlRecipe,
    parse::Origin,
    problem::{Complaint, Problem},
    raw::{self, HostSpec, ImageSpec, PoolSpec},
};

/// What a Debian image gets when the user names no size: a minimal system takes a quarter of it.
const DEBIAN_DISK: ByteSize = ByteSize::from_mib(4096);

/// Below it a Debian system with kernel and ESP does not fit.
const SMALLEST_DEBIAN_DISK: ByteSize = ByteSize::from_mib(1024);

/// What the names of templates begin with, the machines whose saved memory others start from.
pub const TEMPLATES: &str = "template-";

/// Returns the image that a document describes.
pub(crate) fn image(origin: &Origin<'_>, spec: &ImageSpec, problems: &mut Vec<Problem>) -> Image {
    let recipe = recipe(origin, spec);
    let debian = matches!(recipe, Recipe::Debian(_));
    let size = spec.disk.map(|size| size.0);
    let seed = spec.seed.unwrap_or(if debian { SeedKind::FwCfg } else { SeedKind::NoCloud });
    let windows = spec.os == GuestOs::Windows;
    let kernel = matches!(&recipe, Recipe::File(file) if file.kernel.is_some());
    let mut unless = |good: bool, key: &str, message: &str, expected: &str| {
        if !good {
            problems.push(origin.problem(key, Complaint::new(message).expected(expected)));
        }
    };
    unless(!(windows && debian), "spec.os", "the recipe `debian` does not make Windows", "`linux`");
    unless(
        !(windows && !debian && seed == SeedKind::FwCfg),
        "spec.seed",
        "Windows cannot take its identity by `fw-cfg`",
        "`no-cloud` or `none`",
    );
    unless(
        !debian || seed != SeedKind::NoCloud,
        "spec.seed",
        "the recipe `debian` has no cloud-init, which `no-cloud` needs",
        "`fw-cfg`, or `none`",
    );
    unless(
        !(windows && kernel),
        "spec.file.kernel",
        "Windows has no kernel to start directly",
        "no such key",
    );
    unless(
        !debian || size.is_none_or(|size| size >= SMALLEST_DEBIAN_DISK),
        "spec.disk",
        "too small for a Debian system",
        "at least 1GiB",
    );
    let disk = size.or(debian.then_some(DEBIAN_DISK));
    Image { name: origin.name.clone(), os: spec.os, recipe, disk, seed }
}

fn recipe(origin: &Origin<'_>, spec: &ImageSpec) -> Recipe {
    let folder = &origin.source.folder;
    match (&spec.debian, &spec.file, &spec.url) {
        (Some(debian), _, _) => Recipe::Debian(DebianRecipe {
            suite: debian.suite.clone(),
            packages: debian.packages.iter().map(|package| package.0.clone()).collect(),
        }),
        (_, Some(file), _) => Recipe::File(FileRecipe {
            path: join(folder, &file.path),
            format: file.format,
            sha256: file.sha256.clone(),
            kernel: file.kernel.as_ref().map(|kernel| direct_kernel(folder, kernel)),
        }),
        (_, _, Some(url)) => {
            Recipe::Url(UrlRecipe { url: url.url.clone(), sha256: url.sha256.clone(), format: url.format })
        }
        (None, None, None) => unreachable!("the schema asks for exactly one recipe"),
    }
}

fn direct_kernel(folder: &Path, kernel: &raw::Kernel) -> DirectKernel {
    DirectKernel {
        kernel: join(folder, &kernel.path),
        initrd: kernel.initrd.as_ref().map(|path| join(folder, path)),
        command_line: kernel.command_line.clone(),
    }
}

/// `folder/path` without `.` in between. `..` stays: what it means depends on links.
fn join(folder: &Path, path: &str) -> PathBuf {
    folder.join(path).components().collect()
}

/// Returns the pool that a document describes. `images` are those of the same run: a pool whose image was built
/// earlier gets the defaults of Linux, and its image is checked when it is found.
pub(crate) fn pool(
    origin: &Origin<'_>,
    spec: &PoolSpec,
    images: &[Image],
    problems: &mut Vec<Problem>,
) -> Pool {
    let image = images.iter().find(|image| image.name == spec.image);
    let machine = &spec.machine;
    if let Some(complaint) =
        image.zip(machine.firmware).and_then(|(image, firmware)| refused(image, firmware))
    {
        problems.push(origin.problem("spec.machine.firmware", complaint));
    }
    let nobody = |image: &Image| matches!(image.recipe, Recipe::Debian(_)) && image.seed == SeedKind::None;
    if spec.ready.probe == Probe::Ssh && image.is_some_and(nobody) {
        let message = format!("image `{}` with `seed: none` lets nobody in", spec.image);
        let complaint = Complaint::new(message).expected("`agent` or `started`, or another seed");
        problems.push(origin.problem("spec.ready.probe", complaint));
    }
    if origin.name.as_str().starts_with(TEMPLATES) {
        let message = "names that begin so are those of templates, which Winstead makes itself";
        problems.push(origin.problem("metadata.name", Complaint::new(message).expected("another name")));
    }
    if let Some(complaint) = unheard(spec) {
        problems.push(origin.problem("spec.warm", complaint));
    }
    if spec.keep_template.is_some() && spec.machine.start == raw::Start::Boot {
        problems.push(origin.problem("spec.keepTemplate", needless("is kept")));
    }
    Pool {
        name: origin.name.clone(),
        image: spec.image.clone(),
        replicas: spec.replicas,
        machine: MachineShape {
            cpus: machine.cpus,
            memory: machine.memory.0,
            disk: Disk { store: machine.disk.store, cap: machine.disk.cap.0, flush: machine.disk.flush },
            firmware: machine.firmware,
            tpm: machine.tpm,
            start: start(spec),
        },
        network: network(&spec.network),
        ready: Readiness { probe: spec.ready.probe, deadline: spec.ready.deadline.0 },
        keep_template: spec.keep_template.as_ref().map(|time| time.0),
    }
}

/// Why the commands that warm a template up would not be run.
fn unheard(spec: &PoolSpec) -> Option<Complaint> {
    if spec.warm.iter().any(|argv| argv.0.is_empty()) {
        return Some(
            Complaint::new("one of the commands is empty").expected("a list of a program and its arguments"),
        );
    }
    let unused = !spec.warm.is_empty() && spec.machine.start == raw::Start::Boot;
    unused.then(|| needless("runs these commands"))
}

/// A key that is about the template of machines which have none.
fn needless(what: &str) -> Complaint {
    Complaint::new(format!("machines that boot have no template that {what}"))
        .expected("`machine.start: memory`, or no such key")
}

fn start(spec: &PoolSpec) -> Start {
    match spec.machine.start {
        raw::Start::Boot => Start::Boot,
        raw::Start::Memory => Start::Memory { warm: spec.warm.iter().map(|argv| argv.0.clone()).collect() },
    }
}

/// Why `image` cannot start by `firmware`.
fn refused(image: &Image, firmware: Firmware) -> Option<Complaint> {
    let name = &image.name;
    let has_kernel = match &image.recipe {
        Recipe::Debian(_) => true,
        Recipe::File(file) => file.kernel.is_some(),
        Recipe::Url(_) => false,
    };
    match (firmware, &image.recipe) {
        (Firmware::Direct, _) if image.os == GuestOs::Windows => {
            Some(Complaint::new("Windows cannot be started directly").expected("`secure-boot` or `uefi`"))
        }
        (Firmware::Direct, _) if !has_kernel => {
            let message = format!("image `{name}` has no kernel to start directly");
            Some(Complaint::new(message).expected("`uefi`, or a kernel in its recipe (`file.kernel`)"))
        }
        (Firmware::SecureBoot, Recipe::Debian(_)) => {
            let message =
                format!("image `{name}` is not signed: the recipe `debian` builds its own boot loader");
            Some(Complaint::new(message).expected("`direct` or `uefi`"))
        }
        _ => None,
    }
}

fn network(network: &raw::Network) -> Network {
    let Some(bridge) = &network.bridge else { return Network::User };
    match (&bridge.name, bridge.subnet, &bridge.existing) {
        (Some(name), Some(subnet), _) => Network::Bridge(Bridge::Own { name: name.clone(), subnet }),
        (_, _, Some(name)) => Network::Bridge(Bridge::Existing { name: name.clone() }),
        _ => unreachable!("the schema asks for `name` with `subnet`, or for `existing`"),
    }
}

/// Returns the host that a document describes.
pub(crate) fn host(origin: &Origin<'_>, spec: &HostSpec, problems: &mut Vec<Problem>) -> Host {
    let local = Host::local().name;
    if origin.name != local {
        let message =
            format!("machines cannot run on `{}` yet: this computer is called `{local}`", origin.name);
        problems
            .push(origin.problem("metadata.name", Complaint::new(message).expected(format!("`{local}`"))));
    }
    let growth = Growth { reserve: spec.growth.reserve.0, step: spec.growth.step.0 };
    if growth.reserve.bytes() > 0 && growth.step > growth.reserve {
        let message = "larger than the whole reserve";
        let expected = format!("at most spec.growth.reserve ({})", growth.reserve);
        problems.push(origin.problem("spec.growth.step", Complaint::new(message).expected(expected)));
    }
    if spec.overcommit.as_ref().is_some_and(|overcommit| !overcommit.measured) {
        let message = "only what was measured can be counted instead of whole machines";
        let complaint = Complaint::new(message).expected("`true`, or no `overcommit` at all");
        problems.push(origin.problem("spec.overcommit.measured", complaint));
    }
    if spec.overcommit.is_some() && spec.memory.reserve.0.bytes() == 0 {
        let message = "with `overcommit`, machines are held when no more than this is left";
        let complaint = Complaint::new(message).expected("more than 0B");
        problems.push(origin.problem("spec.memory.reserve", complaint));
    }
    let folder = &origin.source.folder;
    let path = |path: &Option<String>| path.as_ref().map(|path| join(folder, path));
    Host {
        name: origin.name.clone(),
        reserve: Reserve { memory: spec.memory.reserve.0 },
        stores: HostStores { ram: path(&spec.stores.ram), disk: path(&spec.stores.disk) },
        growth,
        overcommit: spec.overcommit.as_ref().map(|overcommit| Overcommit { reserve: overcommit.reserve.0 }),
    }
}
