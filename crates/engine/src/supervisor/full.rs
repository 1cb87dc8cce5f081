//! A full overlay: grow it from the reserve and continue, or hold the machine.

use std::time::Instant;

use winstead_hypervisor::qemu::qmp::Client;
use winstead_spec::ByteSize;

use super::watch::Watch;
use crate::{EngineError, Phase, journal::Entry};

/// Called while the guest is stopped. Grows the overlay by one step and lets the guest go on; when the reserve is
/// gone, the machine is held.
pub(super) async fn relieve(watch: &Watch, monitor: &mut Client) -> Result<(), EngineError> {
    let begun = Instant::now();
    let Some(entry) = watch.entry().await? else { return Ok(()) };
    let host = watch.journal.host().await?;
    let Some(cap) = watch.journal.grow(&entry, &host).await? else {
        return hold(watch, &entry, host.growth.reserve).await;
    };
    grow(&entry, cap)?;
    resume(monitor).await?;
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(machine = %watch.name, %cap, micros, "overlay grown");
    let numbers = [("growMicros", micros), ("capBytes", cap.bytes())];
    watch.journal.remember(&entry, "its overlay was full and grew", &numbers).await?;
    Ok(())
}

/// Lets a held machine go on when there is room again: a larger cap, a larger reserve, or space given back.
pub(super) async fn try_release(
    watch: &Watch,
    entry: &Entry,
    monitor: &mut Client,
) -> Result<(), EngineError> {
    let host = watch.journal.host().await?;
    let used = winstead_store::usage(&entry.record.location).map_or(ByteSize::default(), |usage| usage.used);
    let room = used + host.growth.step <= entry.cap();
    let cap = match room {
        true => Some(entry.cap()),
        false => watch.journal.grow(entry, &host).await?,
    };
    let Some(cap) = cap else { return Ok(()) };
    grow(entry, cap)?;
    resume(monitor).await?;
    tracing::info!(machine = %watch.name, %cap, "released");
    watch.advance(entry.held_from.unwrap_or(Phase::Ready), "there is room again").await
}

/// Stops the guest of a store that cannot say "full" by itself.
pub(super) async fn pause(monitor: &mut Client) -> Result<(), EngineError> {
    monitor.pause().await.map_err(|error| EngineError::host("pause the guest")(error.into()))
}

async fn resume(monitor: &mut Client) -> Result<(), EngineError> {
    monitor.cont().await.map_err(|error| EngineError::host("let the guest go on")(error.into()))
}

fn grow(entry: &Entry, cap: ByteSize) -> Result<(), EngineError> {
    let grown = winstead_store::grow(&entry.record.location, cap);
    grown.map_err(|error| EngineError::host("let the overlay grow")(error.into()))
}

async fn hold(watch: &Watch, entry: &Entry, reserve: ByteSize) -> Result<(), EngineError> {
    let (name, cap) = (&watch.name, entry.cap());
    let why = format!(
        "its overlay is full ({cap}) and the host's growth reserve ({reserve}) is used up; \
         `winstead reset {name}` throws its changes away, \
         or raise growth.reserve of the Host or disk.cap of the pool and run `winstead up` again"
    );
    tracing::warn!(machine = %name, why, "held");
    watch.advance(Phase::Held, &why).await
}
