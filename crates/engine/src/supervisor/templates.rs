//! Templates that no machine stands on: each goes when its time is over, and earlier when the host needs its room.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, MachineName};

use crate::{
    EngineError, Home, HomeError,
    journal::{Journal, Snapshot},
    release,
};

/// The templates of a home that no machine stands on, those first that wait longest.
#[derive(Debug, Default)]
pub(super) struct Unused {
    waiting: Vec<Waiting>,
    /// What machines never get of the host's memory.
    reserve: ByteSize,
}

#[derive(Debug)]
struct Waiting {
    name: MachineName,
    since: Timestamp,
    until: Timestamp,
}

impl Unused {
    /// Those of `snapshot`.
    pub(super) async fn of(snapshot: &Snapshot, journal: &Journal) -> Result<Self, EngineError> {
        let waiting = snapshot.templates().filter_map(|template| {
            let (since, until) = (template.unused_since?, template.stays_until(&snapshot.pools)?);
            Some(Waiting { name: template.name().clone(), since, until })
        });
        let mut waiting: Vec<Waiting> = waiting.collect();
        waiting.sort_by_key(|template| template.since);
        let reserve =
            if waiting.is_empty() { ByteSize::default() } else { journal.host().await?.reserve.memory };
        Ok(Self { waiting, reserve })
    }

    /// Removes what is due, and returns whether it did. While a command works it waits: that one releases what is over at its
    /// end.
    pub(super) async fn remove_due(
        &self,
        home: &Home,
        journal: &Journal,
        stop: &CancellationToken,
    ) -> Result<bool, EngineError> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let available = winstead_store::host_memory().ok().map(|memory| memory.available);
        let given_up = self.given_up(available);
        if given_up.is_none() && !self.is_over(Timestamp::now()) {
            return Ok(false);
        }
        let _lock = match home.lock(Duration::ZERO).await {
            Err(HomeError::Busy { .. }) => return Ok(false),
            lock => lock?,
        };
        // A command that has ended just now may have started machines from one.
        let snapshot = journal.snapshot().await?;
        let unused = |name: &MachineName| Some(name) == given_up && !release::is_used(name, &snapshot);
        if let Some(template) = snapshot.templates().find(|template| unused(template.name())) {
            tracing::info!(template = %template.name(), "removed, because the host needs its room");
            release::remove_template(home, journal, template).await?;
        }
        release::unused(home, journal, stop).await.map(|_| true)
    }

    /// Whether the time of one is over.
    fn is_over(&self, now: Timestamp) -> bool {
        self.waiting.iter().any(|template| template.until <= now)
    }

    /// The one that waits longest, when the host has nothing left to give.
    fn given_up(&self, available: Option<ByteSize>) -> Option<&MachineName> {
        let is_short = available.is_some_and(|available| available <= self.reserve);
        self.waiting.first().filter(|_| is_short).map(|template| &template.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_goes_when_its_time_is_over_or_its_room_is_needed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let template = |name: &str, since, until| Waiting {
            name: name.parse().unwrap(),
            since: at(since),
            until: at(until),
        };
        let (first, second) = (template("a-0", 10, 100), template("b-0", 20, 50));
        let unused = Unused { waiting: vec![first, second], reserve: ByteSize::from_mib(1024) };
        assert_eq!([49, 50, 100].map(|now| unused.is_over(at(now))), [false, true, true]);
        let given_up = |mib| unused.given_up(Some(ByteSize::from_mib(mib))).map(ToString::to_string);
        assert_eq!(given_up(1025), None);
        assert_eq!(given_up(1024).as_deref(), Some("a-0"), "one at a time, for that may be enough");
        assert_eq!(unused.given_up(None), None, "what cannot be measured is not short");
    }
}
