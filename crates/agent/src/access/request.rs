//! What a caller asks for, as the policy sees it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use winstead_spec::{ByteSize, PortRange, Protocol, Sha256};

/// Ports that one program may ask for, by whichever protocol: each is judged by itself.
pub const MOST_PORTS: usize = 4096;

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// To run a program.
    Run(&'a Run),
    /// To see, attach to, stop or forget a process that `owner` started.
    Process {
        /// Who started it: [`super::Caller::owner`].
        owner: &'a str,
    },
    /// To reach a port of this computer, or of what it can reach.
    Tunnel(&'a Port),
    /// To read a file or a folder. The path is the file's own: whoever asks has followed links, and opens nothing else then.
    Read(&'a Path),
    /// To write a file; its path as for reading.
    Write(&'a Path),
    /// To restart the computer.
    Reboot,
    /// To be told something.
    Query(Query),
    /// To add a route to this network, in the notation of CIDR.
    AddRoute(&'a str),
}

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Where it stands: absolute, without `.` and `..`.
    pub program: PathBuf,
    /// Of what will really be run; nothing before it was taken to where only the agent can write.
    pub sha256: Option<Sha256>,
    /// Who signed it, once `sha256` is known and if a rule asks for it; nothing: nobody whom this system trusts.
    pub signer: Option<Signer>,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
    /// Its environment: names and values.
    pub environment: Vec<(String, String)>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
    /// As whom it is to run; nothing: as the policy says.
    pub account: Option<String>,
    /// The most it may have, as far as the caller says.
    pub limits: Limits,
    /// Ports that it is to open to others.
    pub ports: Vec<Port>,
}

/// Whose signature a program has, checked by the system. Linux checks none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The certificate's subject, as Windows writes it: `CN=Tools, O=Example Inc., C=US`.
    pub subject: String,
    /// What the certificate hashes to.
    pub sha256: Sha256,
}

/// The most that a process with all that it starts may have; nothing: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processes at the same time.
    pub processes: Option<u32>,
    /// Thousandths of one CPU.
    pub cpu_milli: Option<u32>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Which kind.
    pub protocol: Protocol,
    /// A name or an address; `localhost` is this computer.
    pub host: String,
    /// Its number.
    pub number: u16,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// The agent itself: its version and checksum.
    Agent,
    /// The computer: its system, what it is ready for.
    Host,
    /// Its network adapters.
    Network,
    /// Its container networks (Windows' HNS).
    Hns,
    /// What the agent is at: its doors, its policy, who is there.
    Status,
}

impl Port {
    /// Each port of a program by itself: a policy may name them in other ranges.
    pub fn each(range: &PortRange) -> impl Iterator<Item = Self> + use<> {
        let protocol = range.protocol;
        range.numbers.clone().map(move |number| Self { protocol, host: String::new(), number })
    }

    /// The same ports of a program as few ranges, by kind and number.
    #[must_use]
    pub fn ranges(ports: &[Self]) -> Vec<PortRange> {
        let mut ports: Vec<_> = ports.iter().map(|port| (port.protocol, port.number)).collect();
        ports.sort_unstable();
        let mut ranges: Vec<PortRange> = Vec::new();
        for (protocol, number) in ports {
            match ranges.last_mut() {
                Some(last) if last.protocol == protocol && number <= last.numbers.end().saturating_add(1) => {
                    last.numbers = *last.numbers.start()..=number;
                }
                _ => ranges.push(PortRange { protocol, numbers: number..=number }),
            }
        }
        ranges
    }
}

/// What is asked for, as the beginning of "… is not allowed".
impl fmt::Display for Request<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => write!(out, "running {}", run.program.display()),
            Self::Process { owner } => write!(out, "using a process of {owner}"),
            Self::Tunnel(port) => write!(out, "a tunnel to {port}"),
            Self::Read(path) => write!(out, "reading {}", path.display()),
            Self::Write(path) => write!(out, "writing {}", path.display()),
            Self::Reboot => out.write_str("restarting this computer"),
            Self::Query(query) => write!(out, "asking for {query}"),
            Self::AddRoute(network) => write!(out, "a route to {network}"),
        }
    }
}

/// `tcp/localhost:9796`.
impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}:{}", self.protocol, self.host, self.number)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Agent => "the agent's version",
            Self::Host => "facts of this computer",
            Self::Network => "network adapters",
            Self::Hns => "container networks",
            Self::Status => "the agent's status",
        })
    }
}

#[cfg(test)]
mod tests {
    use Protocol::{Tcp, Udp};

    use super::*;

    #[test]
    fn ports_become_few_ranges_whatever_their_order() {
        let port = |(protocol, number): (Protocol, u16)| Port { protocol, host: String::new(), number };
        let said = |ports: &[(Protocol, u16)]| {
            let ports: Vec<Port> = ports.iter().copied().map(port).collect();
            Port::ranges(&ports).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(said(&[]), Vec::<String>::new());
        assert_eq!(
            said(&[(Udp, 4790), (Tcp, 82), (Tcp, 80), (Udp, 4789), (Tcp, 80), (Tcp, 443)]),
            ["tcp/80", "tcp/82", "tcp/443", "udp/4789-4790"]
        );
        let range: PortRange = "udp/4789-4792".parse().expect("ports");
        assert_eq!(Port::ranges(&Port::each(&range).collect::<Vec<_>>()), [range]);
        assert_eq!(said(&[(Tcp, u16::MAX), (Tcp, u16::MAX - 1), (Tcp, u16::MAX)]), ["tcp/65534-65535"]);
    }
}
