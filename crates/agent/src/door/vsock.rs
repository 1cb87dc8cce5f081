//! vsock, from the host into its guest: a connection for each caller, beside the serial ports, where there are four.
//!
//! Everybody on the host may open such a socket; so may this guest's own programs (`vsock_loopback`), and other guests where
//! somebody passes their words on. Only who could do everything with this guest anyway is let in:
//! - who calls from the host, and from a port that its kernel gives to nobody without `CAP_NET_BIND_SERVICE` in its first user
//!   namespace (`LAST_RESERVED_PORT` of `net/vmw_vsock/af_vsock.c`): others do not even wait here. That is so where the device
//!   is virtio's and its other end Linux's. Under Hyper-V a caller's port is a part of a number at random
//!   (`net/vmw_vsock/hv_sock.c`), and nobody has looked at VMware: there nobody is listened to;
//! - and who says the guest's [`password`]: root in a container of the host may have such a port, too.

use std::{path::Path, sync::Arc, time::Duration};

use fs_err as fs;
use subtle::ConstantTimeEq as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::either::Either;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};
use winstead_protocol::vsock::{ACCEPTED, GUEST_KEY, LAST_RESERVED_PORT, PASSWORD, PORT, password};

use super::{
    GuestVisitor, Lobby,
    guest::{LOOK_AGAIN, LOOKS},
};
use crate::access::Caller;

/// A connection of the host's.
pub(super) type Connection = VsockStream;

/// Where the kernel shows the devices of virtio's vsock.
const DRIVER: &str = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport";
/// When the system refuses a connection, the next one is not tried at once.
const REST: Duration = Duration::from_millis(100);
/// How often it is told that somebody was turned away: who may open a socket on the host could fill the log otherwise.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Takes in the host whenever it calls; ends where there is no vsock, or no password that the host could know.
pub(super) async fn serve(lobby: Lobby, visitors: mpsc::Sender<GuestVisitor>) {
    let Ok(key) = fs::read(GUEST_KEY) else { return };
    let Some(listener) = listener(PORT).await else { return };
    tracing::info!(port = PORT, "listening at vsock");
    let expected = Arc::new(password(&key));
    let (mut strangers, mut pretenders, mut arriving) =
        (TurnedAway::default(), TurnedAway::default(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(arrived) = arriving.join_next() => {
                if matches!(arrived, Ok(false)) && let Some(others) = pretenders.another(Instant::now()) {
                    tracing::warn!(others, "turned away at vsock: who called from the host does not know this guest's key");
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, from)) if is_the_host(from) => {
                let Ok(visitor) = lobby.take_in(Either::Right(stream), Caller::host()) else { continue };
                arriving.spawn(arrive(visitor, Arc::clone(&expected), visitors.clone()));
            }
            Ok((_, from)) => {
                if let Some(others) = strangers.another(Instant::now()) {
                    tracing::warn!(%from, others, "turned away at vsock: not the host, or a port that everybody there may have");
                }
            }
            Err(error) => {
                // No descriptors left, or a caller who is gone: the next one may come in all the same.
                tracing::warn!(%error, "nobody can come in by vsock at the moment");
                sleep(REST).await;
            }
        }
    }
}

/// Lets somebody in who knows the password; returns whether they do. Whoever takes too long is given up as at other doors, and
/// has a seat until then.
async fn arrive(
    mut visitor: GuestVisitor,
    expected: Arc<[u8; PASSWORD]>,
    visitors: mpsc::Sender<GuestVisitor>,
) -> bool {
    let knows = says(&mut visitor, &expected).await;
    if knows && visitor.write_all(&[ACCEPTED]).await.is_ok() {
        // The agent stops.
        drop(visitors.send(visitor).await);
    }
    knows
}

/// Whether somebody says this password. Wrong ones take the same time.
async fn says(stream: &mut (impl AsyncRead + Unpin), expected: &[u8; PASSWORD]) -> bool {
    let mut said = [0; PASSWORD];
    stream.read_exact(&mut said).await.is_ok() && bool::from(said.ct_eq(expected))
}

/// Listens as soon as this is a guest with vsock: its driver may come after the agent, and an agent before us may still be
/// there. Later nobody looks, as with the serial ports.
async fn listener(port: u32) -> Option<VsockListener> {
    let mut refused = None;
    for _ in 0..=LOOKS {
        if has_device(Path::new(DRIVER)) {
            // Whatever our own number is: it changes with each start of the host's QEMU.
            match VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port)) {
                Ok(listener) => return Some(listener),
                Err(error) => refused = Some(error),
            }
        }
        sleep(LOOK_AGAIN).await;
    }
    if let Some(error) = refused {
        tracing::warn!(port, %error, "vsock is not listened at");
    }
    None
}

/// Whether a driver of virtio's has a device: then it shows a link to it, `virtio3`.
fn has_device(driver: &Path) -> bool {
    let is_device = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("virtio");
    fs::read_dir(driver).is_ok_and(|entries| entries.flatten().any(is_device))
}

/// Whether a caller may be one who can do everything with this guest anyway.
fn is_the_host(from: VsockAddr) -> bool {
    from.cid() == VMADDR_CID_HOST && from.port() <= LAST_RESERVED_PORT
}

/// Those who were turned away, to be told of now and then.
#[derive(Debug, Default)]
struct TurnedAway {
    told: Option<Instant>,
    others: u64,
}

impl TurnedAway {
    /// One more; how many others there were since the last time, if it is time to tell.
    fn another(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_AGAIN) {
            self.others += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_hosts_superuser_is_listened_to() {
        let comes_in = |cid, port| is_the_host(VsockAddr::new(cid, port));
        assert!(comes_in(2, 1) && comes_in(2, 512) && comes_in(2, 1023));
        assert!(!comes_in(2, 1024) && !comes_in(2, u32::MAX), "everybody on the host");
        for cid in [0, 1, 3, 4, u32::MAX] {
            assert!(!comes_in(cid, 1023), "a program of this guest, or another guest: {cid}");
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_the_guests_key() {
        let ours = password(b"this guest's key");
        for (said, comes_in) in [
            (&ours[..], true),
            (&password(b"another guest's key")[..], false),
            (&ours[..31], false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n and so on", false),
            (b"", false),
        ] {
            // It ends after what is said.
            let mut stream = said;
            assert_eq!(says(&mut stream, &ours).await, comes_in, "{said:?}");
        }
    }

    #[tokio::test]
    async fn who_is_let_in_is_told_so_and_others_are_hung_up_on_without_a_word() {
        let ours = Arc::new(password(b"this guest's key"));
        for (said, told) in [(*ours, &[ACCEPTED][..]), (password(b"another guest's key"), b"")] {
            let (guest, mut host) = tokio::io::duplex(64);
            let (sender, mut visitors) = mpsc::channel(1);
            host.write_all(&said).await.expect("there is room");
            let knows = arrive(GuestVisitor::host(Either::Left(guest)), Arc::clone(&ours), sender).await;
            assert_eq!(knows, visitors.recv().await.is_some());
            let mut heard = Vec::new();
            host.read_to_end(&mut heard).await.expect("read");
            assert_eq!(heard, told);
        }
    }

    #[test]
    fn a_driver_without_a_device_is_no_vsock() {
        let driver = tempfile::tempdir().expect("a folder");
        assert!(!has_device(&driver.path().join("not-loaded")));
        fs::write(driver.path().join("bind"), "").expect("it is written");
        assert!(!has_device(driver.path()));
        std::os::unix::fs::symlink("../../../devices/virtio3", driver.path().join("virtio3"))
            .expect("a link");
        assert!(has_device(driver.path()));
    }

    #[test]
    fn who_is_turned_away_a_thousand_times_is_told_of_once_a_minute() {
        let (mut turned_away, begin) = (TurnedAway::default(), Instant::now());
        assert_eq!(turned_away.another(begin), Some(0));
        for second in 1..60 {
            assert_eq!(turned_away.another(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(turned_away.another(begin + TELL_AGAIN), Some(59));
        assert_eq!(turned_away.another(begin + TELL_AGAIN), None);
    }

    #[tokio::test]
    async fn a_door_opens_where_this_computer_is_a_guest_with_vsock() {
        if !has_device(Path::new(DRIVER)) {
            return winstead_testing::skip("this computer has no vsock");
        }
        // Everybody may have such a port; the agent's own may be taken by another agent of this computer.
        let port = 0x4000_0000 | std::process::id();
        let door = listener(port).await.expect("it opens");
        assert_eq!(door.local_addr().expect("it has one").port(), port);
        VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port)).expect_err("it is taken");
    }
}
