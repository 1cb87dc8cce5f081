//! vsock, from the host into its guest: a connection for each caller, beside the serial ports, where there are four.
//!
//! Everybody on the host may open such a socket; so may this guest's own programs (`vsock_loopback`), and other guests where
//! somebody passes their words on. Only who could do everything with this guest anyway is let in: who calls from the host,
//! and from a port that its kernel gives to nobody without `CAP_NET_BIND_SERVICE` in its first user namespace
//! (`LAST_RESERVED_PORT` of `net/vmw_vsock/af_vsock.c`). What is said of a caller here, the kernels say.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::either::Either;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};
use winstead_protocol::port::{LAST_RESERVED_PORT, VSOCK_PORT};

use super::{
    GuestVisitor, Lobby,
    guest::{LOOK_AGAIN, LOOKS},
};
use crate::access::Caller;

/// A connection of the host's.
pub(super) type Connection = VsockStream;

/// When the system refuses a connection, the next one is not tried at once.
const REST: Duration = Duration::from_millis(100);
/// How often it is told that somebody was turned away: who may open a socket on the host could fill the log otherwise.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Takes in the host whenever it calls; ends where there is no vsock.
pub(super) async fn serve(lobby: Lobby, visitors: mpsc::Sender<GuestVisitor>) {
    let Some(listener) = listener(VSOCK_PORT).await else { return };
    tracing::info!(port = VSOCK_PORT, "listening at vsock");
    let mut turned_away = TurnedAway::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) if is_the_host(from) => {
                let Ok(visitor) = lobby.take_in(Either::Right(stream), Caller::host()) else { continue };
                if visitors.send(visitor).await.is_err() {
                    return;
                }
            }
            Ok((_, from)) => {
                if let Some(others) = turned_away.another(Instant::now()) {
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

/// Listens as soon as this is a guest with vsock: its driver may come after the agent, and an agent before us may still be
/// there. Later nobody looks, as with the serial ports.
async fn listener(port: u32) -> Option<VsockListener> {
    let mut refused = None;
    for _ in 0..=LOOKS {
        if vsock::get_local_cid().is_ok_and(is_a_guests) {
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

/// Whether a computer with this number is somebody's guest: lower ones are the hypervisor, the computer itself, and the
/// host; the highest means that it has none.
const fn is_a_guests(cid: u32) -> bool {
    cid > VMADDR_CID_HOST && cid != VMADDR_CID_ANY
}

/// Whether a caller can do everything with this guest anyway.
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
    fn nobody_but_the_hosts_superuser_is_let_in() {
        let comes_in = |cid, port| is_the_host(VsockAddr::new(cid, port));
        assert!(comes_in(2, 1) && comes_in(2, 512) && comes_in(2, 1023));
        assert!(!comes_in(2, 1024) && !comes_in(2, u32::MAX), "everybody on the host");
        for cid in [0, 1, 3, 4, u32::MAX] {
            assert!(!comes_in(cid, 1023), "a program of this guest, or another guest: {cid}");
        }
    }

    #[test]
    fn a_computer_that_is_nobodys_guest_has_a_number_of_no_guest() {
        assert!([3, 4, u32::MAX - 1].into_iter().all(is_a_guests));
        assert!(![0, 1, 2, u32::MAX].into_iter().any(is_a_guests));
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
        if !vsock::get_local_cid().is_ok_and(is_a_guests) {
            return winstead_testing::skip("this computer has no vsock");
        }
        // Everybody may have such a port; the agent's own may be taken by another agent of this computer.
        let port = 0x4000_0000 | std::process::id();
        let door = listener(port).await.expect("it opens");
        assert_eq!(door.local_addr().expect("it has one").port(), port);
        VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port)).expect_err("it is taken");
    }
}
