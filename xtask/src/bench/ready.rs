//! Waiting for a guest that a script started, as `winstead up` waits for its own: every arm hears of the same moment, and
//! its guests are disturbed as little.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use tokio_util::sync::CancellationToken;
use winstead_guest::ssh::{Handshake, wait_for_banner};
use winstead_hypervisor::qemu;
use winstead_process::ProcessId;

use crate::bench::guests;

/// A guest of a script.
#[derive(clap::Args)]
pub(crate) struct ReadyArguments {
    /// Its QEMU has this uuid among its arguments.
    uid: String,
    /// Its SSH is forwarded from here.
    port: u16,
    /// Its QEMU's monitor is here.
    run: PathBuf,
}

/// Returns when the guest's SSH server has sent its banner. Whoever started this says when to give up.
///
/// # Errors
/// When the wait cannot begin.
pub(crate) fn run(arguments: &ReadyArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    runtime.block_on(wait_for_banner(address, || handshake(arguments), &CancellationToken::new()))?;
    Ok(ExitCode::SUCCESS)
}

async fn handshake(ReadyArguments { uid, port, run }: &ReadyArguments) -> Handshake {
    let pid = guests::pid_of(uid).and_then(|pid| u32::try_from(pid).ok());
    let Some(process) = pid.and_then(ProcessId::of) else { return Handshake::Unknown };
    match qemu::handshake(process, run, *port).await {
        qemu::Handshake::Unknown => Handshake::Unknown,
        qemu::Handshake::Absent => Handshake::Absent,
        qemu::Handshake::Pending => Handshake::Pending,
        qemu::Handshake::Accepted => Handshake::Accepted,
    }
}
