//! What a machine's agent says of its computer, and its restart. Its words are cut and made harmless here.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use winstead_agent_client::{Clocks, Connection, RebootError, come_back};
use winstead_protocol::v1::{FactsRequest, FactsResponse};

use super::{Hand, HandError, HandFailure, Ports};

/// How long an answer may take: an emulated guest that boots meanwhile has other things to do.
const ANSWER: Duration = Duration::from_secs(20);
/// How long one attempt to reach an agent may take that is away.
const ATTEMPT: Duration = Duration::from_secs(5);
/// No name, version or address is longer.
const LONGEST: usize = 200;
/// No computer has more cards, addresses of one, or reasons for a restart that somebody would read.
const MOST: usize = 64;

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its version.
    pub version: String,
    /// Another after each start of the computer; empty where it does not say.
    pub boot_id: String,
}

/// What a computer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Its name.
    pub host_name: String,
    /// The system, as a person calls it.
    pub os_name: String,
    /// Linux: the kernel's release. Windows: the build.
    pub build: String,
    /// Windows: which update of that build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ubr: Option<u32>,
    /// Whole days until an evaluation's licence ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence_days_left: Option<i32>,
    /// Since its start.
    pub uptime_millis: u64,
    /// What it has.
    pub memory_bytes: u64,
    /// Processors.
    pub cpus: u32,
    /// Why it wants a restart; empty when it does not.
    pub pending_reboot: Vec<String>,
    /// Network cards.
    pub adapters: Vec<Adapter>,
    /// What Kubernetes needs of it.
    pub features: Vec<Feature>,
    /// What could not be found out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its addresses with the length of their prefix.
    pub addresses: Vec<String>,
    /// Whether it is up.
    pub up: bool,
}

/// Something that Kubernetes needs of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub present: bool,
    /// What was looked at.
    pub seen: String,
}

impl Hand {
    /// Asks who is there.
    ///
    /// # Errors
    /// See [`HandFailure`].
    pub async fn greeting(&self) -> Result<Greeting, HandError> {
        let asked = self.answered(self.agent().hello()).await;
        let hello = asked.map_err(|failure| self.error("be greeted".to_owned(), failure))?;
        Ok(Greeting { version: harmless(&hello.version), boot_id: hello.boot_id })
    }

    /// Asks what the computer says of itself.
    ///
    /// # Errors
    /// See [`HandFailure`].
    pub async fn facts(&self) -> Result<Facts, HandError> {
        let mut agent = self.agent().agent();
        let asked = self.answered(agent.facts(FactsRequest {})).await;
        let said = asked.map_err(|failure| self.error("be told the facts".to_owned(), failure))?;
        Ok(facts(said.into_inner()))
    }

    /// Compares the computer's clock with ours.
    ///
    /// # Errors
    /// See [`HandFailure`].
    pub async fn clocks(&self) -> Result<Clocks, HandError> {
        let asked = self.answered(self.agent().clocks()).await;
        asked.map_err(|failure| self.error("compare the clocks".to_owned(), failure))
    }

    /// Has the computer restarted, and returns the boot that is over then: for [`Ports::come_back`].
    ///
    /// # Errors
    /// See [`HandFailure`].
    pub async fn reboot(&self) -> Result<String, HandError> {
        let asked = self.answered(self.agent().reboot()).await;
        asked.map_err(|failure| self.error("have it restarted".to_owned(), failure))
    }

    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, HandFailure> {
        Ok(timeout(ANSWER, call).await.map_err(|_| HandFailure::Silent(ANSWER))??)
    }
}

impl AsRef<Connection> for Hand {
    fn as_ref(&self) -> &Connection {
        self.agent()
    }
}

impl Ports {
    /// Waits until the machine's agent answers from another boot than `old`, at most `limit`.
    ///
    /// # Errors
    /// [`RebootError::Away`] with what was last seen. Cancel safe.
    pub async fn come_back(&self, old: &str, limit: Duration) -> Result<String, RebootError> {
        come_back(old, limit, || self.reach(ATTEMPT)).await
    }
}

fn facts(said: FactsResponse) -> Facts {
    let adapters = said.adapters.into_iter().take(MOST).map(|adapter| Adapter {
        name: harmless(&adapter.name),
        mac: harmless(&adapter.mac),
        addresses: all_harmless(&adapter.addresses),
        up: adapter.up,
    });
    let features = said.features.into_iter().take(MOST).map(|feature| Feature {
        name: harmless(&feature.name),
        present: feature.present,
        seen: harmless(&feature.seen),
    });
    Facts {
        host_name: harmless(&said.host_name),
        os_name: harmless(&said.os_name),
        build: harmless(&said.build),
        ubr: said.ubr,
        licence_days_left: said.licence_days_left,
        uptime_millis: said.uptime_ms,
        memory_bytes: said.memory_bytes,
        cpus: said.cpus,
        pending_reboot: all_harmless(&said.pending_reboot),
        adapters: adapters.collect(),
        features: features.collect(),
        unknown: all_harmless(&said.unknown),
    }
}

fn all_harmless(texts: &[String]) -> Vec<String> {
    texts.iter().take(MOST).map(|text| harmless(text)).collect()
}

/// A guest's word in one line, cut, and with what would steer a terminal spelled out.
fn harmless(text: &str) -> String {
    let steers = |letter: char| letter.is_control() || letter.escape_debug().len() > 2;
    let spell = |letter: char| match steers(letter) {
        true => letter.escape_debug().to_string(),
        false => letter.to_string(),
    };
    text.chars().take(LONGEST).map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_guest_steer_no_terminal_and_fill_no_memory() {
        assert_eq!(harmless("Debian \"trixie\" – ä"), "Debian \"trixie\" – ä");
        assert_eq!(harmless("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(harmless(&"x".repeat(1_000_000)).len(), LONGEST);
        let adapters = vec![winstead_protocol::v1::Adapter::default(); 1000];
        let said = FactsResponse {
            adapters,
            pending_reboot: vec!["a\u{7}".to_owned(); 1000],
            ..FactsResponse::default()
        };
        let facts = facts(said);
        assert_eq!((facts.adapters.len(), facts.pending_reboot.len()), (MOST, MOST));
        assert_eq!(facts.pending_reboot[0], "a\\u{7}");
    }
}
