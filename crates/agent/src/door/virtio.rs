//! Virtio-serial ports of a Linux guest, found by their names without udev.
//!
//! As long as no host is connected, poll(2) says `POLLHUP` of a port all the time, so whoever waits by it spins; and
//! tokio's own readiness never forgets a hang-up. Edges are what is needed: the kernel wakes a port's waiters when the host
//! comes or goes, when bytes come, and when there is room again. So the port is watched by an epoll of its own, edge
//! triggered, and that epoll, which never hangs up, by tokio: a guest that nobody is connected to sleeps.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use fs_err as fs;
use rustix::{
    event::{Timespec, epoll},
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};
use winstead_protocol::port::{Mark, port_name};

/// Where the kernel says what its ports are called.
const CLASS: &str = "/sys/class/virtio-ports";

/// Opens one of the host's ports; nothing where there is none, or it cannot be opened now.
pub(crate) fn find(number: usize) -> Option<VirtioPort> {
    let entries = fs::read_dir(CLASS).ok()?;
    let is_it = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == port_name(number))
    };
    let entry = entries.flatten().find(is_it)?;
    let opened = VirtioPort::open(&Path::new("/dev").join(entry.file_name()));
    opened.inspect_err(|error| tracing::debug!(%error, "a port cannot be opened now")).ok()
}

/// A port, read and written by one task.
#[derive(Debug)]
pub(crate) struct VirtioPort {
    file: OwnedFd,
    /// An epoll that watches `file`.
    changes: AsyncFd<OwnedFd>,
    /// Whether the reader knows that no host is there.
    away: bool,
}

impl VirtioPort {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&changes, &file, epoll::EventData::new_u64(0), edges)?;
        #[expect(unsafe_code, reason = "tokio cannot know which descriptors stay what they are")]
        // SAFETY: an `OwnedFd` is open, and the same descriptor, until it is dropped.
        let changes = unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }?;
        let port = Self { file, changes, away: false };
        port.say_that_all_before_is_over();
        Ok(port)
    }

    /// A host that speaks with an agent that was killed learns it by this. Without a host it goes nowhere.
    fn say_that_all_before_is_over(&self) {
        if let Err(error) = rustix::io::write(&self.file, &Mark::End.bytes()) {
            tracing::debug!(%error, "nobody is there");
        }
    }

    /// Waits until something has happened to the port since the last time.
    fn poll_change(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.changes.poll_read_ready(context))?;
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.changes, events.as_mut_slice(), Some(&now))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for VirtioPort {
    /// Never ends: a host that goes away is a [`Mark::End`], and then it is waited for the next one. The kernel gives one
    /// of its buffers at a time, a page: all that have come are taken, or everybody behind us would work page by page.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let found = match buffer.remaining() {
                0 => Err(Errno::AGAIN),
                _ => rustix::io::read(&self.file, buffer.initialize_unfilled()),
            };
            match found {
                Ok(0) | Err(Errno::AGAIN) if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(0) => {
                    if !std::mem::replace(&mut self.away, true) {
                        buffer.put_slice(&Mark::End.bytes());
                        return Poll::Ready(Ok(()));
                    }
                    ready!(self.poll_change(context))?;
                }
                Ok(length) => {
                    self.away = false;
                    buffer.advance(length);
                }
                Err(Errno::AGAIN) => ready!(self.poll_change(context))?,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for VirtioPort {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match rustix::io::write(&self.file, bytes) {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::AGAIN) => ready!(self.poll_change(context))?,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
