//! Where a machine's own agent is reached.

use winstead_guest::hand::Ports;
use winstead_hypervisor::qemu::HAND_SOCKETS;
use winstead_spec::MachineName;

use crate::{Engine, EngineError, Phase, engine::unknown_machine, observe::observe};

impl Engine {
    /// The ports of a running machine's agent; `None` when its QEMU has none.
    ///
    /// # Errors
    /// When there is no such machine, or it does not run.
    pub async fn ports(&self, name: &MachineName) -> Result<Option<Ports>, EngineError> {
        let Some(entry) = self.journal.machine(name).await? else {
            let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
            return Err(unknown_machine(name, &observed));
        };
        let running = entry.record.process.filter(|process| process.is_alive());
        let Some(qemu) = running.filter(|_| entry.phase != Phase::Held) else {
            let state = format!("{}, {}", entry.phase, entry.message);
            return Err(EngineError::NotRunning { machine: name.clone(), state });
        };
        if !entry.record.qemu.is_some_and(|config| config.agent) {
            return Ok(None);
        }
        let run = self.home.run(name);
        Ok(Some(Ports {
            machine: name.to_string(),
            sockets: HAND_SOCKETS.iter().map(|socket| run.join(socket)).collect(),
            locks: self.home.machine(name),
            qemu: Some(qemu),
        }))
    }
}
