//! The old configuration as rules for the two doors of old clients.

use winstead_spec::{
    AgentQuery, AgentRule, CallerRule, Door, Name, PortRange, PortTarget, Protocol, RunRule, WinsConfig,
};

/// Returns what the old configuration lets whoever may connect do: exactly the programs and ports of its list, with any
/// arguments, as before; and to ask for versions, adapters, networks and to add routes, which had no list.
///
/// An empty list allows none; the old server took it for everything.
#[must_use]
pub fn rules(config: &WinsConfig) -> Vec<AgentRule> {
    let services = AgentRule {
        run: config.process_paths.iter().map(|path| program(path)).collect(),
        queries: [AgentQuery::Agent, AgentQuery::Host, AgentQuery::Network, AgentQuery::Hns].into(),
        routes: "0.0.0.0/0".parse().into_iter().collect(),
        ..rule("wins", Door::Wins)
    };
    let tunnels = AgentRule {
        tunnels: config.proxy_ports.iter().filter_map(|port| localhost(*port)).collect(),
        ..rule("wins-proxy", Door::WinsProxy)
    };
    vec![services, tunnels]
}

fn rule(name: &str, door: Door) -> AgentRule {
    AgentRule {
        name: name.parse::<Name>().expect("a word is a name"),
        callers: vec![CallerRule { door: Some(door), ..CallerRule::default() }],
        run: Vec::new(),
        tunnels: Vec::new(),
        read: Vec::new(),
        write: Vec::new(),
        queries: [].into(),
        routes: Vec::new(),
        reboot: false,
        all: false,
    }
}

fn program(path: &str) -> RunRule {
    let every = |protocol| PortRange { protocol, numbers: 1..=u16::MAX };
    RunRule {
        path: Some(clean(path)),
        arguments: vec!["**".to_owned()],
        environment: vec!["*".to_owned()],
        ports: vec![every(Protocol::Tcp), every(Protocol::Udp)],
        ..RunRule::default()
    }
}

/// Port 0 is none.
fn localhost(port: u16) -> Option<PortTarget> {
    let ports = PortRange { protocol: Protocol::Tcp, numbers: port..=port };
    (port != 0).then(|| PortTarget { host: "localhost".to_owned(), ports })
}

/// A path without `.`, `..` and doubled separators, by its text alone, as the old server compared it. The kind of its
/// separators stays; what leads out of the root stays in it.
pub(crate) fn clean(path: &str) -> String {
    let windows = !path.starts_with('/') && (path.contains('\\') || path.as_bytes().get(1) == Some(&b':'));
    let separators: &[char] = if windows { &['\\', '/'] } else { &['/'] };
    let separator = path.chars().find(|c| separators.contains(c)).unwrap_or('/').to_string();
    let mut names: Vec<&str> = Vec::new();
    let mut parts = path.split(separators);
    let root = parts.next().unwrap_or_default();
    for part in parts {
        match part {
            "" | "." => {}
            ".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    if names.is_empty() && !path.contains(separators) {
        return root.to_owned();
    }
    format!("{root}{separator}{}", names.join(&separator))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::access::{Account, Caller, Paths, Policy, Port, Query, Request, Run, Verdict};

    fn caller(door: Door) -> Caller {
        Caller { door, account: Account::default(), process: None, container: None }
    }

    fn may(config: &WinsConfig, door: Door, request: Request<'_>) -> bool {
        let policy = Policy::new(rules(config), Paths::Windows);
        matches!(policy.judge(&caller(door), request), Verdict::Allowed(_))
    }

    fn run(path: &str) -> Run {
        let environment = vec![("A".to_owned(), "B".to_owned())];
        Run { program: PathBuf::from(path), arguments: vec!["--x".to_owned()], environment, ..Run::default() }
    }

    fn port(host: &str, number: u16) -> Port {
        Port { protocol: Protocol::Tcp, host: host.to_owned(), number }
    }

    #[test]
    fn the_programs_and_ports_of_the_list_are_allowed_whatever_their_case_and_slashes() {
        let config = WinsConfig {
            process_paths: vec![r"C:\etc\.\x\..\nginx\Nginx.exe".to_owned()],
            proxy_ports: vec![9796, 0],
            ..WinsConfig::default()
        };
        assert!(may(&config, Door::Wins, Request::Run(&run("c:/ETC/nginx/nginx.exe"))));
        assert!(!may(&config, Door::Wins, Request::Run(&run("c:/etc/nginx/other.exe"))));
        assert!(!may(&config, Door::Local, Request::Run(&run("c:/etc/nginx/nginx.exe"))), "another door");
        assert!(may(&config, Door::WinsProxy, Request::Tunnel(&port("localhost", 9796))));
        assert!(!may(&config, Door::WinsProxy, Request::Tunnel(&port("localhost", 9797))));
        assert!(!may(&config, Door::WinsProxy, Request::Tunnel(&port("10.0.0.1", 9796))));
        assert!(!may(&config, Door::Wins, Request::Tunnel(&port("localhost", 9796))), "another door");
    }

    #[test]
    fn an_empty_list_allows_no_program_and_no_port_but_questions() {
        let config = WinsConfig::default();
        assert!(!may(&config, Door::Wins, Request::Run(&run("c:/a.exe"))));
        assert!(!may(&config, Door::WinsProxy, Request::Tunnel(&port("localhost", 80))));
        assert!(may(&config, Door::Wins, Request::Query(Query::Network)));
        assert!(may(&config, Door::Wins, Request::AddRoute("169.254.169.254/32")));
        assert!(!may(&config, Door::Wins, Request::Reboot));
    }

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in [
            ("/a/./b//c/../d", "/a/b/d"),
            ("/../a", "/a"),
            ("/", "/"),
            (r"c:\a\..\b.exe", r"c:\b.exe"),
            ("c:/a//b", "c:/a/b"),
            ("a", "a"),
            ("/a\\b/./c", "/a\\b/c"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
