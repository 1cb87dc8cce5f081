//! What all benchmarks share: the release build in a home of its own, the image, files of pools, and time.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    command::Ended,
    interrupt, place,
    product::{Machine, Product, Profile},
    report,
};

/// The pool that is measured: its machines are `bench-0`, `bench-1`, ….
pub(super) const POOL: &str = "bench";
/// The memory of its machines.
pub(super) const USUAL: &str = "384MiB";
const QUICKSTART: &str = "examples/quickstart.yaml";

/// How the machines of a pool start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Boot,
    Memory,
}

/// A place to measure in.
pub(super) struct Lab {
    product: Product,
    repeats: usize,
    scratch: PathBuf,
    image: String,
}

impl Lab {
    /// Builds the product and, for benchmarks with machines, the image.
    ///
    /// # Errors
    /// When either fails.
    pub(super) fn open(repeats: usize, machines: bool) -> anyhow::Result<Self> {
        let (product, _) = Product::build(Profile::Release, place::target().join("bench-home"))?;
        let scratch = place::target().join("xtask/bench");
        fs::create_dir_all(&scratch)?;
        let quickstart = fs::read_to_string(place::root().join(QUICKSTART))?;
        let image = quickstart.split("\n---\n").next().unwrap_or_default().to_owned();
        interrupt::would_leave(&format!("machines may be left: {}", product.command(&["down", "--all"])));
        let lab = Self { product, repeats, scratch, image };
        lab.clear()?;
        if !machines {
            return Ok(lab);
        }
        lab.winstead(&["image", "build", "-f", QUICKSTART])?;
        // The first start tries KVM; that belongs to no sample, and its answer to the description of the host.
        lab.winstead(&["up", "-f", &lab.pool(1, "started")?])?;
        lab.clear()?;
        Ok(lab)
    }

    /// The product.
    pub(super) fn product(&self) -> &Product {
        &self.product
    }

    /// How often each arm is run.
    pub(super) fn repeats(&self) -> usize {
        self.repeats
    }

    /// A folder on the disk for what benchmarks write.
    pub(super) fn scratch(&self) -> &std::path::Path {
        &self.scratch
    }

    /// Writes a file with the image of the quickstart and one pool; returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn pool(&self, replicas: usize, probe: &str) -> anyhow::Result<String> {
        self.pool_of(POOL, replicas, probe, (Start::Boot, USUAL))
    }

    /// The same for a pool of any name, start and memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn pool_of(
        &self,
        name: &str,
        replicas: usize,
        probe: &str,
        (start, memory): (Start, &str),
    ) -> anyhow::Result<String> {
        let start = match start {
            Start::Boot => "boot",
            Start::Memory => "memory",
        };
        let text = format!(
            "{}\n---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec:\n  image: debian\n  \
             replicas: {replicas}\n  machine: {{cpus: 1, memory: {memory}, start: {start}, disk: {{store: ram, cap: 256MiB}}}}\n  \
             network: {{user: {{}}}}\n  ready: {{probe: {probe}, deadline: 15m}}\n",
            self.image
        );
        let path = self.scratch.join(format!("{name}-{probe}-{start}-{memory}-{replicas}.yaml"));
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Runs a `winstead` command, which must succeed; its output is shown only when it does not.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn winstead(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let command = self.product.command(arguments).deadline(Duration::from_mins(30));
        let (ended, said) = command.quiet()?;
        anyhow::ensure!(ended.status.success(), "`{command}` failed: {}: {}", ended.status, said.trim_end());
        Ok(ended)
    }

    /// What the product says of QEMU on this computer.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(super) fn qemu(&self) -> anyhow::Result<serde_json::Value> {
        let text = self.product.command(&["get", "hosts", "-o", "json"]).read()?;
        let mut list: serde_json::Value = serde_json::from_str(&text)?;
        Ok(list["items"][0]["status"]["qemu"].take())
    }

    /// Whether machines run under KVM.
    ///
    /// # Errors
    /// As [`Lab::qemu`].
    pub(super) fn uses_kvm(&self) -> anyhow::Result<bool> {
        Ok(self.qemu()?["accelerator"] == "kvm")
    }

    /// The machines there are.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) fn machines(&self) -> anyhow::Result<Vec<Machine>> {
        self.product.machines()
    }

    /// The templates there are.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) fn templates(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let text = self.product.command(&["get", "templates", "-o", "json"]).read()?;
        let mut list: serde_json::Value = serde_json::from_str(&text)?;
        Ok(serde_json::from_value(list["items"].take())?)
    }

    /// Takes all machines away.
    ///
    /// # Errors
    /// When `down` fails.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        self.winstead(&["down", "--all"]).map(drop).context("take the machines away")
    }
}

/// Runs `work` and returns its seconds, shown with what it was.
///
/// # Errors
/// When the work fails.
pub(super) fn timed(what: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    work()?;
    let seconds = begun.elapsed().as_secs_f64();
    report::line(format_args!("  {what}: {seconds:.3} s"));
    Ok(seconds)
}
