//! A machine's TPM 2.0: swtpm, one process beside each QEMU that needs it.
//!
//! It runs in the foreground, detached by us, with the machine's folder as its working folder: `--daemon` would need
//! absolute paths, and a pid file. It ends when QEMU hangs up (`--terminate`).

use std::{io, path::Path, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_process::{CommandError, ProcessId};

use super::{
    MachineConfig,
    config::{TPM_FOLDER, tpm_socket},
    launch,
    processes::find_tpm,
    stop,
};

/// It opens its socket within milliseconds; more means that the host is swamped.
const LIMIT: Duration = Duration::from_secs(10);

/// A TPM that did not start. It does not run.
#[derive(Debug)]
pub(crate) enum TpmError {
    /// Its place could not be prepared.
    Prepare(io::Error),
    /// swtpm could not be launched.
    Launch(CommandError),
    /// swtpm did not come to listen; what it said, or why nobody waits any more.
    Unanswered(String),
}

fn arguments(uuid: &Uuid) -> Vec<String> {
    let control = format!("type=unixio,path={}", tpm_socket(uuid));
    let state = format!("dir={TPM_FOLDER}");
    ["socket", "--tpm2", "--tpmstate", &state, "--ctrl", &control, "--terminate"].map(str::to_owned).to_vec()
}

/// Starts it and waits until it listens.
pub(crate) async fn start(
    config: &MachineConfig,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<ProcessId, TpmError> {
    let run_as = config.run_as.as_ref();
    if let Some(left_over) = find_tpm(&config.uuid, folder) {
        // Waited for: it holds the lock of the state until it is gone.
        stop::end(left_over, Duration::ZERO).await.map_err(TpmError::Prepare)?;
    }
    launch::private_folder(&folder.join(TPM_FOLDER), run_as).map_err(TpmError::Prepare)?;
    let socket = folder.join(tpm_socket(&config.uuid));
    launch::forget(&socket).map_err(TpmError::Prepare)?;
    let (log, begin) = launch::open_log(folder).map_err(TpmError::Prepare)?;
    let command = launch::command(Path::new("swtpm"), &arguments(&config.uuid), run_as, folder);
    let mut child = command.start_detached(&log).map_err(TpmError::Launch)?;
    let process = child.id().and_then(ProcessId::of);
    let until = Instant::now() + LIMIT;
    let why = loop {
        if let Ok(Some(_)) = child.try_wait() {
            break launch::said_since(folder, begin);
        }
        if let (true, Some(process)) = (socket.exists(), process) {
            return Ok(process);
        }
        if Instant::now() > until {
            break format!("it did not open {} within {LIMIT:?}", socket.display());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
            () = stop.cancelled() => break "interrupted".to_owned(),
        }
    };
    if let Some(process) = process {
        process.kill().map_err(TpmError::Prepare)?;
    }
    Err(TpmError::Unanswered(why))
}
