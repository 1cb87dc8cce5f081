//! What an agent says of its computer: its clock, and whether it has come back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Status;
use winstead_protocol::v1::{ClockRequest, HelloRequest, HelloResponse, RebootRequest};

use crate::{Connection, chain};

/// Pauses between two questions whether a computer is back.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long such a question may take: one that is under way when the computer goes down is never answered.
const ANSWER: Duration = Duration::from_secs(10);

/// Two clocks, compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// How much the agent's clock is ahead of ours, in nanoseconds; negative: it is behind.
    pub ahead_nanos: i64,
    /// How wrong that may be, either way: half of what question and answer took.
    pub error: Duration,
}

impl Clocks {
    /// From our clock before and after a question, and the agent's in between: nobody knows when on the way it was read,
    /// so the middle is taken. Pure.
    #[must_use]
    pub fn compare(before: Duration, theirs: i64, after: Duration) -> Self {
        let half = after.saturating_sub(before) / 2;
        let middle = i64::try_from((before + half).as_nanos()).unwrap_or(i64::MAX);
        Self { ahead_nanos: theirs.saturating_sub(middle), error: half }
    }
}

/// A computer that did not come back. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum RebootError {
    /// It was not restarted.
    #[error("have the computer restarted: {:?}: {:?}", .0.code(), .0.message().chars().take(500).collect::<String>())]
    Refused(Status),
    /// It did not come back in time.
    #[error("see the computer again within {0:?}: {1}")]
    Away(Duration, String),
}

// Not as a cause: its text is in ours, made harmless.
impl From<Status> for RebootError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl AsRef<Self> for Connection {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Connection {
    /// Asks who is there.
    ///
    /// # Errors
    /// As the agent has them.
    pub async fn hello(&self) -> Result<HelloResponse, Status> {
        let hello = HelloRequest { version: env!("CARGO_PKG_VERSION").to_owned() };
        Ok(self.agent().hello(hello).await?.into_inner())
    }

    /// Compares the agent's clock with ours; the best of some questions.
    ///
    /// # Errors
    /// As the agent has them.
    pub async fn clocks(&self) -> Result<Clocks, Status> {
        let mut best: Option<Clocks> = None;
        for _ in 0..3 {
            let before = now();
            let answer = self.agent().clock(ClockRequest {}).await?;
            let found = Clocks::compare(before, answer.get_ref().unix_nanos, now());
            best = Some(best.filter(|best| best.error <= found.error).unwrap_or(found));
        }
        best.ok_or_else(|| Status::internal("no answer"))
    }

    /// Restarts the agent's computer, and returns the boot that is over then.
    ///
    /// # Errors
    /// As the agent has them.
    pub async fn reboot(&self) -> Result<String, Status> {
        Ok(self.agent().reboot(RebootRequest {}).await?.into_inner().boot_id)
    }
}

/// Waits until an agent answers from another boot than `old`, at most `limit`, and returns which. `connect` makes a new
/// connection each time, which is kept for one question, and says itself how long that may take.
///
/// # Errors
/// [`RebootError::Away`] with what was last seen.
pub async fn come_back<F, C, E>(
    old: &str,
    limit: Duration,
    mut connect: impl FnMut() -> F,
) -> Result<String, RebootError>
where
    F: Future<Output = Result<C, E>>,
    C: AsRef<Connection>,
    E: std::error::Error,
{
    let mut last = "nobody answers".to_owned();
    let asked = async {
        loop {
            match boot(connect().await).await {
                Ok(boot) if boot != old && !boot.is_empty() => return boot,
                Ok(_) => last = "it is still the same boot".to_owned(),
                Err(seen) => last = seen,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(boot) => Ok(boot),
        Err(_) => Err(RebootError::Away(limit, last)),
    }
}

async fn boot<C: AsRef<Connection>>(connection: Result<C, impl std::error::Error>) -> Result<String, String> {
    let connection = connection.map_err(|error| chain(&error))?;
    match tokio::time::timeout(ANSWER, connection.as_ref().hello()).await {
        Ok(Ok(hello)) => Ok(hello.boot_id),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer after {ANSWER:?}")),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectError;

    #[test]
    fn a_clock_is_as_wrong_as_it_is_and_no_more_sure_than_half_the_way() {
        let second = Duration::from_secs(1);
        let clocks = Clocks::compare(second, 5_000_000_000, second + Duration::from_millis(20));
        assert_eq!(clocks, Clocks { ahead_nanos: 3_990_000_000, error: Duration::from_millis(10) });
        // A clock of ours that was put back meanwhile is no reason to panic.
        let odd = Clocks::compare(second, i64::MIN, Duration::ZERO);
        assert_eq!(odd.error, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_computer_that_does_not_come_back_is_given_up_with_what_was_last_seen() {
        let nobody = || async {
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            Err::<Connection, _>(ConnectError::Unreachable { address: "a".to_owned(), source })
        };
        let error = come_back("x", Duration::from_secs(5), nobody).await.expect_err("nobody");
        assert_eq!(
            error.to_string(),
            "see the computer again within 5s: reach the agent at a: connection refused"
        );
    }
}
