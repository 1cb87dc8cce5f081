//! One machine's overlay: the mount and the file, by the store crate itself.

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, DiskFormat};
use winstead_store::{Location, OverlaySpec, Placement, create, probe, remove};

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    place,
};

const WARM_UP: usize = 3;
const SAMPLES_PER_REPEAT: usize = 10;

/// Creates and removes an overlay again and again.
///
/// # Errors
/// When the store cannot.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let samples = runtime.block_on(measure(lab.repeats() * SAMPLES_PER_REPEAT))?;
    let series = Series { samples, ..Series::new("create and mount", "ms") };
    let goals = vec![Goal::at_most("overlay create + mount, ms", series.median()?, 10.0)];
    let method =
        format!("{WARM_UP} warm-up rounds not counted; removed after each; qemu-img's own start is in it");
    Ok(Bench { name: "overlay", method, series: vec![series], goals })
}

async fn measure(count: usize) -> anyhow::Result<Vec<f64>> {
    let stop = CancellationToken::new();
    let folder = scratch();
    fs::create_dir_all(&folder)?;
    let spec = spec(folder.join("disk"), &stop).await?;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..WARM_UP + count {
        let begun = Instant::now();
        create(&spec, &stop).await.context("create the overlay")?;
        samples.push(begun.elapsed().as_secs_f64() * 1000.0);
        remove(&spec.location).await.context("remove the overlay")?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(samples.split_off(WARM_UP))
}

fn scratch() -> PathBuf {
    place::target().join("xtask/bench/overlay")
}

async fn spec(disk: PathBuf, stop: &CancellationToken) -> anyhow::Result<OverlaySpec> {
    let features = probe(&scratch(), stop).await.context("probe the store")?;
    let folder = PathBuf::from(format!("/dev/shm/winstead-bench-{}", std::process::id()));
    let placement = if features.can_mount { Placement::OwnTmpfs } else { Placement::SharedRam { folder } };
    Ok(OverlaySpec {
        location: Location { placement, disk, tag: "winstead:be0c4be0".to_owned(), name: "bench".to_owned() },
        cap: ByteSize::from_mib(512),
        base: "/nowhere/base.qcow2".into(),
        base_format: DiskFormat::Qcow2,
        size: ByteSize::from_mib(4096),
        owner: None,
        features,
    })
}
