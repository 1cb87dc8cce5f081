//! What is open: who has how much of it, and what went through.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::metrics::counter::Counter;
use winstead_protocol::v1::{TunnelStatus, TunnelTarget};

use crate::{
    access::{Caller, Port, Protocol},
    metrics::Metrics,
};

/// The most there may be, and the longest waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Tunnels at the same time.
    pub all: usize,
    /// Of one caller: an account, in one container where there is one. Its processes count together.
    pub per_caller: usize,
    /// Until a port has answered.
    pub dial: Duration,
    /// How long nothing may go either way through a tunnel of datagrams, which nobody ever ends.
    pub datagrams_idle: Duration,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            all: 8192,
            per_caller: 4096,
            dial: Duration::from_secs(10),
            // RFC 4787, REQ-5: not less than two minutes for what is not known to be shorter.
            datagrams_idle: Duration::from_mins(2),
        }
    }
}

/// All tunnels of an agent.
#[derive(Debug)]
pub struct Registry {
    limits: TunnelLimits,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    port: Port,
    /// Whom it is counted for.
    owner: String,
    caller: String,
    opened: SystemTime,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// No more tunnels. Display is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There are as many as there may be.
    #[error("the agent has {0} tunnels open, and no more are allowed")]
    All(usize),
    /// The caller has as many as one may have.
    #[error("this caller has {0} tunnels open, and no more are allowed")]
    Caller(usize),
}

/// One tunnel's place among all; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
}

impl Registry {
    /// An empty one, that counts in `metrics`.
    #[must_use]
    pub fn new(limits: TunnelLimits, metrics: Metrics) -> Self {
        Self { limits, metrics, state: Mutex::default() }
    }

    /// What it allows.
    #[must_use]
    pub fn limits(&self) -> &TunnelLimits {
        &self.limits
    }

    /// Makes place for one more.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn admit(self: &Arc<Self>, caller: &Caller, port: &Port) -> Result<Place, Full> {
        let owner = caller.owner();
        let mut state = self.state();
        if state.open.len() >= self.limits.all {
            return Err(Full::All(self.limits.all));
        }
        if state.open.values().filter(|entry| entry.owner == owner).count() >= self.limits.per_caller {
            return Err(Full::Caller(self.limits.per_caller));
        }
        state.last += 1;
        let entry = Arc::new(Entry {
            id: state.last,
            port: port.clone(),
            owner,
            caller: caller.to_string(),
            opened: SystemTime::now(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        });
        state.open.insert(entry.id, Arc::clone(&entry));
        self.metrics.tunnels.inc();
        drop(state);
        Ok(Place { registry: Arc::clone(self), entry })
    }

    /// What is open, in the order of opening: the caller's own, or all.
    #[must_use]
    pub fn list(&self, caller: &Caller, all: bool) -> Vec<TunnelStatus> {
        let owner = caller.owner();
        let state = self.state();
        state.open.values().filter(|entry| all || entry.owner == owner).map(|entry| entry.status()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a map that is whole: each change is one insert or remove.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn status(&self) -> TunnelStatus {
        let since = self.opened.duration_since(UNIX_EPOCH).unwrap_or_default();
        TunnelStatus {
            id: self.id,
            target: Some(target(&self.port)),
            caller: self.caller.clone(),
            opened_unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl Place {
    /// The tunnel's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// What may take how long.
    #[must_use]
    pub fn limits(&self) -> &TunnelLimits {
        &self.registry.limits
    }

    /// The same place, to be counted from elsewhere: does not keep it.
    #[must_use]
    pub(super) fn counters(&self) -> Counters {
        Counters { entry: Arc::clone(&self.entry), all: self.registry.metrics.tunnel_bytes.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.state().open.remove(&self.entry.id);
        self.registry.metrics.tunnels.dec();
    }
}

/// Counts what goes through one tunnel.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    entry: Arc<Entry>,
    all: Counter,
}

impl Counters {
    /// From the caller to the port.
    pub(super) fn add_in(&self, bytes: usize) {
        self.entry.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.all.inc_by(bytes as u64);
    }

    /// What went from the caller to the port so far.
    pub(super) fn bytes_in(&self) -> u64 {
        self.entry.bytes_in.load(Ordering::Relaxed)
    }

    /// From the port to the caller.
    pub(super) fn add_out(&self, bytes: usize) {
        self.entry.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.all.inc_by(bytes as u64);
    }
}

fn target(port: &Port) -> TunnelTarget {
    let protocol = match port.protocol {
        Protocol::Tcp => winstead_protocol::v1::TunnelProtocol::Tcp,
        Protocol::Udp => winstead_protocol::v1::TunnelProtocol::Udp,
    };
    TunnelTarget { protocol: protocol.into(), host: port.host.clone(), port: port.number.into() }
}
