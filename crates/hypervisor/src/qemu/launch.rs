//! How a machine's programs are launched: detached, with a clean environment, as the machine's own user.
//!
//! QEMU's `-daemonize` and `-runas` are not used: 7.2 is killed by its own seccomp filter when either meets the full
//! `-sandbox`. So it is started as its user already, and the process id is known without a pid file.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use winstead_process::Command;

use super::{RunAs, config::QEMU_LOG};

/// Where setpriv, swtpm and their like are. Nothing else of our environment is passed on: it may hold tokens, and a
/// guest that takes QEMU over could read them.
const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// QEMU's own seccomp filter, as strict as it gets.
pub(crate) const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
/// Enough of a program's last words to understand it.
const SAID_LINES: usize = 6;

/// A command that becomes `program`, without our environment and, if asked, as another user.
pub(crate) fn command(
    program: &Path,
    arguments: &[String],
    run_as: Option<&RunAs>,
    folder: &Path,
) -> Command {
    let privileges = run_as.map(privileges).unwrap_or_default();
    becoming(&privileges, program, arguments).folder(folder)
}

/// The same for a program that must not outlive us: the kernel kills it when the thread that starts it ends, and the
/// runtime's threads end with this process, also by SIGKILL.
pub(crate) fn bound_command(
    program: &Path,
    arguments: &[String],
    run_as: Option<&RunAs>,
    folder: &Path,
) -> Command {
    let mut privileges = run_as.map(privileges).unwrap_or_default();
    privileges.push("--pdeathsig=KILL".to_owned());
    becoming(&privileges, program, arguments).folder(folder)
}

/// What setpriv(1) is told to become a machine's user.
fn privileges(user: &RunAs) -> Vec<String> {
    let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
    let groups = if groups.is_empty() {
        "--clear-groups".to_owned()
    } else {
        format!("--groups={}", groups.join(","))
    };
    let ids = [format!("--reuid={}", user.uid), format!("--regid={}", user.gid)];
    ids.into_iter().chain([groups, "--no-new-privs".to_owned()]).collect()
}

fn becoming(privileges: &[String], program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("env").args(["-i", "LC_ALL=C.UTF-8", SEARCH_PATH]);
    if !privileges.is_empty() {
        command = command.arg("setpriv").args(privileges).arg("--");
    }
    command.arg(program).args(arguments)
}

/// The file for both outputs of a machine's programs, and how long it is already.
pub(crate) fn open_log(folder: &Path) -> io::Result<(File, u64)> {
    let file = winstead_process::append_log(&folder.join(QEMU_LOG))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// What was said into the log since it was `from` bytes long: the last lines.
pub(crate) fn said_since(folder: &Path, from: u64) -> String {
    winstead_process::last_words(&folder.join(QEMU_LOG), from, SAID_LINES)
}

/// Gives a file or folder to the machine's user. Links are not followed.
pub(crate) fn hand_over(path: &Path, run_as: Option<&RunAs>) -> io::Result<()> {
    let Some(user) = run_as else { return Ok(()) };
    let found = fs_err::symlink_metadata(path)?;
    if (found.uid(), found.gid()) == (user.uid, user.gid) {
        return Ok(());
    }
    lchown(path, Some(user.uid), Some(user.gid))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Makes a private folder of the machine's user, or keeps it.
pub(crate) fn private_folder(path: &Path, run_as: Option<&RunAs>) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Ok(()) => fs_err::set_permissions(path, Permissions::from_mode(0o700))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    hand_over(path, run_as)
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_as_its_user_without_our_environment() {
        let user = RunAs { uid: 2_013_265_921, gid: 2_013_265_921, groups: vec![] };
        let arguments = ["-S".to_owned()];
        let shown = command(Path::new("/usr/bin/q"), &arguments, Some(&user), Path::new("/")).shown();
        insta::assert_snapshot!(shown, @"env -i 'LC_ALL=C.UTF-8' 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' setpriv '--reuid=2013265921' '--regid=2013265921' --clear-groups --no-new-privs -- /usr/bin/q -S");
        let user = RunAs { groups: vec![108, 109], ..user };
        let shown = command(Path::new("/usr/bin/q"), &arguments, Some(&user), Path::new("/")).shown();
        assert!(shown.contains("--groups=108,109"), "{shown}");
        let shown = command(Path::new("/usr/bin/q"), &arguments, None, Path::new("/")).shown();
        assert!(!shown.contains("setpriv"), "{shown}");
        let shown = bound_command(Path::new("/usr/bin/q"), &arguments, None, Path::new("/")).shown();
        assert!(shown.contains("setpriv '--pdeathsig=KILL' -- /usr/bin/q"), "{shown}");
    }
}
