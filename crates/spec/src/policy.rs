//! `kind: AgentPolicy`: who may do what through a winstead-agent.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, str::FromStr};

pub use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Door, Name, Sha256};

/// Who may do what: the first rule that allows it gives the terms. What no rule allows is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPolicy {
    /// Its name.
    pub name: Name,
    /// Its rules, in the file's order.
    pub rules: Vec<AgentRule>,
}

/// What some callers may do. An empty list allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule {
    /// Unique among the rules of all policies.
    pub name: Name,
    /// For whom; empty: for nobody.
    pub callers: Vec<CallerRule>,
    /// Programs to run.
    pub run: Vec<RunRule>,
    /// Ports to reach.
    pub tunnels: Vec<PortTarget>,
    /// Files to read, as globs.
    pub read: Vec<String>,
    /// Files to write, as globs.
    pub write: Vec<String>,
    /// What may be asked for.
    pub queries: BTreeSet<AgentQuery>,
    /// Networks that routes may be added to, or parts of them.
    pub routes: Vec<IpNet>,
    /// Whether the computer may be restarted.
    pub reboot: bool,
    /// Whether everything is allowed.
    pub all: bool,
}

/// A caller: all that is given must be so. At least one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerRule {
    /// Where they come in.
    pub door: Option<Door>,
    /// Only those who can do everything on this computer anyway.
    pub administrator: bool,
    /// The account's name, its user id, or its SID.
    pub account: Option<String>,
    /// A group of theirs: a name, an id, or a SID.
    pub group: Option<String>,
    /// Their container.
    pub container: Option<ContainerRule>,
    /// What the calling program hashes to.
    pub program: Option<Sha256>,
    /// What their certificate says.
    pub certificate: Option<CertificateRule>,
}

/// Which certificate a caller must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateRule {
    /// One with this name among its alternative names: a DNS name, whatever its case, or a URI.
    Name(String),
    /// The one that hashes to this.
    Fingerprint(Sha256),
}

/// Where a caller's process must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerRule {
    /// Outside of all containers.
    None,
    /// In one that this glob means.
    Glob(String),
}

/// A program that may be run. It is named by digest, by signer, by path, or by several of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRule {
    /// What it hashes to: one of these. Empty: whatever is at `path`, or signed by `signer`.
    pub sha256: Vec<Sha256>,
    /// Who signed it; nothing: whoever.
    pub signer: Option<SignerRule>,
    /// Where it stands; nothing: anywhere.
    pub path: Option<String>,
    /// Its arguments: each is itself, `*` is one of any kind, `**` at the end is any rest.
    pub arguments: Vec<String>,
    /// Names of variables that may be set; one that ends in `*` is all that begin so.
    pub environment: Vec<String>,
    /// As whom it runs; nothing: as the agent itself.
    pub account: Option<String>,
    /// The most it may have; nothing: no limit.
    pub memory: Option<ByteSize>,
    /// The most processes at the same time.
    pub processes: Option<u32>,
    /// Thousandths of one CPU.
    pub cpu_milli: Option<u32>,
    /// Ports that it may open to others.
    pub ports: Vec<PortRange>,
}

/// Who must have signed a program: all that is given must be so. At least one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignerRule {
    /// The subject of their certificate.
    pub subject: Option<String>,
    /// What the certificate hashes to: one of these. Empty: any.
    pub sha256: Vec<Sha256>,
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentQuery {
    /// The agent itself: its version and checksum.
    Agent,
    /// The computer: its system, what it is ready for.
    Host,
    /// Its network adapters.
    Network,
    /// Its container networks (Windows' HNS).
    Hns,
}

/// A kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Ports: `tcp/9796`, `udp/4789-4800`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// Which kind.
    pub protocol: Protocol,
    /// Their numbers, none of them 0.
    pub numbers: RangeInclusive<u16>,
}

/// Ports of a host: `tcp/localhost:9796`, `udp/10.0.0.1:4789-4800`, `tcp/[::1]:22`, `tcp/*:443`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortTarget {
    /// A name or an address; `*` is any.
    pub host: String,
    /// Its ports.
    pub ports: PortRange,
}

/// A text that names no ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no ports: write tcp/9796, udp/4789-4800, or tcp/localhost:9796 with a host")]
pub struct PortError(String);

impl PortRange {
    /// Whether these ports have that one.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, number: u16) -> bool {
        self.protocol == protocol && self.numbers.contains(&number)
    }
}

impl PortTarget {
    /// Whether that port of that host is meant. Names are compared as texts, whatever their case: nothing is resolved.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, host: &str, number: u16) -> bool {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (self.host == "*" || self.host.eq_ignore_ascii_case(host)) && self.ports.contains(protocol, number)
    }
}

impl FromStr for PortRange {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        read(text).ok_or_else(|| PortError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<PortRange> {
    let (protocol, numbers) = text.split_once('/')?;
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let numbers = port(first)?..=port(last)?;
    (!numbers.is_empty()).then_some(PortRange { protocol: protocol.parse().ok()?, numbers })
}

/// Only as we write it: `+80` and `080` are numbers, too.
fn port(text: &str) -> Option<u16> {
    let number: u16 = text.parse().ok()?;
    (number > 0 && text == number.to_string()).then_some(number)
}

impl FromStr for PortTarget {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let target = || {
            let (protocol, rest) = text.split_once('/')?;
            let (host, numbers) = rest.rsplit_once(':')?;
            let ports = format!("{protocol}/{numbers}").parse().ok()?;
            Some(Self { host: host_name(host)?, ports })
        };
        target().ok_or_else(|| PortError(text.to_owned()))
    }
}

/// `*`, a name, an IPv4 address, or an IPv6 address in brackets, which are left away.
fn host_name(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (text == "*" || (!text.is_empty() && text.bytes().all(good))).then(|| text.to_owned())
}

impl FromStr for Protocol {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(PortError(text.to_owned())),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `9796`, or `4789-4800`.
fn numbers(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() {
        return range.start().to_string();
    }
    format!("{}-{}", range.start(), range.end())
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.protocol, numbers(&self.numbers))
    }
}

impl fmt::Display for PortTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, numbers) = (self.ports.protocol, numbers(&self.ports.numbers));
        match self.host.contains(':') {
            true => write!(out, "{protocol}/[{}]:{numbers}", self.host),
            false => write!(out, "{protocol}/{}:{numbers}", self.host),
        }
    }
}

macro_rules! text_and_back {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = PortError;
            fn try_from(text: String) -> Result<Self, PortError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

text_and_back!(PortRange, PortTarget);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_and_show_the_same_text() {
        for text in ["tcp/80", "udp/1-65535"] {
            assert_eq!(text.parse::<PortRange>().expect(text).to_string(), text);
        }
        for text in ["tcp/localhost:80", "udp/10.0.0.1:1-2", "tcp/[::1]:22", "tcp/*:443"] {
            assert_eq!(text.parse::<PortTarget>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_names_no_ports_is_refused() {
        for text in ["tcp/0", "tcp/2-1", "sctp/1", "tcp/+1", "tcp/65536", "80", "TCP/80", "tcp/1-", ""] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
        for text in ["tcp/80", "tcp/:80", "tcp/a b:80", "tcp/::1:80", "tcp/[x]:80", "tcp/a/b:80"] {
            assert!(text.parse::<PortTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_the_same_whatever_its_case_and_brackets() {
        let target: PortTarget = "tcp/[::1]:20-22".parse().expect("a target");
        assert!(target.contains(Protocol::Tcp, "[::1]", 22) && target.contains(Protocol::Tcp, "::1", 20));
        assert!(!target.contains(Protocol::Udp, "::1", 22) && !target.contains(Protocol::Tcp, "::1", 23));
        let target: PortTarget = "tcp/localhost:1".parse().expect("a target");
        assert!(
            target.contains(Protocol::Tcp, "LocalHost", 1) && !target.contains(Protocol::Tcp, "other", 1)
        );
    }
}
