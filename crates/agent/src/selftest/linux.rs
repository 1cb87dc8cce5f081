//! The checklist on Linux.

use std::{
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fs_err as fs;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use winstead_spec::Connect;

use crate::{
    access::Door,
    door::{Lobby, Seats, UnixDoor},
    selftest::{Item, Outcome, Subject, limits},
    service::{self, Phase},
};

/// How long the system may take to say who is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries everything. What takes time is bounded.
pub async fn run(subject: &Subject) -> Vec<Item> {
    let item = |name, proves, outcome| Item { name, proves, outcome };
    let mut items = vec![
        item("socket", "its folder is changed by nobody else", socket(&subject.runtime)),
        item("peer", "the kernel says which process is at the other end", peer().await),
        item("state folder", "nobody else looks into what the agent keeps", state(&subject.state)),
        item("systemd", "somebody starts the agent again when it fails", systemd()),
        item("service", "the agent is installed and runs", installed(&subject.service).await),
    ];
    items.extend(limits::items(&subject.program).await);
    items
}

fn socket(runtime: &Path) -> Outcome {
    let path = runtime.join("agent.sock");
    let (Ok(socket), Ok(folder)) = (fs::symlink_metadata(&path), fs::metadata(runtime)) else {
        return Outcome::Skipped(format!("no agent listens at {}", path.display()));
    };
    if folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0 {
        return Outcome::Failed(format!("{} can be changed by others", runtime.display()));
    }
    Outcome::expect(&socket.uid(), &folder.uid())
}

async fn peer() -> Outcome {
    let asked = async {
        let folder = std::env::temp_dir().join(format!("winstead-selftest-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let seen = own_peer(&folder).await;
        fs::remove_dir_all(&folder)?;
        seen
    };
    match asked.await {
        Ok(pid) => Outcome::expect(&pid, &Some(std::process::id())),
        Err(error) => error.into(),
    }
}

async fn own_peer(folder: &Path) -> io::Result<Option<u32>> {
    fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    let path = folder.join("socket");
    let lobby = Lobby { seats: Seats::new(1), access: Arc::default(), handshake: PATIENCE };
    let mut door = UnixDoor::open(Door::Local, &path, &Connect::Administrators, lobby)?;
    let _client = tokio::net::UnixStream::connect(&path).await?;
    let visitor = timeout(PATIENCE, door.next()).await.map_err(io::Error::other)?;
    let visitor = visitor.ok_or(io::ErrorKind::UnexpectedEof)??;
    Ok(visitor.caller().process.as_ref().map(|process| process.pid))
}

fn state(folder: &Path) -> Outcome {
    let Ok(metadata) = fs::symlink_metadata(folder) else {
        return Outcome::Skipped(format!("there is no {} yet", folder.display()));
    };
    if !metadata.is_dir() {
        return Outcome::Failed(format!("{} is no folder", folder.display()));
    }
    for above in folder.ancestors().skip(1) {
        // In a folder with the sticky bit nobody renames what is another's.
        if fs::metadata(above).is_ok_and(|above| above.mode() & 0o022 != 0 && above.mode() & 0o1000 == 0) {
            return Outcome::Failed(format!("{} can be changed by others", above.display()));
        }
    }
    let seen = (metadata.uid(), metadata.mode() & 0o077);
    Outcome::expect(&seen, &(rustix::process::geteuid().as_raw(), 0))
}

fn systemd() -> Outcome {
    match sd_notify::booted() {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Skipped("this computer was not started by systemd".to_owned()),
        Err(error) => error.into(),
    }
}

async fn installed(name: &str) -> Outcome {
    if !sd_notify::booted().unwrap_or(false) {
        return Outcome::Skipped("this computer was not started by systemd".to_owned());
    }
    match service::status(name).await {
        Ok(status) if status.phase == Phase::NotInstalled => Outcome::Skipped(status.to_string()),
        Ok(status) => Outcome::expect(&status.phase, &Phase::Running),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_locked_folder_passes_and_an_open_one_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        assert!(matches!(super::state(&state), Outcome::Skipped(_)));
        fs::create_dir(&state).expect("a folder");
        for (mode, passes) in [(0o700, true), (0o750, false)] {
            fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(super::state(&state) == Outcome::Passed, passes, "{mode:o}");
        }
        fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("a mode");
        fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        assert!(matches!(super::state(&state), Outcome::Failed(_)), "somebody may replace it");
        assert_eq!(peer().await, Outcome::Passed);
    }
}
