//! Connections to one agent, for many tunnels: shared, opened when needed, opened anew when the agent was.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Address, ConnectError, Connection,
    flow::CALLS_APART,
    tunnel::{OpenError, Target, Tunnel},
};

/// How long an agent may be silent that was asked. Longer than it takes itself for a port that does not answer.
const ANSWER: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The connections.
#[derive(Debug)]
pub(super) struct Link {
    address: Address,
    /// How long a new tunnel waits for an agent that is not there.
    patience: Duration,
    members: Mutex<Vec<Member>>,
}

#[derive(Clone, Debug)]
struct Member {
    connection: Connection,
    seats: Seat,
}

/// A tunnel's share of a connection; dropping it gives it back.
#[derive(Clone, Debug)]
pub(super) struct Seat(Arc<()>);

impl Member {
    fn tunnels(&self) -> usize {
        Arc::strong_count(&self.seats.0) - 1
    }
}

impl Link {
    /// No connection yet.
    pub(super) fn new(address: Address, patience: Duration) -> Self {
        Self { address, patience, members: Mutex::default() }
    }

    /// Opens a tunnel. Where the agent is not there, tries again and again, as long as patience lasts.
    ///
    /// # Errors
    /// When the agent says no, or patience ends.
    pub(super) async fn open(&self, target: &Target) -> Result<(Tunnel, Seat), OpenError> {
        let mut retry = Retry::within(self.patience);
        loop {
            match self.open_once(target, retry.deadline).await {
                Err(error) => retry.after(error).await?,
                opened => return opened,
            }
        }
    }

    /// Whether the agent would open it.
    ///
    /// # Errors
    /// When it would not, or patience ends.
    pub(super) async fn check(&self, target: &Target) -> Result<(), OpenError> {
        let mut retry = Retry::within(self.patience);
        loop {
            match self.check_once(target, retry.deadline).await {
                Err(error) => retry.after(error).await?,
                checked => return checked,
            }
        }
    }

    async fn open_once(&self, target: &Target, deadline: Instant) -> Result<(Tunnel, Seat), OpenError> {
        let (connection, seat) = self.by(deadline, self.seat()).await?;
        let opened = self.by(Instant::now() + ANSWER, connection.open_tunnel(target)).await;
        self.unless_lost(opened, &seat).await.map(|tunnel| (tunnel, seat))
    }

    async fn check_once(&self, target: &Target, deadline: Instant) -> Result<(), OpenError> {
        let (connection, seat) = self.by(deadline, self.seat()).await?;
        let checked = self.by(Instant::now() + ANSWER, connection.check_tunnel(target)).await;
        self.unless_lost(checked, &seat).await
    }

    /// What `work` yields, unless the agent is silent until `deadline`.
    async fn by<T, E: Into<OpenError>>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, OpenError> {
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => {
                let (address, source) = (self.address.to_string(), io::ErrorKind::TimedOut.into());
                Err(ConnectError::Unreachable { address, source }.into())
            }
        }
    }

    /// The same outcome; a connection that is lost or silent seats nobody any more.
    async fn unless_lost<T>(&self, outcome: Result<T, OpenError>, seat: &Seat) -> Result<T, OpenError> {
        if matches!(outcome, Err(OpenError::Lost { .. } | OpenError::Connect(_))) {
            self.members.lock().await.retain(|member| !Arc::ptr_eq(&member.seats.0, &seat.0));
        }
        outcome
    }

    /// A connection with a free seat. Only so many share one that, even when all of them are stalled, none of its others
    /// is.
    async fn seat(&self) -> Result<(Connection, Seat), ConnectError> {
        let mut members = self.members.lock().await;
        // Not the last one: a single short connection after another should not pay for a handshake each.
        let mut empty = members.iter().filter(|member| member.tunnels() == 0).count();
        members.retain(|member| {
            let spare = member.tunnels() == 0 && empty > 1;
            empty -= usize::from(spare);
            !spare
        });
        let free = members.iter().find(|member| member.tunnels() < CALLS_APART as usize);
        if let Some(member) = free {
            return Ok((member.connection.clone(), member.seats.clone()));
        }
        let connection = Connection::open(&self.address).await?;
        let member = Member { connection, seats: Seat(Arc::new(())) };
        let seat = (member.connection.clone(), member.seats.clone());
        members.push(member);
        Ok(seat)
    }
}

/// Attempts until a deadline.
struct Retry {
    deadline: Instant,
    number: u32,
}

impl Retry {
    fn within(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, number: 0 }
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// `error`, when another attempt would not help or the time is over.
    async fn after(&mut self, error: OpenError) -> Result<(), OpenError> {
        let pause = pause(self.number, RandomState::new().hash_one(self.number));
        if !is_passing(&error) || Instant::now() + pause >= self.deadline {
            return Err(error);
        }
        self.number += 1;
        sleep(pause).await;
        Ok(())
    }
}

/// Whether the same may go well in a moment: the agent is being restarted.
fn is_passing(error: &OpenError) -> bool {
    match error {
        OpenError::Lost { .. } | OpenError::Connect(ConnectError::Handshake { .. }) => true,
        // A certificate that is just being renewed, one file after the other.
        OpenError::Connect(ConnectError::Identity(_)) => true,
        // `InvalidData` is what TLS says when one side does not believe the other.
        OpenError::Connect(ConnectError::Unreachable { source, .. }) => {
            !matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData)
        }
        OpenError::Refused { .. } => false,
    }
}

/// How long to wait after attempt `number`: twice as long each time, at most [`LONGEST_PAUSE`], and by `chance` up to half
/// shorter, so that a thousand that lost the agent together do not come back together.
fn pause(number: u32, chance: u64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << number.min(16)).min(LONGEST_PAUSE);
    whole - whole / 2 * u32::from(chance.to_le_bytes()[0]) / 255
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_grow_and_stay_bounded(number: u32, chance: u64) {
            let pause = pause(number, chance);
            prop_assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE);
        }
    }

    #[test]
    fn pauses_double_and_chance_only_shortens_them() {
        let whole = [0, 1, 2, 3, 9].map(|number| pause(number, 0).as_millis());
        assert_eq!(whole, [25, 50, 100, 200, 1000]);
        assert_eq!(pause(9, u64::MAX).as_millis(), 500);
    }
}
