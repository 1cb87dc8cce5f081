//! Which way into a machine: its own agent where one answers, else SSH. Whoever runs something there asks here.

use std::time::Duration;

use winstead_guest::hand::{self, Hand, HandError, Ports, may_call_by_vsock};
use winstead_hypervisor::qemu::{self, HAND_SOCKETS, Ram, Vsock};
use winstead_spec::{GuestOs, MachineName};

use crate::{
    Engine, EngineError, MachineRecord, Phase, engine::unknown_machine, error::chain, observe::observe,
};

/// How long an agent may take before SSH is tried. It answers within milliseconds, in an emulated guest that does much else
/// within a second.
const QUICK: Duration = Duration::from_secs(3);
/// How long it may take when there is no other way.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

/// A machine's vsock, where it wants one, this computer has it, and we could call by it.
pub(crate) fn vsock(record: &MachineRecord, ram: Ram) -> Option<Vsock> {
    if !wants_vsock(record, ram) {
        return None;
    }
    let vsock = qemu::open_vsock().inspect_err(|error| tracing::debug!(%error, "machines have no vsock"));
    vsock.ok().filter(|_| may_call_by_vsock())
}

/// Not one whose memory is saved, or began as another's: what was saved with this device could not be started where there is
/// none. And no Windows: its agent does not listen there.
fn wants_vsock(record: &MachineRecord, ram: Ram) -> bool {
    record.image.agent && record.image.os == GuestOs::Linux && ram == Ram::Own
}

/// A way into a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Its own agent, which needs no network there.
    Agent,
    /// SSH.
    Ssh,
}

impl Engine {
    /// A running machine's agent, if that is the way into it; `None`: SSH. Without `via` it is the agent where one answers
    /// soon.
    ///
    /// # Errors
    /// When there is no such machine, it does not run, or its agent is asked for and not there.
    pub async fn hand(&self, machine: &MachineName, via: Option<Via>) -> Result<Option<Hand>, EngineError> {
        match via {
            Some(Via::Ssh) => Ok(None),
            Some(Via::Agent) => Ok(Some(self.agent(machine).await?)),
            None => self.quick(machine).await,
        }
    }

    async fn quick(&self, machine: &MachineName) -> Result<Option<Hand>, EngineError> {
        let Some(ports) = self.ports(machine).await? else { return Ok(None) };
        match reach(&ports, QUICK).await {
            Ok(hand) => Ok(Some(hand)),
            Err(error) => {
                let error = chain(&error);
                tracing::info!(machine = %machine, error, "by ssh, because its agent does not answer");
                Ok(None)
            }
        }
    }

    /// A running machine's agent, waited for with patience.
    ///
    /// # Errors
    /// When there is no such machine, it does not run, or its agent is not there.
    pub(crate) async fn agent(&self, machine: &MachineName) -> Result<Hand, EngineError> {
        Ok(reach(&self.agent_ports(machine).await?, PATIENT).await?)
    }

    /// The ports of a running machine's agent.
    ///
    /// # Errors
    /// When there is no such machine, it does not run, or has no agent.
    pub(crate) async fn agent_ports(&self, machine: &MachineName) -> Result<Ports, EngineError> {
        let ports = self.ports(machine).await?;
        ports.ok_or_else(|| EngineError::NoAgent { machine: machine.clone() })
    }

    /// The ports of a running machine's agent; `None` when its QEMU has none.
    async fn ports(&self, name: &MachineName) -> Result<Option<Ports>, EngineError> {
        let Some(entry) = self.journal.machine(name).await? else {
            let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
            return Err(unknown_machine(name, &observed));
        };
        let running = entry.record.process.filter(|process| process.is_alive());
        let Some(qemu) = running.filter(|_| entry.phase != Phase::Held) else {
            let state = format!("{}, {}", entry.phase, entry.message);
            return Err(EngineError::NotRunning { machine: name.clone(), state });
        };
        let Some(config) = entry.record.qemu.filter(|config| config.agent) else { return Ok(None) };
        let run = self.home.run(name);
        Ok(Some(Ports {
            machine: name.to_string(),
            sockets: HAND_SOCKETS.iter().map(|socket| run.join(socket)).collect(),
            locks: self.home.machine(name),
            vsock: config.vsock.map(|cid| hand::Vsock { cid, key: self.home.host_key(name) }),
            qemu: Some(qemu),
        }))
    }
}

/// Reaches an agent, and says by which way.
async fn reach(ports: &Ports, limit: Duration) -> Result<Hand, HandError> {
    let hand = ports.reach(limit).await?;
    tracing::info!(machine = ports.machine, way = hand.way(), "by its agent");
    Ok(hand)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn linux_machines_with_an_agent_want_vsock_unless_their_memory_is_anothers() {
        let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
        assert!(!wants_vsock(&record, Ram::Own));
        record.image.agent = true;
        assert!(wants_vsock(&record, Ram::Own));
        assert!(!wants_vsock(&record, Ram::Shared) && !wants_vsock(&record, Ram::Saved));
        record.image.os = GuestOs::Windows;
        assert!(!wants_vsock(&record, Ram::Own));
    }
}
