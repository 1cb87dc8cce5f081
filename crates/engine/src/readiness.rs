//! Waiting for a machine: its answer raced against its death, a kernel panic, the supervisor's word, a deadline
//! and the user's patience. On failure it says what was last seen.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;
use winstead_guest::{
    agent::{Agent, Limits},
    console, ssh,
};
use winstead_hypervisor::qemu;
use winstead_process::ProcessId;
use winstead_spec::Probe;

use crate::{EngineError, MachineRecord, Phase, error::chain, journal::Journal, reach};

/// How often cheap things are looked at: a process's life, the journal's version.
const GLANCE: Duration = Duration::from_millis(200);
/// How often a guest is asked while it does not answer: seldom, for each question costs it CPU.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// One question to the guest agent: while it is not started nobody answers, and then it is asked anew.
const AGENT: Limits =
    Limits { connect: Duration::from_secs(10), answer: Duration::from_secs(10), line: 64 * 1024 };

/// A machine that is being waited for.
pub(crate) struct Wait<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) record: &'a MachineRecord,
    pub(crate) process: ProcessId,
    /// QEMU's working folder.
    pub(crate) run: PathBuf,
    /// QEMU's own output.
    pub(crate) log: PathBuf,
    /// How much of the console was there before what is waited for began.
    pub(crate) seen: u64,
    pub(crate) stop: &'a CancellationToken,
}

impl Wait<'_> {
    /// Returns how the machine answered: `ssh answers`.
    pub(crate) async fn until_ready(&self) -> Result<&'static str, EngineError> {
        let probing = self.stop.child_token();
        let mut probe = Box::pin(self.probe(&probing));
        tokio::select! {
            answer = &mut probe => answer.map_err(|_| EngineError::Interrupted),
            end = self.end(&probing) => {
                probing.cancel();
                let last_seen = probe.await.err().unwrap_or_default();
                Err(with_last_seen(end, last_seen))
            }
        }
    }

    /// Returns what `work`, for which the machine has to run, comes to, unless something ends the machine's run.
    pub(crate) async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> Result<T, EngineError> {
        let watching = self.stop.child_token();
        let _watching = watching.clone().drop_guard();
        tokio::select! {
            done = work => Ok(done),
            fate = self.fate(&watching) => Err(fate),
        }
    }

    /// Returns why waiting longer is no use.
    async fn end(&self, stop: &CancellationToken) -> EngineError {
        let after = self.record.ready.deadline.duration();
        let late =
            || EngineError::NotReady { machine: self.record.name.clone(), after, last_seen: String::new() };
        tokio::select! {
            fate = self.fate(stop) => fate,
            () = tokio::time::sleep(after) => late(),
        }
    }

    /// Returns what ended the machine's run: its kernel, its QEMU, the supervisor or the user.
    async fn fate(&self, stop: &CancellationToken) -> EngineError {
        let machine = self.record.name.clone();
        let failed = |machine, reason| EngineError::MachineFailed { machine, reason };
        let console = self.run.join("console.log");
        tokio::select! {
            Some(panic) = console::wait_for_panic(&console, self.seen, stop) => {
                failed(machine, panic.verdict())
            }
            reason = self.death() => failed(machine, reason),
            verdict = self.verdict() => verdict.unwrap_or_else(|error| error),
            () = self.stop.cancelled() => EngineError::Interrupted,
        }
    }

    /// Asks the machine until it answers; fails only when `stop` is cancelled, with what was last seen.
    async fn probe(&self, stop: &CancellationToken) -> Result<&'static str, String> {
        match self.record.ready.probe {
            Probe::Started => Ok("QEMU runs"),
            Probe::Agent => {
                let ping = || async {
                    let socket = self.run.join("agent.sock");
                    let mut agent = Agent::connect_within(&socket, AGENT, stop).await.map_err(said)?;
                    agent.ping().await.map_err(said)
                };
                ask(stop, ping).await?;
                Ok("the guest agent answers")
            }
            Probe::Ssh => {
                self.answer_of_ssh(stop).await?;
                Ok("ssh answers")
            }
        }
    }

    /// Waits for SSH. On a bridge of others it may have another address than the last time: what the host remembers
    /// counts only until it learns better.
    async fn answer_of_ssh(&self, stop: &CancellationToken) -> Result<(), String> {
        loop {
            let address = ask(stop, || self.address(stop)).await?;
            tokio::select! {
                answer = ssh::wait_for_banner(address, || self.handshake(address), stop) => {
                    return answer.map(drop).map_err(|wait| wait.last_seen);
                }
                () = self.moved_from(address, stop) => {}
            }
        }
    }

    /// What became of a connection that QEMU forwards.
    async fn handshake(&self, address: SocketAddr) -> ssh::Handshake {
        match qemu::handshake(self.process, &self.run, address.port()).await {
            qemu::Handshake::Unknown => ssh::Handshake::Unknown,
            qemu::Handshake::Absent => ssh::Handshake::Absent,
            qemu::Handshake::Pending => ssh::Handshake::Pending,
            qemu::Handshake::Accepted => ssh::Handshake::Accepted,
        }
    }

    /// Returns when the machine is known to have another address.
    async fn moved_from(&self, old: SocketAddr, stop: &CancellationToken) {
        if reach::existing_bridge(self.record).is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            if self.address(stop).await.is_ok_and(|address| address != old) {
                return;
            }
        }
    }

    /// Where SSH will answer; on a bridge of others, as soon as the machine has an address there.
    async fn address(&self, stop: &CancellationToken) -> Result<SocketAddr, String> {
        let mut found = reach::ssh(self.record, stop).await.map_err(said)?;
        if found.is_none() && reach::existing_bridge(self.record).is_some() {
            found = reach::told(self.record, &self.run.join("agent.sock"), stop).await;
        }
        let unknown = || format!("no address is known for {} yet", self.record.mac);
        found.map(SocketAddr::from).ok_or_else(unknown)
    }

    /// Returns when QEMU is gone, with its last words.
    async fn death(&self) -> String {
        while self.process.is_alive() {
            tokio::time::sleep(GLANCE).await;
        }
        format!("its QEMU ended: {}", last_words(&self.log))
    }

    /// Returns when somebody else, which is the supervisor, held or failed the machine.
    async fn verdict(&self) -> Result<EngineError, EngineError> {
        let mut version = None;
        loop {
            let now = self.journal.data_version().await?;
            if version != Some(now) {
                version = Some(now);
                let entry = self.journal.machine(&self.record.name).await?;
                if let Some(entry) = entry.filter(|entry| matches!(entry.phase, Phase::Held | Phase::Failed))
                {
                    let (machine, reason) = (self.record.name.clone(), entry.message);
                    return Ok(match entry.phase {
                        Phase::Held => EngineError::Held { machine, reason },
                        _ => EngineError::MachineFailed { machine, reason },
                    });
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// The end of QEMU's own output.
pub(crate) fn last_words(log: &std::path::Path) -> String {
    let words = winstead_process::last_words(log, 0, 2);
    if words.is_empty() { "it said nothing".to_owned() } else { words }
}

/// Asks once a second until the question is answered or `stop` is cancelled, then with the last failure.
async fn ask<T, F: Future<Output = Result<T, String>>>(
    stop: &CancellationToken,
    question: impl Fn() -> F,
) -> Result<T, String> {
    let mut last_seen = "no answer yet".to_owned();
    let answered = async {
        loop {
            match question().await {
                Ok(answer) => return answer,
                Err(seen) => last_seen = seen,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        answer = answered => Ok(answer),
        () = stop.cancelled() => Err(last_seen),
    }
}

fn said(error: impl std::error::Error) -> String {
    chain(&error)
}

fn with_last_seen(error: EngineError, seen: String) -> EngineError {
    match error {
        EngineError::NotReady { machine, after, .. } => {
            EngineError::NotReady { machine, after, last_seen: seen }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_question_that_nobody_answers_with_what_was_last_seen() {
        let stop = CancellationToken::new();
        let asked = std::cell::Cell::new(0);
        let question = || {
            asked.set(asked.get() + 1);
            let first = asked.get() == 1;
            async move { if first { Err::<(), _>("refused".to_owned()) } else { std::future::pending().await } }
        };
        let stopping = async {
            tokio::time::sleep(ASK_AGAIN * 5).await;
            stop.cancel();
        };
        let (answer, ()) = tokio::join!(ask(&stop, question), stopping);
        assert_eq!((answer, asked.get()), (Err("refused".to_owned()), 2));
    }

    #[test]
    fn causes_are_told() {
        let failure = winstead_guest::agent::AgentFailure::Closed;
        let error =
            winstead_guest::agent::AgentError { socket: "/s".into(), command: "connect".into(), failure };
        assert_eq!(said(error), "call connect of the guest agent at /s: keep the connection: it was closed");
    }
}
