//! Our files and commands against the real OpenSSH: a server on loopback with a host key made here.
//!
//! `sshd` is the one that `WINSTEAD_TEST_SSHD` names, the installed one, or one that is unpacked for the test. Needs the
//! right to log in as this user.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::{
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_guest::{
    keys,
    ssh::{Copy, Endpoint, Handshake, SshFiles, wait_for_banner},
};
use winstead_process::Command;
use winstead_spec::GuestOs;
use winstead_testing::{Program, lab_folder, program_or_skip, skip};

/// A running server, and the files to reach it.
struct Server {
    folder: TempDir,
    endpoint: Endpoint,
    files: SshFiles,
    process: tokio::process::Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.start_kill());
    }
}

/// What an installation would have made, for root's sshd alone: in a mount namespace of its own it sees a user `sshd` and
/// its empty folder. Without root it asks for neither.
const SET_UP: &str = "mount --bind \"$0\" /etc/passwd; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -m 755 /run/sshd; \
                      exec \"$@\"";
const SSHD_USER: &str = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n";

async fn sshd() -> Option<Program> {
    #[expect(clippy::disallowed_methods, reason = "tests may be told where the server is")]
    match std::env::var("WINSTEAD_TEST_SSHD") {
        Ok(named) => Some(Program::installed(named)),
        Err(_) => program_or_skip(&lab_folder(), "usr/sbin/sshd").await,
    }
}

/// The beginning of sshd's command line. `passwd` may be written.
fn command(sshd: &Program, passwd: &Path) -> Command {
    if sshd.unpacked.is_none() || !rustix::process::geteuid().is_root() {
        return Command::new(&sshd.path);
    }
    fs_err::write(passwd, fs_err::read_to_string("/etc/passwd").unwrap() + SSHD_USER).unwrap();
    fs_err::set_permissions(passwd, std::fs::Permissions::from_mode(0o644)).unwrap();
    Command::new("unshare").args(["--mount", "sh", "-e", "-c", SET_UP]).arg(passwd).arg(&sshd.path)
}

/// Settings for where the parts of a server lie that was only unpacked: from 9.8 on it has several.
fn parts(sshd: &Program) -> String {
    let Some(root) = &sshd.unpacked else { return String::new() };
    let parts = [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")];
    let parts = parts.map(|(setting, part)| (setting, root.join("usr/lib/openssh").join(part)));
    let there = parts.iter().filter(|(_, part)| part.exists());
    there.map(|(setting, part)| format!("{setting} {}\n", part.display())).collect()
}

async fn user() -> String {
    let output = Command::new("id").arg("-un").run(&CancellationToken::new()).await.unwrap();
    output.text().trim().to_owned()
}

async fn start(sshd: &Program) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let client = keys::ensure_client_key(folder.path()).unwrap();
    let host = keys::ensure_key(&at("host_key"), "guest").unwrap();
    fs_err::write(at("authorized_keys"), client.public_openssh + "\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized_keys\n\
         StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n{1}",
        folder.path().display(),
        parts(sshd)
    );
    fs_err::write(at("sshd_config"), config).unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
    let command = command(sshd, &at("passwd")).args(["-D", "-e", "-f"]).arg(at("sshd_config"));
    let process = sshd.with_libraries(command).start_detached(&log).unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
        user: user().await,
        name: "agents-0".into(),
        os: GuestOs::Linux,
    };
    let files = SshFiles::new(folder.path());
    files.write_config(std::slice::from_ref(&endpoint)).unwrap();
    files.write_known_hosts(&[("agents-0".into(), host.public_openssh)]).unwrap();
    Server { folder, endpoint, files, process }
}

/// `None` when the server does not start here, as without its user or without the right to log in.
async fn reachable() -> Option<Server> {
    let sshd = sshd().await?;
    let mut server = start(&sshd).await;
    let stop = CancellationToken::new();
    let address = SocketAddr::from(([127, 0, 0, 1], server.endpoint.port));
    let banner = tokio::select! {
        banner = wait_for_banner(address, || std::future::ready(Handshake::Unknown), &stop) => banner.unwrap(),
        status = server.process.wait() => {
            let log = fs_err::read_to_string(server.folder.path().join("log")).unwrap();
            skip(&format!("sshd does not run here: {status:?} {log}"));
            return None;
        }
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("no banner"),
    };
    assert!(banner.text.starts_with("SSH-2.0-OpenSSH"), "{}", banner.text);
    Some(server)
}

fn bytes() -> Vec<u8> {
    (0..300_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect()
}

#[tokio::test]
async fn commands_are_binary_safe_and_keep_words_and_status() {
    let Some(server) = reachable().await else { return };
    let stop = CancellationToken::new();
    let run = |argv: Vec<OsString>| server.files.command(&server.endpoint, &argv, false).unwrap();

    let echoed = run(vec!["cat".into()]).input(bytes()).run(&stop).await.unwrap();
    assert!(echoed.stdout == bytes());
    let odd = ["a b", "", "$HOME", "it's", "-x", "new\nline", "*", "~", "\\", "\"", "é"].map(OsString::from);
    let argv =
        [vec!["printf".into(), "%s\\0".into()], odd.to_vec(), vec![OsString::from_vec(vec![0xff])]].concat();
    let printed = run(argv.clone()).run(&stop).await.unwrap().stdout;
    let expected: Vec<u8> =
        argv[2..].iter().flat_map(|word| [word.clone().into_vec(), vec![0]].concat()).collect();
    assert!(printed == expected, "{:?}", String::from_utf8_lossy(&printed));
    let (status, output) = run(["sh", "-c", "echo oh >&2; exit 7"].map(Into::into).to_vec())
        .run_any_status(&stop)
        .await
        .unwrap();
    assert_eq!((status.code(), output.stderr.as_slice()), (Some(7), &b"oh\n"[..]));

    let by_hand = Command::new("ssh").arg("-F").arg(server.files.config()).args(["agents-0", "echo hand"]);
    assert_eq!(by_hand.run(&stop).await.unwrap().text(), "hand\n");
}

#[tokio::test]
async fn a_wrong_host_key_is_refused() {
    let Some(server) = reachable().await else { return };
    let other = keys::generate("other").unwrap();
    server.files.write_known_hosts(&[("agents-0".into(), other.public_openssh)]).unwrap();
    let command = server.files.command(&server.endpoint, &["true".into()], false).unwrap();
    let (status, output) = command.run_any_status(&CancellationToken::new()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(status.code(), Some(255));
    assert!(said.contains("Host key verification failed"), "{said}");
}

#[tokio::test]
async fn files_and_folders_are_copied_both_ways_whatever_their_names() {
    let Some(server) = reachable().await else { return };
    let stop = CancellationToken::new();
    let (here, there) = (server.folder.path().join("here"), server.folder.path().join("there"));
    for folder in [&here, &there] {
        fs_err::create_dir(folder).unwrap();
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in ["-r", "a:b", "a b", "star*[x]?", "back\\slash", "{a,b}", "quote'\"", "$(x)", "é"] {
        fs_err::write(here.join(name), bytes()).unwrap();
        let remote = there.join(name).into_os_string();
        let to = Copy::ToGuest { from: name.into(), to: remote.clone() };
        server.files.copy(&server.endpoint, &to, false).folder(&here).run(&stop).await.unwrap();
        assert!(fs_err::read(there.join(name)).unwrap() == bytes(), "{name}");
        let back = format!("back of {name}");
        let from = Copy::FromGuest { from: remote, to: PathBuf::from(&back) };
        server.files.copy(&server.endpoint, &from, false).folder(&here).run(&stop).await.unwrap();
        assert!(fs_err::read(here.join(&back)).unwrap() == bytes(), "{name}");
    }
    let all = Copy::FromGuest { from: there.clone().into_os_string(), to: here.join("all") };
    server.files.copy(&server.endpoint, &all, true).run(&stop).await.unwrap();
    assert_eq!(fs_err::read_dir(here.join("all")).unwrap().count(), 9);
}
