//! The part of the checklist on Windows that is about processes: what stands between an agent and a program.

use std::{
    error::Error,
    io,
    os::windows::io::AsHandle as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fs_err as fs;
use tokio::time::{sleep, timeout};
use winstead_agent_client::chain;

use crate::{
    access::Limits,
    selftest::{
        Outcome, Subject,
        platform::{SHELL, start},
    },
    supervision::{End, Event, Offsets, Order, Process, Settings, Supervisor, Terminal, keeps, named_signal},
    windows::{Job, signalled_within},
};

/// How long a program may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a program needs to be one that can be asked.
const BEGIN: Duration = Duration::from_secs(1);
/// `STATUS_CONTROL_C_EXIT`: what an event of its console ends a program with that does nothing about it.
const ASKED: End = End::Code(0xC000_013A_u32.cast_signed());

type Tried = Result<Outcome, Box<dyn Error + Send + Sync>>;

/// A folder of keepers that goes with this.
struct Place(PathBuf);

impl Place {
    fn new(what: &str) -> Self {
        Self(std::env::temp_dir().join(format!("winstead-selftest-{what}-{}", std::process::id())))
    }

    fn settings(&self, subject: &Subject) -> Settings {
        Settings::new(self.0.clone(), subject.program.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "something stays");
        }
    }
}

/// A program that does nothing until it is ended.
fn resting(subject: &Subject) -> Order {
    let program = subject.program.display().to_string();
    let arguments = ["selftest", "--rest"].map(str::to_owned).to_vec();
    Order { file: program.clone(), program, arguments, ..Order::default() }
}

/// The system's shell with these words.
fn shell(words: &[&str]) -> Order {
    let arguments = ["/c"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    Order { file: SHELL.into(), program: SHELL.into(), arguments, stdin: true, ..Order::default() }
}

/// A program that rests is asked to end, and ends by that.
pub(super) async fn asked_to_end(subject: &Subject) -> Outcome {
    let tried: Tried = async {
        let place = Place::new("ask");
        let supervisor = Supervisor::open(place.settings(subject)).await?;
        let process = supervisor.start(resting(subject)).await?;
        sleep(BEGIN).await;
        let stopped = supervisor.stop(process.id(), PATIENCE).await?;
        supervisor.close().await;
        Ok(Outcome::expect(&(stopped.end, stopped.forced), &(ASKED, false)))
    }
    .await;
    told(tried)
}

/// A shell waits for a key at its terminal, and then says how wide that is; programs that rest at theirs end by Ctrl-C, and
/// when it is closed.
pub(super) async fn at_a_terminal(subject: &Subject) -> Outcome {
    let tried: Tried = async {
        let place = Place::new("terminal");
        let supervisor = Supervisor::open(place.settings(subject)).await?;
        let terminal = Some(Terminal { columns: 80, rows: 24 });
        let order = Order { terminal, ..shell(&["pause&", "mode", "con&", "exit", "7"]) };
        let process = supervisor.start(order).await?;
        sleep(BEGIN).await;
        process.resize(Terminal { columns: 101, rows: 37 })?;
        sleep(BEGIN).await;
        let heard = timeout(PATIENCE, heard(&process)).await;
        supervisor.stop(process.id(), Duration::ZERO).await?;
        let (said, end) = heard??;
        let is_wide = said.windows(3).any(|digits| digits == b"101");
        let resting = Order { terminal, ..resting(subject) };
        let process = supervisor.start(resting.clone()).await?;
        sleep(BEGIN).await;
        process.signal(named_signal("INT").unwrap_or_default())?;
        let interrupted = timeout(PATIENCE, process.ended()).await;
        supervisor.stop(process.id(), Duration::ZERO).await?;
        let process = supervisor.start(resting).await?;
        sleep(BEGIN).await;
        let stopped = supervisor.stop(process.id(), PATIENCE).await?;
        supervisor.close().await;
        let found = (is_wide, end, interrupted?, stopped.end, stopped.forced);
        Ok(Outcome::expect(&found, &(true, End::Code(7), ASKED, ASKED, false)))
    }
    .await;
    told(tried)
}

/// A program that waits for a line outlives the one that looked after it, and the next one has its output and its code.
pub(super) async fn found_again(subject: &Subject) -> Outcome {
    let tried: Tried = async {
        let place = Place::new("find");
        let first = Supervisor::open(place.settings(subject)).await?;
        let order = shell(&["echo", "hello&", "pause&", "exit", "7"]);
        let id = first.start(order).await?.id().to_owned();
        let known = keeps(&place.0.join(&id));
        first.close().await;
        let next = Supervisor::open(place.settings(subject)).await?;
        let process = next.get(&id)?;
        let heard = timeout(PATIENCE, heard(&process)).await;
        next.stop(&id, Duration::ZERO).await?;
        next.close().await;
        let (said, end) = heard??;
        let said_it = said.starts_with(b"hello");
        Ok(Outcome::expect(&(known, said_it, end), &(true, true, End::Code(7))))
    }
    .await;
    told(tried)
}

async fn heard(process: &Arc<Process>) -> Result<(Vec<u8>, End), Box<dyn Error + Send + Sync>> {
    process.end_input().await?;
    let mut attachment = process.attach(Offsets::default())?;
    let mut said = Vec::new();
    loop {
        match attachment.next().await? {
            Event::Stdout { data, .. } => said.extend_from_slice(&data),
            Event::Stderr { .. } => {}
            Event::Ended(end) => return Ok((said, end)),
        }
    }
}

/// What is in a job can be in one of its own, too: a service's, a container's, a program's.
pub(super) fn job_in_a_job() -> io::Result<Outcome> {
    let (input, _open) = io::pipe()?;
    let (outer, inner) = (Job::new(&Limits::default())?, Job::new(&Limits::default())?);
    let program = start(Path::new(SHELL), &["/c", "pause"], &outer, &input)?;
    inner.assign(program.as_handle())?;
    drop(inner);
    let ended = signalled_within(program.as_handle(), PATIENCE)?;
    Ok(if ended { Outcome::Passed } else { Outcome::Failed("it outlives the inner job".to_owned()) })
}

fn told(tried: Tried) -> Outcome {
    tried.unwrap_or_else(|error| Outcome::Failed(format!("failed to {}", chain(&*error))))
}
