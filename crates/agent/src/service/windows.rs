//! Windows' service manager, and the sources of its event log.

use std::{ffi::OsString, time::Duration};

use tokio::time::{Instant, sleep};
use windows_registry::LOCAL_MACHINE;
use windows_service::{
    Error,
    service::{
        self, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
        ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
    },
    service_manager::{ServiceManager, ServiceManagerAccess},
};
use windows_sys::Win32::Foundation::ERROR_SERVICE_DOES_NOT_EXIST;

use crate::service::definition::{PATIENCE, Phase, RESTARTS, Service, ServiceError, Status};

/// A failure counts for a day.
const RESET: Duration = Duration::from_secs(24 * 3600);
/// Where the event log looks for who writes into it.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// A part of every Windows whose messages 1 to 1000 are "%1": what is written is what is read.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// How often a service that starts or stops is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Installs it, to start with the computer and again after it failed, and makes it a source of the event log. One that
/// is there is changed to be as asked for. What this Windows would not have, and the service works without, is returned.
///
/// # Errors
/// When the manager refuses.
pub async fn install(service: &Service) -> Result<Vec<String>, ServiceError> {
    let info = ServiceInfo {
        name: service.name.clone().into(),
        display_name: service.name.clone().into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: service.program.clone(),
        launch_arguments: service.arguments.iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let refused = || ServiceError::refused("install", &service.name);
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access).map_err(refused())?;
    let rights = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let installed = match open(&service.name, rights) {
        Ok(there) => there.change_config(&info).map(|()| there),
        Err(error) if is_missing(&error) => manager.create_service(&info, rights),
        Err(error) => Err(error),
    };
    let installed = installed.map_err(refused())?;
    let wanted = [
        ("a description", installed.set_description(&service.description)),
        ("a delayed start", installed.set_delayed_auto_start(service.delayed)),
        ("restarts after failures", installed.update_failure_actions(failure_actions())),
        ("restarts after an error code", installed.set_failure_actions_on_non_crash_failures(true)),
        ("time before a shutdown", installed.set_preshutdown_timeout(PATIENCE)),
    ];
    let mut missing: Vec<String> = wanted
        .into_iter()
        .filter_map(|(what, outcome)| outcome.err().map(|error| format!("{what}: {}", cause(&error))))
        .collect();
    missing.extend(add_source(&service.name).err().map(|error| format!("the event log: {error}")));
    Ok(missing)
}

/// Starts it and waits until it runs.
///
/// # Errors
/// When the manager refuses, or it does not run in time.
pub async fn start(name: &str) -> Result<(), ServiceError> {
    if look_at(name)?.phase != Phase::Running {
        let refused = || ServiceError::refused("start", name);
        let service = open(name, ServiceAccess::START).map_err(refused())?;
        service.start::<&str>(&[]).map_err(refused())?;
    }
    until(name, Phase::Running).await
}

/// Stops it and waits until it has stopped.
///
/// # Errors
/// When the manager refuses, or it does not stop in time.
pub async fn stop(name: &str) -> Result<(), ServiceError> {
    if !matches!(look_at(name)?.phase, Phase::Stopped | Phase::Stopping) {
        let refused = || ServiceError::refused("stop", name);
        open(name, ServiceAccess::STOP).map_err(refused())?.stop().map_err(refused())?;
    }
    until(name, Phase::Stopped).await
}

/// What the manager says of it.
///
/// # Errors
/// When the manager does not say.
pub async fn status(name: &str) -> Result<Status, ServiceError> {
    look_at(name)
}

/// What a service of Windows is doing, whoever's it is.
///
/// # Errors
/// When the manager refuses.
pub(crate) fn look_at(name: &str) -> Result<Status, ServiceError> {
    let asked = open(name, ServiceAccess::QUERY_STATUS).and_then(|service| service.query_status());
    let (phase, pid) = match asked {
        Ok(status) => (phase(status.current_state), status.process_id.filter(|pid| *pid != 0)),
        Err(error) if is_missing(&error) => (Phase::NotInstalled, None),
        Err(error) => return Err(ServiceError::refused("look at", name)(error)),
    };
    Ok(Status { name: name.to_owned(), phase, pid })
}

/// What the manager runs; nothing where there is no such service.
///
/// # Errors
/// When the manager does not say.
pub fn command_line(name: &str) -> Result<Option<String>, ServiceError> {
    match open(name, ServiceAccess::QUERY_CONFIG).and_then(|service| service.query_config()) {
        Ok(config) => Ok(Some(config.executable_path.to_string_lossy().into_owned())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(ServiceError::refused("look at", name)(error)),
    }
}

/// What stands behind a flag of a service's command line, as [`install`] has it written: in quotation marks if it
/// has spaces.
#[must_use]
pub fn behind<'a>(flag: &str, line: &'a str) -> Option<&'a str> {
    let rest = line.split_once(&format!(" {flag} "))?.1;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    }
}

/// Stops it and takes it away, its event log source too; one that is not there is none.
///
/// # Errors
/// When the manager refuses, or it does not stop in time.
pub async fn uninstall(name: &str) -> Result<(), ServiceError> {
    if look_at(name)?.phase == Phase::NotInstalled {
        return Ok(());
    }
    stop(name).await?;
    let refused = || ServiceError::refused("uninstall", name);
    open(name, ServiceAccess::DELETE).map_err(refused())?.delete().map_err(refused())?;
    if let Err(error) = LOCAL_MACHINE.remove_tree(format!(r"{SOURCES}\{name}")) {
        tracing::debug!(%error, "the event log's source stays");
    }
    Ok(())
}

/// When it failed: again after five, ten and thirty seconds, and then every thirty seconds.
fn failure_actions() -> ServiceFailureActions {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESET),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    }
}

/// Whether the manager would start it again as [`install`] said; nothing where there is none.
///
/// # Errors
/// When the manager does not say.
pub fn recovers(name: &str) -> Result<Option<bool>, ServiceError> {
    match open(name, ServiceAccess::QUERY_CONFIG).and_then(|service| service.get_failure_actions()) {
        Ok(actions) => Ok(Some(actions.actions == failure_actions().actions)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(ServiceError::refused("look at", name)(error)),
    }
}

/// Says how it is to be started again, if nobody has said anything yet: an MSI cannot. What an administrator chose stays.
///
/// # Errors
/// When the manager refuses.
pub fn settle(name: &str) -> Result<(), ServiceError> {
    let rights = ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let settled = open(name, rights).and_then(|service| {
        if service.get_failure_actions()?.actions.is_some_and(|actions| !actions.is_empty()) {
            return Ok(());
        }
        service.update_failure_actions(failure_actions())?;
        service.set_failure_actions_on_non_crash_failures(true)?;
        service.set_delayed_auto_start(true)
    });
    settled.map_err(ServiceError::refused("change", name))
}

/// Opens a service.
///
/// # Errors
/// When there is none, or we may not.
fn open(name: &str, access: ServiceAccess) -> Result<service::Service, Error> {
    ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?.open_service(name, access)
}

async fn until(name: &str, wanted: Phase) -> Result<(), ServiceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let phase = look_at(name)?.phase;
        // Who was asked to start is starting at once: who has stopped does not start any more.
        let over = wanted == Phase::Running && phase == Phase::Stopped;
        match phase {
            phase if phase == wanted => return Ok(()),
            phase if over || Instant::now() > deadline => {
                return Err(ServiceError::Late { name: name.to_owned(), wanted, phase });
            }
            _ => sleep(LOOK).await,
        }
    }
}

fn add_source(name: &str) -> windows_registry::Result<()> {
    let source = LOCAL_MACHINE.create(format!(r"{SOURCES}\{name}"))?;
    source.set_expand_string("EventMessageFile", MESSAGES)?;
    // Errors, warnings and information.
    source.set_u32("TypesSupported", 7)
}

fn is_missing(error: &Error) -> bool {
    let code = Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed());
    matches!(error, Error::Winapi(error) if error.raw_os_error() == code)
}

fn cause(error: &Error) -> String {
    match error {
        Error::Winapi(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn phase(state: ServiceState) -> Phase {
    match state {
        ServiceState::Stopped | ServiceState::Paused | ServiceState::PausePending => Phase::Stopped,
        ServiceState::StartPending | ServiceState::ContinuePending => Phase::Starting,
        ServiceState::Running => Phase::Running,
        ServiceState::StopPending => Phase::Stopping,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_service_stands_on_its_command_line() {
        let state = |line| behind("--state", line);
        let usual =
            r#""C:\Program Files\Winstead Agent\winstead-agent.exe" service run --name winstead-agent"#;
        assert_eq!(state(usual), None);
        assert_eq!(state(r"C:\a.exe srv app run --state D:\state --hide-exit-codes"), Some(r"D:\state"));
        assert_eq!(state(r#""C:\a b.exe" service run --state "D:\my state""#), Some(r"D:\my state"));
    }
}
