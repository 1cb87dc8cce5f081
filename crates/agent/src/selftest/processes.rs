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
    supervision::{End, Event, Offsets, Order, Process, Settings, Supervisor, keeps},
    windows::{Job, signalled_within},
};

/// How long a program may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a program needs to be one that can be asked.
const BEGIN: Duration = Duration::from_secs(1);
/// `STATUS_CONTROL_C_EXIT`: what Ctrl-Break ends a program with that does nothing about it.
const ASKED: u32 = 0xC000_013A;

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

/// A program that rests is asked to end, and ends by that.
pub(super) async fn asked_to_end(subject: &Subject) -> Outcome {
    let tried: Tried = async {
        let place = Place::new("ask");
        let supervisor = Supervisor::open(place.settings(subject)).await?;
        let program = subject.program.display().to_string();
        let arguments = ["selftest", "--rest"].map(str::to_owned).to_vec();
        let order = Order { file: program.clone(), program, arguments, ..Order::default() };
        let process = supervisor.start(order).await?;
        sleep(BEGIN).await;
        let stopped = supervisor.stop(process.id(), PATIENCE).await?;
        supervisor.close().await;
        Ok(Outcome::expect(&(stopped.end, stopped.forced), &(End::Code(ASKED.cast_signed()), false)))
    }
    .await;
    told(tried)
}

/// A program that waits for a line outlives the one that looked after it, and the next one has its output and its code.
pub(super) async fn found_again(subject: &Subject) -> Outcome {
    let tried: Tried = async {
        let place = Place::new("find");
        let first = Supervisor::open(place.settings(subject)).await?;
        let arguments = ["/c", "echo", "hello&", "pause&", "exit", "7"].map(str::to_owned).to_vec();
        let order =
            Order { file: SHELL.into(), program: SHELL.into(), arguments, stdin: true, ..Order::default() };
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
