//! systemd: one unit, and what a running service tells it.

use std::{io, path::PathBuf, time::Duration};

use fs_err as fs;
use sd_notify::NotifyState;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use crate::service::definition::{PATIENCE, Phase, Service, ServiceError, Status};

/// The unit as the Debian package has it, too.
const UNIT: &str = include_str!("winstead-agent.service");
/// What is replaced in it.
const EXEC: &str = "ExecStart=/usr/bin/winstead-agent serve --file /etc/winstead-agent/agent.yaml";
const DESCRIPTION: &str =
    "Description=Winstead agent: runs processes and tunnels for those whom its policy lets";

/// Where systemd is and where an administrator's units are.
#[derive(Clone, Debug)]
pub struct Systemd {
    /// Its command.
    pub systemctl: PathBuf,
    /// The folder of units.
    pub units: PathBuf,
}

impl Default for Systemd {
    fn default() -> Self {
        Self { systemctl: "systemctl".into(), units: "/etc/systemd/system".into() }
    }
}

impl Systemd {
    /// Writes the unit and lets it start with the computer. One that is there is replaced.
    ///
    /// # Errors
    /// When the file cannot be written, or systemd refuses.
    pub async fn install(&self, service: &Service) -> Result<(), ServiceError> {
        let text = unit(service).map_err(ServiceError::refused("install", &service.name))?;
        fs::write(self.unit(&service.name), text).map_err(ServiceError::refused("install", &service.name))?;
        self.ask(&["daemon-reload"]).await.map_err(ServiceError::refused("install", &service.name))?;
        self.ask(&["enable", &file_name(&service.name)])
            .await
            .map(drop)
            .map_err(ServiceError::refused("install", &service.name))
    }

    /// Starts it; systemd answers when it is ready.
    ///
    /// # Errors
    /// When systemd refuses, or it does not get ready.
    pub async fn start(&self, name: &str) -> Result<(), ServiceError> {
        let asked = self.ask(&["start", &file_name(name)]).await;
        asked.map(drop).map_err(ServiceError::refused("start", name))
    }

    /// Stops it; systemd answers when it has ended.
    ///
    /// # Errors
    /// When systemd refuses.
    pub async fn stop(&self, name: &str) -> Result<(), ServiceError> {
        let asked = self.ask(&["stop", &file_name(name)]).await;
        asked.map(drop).map_err(ServiceError::refused("stop", name))
    }

    /// What systemd says of it.
    ///
    /// # Errors
    /// When systemd does not say.
    pub async fn status(&self, name: &str) -> Result<Status, ServiceError> {
        let file = file_name(name);
        let show = ["show", "--property=LoadState,ActiveState,MainPID", &file];
        let said = self.ask(&show).await.map_err(ServiceError::refused("look at", name))?;
        Ok(Status { name: name.to_owned(), ..parse(&said) })
    }

    /// Stops it and takes its unit away; one that is not there is none.
    ///
    /// # Errors
    /// When systemd refuses, or the file stays.
    pub async fn uninstall(&self, name: &str) -> Result<(), ServiceError> {
        let unit = self.unit(name);
        if !unit.exists() {
            return Ok(());
        }
        self.ask(&["disable", "--now", &file_name(name)])
            .await
            .map_err(ServiceError::refused("uninstall", name))?;
        fs::remove_file(unit).map_err(ServiceError::refused("uninstall", name))?;
        self.ask(&["daemon-reload"]).await.map(drop).map_err(ServiceError::refused("uninstall", name))
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.units.join(file_name(name))
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String, winstead_process::CommandError> {
        let command = Command::new(&self.systemctl).args(arguments).deadline(PATIENCE + PATIENCE);
        command.run(&CancellationToken::new()).await.map(|output| output.text())
    }
}

/// Installs it in this computer's systemd. Nothing is left out.
///
/// # Errors
/// As [`Systemd::install`].
pub async fn install(service: &Service) -> Result<Vec<String>, ServiceError> {
    Systemd::default().install(service).await.map(|()| Vec::new())
}

/// Starts it.
///
/// # Errors
/// As [`Systemd::start`].
pub async fn start(name: &str) -> Result<(), ServiceError> {
    Systemd::default().start(name).await
}

/// Stops it.
///
/// # Errors
/// As [`Systemd::stop`].
pub async fn stop(name: &str) -> Result<(), ServiceError> {
    Systemd::default().stop(name).await
}

/// What it is doing.
///
/// # Errors
/// As [`Systemd::status`].
pub async fn status(name: &str) -> Result<Status, ServiceError> {
    Systemd::default().status(name).await
}

/// Takes it away.
///
/// # Errors
/// As [`Systemd::uninstall`].
pub async fn uninstall(name: &str) -> Result<(), ServiceError> {
    Systemd::default().uninstall(name).await
}

/// Tells systemd that the service serves; nothing where it is not one.
///
/// # Errors
/// As the system has them.
pub fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// Tells systemd again and again that the service is alive, if systemd wants to hear it: twice in the time after which
/// it would be restarted. Otherwise it does nothing at all. Never ends by itself; cancel safe.
pub async fn alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!(%error, "systemd does not hear that we are alive");
        }
        sleep((limit / 2).max(Duration::from_secs(1))).await;
    }
}

fn file_name(name: &str) -> String {
    format!("{name}.service")
}

/// The unit of a service.
///
/// # Errors
/// When its path or an argument has a line's end, which a unit has no place for.
fn unit(service: &Service) -> io::Result<String> {
    let words = std::iter::once(&*service.program.to_string_lossy())
        .chain(service.arguments.iter().map(String::as_str))
        .map(word)
        .collect::<io::Result<Vec<_>>>()?;
    let exec = format!("ExecStart={}", words.join(" "));
    let description = format!("Description={}", service.description.replace(['\n', '\r'], " "));
    Ok(UNIT.replace(EXEC, &exec).replace(DESCRIPTION, &description))
}

/// A word as systemd reads it: in quotes, with what it would replace doubled (systemd.service, "Command lines").
fn word(word: &str) -> io::Result<String> {
    if word.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a unit's command is one line"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return Ok(word.to_owned());
    }
    let escaped = word.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

/// What `systemctl show` says, one `KEY=VALUE` a line.
fn parse(said: &str) -> Status {
    let value =
        |key: &str| said.lines().find_map(|line| line.split_once('=').filter(|(found, _)| *found == key));
    let value = |key| value(key).map_or("", |(_, value)| value);
    let phase = match (value("LoadState"), value("ActiveState")) {
        ("not-found", _) => Phase::NotInstalled,
        (_, "active" | "reloading") => Phase::Running,
        (_, "activating") => Phase::Starting,
        (_, "deactivating") => Phase::Stopping,
        _ => Phase::Stopped,
    };
    let pid = value("MainPID").parse().ok().filter(|pid| *pid != 0);
    Status { name: String::new(), phase, pid }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn service() -> Service {
        Service {
            name: "winstead-agent".to_owned(),
            description: "A test".to_owned(),
            program: "/opt/my tools/winstead-agent".into(),
            arguments: ["serve", "--runtime", "/run/50%", "$HOME"].map(str::to_owned).to_vec(),
            delayed: false,
        }
    }

    #[test]
    fn words_that_systemd_would_change_are_quoted() {
        let unit = unit(&service()).expect("one line");
        let exec = unit.lines().find(|line| line.starts_with("ExecStart"));
        assert_eq!(
            exec,
            Some(r#"ExecStart="/opt/my tools/winstead-agent" serve --runtime "/run/50%%" "$$HOME""#)
        );
        assert!(unit.contains("\nDescription=A test\n"));
        let twice = Service { arguments: vec!["a\nExecStart=b".to_owned()], ..service() };
        assert!(super::unit(&twice).is_err());
    }

    #[test]
    fn the_packaged_configuration_is_one_and_the_unit_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.yaml");
        fs::write(&path, include_str!("agent.yaml")).expect("a file");
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        crate::configuration::Configuration::read(&[path]).expect("it is one");
        assert!(UNIT.contains(EXEC) && UNIT.contains(DESCRIPTION), "what is replaced is there");
    }

    #[test]
    fn a_status_is_what_systemctl_says() {
        let status = parse("LoadState=loaded\nActiveState=active\nMainPID=12\n");
        assert_eq!((status.phase, status.pid), (Phase::Running, Some(12)));
        let status = parse("LoadState=not-found\nActiveState=inactive\nMainPID=0\n");
        assert_eq!((status.phase, status.pid), (Phase::NotInstalled, None));
        assert_eq!(parse("").phase, Phase::Stopped);
    }

    #[tokio::test]
    async fn a_service_is_installed_and_taken_away_with_its_unit() {
        let folder = tempfile::tempdir().expect("a folder");
        let (asked, program) = (folder.path().join("asked"), folder.path().join("systemctl"));
        let script = format!("#!/bin/sh\necho \"$*\" >> {}\n", asked.display());
        fs::write(&program, script).expect("a file");
        fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        let systemd = Systemd { systemctl: program, units: folder.path().to_owned() };
        systemd.install(&service()).await.expect("it is installed");
        let unit = folder.path().join("winstead-agent.service");
        assert!(unit.exists());
        systemd.uninstall("winstead-agent").await.expect("it goes");
        systemd.uninstall("winstead-agent").await.expect("it is gone");
        assert!(!unit.exists());
        assert_eq!(
            fs::read_to_string(&asked).expect("it was asked"),
            "daemon-reload\nenable winstead-agent.service\n\
             disable --now winstead-agent.service\ndaemon-reload\n"
        );
    }
}
