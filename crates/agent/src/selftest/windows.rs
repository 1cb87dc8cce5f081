//! The checklist on Windows.

use std::{
    io,
    os::windows::io::AsHandle as _,
    path::Path,
    time::{Duration, Instant},
};

use tokio::net::windows::named_pipe::ClientOptions;
use tracing::Level;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};

use crate::{
    access::{Limits, Protocol},
    door::{ADMINISTRATORS_ONLY, Instances, Pipe, guest_port},
    folder::untrusted_writers,
    selftest::{Item, Outcome, Subject, network, processes},
    service::{self, Phase},
    windows::{
        self, ClientProcess, Descriptor, EventLog, FirewallRule, Job, Program, Started, Streams, is_wine,
        newest_event,
    },
};

/// What Windows answers when it lets somebody not in.
const REFUSED: [i32; 1] = [ERROR_ACCESS_DENIED.cast_signed()];
/// As a second first instance is refused.
const TAKEN: [i32; 2] = [ERROR_ACCESS_DENIED.cast_signed(), ERROR_PIPE_BUSY.cast_signed()];
/// How long a process may take to end or to be seen.
const PATIENCE: Duration = Duration::from_secs(10);
const MEMORY: u64 = 64 * 1024 * 1024;

type Check = (&'static str, &'static str, fn(&Subject) -> Outcome);

/// What Wine says yes to and does not do: it proves nothing there.
const NOT_BY_WINE: &[Check] = &[
    ("pipe rights", "who may not open a pipe is refused by Windows", |_| pipe_rights()),
    ("first instance", "nobody else can have a pipe of the same name", |_| first_instance()),
    ("remote clients", "a pipe is not reached over the network", |_| remote_clients()),
    ("job processes", "a job has no more processes than it may", |_| job_processes()),
    ("job memory", "a job has no more memory than it may", job_memory),
    ("event log", "what is written into the event log is there", |subject| event_log(&subject.service)),
    ("failure actions", "the service is started again when it fails", |subject| recovery(&subject.service)),
    ("state folder", "only the system and administrators write what the agent keeps", |subject| {
        folder(&subject.state)
    }),
    ("program folder", "only the system and administrators replace the agent", |subject| {
        subject.program.parent().map_or_else(|| Outcome::Skipped("it has none".to_owned()), folder)
    }),
    ("network cards", "the way to everywhere goes by a card that is known", |_| tried(network::cards())),
    ("route", "a route is added, once, and taken away", |_| tried(network::route())),
    ("container networks", "HNS tells its networks", |_| tried(network::hns())),
    ("signatures", "a program's signature counts when Windows trusts who signed it, and only then", |_| {
        tried(signatures())
    }),
    ("firewall", "a rule for a program's ports is made, is there, and is taken away", |subject| {
        firewall(&subject.program).unwrap_or_else(Outcome::from)
    }),
    ("facts", "all that a computer is asked about itself can be found out", |_| facts()),
];

/// Tries everything. What takes time is bounded.
pub async fn run(subject: &Subject) -> Vec<Item> {
    let wine = is_wine();
    let skipped = || Outcome::Skipped("this is Wine, which does not do it".to_owned());
    let mut items: Vec<Item> = NOT_BY_WINE
        .iter()
        .map(|(name, proves, try_it)| Item {
            name,
            proves,
            outcome: if wine { skipped() } else { try_it(subject) },
        })
        .collect();
    items.push(Item {
        name: "guest port",
        proves: "the host's port can be opened, as the agent does",
        // One program can have it open. A running agent has.
        outcome: match guest_port(0) {
            Some(_) => Outcome::Passed,
            None => Outcome::Skipped("there is no such port, or somebody has it open".to_owned()),
        },
    });
    items.push(Item {
        name: "job end",
        proves: "what a program started ends with its job",
        outcome: tried(job_end()),
    });
    items.push(Item {
        name: "job in a job",
        proves: "a program that is in one may have others of its own",
        outcome: tried(processes::job_in_a_job()),
    });
    items.push(Item {
        name: "next agent",
        proves: "a program outlives its agent, and its output and code wait for the next one",
        outcome: processes::found_again(subject).await,
    });
    items.push(Item {
        name: "ctrl-break",
        proves: "a program is asked to end before it is ended",
        outcome: if wine { skipped() } else { processes::asked_to_end(subject).await },
    });
    items.push(Item {
        name: "terminal",
        proves: "a program at a terminal has its keys and its size, hears Ctrl-C, and that its terminal is closed",
        outcome: if wine { skipped() } else { processes::at_a_terminal(subject).await },
    });
    items.push(Item {
        name: "service",
        proves: "the agent is installed and runs",
        outcome: installed(&subject.service).await,
    });
    items
}

fn tried(outcome: io::Result<Outcome>) -> Outcome {
    outcome.unwrap_or_else(Outcome::from)
}

fn own_pipe(what: &str) -> Pipe {
    let name = format!(r"\\.\pipe\winstead-selftest-{what}-{}", std::process::id());
    Pipe { name, messages: false, sddl: ADMINISTRATORS_ONLY.to_owned() }
}

fn pipe_rights() -> Outcome {
    // A refusal stands before what is allowed.
    let pipe = Pipe { sddl: "D:P(D;;GA;;;WD)(A;;GA;;;SY)".to_owned(), ..own_pipe("rights") };
    let name = pipe.name.clone();
    match Instances::open(pipe) {
        Ok(_door) => Outcome::refused(ClientOptions::new().open(name), &REFUSED),
        Err(error) => error.into(),
    }
}

fn first_instance() -> Outcome {
    let pipe = own_pipe("first");
    match Instances::open(pipe.clone()) {
        Ok(_door) => Outcome::refused(Instances::open(pipe), &TAKEN),
        Err(error) => error.into(),
    }
}

/// Through the computer's own file server, which Windows counts as the network.
fn remote_clients() -> Outcome {
    let pipe = own_pipe("remote");
    let name = pipe.name.replacen(r"\\.\", r"\\127.0.0.1\", 1);
    match Instances::open(pipe) {
        Ok(_door) => Outcome::refused(ClientOptions::new().open(name), &REFUSED),
        Err(error) => error.into(),
    }
}

/// One process may be in the job: the shell cannot start another one that would end with 7.
fn job_processes() -> Outcome {
    let limits = |processes| Limits { processes, ..Limits::default() };
    let shell = |limits: Limits| code(SHELL, &["/c", "cmd.exe /c exit 7"], &limits);
    match (shell(limits(None)), shell(limits(Some(1)))) {
        (Ok(7), Ok(7)) => Outcome::Failed("two processes were in a job for one".to_owned()),
        (Ok(7), Ok(_)) => Outcome::Passed,
        (Ok(code), Ok(_)) => Outcome::Failed(format!("without a limit it ended with {code}")),
        (Err(error), _) | (_, Err(error)) => error.into(),
    }
}

fn job_memory(subject: &Subject) -> Outcome {
    let allocate = (4 * MEMORY).to_string();
    let limits = |memory| Limits { memory, ..Limits::default() };
    let take = |limits: Limits| code(&subject.program, &["selftest", "--allocate", &allocate], &limits);
    match (take(limits(None)), take(limits(Some(winstead_spec::ByteSize::from_bytes(MEMORY))))) {
        (Ok(0), Ok(0)) => Outcome::Failed("it got four times as much as it may".to_owned()),
        (Ok(0), Ok(_)) => Outcome::Passed,
        (Ok(code), Ok(_)) => Outcome::Failed(format!("without a limit it ended with {code}")),
        (Err(error), _) | (_, Err(error)) => error.into(),
    }
}

/// A shell in a shell that waits for an input that does not come; both end when the job is closed.
fn job_end() -> io::Result<Outcome> {
    let (input, _open) = io::pipe()?;
    let job = Job::new(&Limits::default())?;
    start(SHELL, &["/c", "cmd.exe /c pause"], &job, &input)?;
    if !until(|| job.processes().is_ok_and(|all| all.len() >= 2)) {
        return Ok(Outcome::Failed("the second process did not come".to_owned()));
    }
    let all = job.processes()?.into_iter().map(ClientProcess::open).collect::<io::Result<Vec<_>>>()?;
    drop(job);
    let ended = until(|| all.iter().all(|process| !process.is_running()));
    Ok(if ended { Outcome::Passed } else { Outcome::Failed("some of it still runs".to_owned()) })
}

fn event_log(source: &str) -> Outcome {
    let written = (|| {
        let log = EventLog::open(source)?;
        let before = newest_event()?;
        log.write(Level::INFO, "winstead-agent selftest: this line proves that it can be written")?;
        Ok::<_, io::Error>(newest_event()? > before)
    })();
    match written {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Failed("it is not there".to_owned()),
        Err(error) => error.into(),
    }
}

fn recovery(name: &str) -> Outcome {
    match service::recovers(name) {
        Ok(Some(as_installed)) => Outcome::expect(&as_installed, &true),
        Ok(None) => Outcome::Skipped(format!("{name} is not installed")),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn folder(path: &Path) -> Outcome {
    if !path.exists() {
        return Outcome::Skipped(format!("there is no {} yet", path.display()));
    }
    match Descriptor::of_path(path).and_then(|descriptor| descriptor.sddl()) {
        Ok(sddl) => match untrusted_writers(&sddl, "") {
            writers if writers.is_empty() => Outcome::Passed,
            writers => {
                Outcome::Failed(format!("{} is changed by {}: {sddl}", path.display(), writers.join(", ")))
            }
        },
        Err(error) => error.into(),
    }
}

/// Wine asks nobody who vouches for a certificate.
fn signatures() -> io::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let stranger = folder.path().join("stranger.exe");
    fs_err::write(&stranger, windows::STRANGER)?;
    if windows::signer(&stranger).is_ok() {
        return Ok(Outcome::Failed("a program counts as signed that nobody vouches for".to_owned()));
    }
    // It has its signature in itself, where other parts of Windows have it in a catalog.
    let known = windows::signer(Path::new(r"C:\Windows\System32\ntoskrnl.exe"))?;
    let microsoft = known.subject.contains("O=Microsoft Corporation");
    Ok(if microsoft {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("Windows is signed by {}", known.subject))
    })
}

/// Wine's firewall takes rules and has none. The rule is for a port that nobody has.
fn firewall(program: &Path) -> io::Result<Outcome> {
    let rule = FirewallRule {
        name: format!("winstead-agent selftest {}", std::process::id()),
        description: "made by winstead-agent selftest, for a moment".to_owned(),
        group: "winstead-agent selftest".to_owned(),
        program: program.to_string_lossy().into_owned(),
        protocol: Protocol::Udp,
        ports: "1,3-4".to_owned(),
    };
    let found = || {
        let all = windows::rules_of(&rule.group)?;
        Ok::<_, io::Error>(all.into_iter().find(|other| other.name == rule.name))
    };
    windows::add_rule(&rule)?;
    let made = found();
    windows::remove_rule(&rule.name)?;
    match (made?, found()?) {
        (_, Some(_)) => Ok(Outcome::Failed("it stays".to_owned())),
        (made, None) => Ok(Outcome::expect(&made, &Some(rule.clone()))),
    }
}

/// Wine counts no starts, and has no licences.
fn facts() -> Outcome {
    if crate::facts::boot_id().is_empty() {
        return Outcome::Failed("Windows does not say which start of the computer this is".to_owned());
    }
    match crate::facts::gather() {
        Ok(facts) => Outcome::expect(&facts.unknown, &Vec::new()),
        Err(error) => error.into(),
    }
}

async fn installed(name: &str) -> Outcome {
    match service::status(name).await {
        Ok(status) if status.phase == Phase::NotInstalled => Outcome::Skipped(status.to_string()),
        Ok(status) => Outcome::expect(&status.phase, &Phase::Running),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

pub(super) const SHELL: &str = r"C:\Windows\System32\cmd.exe";

pub(super) fn start(
    file: impl AsRef<Path>,
    arguments: &[&str],
    job: &Job,
    input: &io::PipeReader,
) -> io::Result<Started> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let nowhere = fs_err::OpenOptions::new().write(true).open("NUL")?;
    let program = Program {
        file: file.as_ref(),
        arguments: &arguments,
        environment: &[],
        folder: Path::new(r"C:\Windows"),
        streams: Streams::Pipes([input.as_handle(), nowhere.file().as_handle(), nowhere.file().as_handle()]),
        account: None,
    };
    Started::start(&program, job)
}

/// Runs it to its end in a job.
fn code(file: impl AsRef<Path>, arguments: &[&str], limits: &Limits) -> io::Result<u32> {
    let job = Job::new(limits)?;
    start(file, arguments, &job, &io::pipe()?.0)?.wait()
}

fn until(there: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_wine_fakes_is_skipped_and_what_it_does_is_tried() {
        let here = std::env::current_exe().expect("a path");
        let nowhere = r"\\.\pipe\winstead-test-nowhere".into();
        let service = "winstead-test-nowhere".to_owned();
        let subject = Subject { runtime: nowhere, state: std::env::temp_dir(), service, program: here };
        let items = run(&subject).await;
        let outcome = |name: &str| &items.iter().find(|item| item.name == name).expect("an item").outcome;
        assert_eq!(outcome("job end"), &Outcome::Passed);
        assert_eq!(
            outcome("service"),
            &Outcome::Skipped("winstead-test-nowhere is not installed".to_owned())
        );
        if is_wine() {
            for (name, ..) in NOT_BY_WINE {
                assert!(matches!(outcome(name), Outcome::Skipped(why) if why.contains("Wine")), "{name}");
            }
        }
    }
}
