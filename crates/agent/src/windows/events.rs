//! Windows' event log as a place for what is traced: warnings, errors, and that the service started and stopped.
#![expect(unsafe_code, reason = "no crate that is kept writes into the event log")]

use std::{
    ffi::c_void,
    fmt::{self, Write as _},
    io,
    ptr::{null, null_mut},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};
use windows_sys::Win32::System::EventLog::{
    CloseEventLog, DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE,
    EVENTLOG_WARNING_TYPE, GetNumberOfEventLogRecords, GetOldestEventLogRecord, OpenEventLogW,
    RegisterEventSourceW, ReportEventW,
};

use crate::windows::memory::wide;

/// What is told of a service's life has this target: it is written although it is no warning.
pub const LIFE: &str = "service";
/// The longest text that ReportEvent takes, in characters.
const LONGEST: usize = 31_839;

/// The event log, written to as one of its sources.
#[derive(Debug)]
pub struct EventLog(*mut c_void);

// SAFETY: the event log's handles may be used by any thread.
unsafe impl Send for EventLog {}
// SAFETY: as above, also by several at once.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// As the source `name`, which `service install` makes known.
    ///
    /// # Errors
    /// As the system has them.
    pub fn open(name: &str) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: the name ends with a zero; the handle is closed with this value.
        let log = unsafe { RegisterEventSourceW(null(), name.as_ptr()) };
        if log.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(log)) }
    }

    /// Writes one entry; its number tells levels apart, its text is all there is to read.
    ///
    /// # Errors
    /// As the system has them.
    pub fn write(&self, level: Level, text: &str) -> io::Result<()> {
        let (kind, number) = match level {
            Level::ERROR => (EVENTLOG_ERROR_TYPE, 3),
            Level::WARN => (EVENTLOG_WARNING_TYPE, 2),
            _ => (EVENTLOG_INFORMATION_TYPE, 1),
        };
        let mut text = wide(text.replace('\0', " "));
        if text.len() > LONGEST {
            text.truncate(LONGEST);
            text.push(0);
        }
        let texts = [text.as_ptr()];
        // SAFETY: the handle is open, there is one text, and it ends with a zero.
        let done = unsafe { ReportEventW(self.0, kind, 0, number, null_mut(), 1, 0, texts.as_ptr(), null()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The number of the newest entry of the log that all sources of ours write to.
///
/// # Errors
/// As the system has them.
pub(crate) fn newest_event() -> io::Result<u32> {
    let name = wide("Application");
    let (mut oldest, mut count) = (0, 0);
    // SAFETY: the name ends with a zero, there is room for two numbers, and the handle is closed before the end.
    let done = unsafe {
        let log = OpenEventLogW(null(), name.as_ptr());
        if log.is_null() {
            return Err(io::Error::last_os_error());
        }
        let done = GetOldestEventLogRecord(log, &raw mut oldest) != 0
            && GetNumberOfEventLogRecords(log, &raw mut count) != 0;
        CloseEventLog(log);
        done
    };
    if done { Ok(oldest.wrapping_add(count)) } else { Err(io::Error::last_os_error()) }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: it is open, and this is its end.
        unsafe { DeregisterEventSource(self.0) };
    }
}

impl<S: Subscriber> Layer<S> for EventLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level > Level::WARN && target != LIFE {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        // It is the place for errors: there is no other one to tell of this one.
        self.write(level, &text.0).unwrap_or_default();
    }
}

/// An event as text: what it says, then its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => {
                self.0.insert_str(0, &format!("{value:?}"));
                Ok(())
            }
            name => write!(self.0, "\r\n{name}: {value:?}"),
        };
        // A String takes all there is.
        written.unwrap_or_default();
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut cause = Some(value);
        while let Some(error) = cause {
            write!(self.0, "\r\n{}: {error}", field.name()).unwrap_or_default();
            cause = error.source();
        }
    }
}
