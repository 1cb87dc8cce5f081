//! The commands, each with its answer.

use serde::de::IgnoredAny;

use crate::agent::{Agent, AgentError, AgentFailure, Info, Interface};

impl Agent {
    /// Returns when the agent answers.
    ///
    /// # Errors
    /// See [`AgentFailure`]; also for all below.
    pub async fn ping(&mut self) -> Result<(), AgentError> {
        self.ask::<IgnoredAny>("guest-ping").await.map(drop)
    }

    /// Which agent it is and which commands it allows; asked once per connection.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn info(&mut self) -> Result<Info, AgentError> {
        if let Some(info) = &self.info {
            return Ok(info.clone());
        }
        let info: Info = self.ask("guest-info").await?;
        self.info = Some(info.clone());
        Ok(info)
    }

    /// The guest's network cards with their addresses.
    ///
    /// # Errors
    /// [`AgentFailure::Disabled`] where the guest forbids it.
    pub async fn network_interfaces(&mut self) -> Result<Vec<Interface>, AgentError> {
        let command = "guest-network-get-interfaces";
        if !self.info().await?.allows(command) {
            return Err(self.error(command, AgentFailure::Disabled));
        }
        self.ask(command).await
    }
}
