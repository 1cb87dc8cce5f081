//! A full overlay: grow it from the reserve and continue, or hold the machine.

use std::{path::Path, sync::PoisonError, time::Instant};

use winstead_hypervisor::qemu::qmp::Client;
use winstead_spec::{ByteSize, MachineName};
use winstead_store::Placement;

use super::watch::{Watch, is_unbounded};
use crate::{
    EngineError,
    journal::{Entry, Lack},
};

/// A folder that others use too and that has less than this is full, whatever the caps say: eight clusters of an
/// overlay.
const ROOM: ByteSize = ByteSize::from_mib(1);

/// Called while the guest is stopped. Grows the overlay by one step and lets the guest go on; when the reserve is
/// gone, the machine is held.
pub(super) async fn relieve(watch: &Watch, monitor: &mut Client) -> Result<(), EngineError> {
    let begun = Instant::now();
    let Some(entry) = watch.entry().await? else { return Ok(()) };
    if entry.lacks(Lack::Memory) {
        // It stays paused. Let go on one day, it asks again.
        return Ok(());
    }
    let host = watch.journal.host().await?;
    // A larger cap makes no room where the folder itself is full.
    if let Some(folder) = full_folder(&entry.record.location.placement, free) {
        return hold(watch, &folder_is_full(&watch.name, folder)).await;
    }
    let Some(cap) = watch.journal.grow(&entry, &host).await? else {
        *watch.held_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry.cap());
        return hold(watch, &reserve_is_gone(&watch.name, entry.cap(), host.growth.reserve)).await;
    };
    grow(&entry, cap)?;
    resume(monitor).await?;
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(machine = %watch.name, %cap, micros, "overlay grown");
    let numbers = [("growMicros", micros), ("capBytes", cap.bytes())];
    watch.journal.remember(&entry, "its overlay was full and grew", &numbers).await?;
    Ok(())
}

/// Lets a machine go on that is held for its disk when there is room again: a larger cap, a larger reserve, or space
/// given back.
pub(super) async fn try_release(
    watch: &Watch,
    entry: &Entry,
    monitor: &mut Client,
) -> Result<(), EngineError> {
    if full_folder(&entry.record.location.placement, free).is_some() {
        return Ok(());
    }
    let host = watch.journal.host().await?;
    let used = winstead_store::usage(&entry.record.location).map_or(ByteSize::default(), |usage| usage.used);
    // Many writes that fail together give back what they had taken: a disk on which they do not fit looks empty.
    let held_at = *watch.held_at.lock().unwrap_or_else(PoisonError::into_inner);
    let may_fit = is_unbounded(entry) || held_at.is_none_or(|held_at| entry.cap() > held_at);
    let room = may_fit && used + host.growth.step <= entry.cap();
    let cap = match room {
        true => Some(entry.cap()),
        false => watch.journal.grow(entry, &host).await?,
    };
    let Some(cap) = cap else { return Ok(()) };
    grow(entry, cap)?;
    resume(monitor).await?;
    tracing::info!(machine = %watch.name, %cap, "released");
    watch.journal.release(&watch.name, Lack::Disk, "there is room again").await?;
    Ok(())
}

/// Stops the guest, which nothing stops by itself: its store cannot say "full", or the host has no memory left.
pub(super) async fn pause(monitor: &mut Client) -> Result<(), EngineError> {
    monitor.pause().await.map_err(|error| EngineError::host("pause the guest")(error.into()))
}

/// Lets the guest go on.
pub(super) async fn resume(monitor: &mut Client) -> Result<(), EngineError> {
    monitor.cont().await.map_err(|error| EngineError::host("let the guest go on")(error.into()))
}

fn grow(entry: &Entry, cap: ByteSize) -> Result<(), EngineError> {
    let grown = winstead_store::grow(&entry.record.location, cap);
    grown.map_err(|error| EngineError::host("let the overlay grow")(error.into()))
}

async fn hold(watch: &Watch, why: &str) -> Result<(), EngineError> {
    watch.hold(Lack::Disk, why).await?;
    Ok(())
}

fn free(folder: &Path) -> Option<ByteSize> {
    winstead_store::free_space(folder).ok()
}

/// The folder that a machine's disk shares with others, when `free` says that it is full.
fn full_folder(placement: &Placement, free: impl Fn(&Path) -> Option<ByteSize>) -> Option<&Path> {
    match placement {
        Placement::OwnTmpfs => None,
        Placement::SharedRam { folder } | Placement::Folder { folder } => {
            free(folder).is_some_and(|free| free < ROOM).then_some(folder)
        }
    }
}

fn folder_is_full(name: &MachineName, folder: &Path) -> String {
    format!(
        "{} is full; free space there and it goes on, or `winstead reset {name}` throws its changes away",
        folder.display()
    )
}

fn reserve_is_gone(name: &MachineName, cap: ByteSize, reserve: ByteSize) -> String {
    format!(
        "its overlay is full ({cap}) and the host's growth reserve ({reserve}) is used up; \
         `winstead reset {name}` throws its changes away, \
         or raise growth.reserve of the Host or disk.cap of the pool and run `winstead up` again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shared_folder_can_be_full_below_the_cap() {
        let folder = Path::new("/dev/shm/w");
        let shared = Placement::SharedRam { folder: folder.to_owned() };
        let disk = Placement::Folder { folder: folder.to_owned() };
        let kib = |kib: u64| move |_: &Path| Some(ByteSize::from_bytes(kib << 10));
        assert_eq!(full_folder(&shared, kib(1023)), Some(folder));
        assert_eq!(full_folder(&disk, kib(0)), Some(folder));
        assert_eq!(full_folder(&shared, kib(1024)), None);
        assert_eq!(full_folder(&shared, |_| None), None, "what cannot be measured is not full");
        assert_eq!(full_folder(&Placement::OwnTmpfs, kib(0)), None);
    }
}
