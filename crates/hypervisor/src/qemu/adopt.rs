//! Finds a machine's processes again, and makes sure that they are the ones.

use std::{io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_process::ProcessId;

use super::{
    RunState,
    config::COMMAND_SOCKET,
    qmp::{Client, QmpError},
    tpm,
};

/// For a command to a QEMU whose host may be busy booting others.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a monitor that does not listen yet is tried.
const RETRY: Duration = Duration::from_millis(20);

/// A process that could not be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It has ended.
    #[error("adopt process {pid}: it has ended")]
    Gone {
        /// Its id.
        pid: u32,
    },
    /// It is another machine.
    #[error("adopt process {pid}: it is not machine {expected}")]
    NotOurs {
        /// Its id.
        pid: u32,
        /// Who it should be.
        expected: Uuid,
    },
    /// It does not answer.
    #[error("adopt process {pid}")]
    Silent {
        /// Its id.
        pid: u32,
        /// What happened.
        #[source]
        source: QmpError,
    },
    /// Whoever asked was told to stop.
    #[error("adopt process {pid}: interrupted")]
    Cancelled {
        /// Its id.
        pid: u32,
    },
}

/// The running QEMU of the machine with this identity and run folder. Reads all of `/proc`: milliseconds.
#[must_use]
pub fn find_process(uuid: &Uuid, folder: &Path) -> Option<ProcessId> {
    let uuid = uuid.to_string();
    find(folder, |argv| is_qemu(argv, &uuid))
}

/// The running swtpm of this machine.
#[must_use]
pub fn find_tpm(uuid: &Uuid, folder: &Path) -> Option<ProcessId> {
    let socket = tpm::socket(uuid);
    find(folder, |argv| is_swtpm(argv, &socket))
}

/// Whether a process is this machine's QEMU: it works in the machine's run folder and carries its identity. A process
/// that a copied or an old journal names need not be.
#[must_use]
pub fn is_machine(process: ProcessId, uuid: &Uuid, folder: &Path) -> bool {
    let uuid = uuid.to_string();
    is_ours(process.pid, folder, |argv| is_qemu(argv, &uuid)) && process.is_alive()
}

/// The same for its TPM.
pub(crate) fn is_tpm(process: ProcessId, uuid: &Uuid, folder: &Path) -> bool {
    let socket = tpm::socket(uuid);
    is_ours(process.pid, folder, |argv| is_swtpm(argv, &socket)) && process.is_alive()
}

/// Not a debugger, a script or an editor whose arguments are those of a QEMU.
fn is_qemu(argv: &[&str], uuid: &str) -> bool {
    let program = argv.first().and_then(|program| program.rsplit('/').next());
    program.is_some_and(|name| name.starts_with("qemu-system-"))
        && argv.windows(2).any(|pair| pair == ["-uuid", uuid])
}

fn is_swtpm(argv: &[&str], socket: &str) -> bool {
    let control = format!("type=unixio,path={socket}");
    argv.first().is_some_and(|program| program.ends_with("swtpm"))
        && argv.iter().any(|argument| *argument == control)
}

fn find(folder: &Path, wanted: impl Fn(&[&str]) -> bool) -> Option<ProcessId> {
    let processes = fs_err::read_dir("/proc").ok()?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| is_ours(*pid, folder, &wanted)).find_map(ProcessId::of)
}

fn is_ours(pid: u32, folder: &Path, wanted: impl Fn(&[&str]) -> bool) -> bool {
    // A process that ended meanwhile has no arguments.
    let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    wanted(&text.split('\0').collect::<Vec<_>>()) && works_in(pid, folder)
}

/// Whether a process' working folder is this one, by whatever path; or was, when somebody has deleted it since.
fn works_in(pid: u32, folder: &Path) -> bool {
    let link = format!("/proc/{pid}/cwd");
    let of = |path: &Path| fs_err::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    match of(folder) {
        Some(folder) => of(Path::new(&link)) == Some(folder),
        None => {
            let deleted = format!("{} (deleted)", folder.display());
            fs_err::read_link(link).is_ok_and(|cwd| cwd.as_os_str() == deleted.as_str())
        }
    }
}

/// Confirms that a process is the machine, by its arguments and by asking it, and returns its state. One that was
/// started a moment ago is waited for.
///
/// # Errors
/// When it has ended, is another one, or does not answer.
pub async fn adopt(
    process: ProcessId,
    uuid: &Uuid,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<RunState, AdoptError> {
    let pid = process.pid;
    let expected = *uuid;
    if !process.is_alive() {
        return Err(AdoptError::Gone { pid });
    }
    if !is_machine(process, uuid, folder) {
        return Err(AdoptError::NotOurs { pid, expected });
    }
    let until = Instant::now() + LIMIT;
    loop {
        let asked = tokio::select! {
            asked = ask(process, folder) => asked,
            () = stop.cancelled() => return Err(AdoptError::Cancelled { pid }),
        };
        match asked {
            Ok((found, state)) if found == expected => return Ok(state),
            Ok(_) => return Err(AdoptError::NotOurs { pid, expected }),
            Err(_) if !process.is_alive() => return Err(AdoptError::Gone { pid }),
            Err(source) if !source.is_gone() || Instant::now() > until => {
                return Err(AdoptError::Silent { pid, source });
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn ask(process: ProcessId, folder: &Path) -> Result<(Uuid, RunState), QmpError> {
    let mut client = Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?;
    Ok((client.query_uuid().await?, client.query_status().await?))
}

/// Lets a machine's guest run.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn resume(process: ProcessId, folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?.cont().await
}

/// Pauses a machine's guest.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn pause(process: ProcessId, folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?.pause().await
}

/// Waits until a process is gone, at most `limit`; returns whether it is.
pub(crate) async fn gone_within(process: ProcessId, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while process.is_alive() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// An error that names a process which does not go away.
pub(crate) fn stays(process: ProcessId) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end, even killed", process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_counts_only_as_the_option_s_value_of_a_qemu() {
        let uuid = "b9b2ef59-1443-410c-b731-fe5988fb6b8a";
        assert!(is_qemu(&["/usr/bin/qemu-system-x86_64", "-name", "x", "-uuid", uuid, "-S", ""], uuid));
        assert!(!is_qemu(&["gdb", "--args", "qemu-system-x86_64", "-uuid", uuid], uuid));
        assert!(!is_qemu(&["grep", uuid], uuid));
        assert!(!is_qemu(&["qemu-system-x86_64", "-uuid"], uuid));
        assert!(!is_qemu(&[], uuid));
        assert_eq!(find_process(&Uuid::from_u128(0x4711), Path::new("/")), None);
        assert!(is_swtpm(&["swtpm", "socket", "--ctrl", "type=unixio,path=tpm/a.sock"], "tpm/a.sock"));
        assert!(!is_swtpm(&["vi", "type=unixio,path=tpm/a.sock"], "tpm/a.sock"));
    }

    #[test]
    fn a_process_works_in_its_own_folder_and_in_no_copy_of_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs_err::create_dir(at("run")).unwrap();
        fs_err::create_dir(at("copy")).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is looked at, not a command that is run"
        )]
        let mut child =
            std::process::Command::new("sleep").arg("1000").current_dir(at("run")).spawn().unwrap();
        let pid = child.id();
        let wanted = |argv: &[&str]| argv.first() == Some(&"sleep");
        assert_eq!(find(&at("run"), wanted).map(|process| process.pid), Some(pid));
        assert_eq!(find(&at("copy"), wanted), None);
        fs_err::rename(at("run"), at("moved")).unwrap();
        assert!(works_in(pid, &at("moved")));
        fs_err::remove_dir(at("moved")).unwrap();
        assert!(works_in(pid, &at("moved")), "it would be left behind");
        assert!(!works_in(pid, &at("elsewhere")) && !works_in(pid, &at("copy")));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
