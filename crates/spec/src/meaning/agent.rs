//! The meaning of `Agent` and `AgentPolicy`.

use std::net::SocketAddr;

use crate::{
    Agent, AgentDoor, AgentDoors, AgentLimits, AgentPolicy, AgentRule, AgentTcpDoor, CallerRule,
    CertificateRule, Connect, ContainerRule, RunRule, Sha256, SignerRule,
    meaning::join,
    parse::Origin,
    problem::{Complaint, Problem},
    raw::{self, AgentPolicySpec, AgentSpec},
};

/// Returns the agent that a document describes.
pub(crate) fn agent(origin: &Origin<'_>, spec: &AgentSpec, problems: &mut Vec<Problem>) -> Agent {
    let doors = &spec.doors;
    let mut open = |key: &str, door: &raw::AgentDoor, by_default: Connect| {
        let both = door.connect == Some(raw::Connect::Everybody) && door.group.is_some();
        if both {
            let complaint = Complaint::new("everybody may connect already").expected("no `group`");
            problems.push(origin.problem(&format!("spec.doors.{key}.group"), complaint));
        }
        AgentDoor {
            path: door.path.as_ref().map(|path| join(&origin.source.folder, path)),
            connect: connect(door, by_default),
        }
    };
    let doors = AgentDoors {
        local: open("local", &doors.local, Connect::Everybody),
        wins: doors.wins.as_ref().map(|door| open("wins", door, Connect::Administrators)),
        wins_proxy: doors.wins_proxy.as_ref().map(|door| open("winsProxy", door, Connect::Administrators)),
        tcp: doors.tcp.as_ref().and_then(|door| tcp(origin, door)),
    };
    Agent {
        name: origin.name.clone(),
        doors,
        metrics: spec.metrics.as_ref().and_then(|metrics| address(origin, metrics, problems)),
        spool: spec.spool.0,
        firewall: spec.firewall,
        limits: AgentLimits {
            clients: spec.limits.clients,
            message: spec.limits.message.0,
            arguments: spec.limits.arguments.0,
            handshake: spec.limits.handshake.0,
        },
    }
}

/// Nothing, when its address is none: that was said already.
fn tcp(origin: &Origin<'_>, door: &raw::AgentTcpDoor) -> Option<AgentTcpDoor> {
    let path = |path: &String| join(&origin.source.folder, path);
    Some(AgentTcpDoor {
        address: door.address.parse().ok()?,
        certificate: path(&door.certificate),
        key: path(&door.key),
        client_authority: path(&door.client_authority),
    })
}

fn connect(door: &raw::AgentDoor, by_default: Connect) -> Connect {
    match (door.connect, &door.group) {
        (_, Some(group)) => Connect::Group(group.clone()),
        (Some(raw::Connect::Everybody), None) => Connect::Everybody,
        (Some(raw::Connect::Administrators), None) => Connect::Administrators,
        (None, None) => by_default,
    }
}

fn address(
    origin: &Origin<'_>,
    metrics: &raw::AgentMetrics,
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let address: SocketAddr = metrics.address.parse().ok()?;
    if !address.ip().is_loopback() && !metrics.public {
        let complaint = Complaint::new(format!("other computers reach {address}"))
            .expected("a loopback address, or `public: true` beside it");
        problems.push(origin.problem("spec.metrics.address", complaint));
    }
    Some(address)
}

/// Returns the policy that a document describes.
pub(crate) fn policy(
    origin: &Origin<'_>,
    spec: &AgentPolicySpec,
    problems: &mut Vec<Problem>,
) -> AgentPolicy {
    let rules = spec.rules.iter().enumerate().map(|(index, rule)| {
        let key = format!("spec.rules[{index}]");
        unclear(rule, &key, &mut |key, complaint| problems.push(origin.problem(key, complaint)));
        self::rule(rule)
    });
    AgentPolicy { name: origin.name.clone(), rules: rules.collect() }
}

/// What in a rule would mean more, or less, than it seems to.
fn unclear(rule: &raw::Rule, key: &str, say: &mut impl FnMut(&str, Complaint)) {
    for (index, caller) in rule.callers.iter().enumerate() {
        if *caller == raw::RuleCaller::default() {
            let complaint = Complaint::new("an empty caller would be everybody");
            say(
                &format!("{key}.callers[{index}]"),
                complaint.expected("at least one key, like `door: local`"),
            );
        }
        if let Some(complaint) = caller.certificate.as_deref().and_then(no_certificate) {
            say(&format!("{key}.callers[{index}].certificate"), complaint);
        }
    }
    for (index, program) in rule.run.iter().enumerate() {
        let key = format!("{key}.run[{index}]");
        match &program.sha256 {
            None if program.path.is_none() && program.signer.is_none() => {
                let complaint = Complaint::new("any program at all");
                say(&key, complaint.expected("`sha256`, `signer` or `path`"));
            }
            Some(digests) => no_digest(digests, &key, say),
            None => {}
        }
        if let Some(signer) = &program.signer {
            let key = format!("{key}.signer");
            signer.sha256.iter().for_each(|digests| no_digest(digests, &key, say));
            if *signer == raw::RuleSigner::default() {
                let complaint = Complaint::new("whoever signed it");
                say(&key, complaint.expected("`subject`, `sha256`, or both"));
            }
        }
        let rest = program.arguments.iter().position(|argument| argument == "**");
        if let Some(at) = rest.filter(|at| at + 1 < program.arguments.len()) {
            let complaint = Complaint::new("`**` is the rest, so nothing can stand behind it");
            say(&format!("{key}.arguments[{at}]"), complaint.expected("`**` as the last argument"));
        }
    }
}

/// An empty list of digests would mean none or all.
fn no_digest(digests: &[Sha256], key: &str, say: &mut impl FnMut(&str, Complaint)) {
    if digests.is_empty() {
        let complaint = Complaint::new("no digest is given");
        say(&format!("{key}.sha256"), complaint.expected("at least one digest, or no such key"));
    }
}

fn rule(rule: &raw::Rule) -> AgentRule {
    let globs = |globs: &[raw::FileGlob]| globs.iter().map(|glob| glob.0.clone()).collect();
    AgentRule {
        name: rule.name.clone(),
        callers: rule.callers.iter().map(caller).collect(),
        run: rule.run.iter().map(program).collect(),
        tunnels: rule.tunnels.clone(),
        read: globs(&rule.files.read),
        write: globs(&rule.files.write),
        queries: rule.queries.iter().copied().collect(),
        routes: rule.routes.iter().map(|network| network.0).collect(),
        reboot: rule.reboot,
        all: rule.all,
    }
}

fn caller(caller: &raw::RuleCaller) -> CallerRule {
    CallerRule {
        door: caller.door,
        administrator: caller.administrator,
        account: caller.account.clone(),
        group: caller.group.clone(),
        container: caller.container.as_deref().map(container),
        program: caller.program.clone(),
        certificate: caller.certificate.as_deref().map(certificate),
    }
}

/// What a text that no certificate can have is taken for.
fn no_certificate(text: &str) -> Option<Complaint> {
    let whole = "a whole DNS name or URI, or `sha256:` and 64 hexadecimal digits";
    if matches!(certificate(text), CertificateRule::Name(_)) && text.starts_with("sha256:") {
        return Some(Complaint::new("this is no fingerprint").expected(whole));
    }
    text.contains('*').then(|| Complaint::new("names of certificates are no globs").expected(whole))
}

fn certificate(text: &str) -> CertificateRule {
    text.parse().map_or_else(|_| CertificateRule::Name(text.to_owned()), CertificateRule::Fingerprint)
}

fn container(text: &str) -> ContainerRule {
    match text {
        "none" => ContainerRule::None,
        glob => ContainerRule::Glob(glob.to_owned()),
    }
}

fn signer(signer: &raw::RuleSigner) -> SignerRule {
    SignerRule { subject: signer.subject.clone(), sha256: signer.sha256.clone().unwrap_or_default() }
}

fn program(program: &raw::RuleProgram) -> RunRule {
    RunRule {
        sha256: program.sha256.clone().unwrap_or_default(),
        signer: program.signer.as_ref().map(signer),
        path: program.path.clone(),
        arguments: program.arguments.clone(),
        environment: program.environment.iter().map(|name| name.0.clone()).collect(),
        account: program.account.clone(),
        memory: program.limits.memory.map(|size| size.0),
        processes: program.limits.processes,
        cpu_milli: program.limits.cpu_milli,
        ports: program.ports.clone(),
    }
}
