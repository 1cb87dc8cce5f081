//! What makes a guest that was started from another one's memory itself: a list of steps for each operating system, run
//! by one interpreter before anything reaches the guest or is reached by it.
//!
//! A clone wakes up with everything that its template had in memory: name, keys, clock, random numbers. The lists are
//! data ([`tasks`]), so that they can be shown, pinned, and tested with one step left out.
//!
//! A guest runs them as one program, in the language that every one of its kind has: Perl on Linux, PowerShell on
//! Windows (whose list has not been run yet). Under emulation each further process costs a tenth of a second.

mod linux;
#[cfg(test)]
mod tests;
mod windows;

use std::time::Duration;

use jiff::Timestamp;
use ssh_key::rand_core::{OsRng, RngCore};
use tokio::time::Instant;
use winstead_spec::GuestOs;
use zeroize::Zeroizing;

use crate::{
    agent::{Agent, AgentError, Ended},
    hexadecimal,
    seed::{self, Identity, SeedError, SeedFile},
};

/// How long all steps together may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the guest's clock is asked for; the quickest answer counts.
const CLOCK_SAMPLES: usize = 3;

/// One step towards an identity of its own. What it does is said with each system's list; some are of one system only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The kernel's random number generator starts anew.
    Random,
    /// The clock goes on by what it stood still.
    Clock,
    /// What measured the clock's drift in the template forgets it (Windows).
    TimeService,
    /// The files of the seed: keys, who may log in; on Linux also names and network.
    Files,
    /// The host name.
    HostName,
    /// What programs read as this boot's identity and as the computer's (Linux).
    BootAndProduct,
    /// What programs read as the installation's identity (Windows).
    MachineGuid,
    /// By what an update server knows the computer (Windows).
    UpdateClient,
    /// What a DHCP server gave to somebody else is given up (Windows).
    Lease,
    /// The network card's address, and with it the DHCP identity.
    HardwareAddress,
    /// The SSH server starts with the keys that are the machine's own.
    SshServer,
    /// The system's log goes on as the machine's own: the journal (Linux), the event logs (Windows).
    Journal,
}

impl Step {
    /// The step as a person would say it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Random => "random numbers",
            Self::Clock => "clock",
            Self::TimeService => "time service",
            Self::Files => "files",
            Self::HostName => "host name",
            Self::BootAndProduct => "boot and product id",
            Self::MachineGuid => "machine GUID",
            Self::UpdateClient => "update client id",
            Self::Lease => "DHCP lease",
            Self::HardwareAddress => "hardware address",
            Self::SshServer => "SSH server",
            Self::Journal => "log",
        }
    }
}

/// A step, and what guests of one operating system run for it.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The step.
    pub step: Step,
    /// In the system's language.
    code: &'static str,
}

impl Task {
    const fn new(step: Step, code: &'static str) -> Self {
        Self { step, code }
    }
}

/// What guests of an operating system do to become themselves, in order.
#[must_use]
pub const fn tasks(os: GuestOs) -> &'static [Task] {
    match os {
        GuestOs::Linux => linux::TASKS,
        GuestOs::Windows => windows::TASKS,
    }
}

/// A clone that did not become itself: it must not be reached.
#[derive(Debug, thiserror::Error)]
pub enum SpecialiseError {
    /// Its files could not be made.
    #[error("make the guest's own identity")]
    Seed(#[from] SeedError),
    /// The agent did not do it.
    #[error("give the guest its own identity")]
    Agent(#[from] AgentError),
    /// A step failed.
    #[error("give the guest its own identity: {at}: {said:?}")]
    Step {
        /// The step; `?` when the guest did not say.
        at: String,
        /// The guest's words.
        said: String,
    },
}

/// What a clone's steps need to know.
struct Values<'a> {
    identity: &'a Identity,
    files: Vec<SeedFile>,
    /// Of this boot, for systems that have one.
    boot: [u8; 16],
    /// By how many nanoseconds its clock is behind ours.
    late: i64,
}

/// A program to run in the guest.
struct Call {
    program: &'static str,
    /// Everybody in the guest can read them: they hold no secret.
    arguments: Vec<String>,
    input: Zeroizing<Vec<u8>>,
}

/// Runs a guest's [`tasks`] in one that was started from its template's memory, whose clock runs again; tests leave one
/// step out. The guest must not be reachable before this has returned.
///
/// # Errors
/// See [`SpecialiseError`]; the guest is half of what it should be then.
pub async fn specialise(
    agent: &mut Agent,
    identity: &Identity,
    left_out: Option<Step>,
) -> Result<(), SpecialiseError> {
    // Nothing is asked of the guest before all values are known to be harmless.
    let files = seed::files(identity)?;
    let values = Values { identity, files, boot: random_uuid(), late: late(agent).await? };
    let tasks: Vec<Task> =
        tasks(identity.os).iter().filter(|task| Some(task.step) != left_out).copied().collect();
    let call = match identity.os {
        GuestOs::Linux => linux::call(&values, &tasks),
        GuestOs::Windows => windows::call(&values, &tasks),
    };
    let arguments: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
    let ended = agent.run(call.program, &arguments, &call.input, LIMIT).await?;
    if ended.code == Some(0) { Ok(()) } else { Err(failed(&ended)) }
}

/// A random UUID says so (RFC 9562, version 4), as the kernel's own does.
fn random_uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    OsRng.fill_bytes(&mut uuid);
    (uuid[6], uuid[8]) = (uuid[6] & 0x0f | 0x40, uuid[8] & 0x3f | 0x80);
    uuid
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let digits = hexadecimal(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// By how many nanoseconds the guest's clock is behind ours.
async fn late(agent: &mut Agent) -> Result<i64, AgentError> {
    let mut best: Option<(Duration, i64)> = None;
    for _ in 0..CLOCK_SAMPLES {
        let (begun, before) = (Instant::now(), Timestamp::now().as_nanosecond());
        let guest = agent.time().await?;
        let took = begun.elapsed();
        // The guest read its clock somewhere in between.
        let middle = before + i128::try_from(took.as_nanos() / 2).unwrap_or_default();
        let late = i64::try_from(middle - i128::from(guest)).unwrap_or(i64::MAX);
        if best.is_none_or(|(quickest, _)| took < quickest) {
            best = Some((took, late));
        }
    }
    Ok(best.map_or(0, |(_, late)| late))
}

/// The tasks one after the other, each in a block that begins with `open`, after its name, which a failure tells. Perl
/// and PowerShell write this alike.
fn blocks(tasks: &[Task], open: &str) -> String {
    tasks.iter().map(|task| format!("$at = '{:?}';\n{open}\n{}\n}}\n", task.step, task.code)).collect()
}

/// What the guest said of its failure: `failed at STEP: WORDS` on a line of its standard error. PowerShell may have
/// written there, too.
fn failed(ended: &Ended) -> SpecialiseError {
    let said = String::from_utf8_lossy(&ended.errors);
    let told = said.lines().find_map(|line| line.strip_prefix("failed at ")?.split_once(": "));
    let (at, said) = told.unwrap_or(("?", said.trim()));
    SpecialiseError::Step { at: at.to_owned(), said: said.trim().to_owned() }
}
