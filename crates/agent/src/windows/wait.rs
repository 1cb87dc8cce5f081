//! Waiting for Windows' objects: a few threads of the system's own wait for all of them, and none is woken before.
#![expect(unsafe_code, reason = "tokio waits for processes of its own only, and std for none of it")]

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    ptr::null,
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;
use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0, WAIT_TIMEOUT},
    System::Threading::{
        CreateEventW, INFINITE, RegisterWaitForSingleObject, SetEvent, UnregisterWaitEx,
        WT_EXECUTEINWAITTHREAD, WT_EXECUTEONLYONCE, WaitForSingleObject,
    },
};

/// Something that has happened, or not.
#[derive(Debug)]
pub(crate) struct Event(OwnedHandle);

/// For how many an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// For the first one who sees it.
    One,
    /// For everybody, from then on.
    All,
}

impl Event {
    /// One that has not happened.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn new(whom: For) -> io::Result<Self> {
        // SAFETY: a new handle without a name, which is ours to close.
        unsafe {
            let event = CreateEventW(null(), i32::from(whom == For::All), 0, null());
            if event.is_null() {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedHandle::from_raw_handle(event)))
        }
    }

    /// It has happened.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn set(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        let done = unsafe { SetEvent(self.0.as_raw_handle()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl From<OwnedHandle> for Event {
    fn from(event: OwnedHandle) -> Self {
        Self(event)
    }
}

impl AsHandle for Event {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Waits until an event has happened or a process has ended. Cancel safe, but what counts for one only may then be lost.
///
/// # Errors
/// As the system has them.
pub(crate) async fn signalled(object: BorrowedHandle<'_>) -> io::Result<()> {
    let registration = Registration::new(object)?;
    registration.told.notified().await;
    Ok(())
}

/// Blocks until then; whether it came to that in time.
///
/// # Errors
/// As the system has them.
pub(crate) fn signalled_within(object: BorrowedHandle<'_>, time: Duration) -> io::Result<bool> {
    let milliseconds = u32::try_from(time.as_millis()).unwrap_or(INFINITE - 1);
    // SAFETY: the handle is open.
    match unsafe { WaitForSingleObject(object.as_raw_handle(), milliseconds) } {
        WAIT_OBJECT_0 => Ok(true),
        WAIT_TIMEOUT => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One who waits.
struct Registration {
    wait: HANDLE,
    told: Arc<Notify>,
}

// SAFETY: the wait's handle may be used by any thread.
unsafe impl Send for Registration {}
// SAFETY: it is used by nothing but `drop`.
unsafe impl Sync for Registration {}

impl Registration {
    fn new(object: BorrowedHandle<'_>) -> io::Result<Self> {
        let told = Arc::new(Notify::new());
        let mut wait = std::ptr::null_mut();
        // SAFETY: the handle is open; what is told lives until nobody tells it any more: see `drop`.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait,
                object.as_raw_handle(),
                Some(tell),
                Arc::as_ptr(&told).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self { wait, told }) }
    }
}

unsafe extern "system" fn tell(told: *mut c_void, _: bool) {
    // SAFETY: a registration's own, which waits for this to return before it drops it.
    unsafe { (*told.cast::<Notify>()).notify_one() };
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: it is registered, and this is its end; it returns when nobody is about to tell.
        unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_is_waited_for_and_stays_for_those_who_come_later() {
        let event = Arc::new(Event::new(For::All).expect("an event"));
        let before = Arc::clone(&event);
        let early = tokio::spawn(async move { signalled(before.as_handle()).await });
        tokio::task::yield_now().await;
        assert!(!signalled_within(event.as_handle(), Duration::ZERO).expect("a look"));
        event.set().expect("it is ours");
        early.await.expect("no panic").expect("it is told");
        signalled(event.as_handle()).await.expect("it has happened");
        let one = Event::new(For::One).expect("an event");
        one.set().expect("it is ours");
        signalled(one.as_handle()).await.expect("the first one sees it");
        assert!(!signalled_within(one.as_handle(), Duration::from_millis(20)).expect("a look"));
    }
}
