//! `winstead-agent become FOLDER`: the last step before a program, in the process that will be it: its group, session,
//! pipes and account. A process of its own for that, instead of code between `fork` and `exec`, which would have to be
//! unsafe; it costs one more `exec` of a file that is in memory.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::ExitCode,
};

use fs_err as fs;
use rustix::{
    fs::Mode,
    io::Errno,
    process::{Gid, Uid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use crate::supervision::{
    KeeperFailure,
    record::Launch,
    unix::{accounts::Account, keeper::Stage, pipes::STDIN},
};

/// Where programs look for others; the agent's own variables are never handed on.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The folders in which a program without a folder is looked for.
pub(crate) const fn search_path() -> &'static [&'static str] {
    &PATH
}

/// Becomes the program that standard input describes. Returns only when it cannot, after having said why to the keeper.
///
/// # Errors
/// When the keeper is gone.
pub fn become_program(folder: &Path) -> io::Result<ExitCode> {
    let mut stage = Vec::new();
    io::stdin().lock().read_to_end(&mut stage)?;
    // A keeper that was killed says nothing, and nothing is run.
    let stage: Stage = serde_json::from_slice(&stage)?;
    let answer = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let failure = run(folder, &stage);
    std::fs::File::from(answer).write_all(&serde_json::to_vec(&failure)?)?;
    Ok(ExitCode::FAILURE)
}

fn run(folder: &Path, stage: &Stage) -> KeeperFailure {
    let launch = &stage.launch;
    let prepared = (|| {
        for group in &stage.groups {
            fs::write(group.join("cgroup.procs"), "0")?;
        }
        rustix::process::setsid()?;
        match &stage.terminal {
            Some(name) => take_terminal(name, launch.account.as_ref()),
            None => take_pipes(folder, launch.stdin),
        }
    })();
    if let Err(error) = prepared {
        return KeeperFailure::Other(error.to_string());
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(account) = &launch.account
        && let Err(error) = take_account(account)
    {
        return KeeperFailure::Account(error.to_string());
    }
    if let Err(error) = std::env::set_current_dir(launch.folder.as_deref().unwrap_or("/")) {
        return KeeperFailure::Folder(error.to_string());
    }
    if is_foreign(Path::new(&launch.file)) {
        return KeeperFailure::BadFormat;
    }
    execute(launch)
}

/// Whether the kernel itself would not know what to do with it. The C library, by which std executes, hands such a file to
/// a shell instead of saying so. What may be run but not read is left to the kernel.
fn is_foreign(file: &Path) -> bool {
    let may = rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    let mut begin = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(4).read_to_end(&mut begin));
    may && read.is_ok() && !begin.starts_with(b"#!") && begin != b"\x7fELF"
}

fn take_pipes(folder: &Path, stdin: bool) -> io::Result<()> {
    let input = if stdin { folder.join(STDIN) } else { "/dev/null".into() };
    dup2_stdin(fs::File::open(input)?.file())?;
    let writing = |name: &str| fs::OpenOptions::new().write(true).open(folder.join(name));
    dup2_stdout(writing("stdout")?.file())?;
    dup2_stderr(writing("stderr")?.file())?;
    Ok(())
}

fn take_terminal(name: &str, account: Option<&Account>) -> io::Result<()> {
    let terminal = fs::OpenOptions::new().read(true).write(true).open(name)?;
    rustix::process::ioctl_tiocsctty(terminal.file())?;
    if let Some(account) = account {
        rustix::fs::fchown(terminal.file(), Some(Uid::from_raw(account.user)), None)?;
    }
    dup2_stdin(terminal.file())?;
    dup2_stdout(terminal.file())?;
    dup2_stderr(terminal.file())?;
    Ok(())
}

/// Groups first: after the user is another, they cannot be changed. This process has one thread only.
fn take_account(account: &Account) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups)?;
        set_thread_gid(Gid::from_raw(account.group))?;
        set_thread_uid(Uid::from_raw(account.user))?;
    }
    Ok(())
}

fn execute(launch: &Launch) -> KeeperFailure {
    #[expect(clippy::disallowed_methods, reason = "this process becomes the supervised program")]
    let mut command = std::process::Command::new(&launch.file);
    let (home, user) = launch
        .account
        .as_ref()
        .map_or(("/", None), |account| (account.home.as_str(), Some(account.name.as_str())));
    command.arg0(&launch.program).args(&launch.arguments).env_clear();
    command.env("PATH", PATH.join(":")).env("LANG", "C.UTF-8").env("HOME", home);
    if let Some(user) = user {
        command.env("USER", user).env("LOGNAME", user);
    }
    if launch.terminal.is_some() {
        command.env("TERM", "xterm");
    }
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    failure(&command.exec())
}

fn failure(error: &io::Error) -> KeeperFailure {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => KeeperFailure::Missing,
        Some(Errno::ACCESS | Errno::PERM) => KeeperFailure::NotExecutable,
        Some(Errno::NOEXEC | Errno::LIBBAD) => KeeperFailure::BadFormat,
        _ => KeeperFailure::Other(error.to_string()),
    }
}
