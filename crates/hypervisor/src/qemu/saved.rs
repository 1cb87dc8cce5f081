//! A machine's memory: its state saved beside the file that its RAM lies in, and machines started from both.
//!
//! The RAM itself is never copied: QEMU leaves out what lies in a shared file (`x-ignore-shared`), and each machine that is
//! started from it maps the file copy-on-write. What is saved here is the rest: processors and devices, less than a
//! megabyte. It goes through a socket pair that QEMU is handed over its monitor, so it needs no right to any file; QEMU
//! 9.1 and later speak against `fd:` with a plain file, not with a socket.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    io::Errno,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, timeout_at},
};
use winstead_process::ProcessId;
use winstead_spec::ByteSize;

use super::{
    RunState,
    config::COMMAND_SOCKET,
    qmp::{Client, QmpError},
};

/// Saving and restoring take 10 to 150 ms (measured with QEMU 7.2 and 10.0, 384 MiB to 1 GiB); a busy host takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// The most that a state may take: a graphics card's own memory is 16 MiB of it.
const STATE_LIMIT: u64 = 64 << 20;
/// How often QEMU is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(3);
/// What QEMU calls the state's socket.
const STATE: &str = "state";

/// How long a QEMU that has ended may still hold its RAM: the kernel takes its memory apart after its last thread is gone.
const RELEASE: Duration = Duration::from_secs(20);
/// Nothing changes what is saved: neither its size nor its contents, and these rules neither.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// A file for a guest's RAM: it has no name, lies in the kernel's own tmpfs, and can be sealed.
///
/// # Errors
/// When the kernel refuses.
pub fn new_ram(size: ByteSize) -> io::Result<OwnedFd> {
    let ram = memfd_create("winstead-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&ram, size.mib_ceil() << 20)?;
    Ok(ram)
}

/// Seals a guest's RAM whose QEMU has ended: from then on nobody changes it, the superuser included. Those who map it
/// copy-on-write ([`super::Ram::Saved`]) can still be started.
///
/// # Errors
/// When somebody still holds it after 20 seconds.
pub async fn seal_ram(ram: &OwnedFd) -> io::Result<()> {
    let until = Instant::now() + RELEASE;
    loop {
        match fcntl_add_seals(ram, SEALS) {
            Err(Errno::BUSY) if Instant::now() < until => tokio::time::sleep(ASK_AGAIN).await,
            sealed => return Ok(sealed?),
        }
    }
}

/// Memory that could not be saved, or started from.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// QEMU refused, broke the protocol, or is gone.
    #[error("{doing} the memory of a machine")]
    Monitor {
        /// `save` or `restore`.
        doing: &'static str,
        /// What happened.
        #[source]
        source: QmpError,
    },
    /// The state did not come through.
    #[error("{doing} the memory of a machine: pass its state on")]
    State {
        /// `save` or `restore`.
        doing: &'static str,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// QEMU gave up.
    #[error("{doing} the memory of a machine: QEMU gave up: {said}")]
    GaveUp {
        /// `save` or `restore`.
        doing: &'static str,
        /// What QEMU said.
        said: String,
    },
    /// It took too long.
    #[error("{doing} the memory of a machine: not done after {LIMIT:?}")]
    TooLong {
        /// `save` or `restore`.
        doing: &'static str,
    },
}

/// Pauses a machine whose RAM is [`super::Ram::Shared`] and returns the rest of its state. The machine must not run again:
/// its RAM file belongs to the state from now on.
///
/// # Errors
/// See [`MemoryError`]; the machine stays paused.
pub async fn save(process: ProcessId, folder: &Path) -> Result<Vec<u8>, MemoryError> {
    let doing = "save";
    let within = Within { doing, until: Instant::now() + LIMIT };
    let mut monitor = within.connect(process, folder).await?;
    monitor.pause().await.map_err(within.refused())?;
    let mut ours = within.hand_over(&mut monitor).await?;
    let target = json!({"uri": format!("fd:{STATE}")});
    monitor.execute("migrate", Some(&target)).await.map_err(within.refused())?;
    let mut state = Vec::new();
    let mut limited = (&mut ours).take(STATE_LIMIT + 1);
    within
        .time(limited.read_to_end(&mut state))
        .await?
        .map_err(|source| MemoryError::State { doing, source })?;
    if state.len() as u64 > STATE_LIMIT {
        let source = io::Error::other(format!("it is larger than {STATE_LIMIT} bytes"));
        return Err(MemoryError::State { doing, source });
    }
    loop {
        let found = monitor.execute("query-migrate", None).await.map_err(within.refused())?;
        match found.get("status").and_then(Value::as_str) {
            Some("completed") => return Ok(state),
            Some("failed" | "cancelled") => {
                let said = found.get("error-desc").and_then(Value::as_str).unwrap_or("it gave no reason");
                return Err(MemoryError::GaveUp { doing, said: said.to_owned() });
            }
            _ => within.pause().await?,
        }
    }
}

/// Brings a machine that was started with [`super::Ram::Saved`] into the saved state. It is paused afterwards.
///
/// # Errors
/// See [`MemoryError`]; QEMU may be gone then.
pub async fn restore(process: ProcessId, folder: &Path, state: &[u8]) -> Result<(), MemoryError> {
    let doing = "restore";
    let within = Within { doing, until: Instant::now() + LIMIT };
    let mut monitor = within.connect(process, folder).await?;
    let mut ours = within.hand_over(&mut monitor).await?;
    let source = json!({"uri": format!("fd:{STATE}")});
    monitor.execute("migrate-incoming", Some(&source)).await.map_err(within.refused())?;
    let passing = async {
        ours.write_all(state).await?;
        ours.shutdown().await
    };
    within.time(passing).await?.map_err(|source| MemoryError::State { doing, source })?;
    loop {
        match monitor.query_status().await.map_err(within.refused())? {
            RunState::InMigrate => within.pause().await?,
            RunState::Paused | RunState::Prelaunch => return Ok(()),
            other => return Err(MemoryError::GaveUp { doing, said: format!("its guest is {other:?}") }),
        }
    }
}

/// One operation and its deadline.
#[derive(Clone, Copy)]
struct Within {
    doing: &'static str,
    until: Instant,
}

impl Within {
    async fn connect(self, process: ProcessId, folder: &Path) -> Result<Client, MemoryError> {
        Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await.map_err(self.refused())
    }

    /// Lets QEMU leave out what lies in a shared file, and hands it one end of a socket pair; returns the other.
    async fn hand_over(self, monitor: &mut Client) -> Result<UnixStream, MemoryError> {
        let pair = UnixStream::pair();
        let (ours, theirs) = pair.map_err(|source| MemoryError::State { doing: self.doing, source })?;
        let capability = json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]});
        let set = monitor.execute("migrate-set-capabilities", Some(&capability)).await;
        set.map_err(self.refused())?;
        monitor.give(STATE, theirs.as_fd()).await.map_err(self.refused())?;
        Ok(ours)
    }

    fn refused(self) -> impl Fn(QmpError) -> MemoryError {
        move |source| MemoryError::Monitor { doing: self.doing, source }
    }

    async fn time<T>(self, work: impl Future<Output = T>) -> Result<T, MemoryError> {
        timeout_at(self.until, work).await.map_err(|_| MemoryError::TooLong { doing: self.doing })
    }

    async fn pause(self) -> Result<(), MemoryError> {
        self.time(tokio::time::sleep(ASK_AGAIN)).await
    }
}
