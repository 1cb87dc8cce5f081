//! What can go wrong with networks.

use std::{io, path::PathBuf};

use winstead_process::{CommandError, Failure};
use winstead_spec::Subnet;

/// A network operation that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused for want of rights.
    #[error(
        "change networks without root or CAP_NET_ADMIN; `network: {{user: {{}}}}` in the pool needs neither"
    )]
    NoRights(#[source] Box<CommandError>),
    /// A program is not installed.
    #[error("find `{program}`: install the Debian package `{package}`")]
    Missing {
        /// What was to be started.
        program: String,
        /// Where Debian has it.
        package: &'static str,
        /// The command.
        source: Box<CommandError>,
    },
    /// An interface of that name belongs to somebody else.
    #[error("use the interface {name}: it was not made for these machines; choose another name in `bridge`")]
    Foreign {
        /// The interface.
        name: String,
    },
    /// An nftables table of that name belongs to somebody else.
    #[error(
        "use the nftables table {table}: it was not made for these machines; choose another name in `bridge`"
    )]
    ForeignTable {
        /// The table, with its family.
        table: String,
    },
    /// The bridge that a tap belongs to is not there.
    #[error("attach {tap} to the bridge {bridge}: there is no such bridge")]
    NoBridge {
        /// The tap.
        tap: String,
        /// The missing bridge.
        bridge: String,
    },
    /// The host already reaches an overlapping network elsewhere.
    #[error(
        "use {subnet} for {bridge}: the host has a route to {route} by {device}; choose another `subnet`"
    )]
    Overlap {
        /// The bridge.
        bridge: String,
        /// Its wanted network.
        subnet: Subnet,
        /// The host's route.
        route: String,
        /// The interface of that route.
        device: String,
    },
    /// A lease's name is no host name, or its address is outside the subnet.
    #[error("reserve {address} for {name:?}: not a host name and an address of {subnet}")]
    Lease {
        /// The name.
        name: String,
        /// The address.
        address: std::net::Ipv4Addr,
        /// The bridge's network.
        subnet: Subnet,
    },
    /// The path cannot stand in dnsmasq's configuration.
    #[error(
        "use the folder {0:?} for a network: its path has a character that dnsmasq's configuration cannot hold"
    )]
    Folder(PathBuf),
    /// dnsmasq gives up root's rights, and then cannot pass a folder.
    #[error(
        "let dnsmasq read {}: only its owner may pass {}; `chmod o+x` that, or use another --home",
        folder.display(), closed.display()
    )]
    Closed {
        /// Where dnsmasq's files are.
        folder: PathBuf,
        /// The folder above it that is in the way.
        closed: PathBuf,
    },
    /// dnsmasq ended, or was not ready in time.
    #[error("start dnsmasq for {bridge}: {state}; it last said: {said}")]
    Dnsmasq {
        /// The bridge.
        bridge: String,
        /// What became of it.
        state: String,
        /// The end of its log.
        said: String,
    },
    /// A command failed.
    #[error("set up the network")]
    Command(#[source] Box<CommandError>),
    /// `ip` answered something that is no such list.
    #[error("read the answer of `{command}`")]
    Answer {
        /// The command.
        command: String,
        /// What was wrong.
        source: serde_json::Error,
    },
    /// A file or process; the source names it.
    #[error("keep the network's files")]
    Io(#[from] io::Error),
    /// The caller was told to stop.
    #[error("wait for dnsmasq of {0}: interrupted")]
    Cancelled(String),
}

impl From<CommandError> for NetworkError {
    fn from(error: CommandError) -> Self {
        let source = Box::new(error);
        if let Failure::NotFound = source.failure {
            let program = source.command.split_whitespace().next().unwrap_or_default().to_owned();
            let package = package(&program);
            return Self::Missing { program, package, source };
        }
        // iproute2 6.1 and nftables 1.0.6 end with 1 or 2 for any failure: their words are all there is.
        let refused = ["Operation not permitted", "Permission denied", "must be root"];
        if refused.iter().any(|words| source.said.contains(words)) {
            return Self::NoRights(source);
        }
        Self::Command(source)
    }
}

fn package(program: &str) -> &'static str {
    match program {
        "nft" => "nftables",
        "dnsmasq" => "dnsmasq-base",
        "setsid" => "util-linux",
        _ => "iproute2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_name_the_network_that_needs_none() {
        let said = "RTNETLINK answers: Operation not permitted".to_owned();
        let failure = Failure::TimedOut(std::time::Duration::ZERO);
        let error = NetworkError::from(CommandError { command: "ip link".into(), failure, said });
        assert!(matches!(error, NetworkError::NoRights(_)));
        insta::assert_snapshot!(error, @"change networks without root or CAP_NET_ADMIN; `network: {user: {}}` in the pool needs neither");
    }
}
