//! `winstead-agent policy`: looks at policies without following them.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use sha2::Digest as _;
use winstead_agent::{
    access::{
        Access, Caller, Certificate, Door, Paths, Policy, Port, Query, Request, Run, Verdict, advice,
        describe,
    },
    configuration::{Configuration, ConfigurationError},
    door::caller_named,
    signature,
};
use winstead_spec::{PortRange, PortTarget, Sha256};

use crate::cli::{Failure, say, show};

/// A file is wrong.
const WRONG: u8 = 2;
/// It is refused.
const REFUSED: u8 = 3;

/// Looks at policies without following them.
#[derive(Clone, Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum PolicyCommand {
    Check(CheckArgs),
    Explain(ExplainArgs),
}

/// Says what is wrong in files, or else what they allow to whom, and what to think about again.
///
/// Ends with 0 when nothing is wrong, and with 2 otherwise.
#[derive(Clone, Debug, Args)]
struct CheckArgs {
    /// Files with Agent and AgentPolicy documents.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Says what would be decided, and why. Nothing is run, and nothing is written down.
///
/// Ends with 0 when it would be allowed, with 3 when not, and with 2 when a file is wrong.
#[derive(Clone, Debug, Args)]
struct ExplainArgs {
    /// A file with AgentPolicy documents. May be given several times.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// As whom: an account of this computer. Default: you.
    #[arg(long = "as", value_name = "ACCOUNT")]
    account: Option<String>,
    /// Where they come in.
    #[arg(long, value_name = "DOOR", default_value = "local", value_parser = door)]
    door: Door,
    /// The container that they are in, as the audit log names it. Default: yours, or none with `--as`.
    #[arg(long, value_name = "CGROUP")]
    container: Option<String>,
    /// A name in their certificate, or its fingerprint (sha256:…); they come in at tcp. May be given several times.
    #[arg(long = "certificate", value_name = "NAME", conflicts_with_all = ["account", "door", "container"])]
    certificates: Vec<String>,
    #[command(subcommand)]
    question: Question,
}

/// What would be asked for.
#[derive(Clone, Debug, Subcommand)]
enum Question {
    /// To run a program.
    Run {
        /// A port, or a range, that it opens to others: tcp/8080, udp/4789-4800. May be given several times.
        #[arg(long = "port", value_name = "PORT")]
        ports: Vec<PortRange>,
        /// Where it stands.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// To reach a port: tcp/localhost:80.
    Tunnel {
        /// The port.
        port: PortTarget,
    },
    /// To read a file.
    Read {
        /// Its whole path.
        path: PathBuf,
    },
    /// To write a file.
    Write {
        /// Its whole path.
        path: PathBuf,
    },
    /// To be told about the agent, the host, its network or hns.
    Query {
        /// About what.
        #[arg(value_parser = query)]
        about: Query,
    },
    /// To add a route.
    Route {
        /// To where: 169.254.169.254/32.
        network: String,
    },
    /// To restart the computer.
    Reboot,
}

/// Runs the command that the arguments name.
///
/// # Errors
/// When it cannot be answered at all.
pub(crate) fn run(args: PolicyArgs) -> Result<ExitCode, Failure> {
    match args.command {
        PolicyCommand::Check(args) => check(&args.files),
        PolicyCommand::Explain(args) => explain(&args),
    }
}

fn check(files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let Some(configuration) = read(files) else { return Ok(ExitCode::from(WRONG)) };
    let text = match &configuration.policy {
        Some(policy) => in_words(policy),
        None => {
            "no policy: administrators at `local` and the host at `guest` may do everything, others nothing\n"
                .to_owned()
        }
    };
    show(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What the files say; nothing: what is wrong with them has been said.
fn read(files: &[PathBuf]) -> Option<Configuration> {
    match Configuration::read_anybodys(files) {
        Ok(read) => Some(read),
        Err(error) => {
            match &error {
                // Each line has its place, and is easier to jump to without words in front.
                ConfigurationError::Wrong(problems) => super::complain(&problems.to_string()),
                error => say(error),
            }
            None
        }
    }
}

/// Each caller once, in the order of the rules, with all that they may do.
fn in_words(policy: &Policy) -> String {
    let mut callers: Vec<(String, Vec<String>)> = Vec::new();
    for rule in policy.rules() {
        for caller in rule.callers.iter().map(describe::caller) {
            let lines = describe::allowed(rule).into_iter().map(|line| format!("  {line} ({})\n", rule.name));
            match callers.iter_mut().find(|(known, _)| *known == caller) {
                Some((_, known)) => known.extend(lines),
                None => callers.push((caller, lines.collect())),
            }
        }
    }
    let mut text: String =
        callers.iter().map(|(caller, lines)| format!("{caller}:\n{}", lines.concat())).collect();
    text += "everybody else: nothing\n";
    for advice in advice::advice(policy.rules(), Paths::HERE) {
        text += &format!("warning: {}: {}\n", advice.rule, advice.text);
    }
    text
}

fn explain(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let Some(configuration) = read(&args.files) else { return Ok(ExitCode::from(WRONG)) };
    let caller = who(args)?;
    let access = Access::default();
    access.replace(configuration.policy);
    let verdict = asked(&access, &caller, &args.question)?;
    let (line, code) = match verdict {
        Verdict::Allowed(terms) => {
            let account = terms.account.map_or(String::new(), |account| format!(", as {account}"));
            (format!("allowed to {caller} by the rule `{}`{account}\n", terms.rule), ExitCode::SUCCESS)
        }
        Verdict::NeedsDigest => {
            let line =
                format!("depends on what the program hashes to, for {caller}: it cannot be read here\n");
            (line, ExitCode::from(REFUSED))
        }
        Verdict::Refused(Some((rule, why))) => {
            (format!("refused to {caller}; `{rule}` comes nearest, but {why}\n"), ExitCode::from(REFUSED))
        }
        Verdict::Refused(None) => {
            (format!("refused to {caller}: there is no rule\n"), ExitCode::from(REFUSED))
        }
    };
    show(&line)?;
    Ok(code)
}

fn who(args: &ExplainArgs) -> io::Result<Caller> {
    if args.door == Door::Tcp && args.account.is_some() {
        let why = "explain an account at tcp: nobody has one there, but a --certificate";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if args.door == Door::Tcp || !args.certificates.is_empty() {
        let account = shown(&args.certificates).into();
        return Ok(Caller { door: Door::Tcp, account, process: None, container: None });
    }
    let mut caller = caller_named(args.door, args.account.as_deref())?;
    if args.container.is_some() {
        caller.container.clone_from(&args.container);
    }
    Ok(caller)
}

/// A certificate with these names; without a fingerprint it is one that no rule can mean by one.
fn shown(said: &[String]) -> Certificate {
    let fingerprint = said.iter().find_map(|text| text.parse().ok());
    let names = said.iter().filter(|text| text.parse::<Sha256>().is_err()).cloned().collect();
    Certificate { names, sha256: fingerprint.unwrap_or_else(|| Sha256::from([0; 32])) }
}

fn asked(access: &Access, caller: &Caller, question: &Question) -> io::Result<Verdict> {
    Ok(match question {
        Question::Run { ports, program, arguments } => {
            let run = Run {
                ports: ports.iter().flat_map(Port::each).collect(),
                program: std::path::absolute(program)?,
                sha256: digest(program).ok(),
                signer: signature::signer(program),
                arguments: arguments.clone(),
                ..Run::default()
            };
            access.judge(caller, Request::Run(&run))
        }
        Question::Tunnel { port } => {
            let (protocol, number) = (port.ports.protocol, *port.ports.numbers.start());
            access.judge(caller, Request::Tunnel(&Port { protocol, host: port.host.clone(), number }))
        }
        Question::Read { path } => access.judge(caller, Request::Read(&std::path::absolute(path)?)),
        Question::Write { path } => access.judge(caller, Request::Write(&std::path::absolute(path)?)),
        Question::Query { about } => access.judge(caller, Request::Query(*about)),
        Question::Route { network } => access.judge(caller, Request::AddRoute(network)),
        Question::Reboot => access.judge(caller, Request::Reboot),
    })
}

fn digest(program: &Path) -> io::Result<Sha256> {
    let bytes = fs_err::read(program)?;
    Ok(Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(bytes))))
}

fn door(text: &str) -> Result<Door, String> {
    let doors = [Door::Local, Door::Wins, Door::WinsProxy, Door::Guest, Door::Tcp];
    let known = doors.into_iter().find(|door| door.to_string() == text);
    known.ok_or_else(|| "expected local, wins, wins-proxy, guest or tcp".to_owned())
}

fn query(text: &str) -> Result<Query, String> {
    match text {
        "agent" => Ok(Query::Agent),
        "host" => Ok(Query::Host),
        "network" => Ok(Query::Network),
        "hns" => Ok(Query::Hns),
        _ => Err("expected agent, host, network or hns".to_owned()),
    }
}
