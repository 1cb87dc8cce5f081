//! The probe while it works: started, listened to, ended, and its answer judged.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;
use winstead_engine::chain;

use crate::{
    error::BenchError,
    launch::{Launch, Running},
};

/// What a probe says when it is prepared (`--barrier`).
const READY: &str = "winstead-probe: ready";

/// The most that a probe may say: a result is some kilobytes.
const LONGEST: u64 = 16 << 20;
/// Of a line beside that, more is for nobody to read.
const LONGEST_LINE: usize = 4 << 10;
/// Of these lines, the last are kept.
const LAST_WORDS: usize = 4;

/// A probe that was asked to end may need this long to remove its files.
const GRACE: Duration = Duration::from_secs(10);

/// A probe that works. Dropping it ends it.
pub(crate) struct Call {
    running: Running,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
}

/// Starts a probe.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(launch: &Launch) -> Result<(Call, Said), String> {
    let started = launch.start().map_err(|error| format!("the probe could not be started: {error}"));
    let (running, ends) = started?;
    let said = Said { from: BufReader::new(ends.stderr), line: Vec::new(), last: Vec::new() };
    Ok((Call { running, stdin: ends.stdin, stdout: ends.stdout }, said))
}

/// Runs a probe to its end. After `limit`, and when `stop` is cancelled, it is asked to end, so that it removes its
/// files, and killed when it does not.
///
/// In a machine its agent does so, without an answer. By SSH it hears nothing of that: only `ssh` ends, and OpenSSH's server
/// tells a command without a terminal nothing; it measures to its end, cannot say what it found, and removes its files.
///
/// # Errors
/// When it gives no result, or not in time.
///
/// Cancel safety: dropping it kills the probe, which leaves its files; cancel `stop` instead.
pub(crate) async fn run(
    launch: &Launch,
    limit: Duration,
    stop: &CancellationToken,
) -> Result<Value, BenchError> {
    let (call, mut said) = start(launch).map_err(BenchError::NoResult)?;
    let group = call.running.group();
    {
        let mut end = std::pin::pin!(call.end(&mut said));
        tokio::select! {
            ended = &mut end => return ended.map_err(BenchError::NoResult),
            () = tokio::time::sleep(limit) => {}
            () = stop.cancelled() => {}
        }
        if let Some(group) = group {
            group.signal(Signal::TERM);
            if tokio::time::timeout(GRACE, &mut end).await.is_err() {
                tracing::warn!(
                    "the probe did not end and was killed: its folder winstead-probe-… may be left"
                );
                group.signal(Signal::KILL);
                // One that waits for a broken disk stays whatever is done: it is not waited for without end.
                tokio::time::timeout(GRACE, end).await.ok();
            }
        }
    }
    tracing::info!(said = said.words(), "the probe was told to end");
    Err(match stop.is_cancelled() {
        true => BenchError::Interrupted,
        false => BenchError::TooLong { limit, said: said.words() },
    })
}

impl Call {
    /// Tells a prepared probe to begin. One that has ended meanwhile says so by its status.
    pub(crate) async fn begin(&mut self) {
        let told = async {
            self.stdin.write_all(b"\n").await?;
            self.stdin.flush().await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "a probe was not told to begin");
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When there is no result.
    pub(crate) async fn end(mut self, said: &mut Said) -> Result<Value, String> {
        let mut answer = Vec::new();
        let read = async {
            // One that says more finds its output closed, and ends.
            let mut stdout = self.stdout.take(LONGEST);
            stdout.read_to_end(&mut answer).await
        };
        let (read, ()) = tokio::join!(read, said.listen());
        match (read.map_err(|error| error.to_string()), self.running.wait().await) {
            (Ok(_), Ok(status)) => judge(&answer, &status, said),
            (Err(error), _) | (_, Err(error)) => Err(format!("the probe was lost: {error}{}", said.words())),
        }
    }
}

/// A probe that lost its disk says what it measured until then, and ends with an error: a result all the same.
fn judge(answer: &[u8], status: &str, said: &Said) -> Result<Value, String> {
    let Ok(value) = serde_json::from_slice(answer) else {
        return Err(format!("the probe ended without a result ({status}){}", said.words()));
    };
    match winstead_measurement::probe::read(&value) {
        Ok(_) => Ok(value),
        Err(error) => Err(format!("the probe's result cannot be used: {}", chain(&error))),
    }
}

/// What a probe says on standard error.
pub(crate) struct Said {
    from: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    /// The line that has not ended yet.
    line: Vec<u8>,
    last: Vec<String>,
}

impl Said {
    /// Whether it came to be ready; else it has ended.
    pub(crate) async fn until_ready(&mut self) -> bool {
        while let Some(line) = self.next_line().await {
            if line.trim_end() == READY {
                return true;
            }
            self.keep(line);
        }
        false
    }

    async fn listen(&mut self) {
        while let Some(line) = self.next_line().await {
            self.keep(line);
        }
    }

    /// The next line, cut where it is too long: guests say what they like, in any encoding and without an end.
    async fn next_line(&mut self) -> Option<String> {
        loop {
            let mut some = (&mut self.from).take(LONGEST_LINE as u64);
            let read = some.read_until(b'\n', &mut self.line).await.ok()?;
            let has_ended = read == 0 || self.line.ends_with(b"\n");
            self.line.truncate(LONGEST_LINE);
            if has_ended {
                let line = std::mem::take(&mut self.line);
                return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }

    fn keep(&mut self, line: String) {
        self.last.push(line);
        if self.last.len() > LAST_WORDS {
            self.last.remove(0);
        }
    }

    /// Its last words, to stand behind what happened to it.
    pub(crate) fn words(&self) -> String {
        let unfinished = String::from_utf8_lossy(&self.line);
        let unfinished = Some(unfinished.trim_end()).filter(|line| !line.is_empty());
        let words: Vec<&str> = self.last.iter().map(String::as_str).chain(unfinished).collect();
        if words.is_empty() { String::new() } else { format!("; it said: {}", words.join(" / ")) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use winstead_process::Command;

    use super::*;

    /// A result of the probe.
    pub(crate) const RESULT: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../measurement/tests/probe-result-v1.json");

    fn result() -> Value {
        serde_json::from_str(include_str!("../../measurement/tests/probe-result-v1.json")).expect("JSON")
    }

    async fn call(script: &str, limit: Duration, stop: &CancellationToken) -> Result<Value, BenchError> {
        run(&Command::new("sh").args(["-c", script]).into(), limit, stop).await
    }

    async fn in_time(script: &str) -> Result<Value, String> {
        let found = call(script, Duration::from_secs(60), &CancellationToken::new()).await;
        found.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_result_counts_whatever_the_status_is() {
        assert_eq!(in_time(&format!("cat {RESULT}; exit 1")).await, Ok(result()));
    }

    #[tokio::test]
    async fn json_that_is_no_result_is_a_failure() {
        let said = in_time("echo '{\"kind\": \"Pool\"}'").await.expect_err("no result");
        assert_eq!(
            said,
            "measure: the probe's result cannot be used: its kind is \"Pool\", not \"ProbeResult\""
        );
        let said = in_time("echo '{\"kind\": \"ProbeResult\"}'").await.expect_err("no result");
        assert!(said.contains("it cannot be read as a ProbeResult: missing field"), "{said}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let said = in_time("yes").await.expect_err("no result");
        assert!(said.starts_with("measure: the probe ended without a result"), "{said}");
    }

    /// Says so when it has been asked to end, in a file, as only one that was not killed can.
    fn tidy(folder: &std::path::Path) -> String {
        let (begun, tidied) = (folder.join("begun"), folder.join("tidied"));
        format!(
            "trap 'touch {tidied}; cat {RESULT}; exit 130' TERM; echo \"it's slow\" >&2; touch {begun}
            while :; do sleep 0.05; done",
            tidied = tidied.display(),
            begun = begun.display()
        )
    }

    #[tokio::test]
    async fn an_interrupted_probe_can_remove_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, begun) = (CancellationToken::new(), folder.path().join("begun"));
        let interrupt = async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stop.cancel();
        };
        let script = tidy(folder.path());
        let (found, ()) = tokio::join!(call(&script, Duration::from_secs(60), &stop), interrupt);
        assert!(matches!(found, Err(BenchError::Interrupted)), "{found:?}");
        assert!(folder.path().join("tidied").exists(), "it was killed");
    }

    #[tokio::test]
    async fn so_can_one_whose_time_is_over_and_its_last_words_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = call(&tidy(folder.path()), Duration::from_secs(2), &CancellationToken::new()).await;
        let said = found.expect_err("too long").to_string();
        assert!(
            said.starts_with("measure: the probe had not ended after 2s and was told to; it said: it's slow"),
            "{said}"
        );
        assert!(folder.path().join("tidied").exists(), "it was killed");
    }

    #[tokio::test]
    async fn a_probe_that_does_not_want_to_end_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, begun) = (CancellationToken::new(), folder.path().join("begun"));
        let interrupt = async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // From now on time passes as soon as everybody waits for it.
            tokio::time::pause();
            stop.cancel();
        };
        let script = format!(
            "trap '' TERM; sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; while :; do sleep 1; done",
            begun.display()
        );
        let (found, ()) = tokio::join!(call(&script, Duration::from_secs(60), &stop), interrupt);
        assert!(matches!(found, Err(BenchError::Interrupted)), "{found:?}");
        let child = fs_err::read_to_string(&begun).expect("its child");
        let status = format!("/proc/{}/stat", child.trim());
        let is_gone = || fs_err::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
        let until = std::time::Instant::now() + Duration::from_secs(20);
        tokio::time::resume();
        while !is_gone() {
            assert!(std::time::Instant::now() < until, "its child goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
