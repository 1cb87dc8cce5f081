//! Who stands at the other end of a Unix socket.
//!
//! The kernel remembers who connected: account and process. All else is read from `/proc` by the process's number, and
//! that number may be another's by now. So the process is held by a descriptor of its own (`SO_PEERPIDFD`, Linux 6.5; by
//! its number before that), everything is read, and then it must still be there.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use fs_err as fs;
use nix::{
    sys::socket::{getsockopt, sockopt},
    unistd::{Gid, Group, Uid, User, getgrouplist},
};
use rustix::process::{Pid, PidfdFlags, geteuid, getpid, pidfd_open};
use tokio::net::UnixStream;

use super::{container::container, programs::Programs};
use crate::access::{Account, Caller, CallingProcess, Door};

/// What `/proc` says of a process.
struct Facts {
    account: Account,
    process: CallingProcess,
    container: Option<String>,
}

/// Who is at the other end. Blocks: it asks `/proc` and the system's directory of names. `hash`: the digest of the calling
/// program is wanted, too.
///
/// # Errors
/// When the system does not say it, or the process is gone already: then nobody knows who calls, and they must not be
/// taken for somebody whom less is known of.
pub(super) fn peer(door: Door, stream: &UnixStream, programs: Option<&Programs>) -> io::Result<Caller> {
    let credentials = stream.peer_cred()?;
    let pid =
        credentials.pid().filter(|pid| *pid > 0).ok_or_else(|| unknown("its process is not of here"))?;
    let held = hold(stream, pid)?;
    let mut facts = facts(u32::try_from(pid).map_err(|_| unknown("its process has no number"))?)?;
    if facts.account.id != credentials.uid().to_string() {
        return Err(unknown("its process has another account by now"));
    }
    if let Some(programs) = programs {
        facts.process.sha256 = programs.digest(facts.process.pid).ok();
    }
    still_there(held.as_fd())?;
    let Facts { account, process, container } = facts;
    Ok(Caller { door, account, process: Some(process), container })
}

/// An account of this computer as a caller outside of containers, or this very process: for a dry run of decisions.
///
/// # Errors
/// When there is no such account, or `/proc` does not say who we are.
pub fn caller_named(door: Door, account: Option<&str>) -> io::Result<Caller> {
    let Some(name) = account else {
        let Facts { account, process, container } = facts(getpid().as_raw_nonzero().get().cast_unsigned())?;
        return Ok(Caller { door, account, process: Some(process), container });
    };
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("find the account {name:?}"));
    let user = User::from_name(name)?.ok_or_else(unknown)?;
    let text = CString::new(name).map_err(|_| unknown())?;
    let groups = getgrouplist(&text, user.gid)?;
    let account = Account {
        name: named(user.name),
        id: user.uid.to_string(),
        groups: groups.into_iter().flat_map(|gid| group(gid.as_raw())).collect(),
        administrator: user.uid.is_root(),
        certificate: None,
    };
    Ok(Caller { door, account, process: None, container: None })
}

fn hold(stream: &UnixStream, pid: i32) -> io::Result<OwnedFd> {
    match getsockopt(stream, sockopt::PeerPidfd) {
        Ok(held) => Ok(held),
        // Before Linux 6.5. A number that was used again in between is found out by its account only.
        Err(nix::errno::Errno::ENOPROTOOPT) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| unknown("its process has no number"))?;
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A descriptor of a process can be read from when it has ended.
fn still_there(held: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ended = [PollFd::from_borrowed_fd(held, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ended, Some(&now))? > 0 { Err(unknown("its process is gone")) } else { Ok(()) }
}

fn facts(pid: u32) -> io::Result<Facts> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let effective = |key| numbers(&status, key).nth(1);
    let uid = effective("Uid:").ok_or_else(|| unknown("its process has no account"))?;
    let gid = effective("Gid:").ok_or_else(|| unknown("its process has no group"))?;
    let started = winstead_process::ProcessId::of(pid).ok_or_else(|| unknown("its process is gone"))?.started;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let container = container(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?);
    let groups = std::iter::once(gid).chain(numbers(&status, "Groups:"));
    let account = Account {
        name: User::from_uid(Uid::from_raw(uid))
            .ok()
            .flatten()
            .map_or(String::new(), |user| named(user.name)),
        id: uid.to_string(),
        groups: groups.flat_map(group).collect(),
        administrator: is_administrator(pid, uid, container.as_deref()),
        certificate: None,
    };
    Ok(Facts { account, process: CallingProcess { pid, started, program, sha256: None }, container })
}

/// The numbers behind a key of `/proc/PID/status`.
fn numbers<'a>(status: &'a str, key: &str) -> impl Iterator<Item = u32> + use<'a> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|number| number.parse().ok())
}

/// A group's name, where it has one, and its number.
fn group(gid: u32) -> Vec<String> {
    let name = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| named(group.name));
    name.filter(|name| !name.is_empty()).into_iter().chain([gid.to_string()]).collect()
}

/// A name that is a number would be taken for another account's.
fn named(name: String) -> String {
    if name.bytes().all(|byte| byte.is_ascii_digit()) { String::new() } else { name }
}

/// Root, or who we are ourselves; and as far in as we are: root in a container is not root of this computer.
fn is_administrator(pid: u32, uid: u32, container: Option<&str>) -> bool {
    let known = uid == 0 || uid == geteuid().as_raw();
    known && same_world(pid, container).unwrap_or(false)
}

fn same_world(pid: u32, container: Option<&str>) -> io::Result<bool> {
    let ours = super::container::container(&fs::read_to_string("/proc/self/cgroup")?);
    let same = |kind: &str| {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
        Ok::<_, io::Error>(theirs == fs::read_link(format!("/proc/self/ns/{kind}"))?)
    };
    Ok(container == ours.as_deref() && same("pid")? && same("user")?)
}

fn unknown(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("it is not known who calls: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("two ends")
    }

    #[tokio::test]
    async fn this_process_is_known_with_all_that_it_is() {
        let (ours, _theirs) = pair().await;
        let caller = peer(Door::Local, &ours, Some(&Programs::default())).expect("it is known");
        let process = caller.process.expect("it has one");
        assert_eq!(process.pid, std::process::id());
        assert_eq!(process.program, std::env::current_exe().ok());
        assert!(process.sha256.is_some() && process.started > 0);
        assert!(caller.account.administrator, "who runs the agent may do what it can");
        assert_eq!(caller.account.id, geteuid().as_raw().to_string());
        let gid = rustix::process::getegid().as_raw().to_string();
        assert!(caller.account.groups.contains(&gid), "{:?}", caller.account.groups);
        assert!(!caller.account.name.is_empty());
    }

    /// A socket, and a program that connects to it and then waits for the end of its input.
    async fn visited(before: &[&str]) -> (tempfile::TempDir, std::process::Child, UnixStream) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).expect("it listens");
        let words = before.iter().copied().chain(["perl", "-MIO::Socket::UNIX", "-e"]);
        let words: Vec<&str> = words.collect();
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that connects and stays, not a command that is run"
        )]
        let child = std::process::Command::new(words[0])
            .args(&words[1..])
            .arg("my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>")
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("it is there");
        let (stream, _) = listener.accept().await.expect("it comes");
        (folder, child, stream)
    }

    #[tokio::test]
    async fn whoever_is_gone_is_nobody() {
        let (_folder, mut child, stream) = visited(&[]).await;
        peer(Door::Local, &stream, None).expect("it is there");
        drop(child.stdin.take());
        child.wait().expect("it ends");
        peer(Door::Local, &stream, None).expect_err("nobody is there");
    }

    #[tokio::test]
    async fn root_of_another_world_is_no_administrator() {
        if !geteuid().is_root() {
            return;
        }
        let (_folder, mut child, stream) = visited(&["unshare", "--pid", "--fork"]).await;
        let caller = peer(Door::Local, &stream, None).expect("it is there");
        assert_eq!((caller.account.id.as_str(), caller.account.administrator), ("0", false));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let (_folder, mut child, stream) = visited(&[]).await;
        assert!(peer(Door::Local, &stream, None).expect("it is there").account.administrator);
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    #[test]
    fn a_status_is_read_by_its_keys() {
        let status = "Name:\tUid:\nUid:\t1000\t0\t0\t0\nGid:\t1\t2\t3\t4\nGroups:\t4 24 \n";
        assert_eq!(numbers(status, "Uid:").nth(1), Some(0));
        assert_eq!(numbers(status, "Groups:").collect::<Vec<_>>(), [4, 24]);
        assert_eq!(numbers(status, "None:").count(), 0);
        assert_eq!((named("0".to_owned()), named("ann".to_owned())), (String::new(), "ann".to_owned()));
    }
}
