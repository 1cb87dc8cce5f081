//! A process that Windows' service manager started: says what it is doing, hears what it is asked.

use std::{
    error::Error,
    ffi::OsString,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio_util::sync::CancellationToken;
use windows_service::{
    define_windows_service,
    service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
    },
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};
use windows_sys::Win32::Foundation::ERROR_FAILED_SERVICE_CONTROLLER_CONNECT;

use crate::{
    serve::Signals,
    service::definition::{PATIENCE, ServiceError},
};

/// How a service ended.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Work = Box<dyn FnOnce(Signals) -> Outcome + Send>;

/// What the service does. The manager calls a function without arguments: it is handed over here, once.
static WORK: Mutex<Option<(String, Work)>> = Mutex::new(None);

define_windows_service!(service_main, hand_over);

/// Runs `work` as the service `name`, until the manager asks it to stop or it ends. It is told to be running when it has
/// cancelled `ready`; when it ends with an error, the manager starts it again.
///
/// # Errors
/// [`ServiceError::NotAService`] at once when a person started this process, who wants it in the foreground.
pub fn run(name: &str, work: impl FnOnce(Signals) -> Outcome + Send + 'static) -> Result<(), ServiceError> {
    *WORK.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), Box::new(work)));
    let code = Some(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT.cast_signed());
    service_dispatcher::start(name, service_main).map_err(|error| match error {
        windows_service::Error::Winapi(cause) if cause.raw_os_error() == code => ServiceError::NotAService,
        error => ServiceError::refused("run", name)(error),
    })
}

/// On the thread that the manager gave us. Nobody is there to be told of an error but the log.
fn hand_over(_: Vec<OsString>) {
    let Some((name, work)) = WORK.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    if let Err(error) = serve(&name, work) {
        tracing::error!(error = &error as &dyn Error, "the service manager hears nothing of us");
    }
}

fn serve(name: &str, work: Work) -> Result<(), windows_service::Error> {
    let signals = Signals::default();
    let manager: Arc<OnceLock<ServiceStatusHandle>> = Arc::default();
    let (asked, status) = (signals.clone(), Arc::clone(&manager));
    let handle = service_control_handler::register(name, move |request| heard(&request, &asked, &status))?;
    manager.get_or_init(|| handle);
    tell(handle, ServiceState::StartPending, ServiceExitCode::NO_ERROR)?;
    let (ready, over) = (signals.ready.clone(), CancellationToken::new());
    let reporter = std::thread::spawn({
        let over = over.clone();
        move || report_ready(handle, &ready, &over)
    });
    let outcome = work(signals);
    let code = match &outcome {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(error) => {
            tracing::error!(error = &**error, "the service ends");
            // With a code the manager starts it again.
            ServiceExitCode::ServiceSpecific(1)
        }
    };
    over.cancel();
    // It only waits for what has just happened.
    reporter.join().unwrap_or_default();
    tell(handle, ServiceState::Stopped, code)
}

/// Says that it runs, when it does.
fn report_ready(handle: ServiceStatusHandle, ready: &CancellationToken, over: &CancellationToken) {
    let runs = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(over.run_until_cancelled(ready.cancelled())).is_some(),
        Err(error) => {
            tracing::warn!(%error, "nobody waits until the service is ready");
            true
        }
    };
    if runs && let Err(error) = tell(handle, ServiceState::Running, ServiceExitCode::NO_ERROR) {
        tracing::warn!(error = &error as &dyn Error, "the service manager does not know that we run");
    }
}

/// Only tells others: the manager waits for the answer.
fn heard(
    request: &ServiceControl,
    signals: &Signals,
    manager: &OnceLock<ServiceStatusHandle>,
) -> ServiceControlHandlerResult {
    match request {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::ParamChange => {
            signals.reload.notify_one();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            if let Some(handle) = manager.get()
                && let Err(error) = tell(*handle, ServiceState::StopPending, ServiceExitCode::NO_ERROR)
            {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the service manager does not know that we stop"
                );
            }
            signals.stop.cancel();
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

fn tell(
    handle: ServiceStatusHandle,
    state: ServiceState,
    code: ServiceExitCode,
) -> Result<(), windows_service::Error> {
    let running = state == ServiceState::Running;
    let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if running { accepted() } else { ServiceControlAccept::empty() },
        exit_code: code,
        checkpoint: 0,
        wait_hint: if pending { PATIENCE } else { std::time::Duration::ZERO },
        process_id: None,
    })
}

/// Who hears of a shutdown before the others does not hear of it with them.
fn accepted() -> ServiceControlAccept {
    ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN | ServiceControlAccept::PARAM_CHANGE
}
