//! The commands, each with its answer.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::Instant;

use crate::agent::{
    Agent, AgentError, AgentFailure, Ended, Info, Interface,
    answers::{ExecStatus, Started},
};

/// How often a command that runs is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl Agent {
    /// Returns when the agent answers.
    ///
    /// # Errors
    /// See [`AgentFailure`]; also for all below.
    pub async fn ping(&mut self) -> Result<(), AgentError> {
        self.ask::<IgnoredAny>("guest-ping", &json!({})).await.map(drop)
    }

    /// Which agent it is and which commands it allows; asked once per connection.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn info(&mut self) -> Result<Info, AgentError> {
        if let Some(info) = &self.info {
            return Ok(info.clone());
        }
        let info: Info = self.ask("guest-info", &json!({})).await?;
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
        self.ask(command, &json!({})).await
    }

    /// The guest's clock, nanoseconds since 1970 (UTC).
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn time(&mut self) -> Result<i64, AgentError> {
        self.ask("guest-get-time", &json!({})).await
    }

    /// Runs a program in the guest, as the agent's user, which is root or SYSTEM, with `input` as its standard input, and
    /// returns how it ended. The input may hold secrets; the arguments may not: the guest lists them to everybody.
    ///
    /// # Errors
    /// [`AgentFailure::Refused`] where the guest forbids it (which is not asked for first: listing its commands costs an
    /// emulated agent a quarter of a second), [`AgentFailure::Silent`] when it does not end within `limit`: it goes on then.
    pub async fn run(
        &mut self,
        program: &str,
        arguments: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Ended, AgentError> {
        let command = "guest-exec";
        let until = Instant::now() + limit;
        let question = json!({
            "path": program, "arg": arguments, "capture-output": true, "input-data": BASE64_STANDARD.encode(input),
        });
        let Started { pid } = self.ask(command, &question).await?;
        loop {
            let status: ExecStatus = self.ask("guest-exec-status", &json!({"pid": pid})).await?;
            if status.exited {
                return Ok(status.into());
            }
            if Instant::now() > until {
                return Err(self.error(command, AgentFailure::Silent(limit)));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}
