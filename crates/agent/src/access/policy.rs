//! What the rules say. Pure: no I/O, no clock; the same answer to the same question.

use std::fmt;

use winstead_spec::{
    AgentQuery, AgentRule, CallerRule, CertificateRule, ContainerRule, IpNet, RunRule, SignerRule,
};

use crate::access::{Caller, Certificate, Limits, Paths, Query, Request, Run, Signer, Terms, glob};

/// The rules of all `AgentPolicy` documents. What none of them allows is refused.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<AgentRule>,
    paths: Paths,
}

/// What the rules say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first rule that allows it.
    Allowed(Terms),
    /// It depends on the program's digest, which the request does not have.
    NeedsDigest,
    /// None allows it. The one that comes nearest, if there is any, and what is not as it says.
    Refused(Option<(String, Why)>),
}

/// Why a rule does not allow something: the first thing that is not as it says. Later ones are nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has no callers.
    Nobody,
    /// Its callers come in elsewhere.
    Door,
    /// They are administrators.
    Administrator,
    /// They have another account.
    Account,
    /// They are in another group.
    Group,
    /// They have another certificate, or none.
    Certificate,
    /// They are in another container, or in none.
    Container,
    /// They are another program.
    CallingProgram,
    /// It allows nothing of this kind, or nothing of this name.
    What,
    /// It names other programs.
    Program,
    /// The program has another digest.
    Digest,
    /// It has no signature that counts, or another one.
    Signer,
    /// It wants other arguments.
    Arguments,
    /// It does not name one of the variables.
    Environment,
    /// It lets the program run as somebody else.
    RunAs,
    /// It does not name one of the ports.
    Ports,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nobody => "it is for nobody",
            Self::Door => "its callers come in by another door",
            Self::Administrator => "its callers are administrators",
            Self::Account => "its callers have another account",
            Self::Group => "its callers are in another group",
            Self::Certificate => "its callers have another certificate",
            Self::Container => "its callers are in another container",
            Self::CallingProgram => "its callers are another program",
            Self::What => "it does not allow this",
            Self::Program => "it names another program",
            Self::Digest => "the program has another digest",
            Self::Signer => "the program is not signed as it says",
            Self::Arguments => "it wants other arguments",
            Self::Environment => "it does not name one of the variables",
            Self::RunAs => "the program runs as somebody else by it",
            Self::Ports => "it does not name one of the ports",
        })
    }
}

/// What stands between a request and a rule that allows it.
enum Miss {
    Why(Why),
    Digest,
}

impl Policy {
    /// These rules, for paths of this kind.
    #[must_use]
    pub fn new(rules: Vec<AgentRule>, paths: Paths) -> Self {
        Self { rules, paths }
    }

    /// Its rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[AgentRule] {
        &self.rules
    }

    /// Whether a rule asks what the calling program hashes to.
    #[must_use]
    pub fn asks_for_programs(&self) -> bool {
        self.rules.iter().flat_map(|rule| &rule.callers).any(|caller| caller.program.is_some())
    }

    /// Whether a rule asks who signed a program.
    #[must_use]
    pub fn asks_for_signers(&self) -> bool {
        self.rules.iter().flat_map(|rule| &rule.run).any(|run| run.signer.is_some())
    }

    /// Whether a rule allows that, and on which terms.
    #[must_use]
    pub fn judge(&self, caller: &Caller, request: Request<'_>) -> Verdict {
        let mut nearest: Option<(Why, &AgentRule)> = None;
        for rule in &self.rules {
            match self.rule(rule, caller, request) {
                Ok(terms) => return Verdict::Allowed(terms),
                Err(Miss::Digest) => return Verdict::NeedsDigest,
                Err(Miss::Why(why)) if nearest.is_none_or(|(best, _)| why > best) => {
                    nearest = Some((why, rule));
                }
                Err(Miss::Why(_)) => {}
            }
        }
        Verdict::Refused(nearest.map(|(why, rule)| (rule.name.to_string(), why)))
    }

    fn rule(&self, rule: &AgentRule, caller: &Caller, request: Request<'_>) -> Result<Terms, Miss> {
        self.callers(&rule.callers, caller).map_err(Miss::Why)?;
        let plain = Terms { rule: rule.name.to_string(), ..Terms::default() };
        if let Request::Run(run) = request {
            return if rule.all { Ok(as_asked(run, plain)) } else { self.runs(&rule.run, run, plain) };
        }
        let allowed = rule.all
            || match request {
                Request::Run(_) | Request::Process { .. } | Request::Query(Query::Status) => false,
                Request::Tunnel(port) => {
                    let same = |target: &winstead_spec::PortTarget| {
                        target.contains(port.protocol, &port.host, port.number)
                    };
                    rule.tunnels.iter().any(same)
                }
                Request::Read(path) => self.path_in(&rule.read, path),
                Request::Write(path) => self.path_in(&rule.write, path),
                Request::Reboot => rule.reboot,
                Request::Query(query) => named(query).is_some_and(|query| rule.queries.contains(&query)),
                Request::AddRoute(network) => network_in(&rule.routes, network),
            };
        if allowed { Ok(plain) } else { Err(Miss::Why(Why::What)) }
    }

    /// Whether one of a rule's callers is this one.
    fn callers(&self, wanted: &[CallerRule], caller: &Caller) -> Result<(), Why> {
        let mut nearest = Why::Nobody;
        for wanted in wanted {
            match self.caller(wanted, caller) {
                Ok(()) => return Ok(()),
                Err(why) => nearest = nearest.max(why),
            }
        }
        Err(nearest)
    }

    fn caller(&self, wanted: &CallerRule, caller: &Caller) -> Result<(), Why> {
        let account = &caller.account;
        // A certificate's name is no account of this computer, whatever it says.
        let local = account.certificate.is_none();
        let same =
            |name: &String| local && (self.paths.same_name(name, &account.name) || *name == account.id);
        let group = |name: &String| account.groups.iter().any(|group| self.paths.same_name(name, group));
        let container = |wanted: &ContainerRule| match (wanted, &caller.container) {
            (ContainerRule::None, container) => local && container.is_none(),
            (ContainerRule::Glob(glob), Some(container)) => glob::matches(glob, container),
            (ContainerRule::Glob(_), None) => false,
        };
        let shown =
            |wanted: &CertificateRule| account.certificate.as_ref().is_some_and(|own| is(wanted, own));
        let digest = caller.process.as_ref().and_then(|process| process.sha256.as_ref());
        for (good, why) in [
            (wanted.door.is_none_or(|door| door == caller.door), Why::Door),
            (!wanted.administrator || account.administrator, Why::Administrator),
            (wanted.account.as_ref().is_none_or(same), Why::Account),
            (wanted.group.as_ref().is_none_or(group), Why::Group),
            (wanted.certificate.as_ref().is_none_or(shown), Why::Certificate),
            (wanted.container.as_ref().is_none_or(container), Why::Container),
            (wanted.program.as_ref().is_none_or(|program| digest == Some(program)), Why::CallingProgram),
        ] {
            if !good {
                return Err(why);
            }
        }
        Ok(())
    }

    fn runs(&self, allowed: &[RunRule], run: &Run, terms: Terms) -> Result<Terms, Miss> {
        let mut nearest = Why::What;
        for allowed in allowed {
            match self.run(allowed, run) {
                Ok(()) => return Ok(narrowed(allowed, run, terms)),
                Err(Miss::Digest) => return Err(Miss::Digest),
                Err(Miss::Why(why)) => nearest = nearest.max(why),
            }
        }
        Err(Miss::Why(nearest))
    }

    /// Digest and signer come last: nobody has a program copied and looked at whom another key refuses anyway.
    fn run(&self, allowed: &RunRule, run: &Run) -> Result<(), Miss> {
        let program = self.paths.plain(&run.program);
        let here = allowed.path.as_ref().is_none_or(|path| program.as_ref() == Some(&self.paths.fold(path)));
        let known = run.sha256.as_ref();
        let other = !allowed.sha256.is_empty() && known.is_some_and(|known| !allowed.sha256.contains(known));
        let signer = allowed.signer.as_ref();
        let stranger =
            known.is_some() && signer.is_some_and(|signer| !signed_by(signer, run.signer.as_ref()));
        let variables =
            || run.environment.iter().all(|(name, _)| self.variable_in(&allowed.environment, name));
        let ports = || {
            let open = |port: &super::Port| {
                allowed.ports.iter().any(|range| range.contains(port.protocol, port.number))
            };
            run.ports.iter().all(open)
        };
        for (good, why) in [
            (program.is_some() && here, Why::Program),
            (!other, Why::Digest),
            (!stranger, Why::Signer),
            (fits(&allowed.arguments, &run.arguments), Why::Arguments),
            (variables(), Why::Environment),
            (run.account.is_none() || run.account == allowed.account, Why::RunAs),
            (ports(), Why::Ports),
        ] {
            if !good {
                return Err(Miss::Why(why));
            }
        }
        let by_content = !allowed.sha256.is_empty() || signer.is_some();
        if by_content && known.is_none() { Err(Miss::Digest) } else { Ok(()) }
    }

    fn variable_in(&self, allowed: &[String], name: &str) -> bool {
        let begins = |beginning: &str| {
            name.get(..beginning.len()).is_some_and(|start| self.paths.same_name(start, beginning))
        };
        allowed.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(beginning) => begins(beginning),
            None => self.paths.same_name(allowed, name),
        })
    }

    fn path_in(&self, globs: &[String], path: &std::path::Path) -> bool {
        let plain = self.paths.plain(path);
        plain.is_some_and(|path| globs.iter().any(|glob| glob::matches(&self.paths.fold(glob), &path)))
    }
}

/// Whether a signature is one that a rule wants. A subject is compared as a text, as Windows writes it.
fn signed_by(wanted: &SignerRule, signer: Option<&Signer>) -> bool {
    signer.is_some_and(|signer| {
        wanted.subject.as_ref().is_none_or(|subject| *subject == signer.subject)
            && (wanted.sha256.is_empty() || wanted.sha256.contains(&signer.sha256))
    })
}

/// Whether arguments are those that a rule wants.
fn fits(wanted: &[String], arguments: &[String]) -> bool {
    let (wanted, rest) = match wanted {
        [wanted @ .., rest] if rest == "**" => (wanted, true),
        wanted => (wanted, false),
    };
    let enough = if rest { arguments.len() >= wanted.len() } else { arguments.len() == wanted.len() };
    enough && wanted.iter().zip(arguments).all(|(wanted, argument)| wanted == "*" || wanted == argument)
}

fn as_asked(run: &Run, terms: Terms) -> Terms {
    Terms { account: run.account.clone(), limits: run.limits, ..terms }
}

/// The smaller of what was asked for and what the rule gives.
fn narrowed(allowed: &RunRule, run: &Run, terms: Terms) -> Terms {
    let limits = Limits {
        memory: smaller(run.limits.memory, allowed.memory),
        processes: smaller(run.limits.processes, allowed.processes),
        cpu_milli: smaller(run.limits.cpu_milli, allowed.cpu_milli),
    };
    Terms { account: allowed.account.clone(), limits, ..terms }
}

/// Nothing is no limit.
fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

const fn named(query: Query) -> Option<AgentQuery> {
    match query {
        Query::Agent => Some(AgentQuery::Agent),
        Query::Host => Some(AgentQuery::Host),
        Query::Network => Some(AgentQuery::Network),
        Query::Hns => Some(AgentQuery::Hns),
        Query::Status => None,
    }
}

/// Whether a certificate is the one that is meant. Only DNS names are the same whatever their case.
fn is(wanted: &CertificateRule, certificate: &Certificate) -> bool {
    match wanted {
        CertificateRule::Fingerprint(sha256) => *sha256 == certificate.sha256,
        CertificateRule::Name(name) if name.contains(':') => certificate.names.contains(name),
        CertificateRule::Name(name) => certificate.names.iter().any(|own| own.eq_ignore_ascii_case(name)),
    }
}

/// Whether a network, or an address alone, lies in one of these.
fn network_in(allowed: &[IpNet], network: &str) -> bool {
    let alone = || network.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    let network = network.parse::<IpNet>().ok().or_else(alone);
    network.is_some_and(|network| allowed.iter().any(|allowed| allowed.contains(&network)))
}
