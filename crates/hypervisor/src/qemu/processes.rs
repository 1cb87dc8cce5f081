//! Finds a machine's processes by what they work in and on.

use std::{os::unix::fs::MetadataExt, path::Path};

use uuid::Uuid;
use winstead_process::ProcessId;

use super::config::tpm_socket;

/// The running QEMU of the machine with this identity and run folder. Reads all of `/proc`: milliseconds.
#[must_use]
pub fn find_process(uuid: &Uuid, folder: &Path) -> Option<ProcessId> {
    let uuid = uuid.to_string();
    find(folder, |argv| is_qemu(argv, &uuid))
}

/// The running swtpm of this machine.
#[must_use]
pub fn find_tpm(uuid: &Uuid, folder: &Path) -> Option<ProcessId> {
    let socket = tpm_socket(uuid);
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
    let socket = tpm_socket(uuid);
    is_ours(process.pid, folder, |argv| is_swtpm(argv, &socket)) && process.is_alive()
}

/// Whether a process has given its memory back, and with it its arguments, and is not gone yet.
pub(crate) fn is_ending(process: ProcessId) -> bool {
    let arguments = fs_err::read(format!("/proc/{}/cmdline", process.pid));
    arguments.is_ok_and(|line| line.is_empty()) && !process.has_ended()
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
    fn what_has_arguments_is_not_ending() {
        let ours = ProcessId::of(std::process::id()).unwrap();
        assert!(!is_ending(ours));
        assert!(!is_ending(ProcessId { started: ours.started + 1, ..ours }), "another process' number");
    }

    #[tokio::test]
    async fn a_process_works_in_its_own_folder_and_in_no_copy_of_it() {
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
        // A new program has no arguments for a moment, though its start has been reported.
        let found = || find(&at("run"), wanted).map(|process| process.pid);
        for _ in 0..500 {
            if found().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        assert_eq!(found(), Some(pid));
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
