//! From what a caller asks for to what is run: looked up, decided, and taken into the vault where the digest decides.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use tonic::Status;
use winstead_protocol::v1::{OnDisconnect, StartRequest, TerminalSize};
use winstead_spec::{ByteSize, PortRange, Sha256};

use crate::{
    access::{Access, Caller, Denied, Limits, MOST_PORTS, Port, Request, Run},
    supervision::{Kept, Order, Terminal, Vault, file_names, search_path},
};

/// More is refused: a system takes no more either (execve(2): 32 pages for one argument, 6 MiB for all).
const WORDS_BYTES: usize = 2 * 1024 * 1024;

/// Decides requests.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    access: Arc<Access>,
    vault: Vault,
}

impl Orders {
    pub(super) const fn new(access: Arc<Access>, vault: Vault) -> Self {
        Self { access, vault }
    }

    /// What is to be run for this caller.
    ///
    /// # Errors
    /// When they may not, or the request makes no sense.
    pub(super) async fn decide(&self, caller: &Caller, request: StartRequest) -> Result<Order, Status> {
        let on_disconnect = request.on_disconnect();
        let mut run = asked(&request)?;
        let wanted = digest(&request.sha256)?;
        let mut kept = None;
        // A digest that the caller names is of what is run, so that is taken in too.
        let first = match &wanted {
            None => self.access.decide(caller, Request::Run(&run)),
            Some(_) => Err(Denied::NeedsDigest),
        };
        let terms = match first {
            Err(Denied::NeedsDigest) => {
                let copy = self.take(&run.program).await?;
                if wanted.is_some_and(|wanted| wanted != copy.sha256) {
                    return Err(Status::failed_precondition(
                        "the program has another digest than the caller says",
                    ));
                }
                run.sha256 = Some(copy.sha256.clone());
                run.signer.clone_from(&copy.signer);
                kept = Some(copy);
                self.access.decide(caller, Request::Run(&run))
            }
            decided => decided,
        }?;
        let path = kept.map_or_else(|| run.program.clone(), |kept| kept.path);
        Ok(Order {
            file: path.display().to_string(),
            program: run.program.display().to_string(),
            arguments: run.arguments,
            environment: run.environment,
            folder: run.folder.map(|folder| folder.display().to_string()),
            account: terms.account,
            limits: terms.limits,
            keep: on_disconnect == OnDisconnect::Keep,
            stdin: request.stdin || request.terminal.is_some(),
            terminal: request.terminal.map(terminal),
            ports: Port::ranges(&run.ports),
            label: request.label,
            caller: caller.owner(),
        })
    }

    async fn take(&self, program: &Path) -> Result<Kept, Status> {
        let taken = self.vault.look_at(program, self.access.asks_for_signers()).await;
        taken.map_err(|error| Status::failed_precondition(super::processes::failed_to(&error)))
    }
}

/// What the policy looks at.
pub(crate) fn asked(request: &StartRequest) -> Result<Run, Status> {
    let words = request.arguments.iter().chain(&request.environment).chain([&request.program]);
    let bytes: usize = words.clone().map(|word| word.len() + 1).sum();
    if bytes > WORDS_BYTES {
        return Err(Status::invalid_argument("arguments and environment are longer than 2 MiB"));
    }
    let mut words = words.chain([&request.folder, &request.account, &request.label]);
    if words.any(|word| word.contains('\0')) {
        return Err(Status::invalid_argument("a zero byte is in no argument, name or folder"));
    }
    let environment = request.environment.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Status::invalid_argument("the environment is NAME=VALUE")),
    });
    let limits = request.limits.unwrap_or_default();
    let some = |number: u32| (number > 0).then_some(number);
    Ok(Run {
        program: program(&request.program, search_path())?,
        sha256: None,
        signer: None,
        arguments: request.arguments.clone(),
        environment: environment.collect::<Result<_, _>>()?,
        folder: absolute(&request.folder)?,
        account: Some(request.account.clone()).filter(|account| !account.is_empty()),
        limits: Limits {
            memory: (limits.memory_bytes > 0).then(|| ByteSize::from_bytes(limits.memory_bytes)),
            processes: some(limits.processes),
            cpu_milli: some(limits.cpu_milli),
        },
        ports: ports(&request.ports)?,
    })
}

/// What the program opens to others.
fn ports(asked: &[String]) -> Result<Vec<Port>, Status> {
    let mut ports = Vec::new();
    for text in asked {
        let range: PortRange = text.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        if ports.len() + range.numbers.len() > MOST_PORTS {
            return Err(Status::invalid_argument(format!("more than {MOST_PORTS} ports")));
        }
        ports.extend(Port::each(&range));
    }
    Ok(ports)
}

/// An absolute path as it is, or a name in one of `folders`.
fn program(asked: &str, folders: &[&str]) -> Result<PathBuf, Status> {
    let path = Path::new(asked);
    if path.is_absolute() {
        return absolute(asked)?.ok_or_else(|| Status::invalid_argument("no program is named"));
    }
    let mut parts = path.components();
    let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
        return Err(Status::invalid_argument("a program is an absolute path or a name without folders"));
    };
    let names = file_names(asked);
    folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| Path::new(folder).join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| Status::not_found(format!("failed to run {asked}: there is no such program")))
}

/// Without `.` and `..`, which would make a rule for one path hold for another.
fn absolute(asked: &str) -> Result<Option<PathBuf>, Status> {
    if asked.is_empty() {
        return Ok(None);
    }
    let path = Path::new(asked);
    let plain = path.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
    if !path.is_absolute() || !plain {
        return Err(Status::invalid_argument("a path is absolute, without `.` and `..`"));
    }
    Ok(Some(path.components().collect()))
}

fn digest(text: &str) -> Result<Option<Sha256>, Status> {
    let parsed = (!text.is_empty()).then(|| text.parse::<Sha256>()).transpose();
    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn terminal(size: TerminalSize) -> Terminal {
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Terminal { columns: small(size.columns), rows: small(size.rows) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Protocol;

    const ROOT: &str = if cfg!(windows) { r"C:\" } else { "/" };

    #[test]
    fn a_path_that_leads_elsewhere_than_it_says_is_refused() {
        for path in [&format!("{ROOT}bin/../tmp/x"), "bin/x", "./x", "../x", ""] {
            assert!(program(path, &[ROOT]).is_err(), "{path}");
        }
        let same = program(&format!("{ROOT}bin//./x"), &[]).expect("the same file");
        assert_eq!(same, Path::new(ROOT).join("bin").join("x"));
    }

    #[test]
    fn ports_are_named_as_in_a_policy_and_not_without_end() {
        let asked = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            ports(&texts)
                .map(|ports| ports.iter().map(|port| (port.protocol, port.number)).collect::<Vec<_>>())
        };
        let both = [(Protocol::Tcp, 80), (Protocol::Udp, 53), (Protocol::Udp, 54)];
        assert_eq!(asked(&["tcp/80", "udp/53-54"]).expect("ports"), both);
        for wrong in ["80", "TCP:80", "tcp/0", "tcp/2-1", "tcp/localhost:80", ""] {
            let refused = asked(&[wrong]).expect_err(wrong);
            assert!(refused.message().contains("names no ports"), "{refused}");
        }
        assert_eq!(asked(&["tcp/1-4096"]).expect("as many as may be").len(), MOST_PORTS);
        for many in [&["tcp/1-4097"][..], &["tcp/1-4096", "udp/1"], &["tcp/1-65535"; 100]] {
            assert!(asked(many).is_err(), "{many:?}");
        }
    }

    #[test]
    fn a_request_that_no_system_could_run_is_refused() {
        let request = |environment: &str| StartRequest {
            program: format!("{ROOT}x"),
            environment: vec![environment.to_owned()],
            ..StartRequest::default()
        };
        assert!(asked(&request("A=b=c")).is_ok_and(|run| run.environment[0].1 == "b=c"));
        for wrong in ["A", "=b", "A=\0", &format!("A={}", "b".repeat(WORDS_BYTES))] {
            assert!(asked(&request(wrong)).is_err());
        }
    }
}
