//! Ports of processes in Windows' firewall: one rule for all ports of a process with TCP, and one with UDP.
//!
//! Rules are not lost when the computer restarts, though the processes are: an interface for such rules exists in WMI alone.
//! So each says where its process is kept, and those of processes that are no more are taken away by the next agent.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use winstead_spec::{PortRange, Protocol};

use crate::{
    supervision::{Firewall, Opening, is_over},
    windows::{FirewallRule, add_rule, remove_rule, rules_of},
};

/// What Windows shows as the group of all our rules, and what they are found by.
const GROUP: &str = "winstead-agent";
/// Begins a rule's description; then comes the process's folder.
const KEPT_IN: &str = "Opened by winstead-agent for the process that it keeps in ";

/// Windows' firewall; with `makes` off, only what is stale is taken away.
#[must_use]
pub fn firewall(makes: bool) -> Option<Arc<dyn Firewall>> {
    Some(Arc::new(WindowsFirewall { makes, one: Mutex::new(()) }))
}

#[derive(Debug)]
struct WindowsFirewall {
    makes: bool,
    /// One at a time: what was given up and comes late meets what came after it.
    one: Mutex<()>,
}

impl WindowsFirewall {
    fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

impl Firewall for WindowsFirewall {
    fn open(&self, opening: &Opening) -> io::Result<()> {
        if !self.makes {
            return Ok(());
        }
        self.alone(|| {
            // Given up meanwhile: nobody would take it away.
            if !opening.folder.try_exists()? {
                return Err(io::ErrorKind::NotFound.into());
            }
            rules(opening)?.iter().try_for_each(add_rule)
        })
    }

    fn close(&self, id: &str) -> io::Result<()> {
        self.alone(|| {
            let closed = [Protocol::Tcp, Protocol::Udp].map(|protocol| remove_rule(&name(id, protocol)));
            closed.into_iter().collect()
        })
    }

    fn close_stale(&self) -> io::Result<()> {
        self.alone(|| {
            for rule in rules_of(GROUP)?.into_iter().filter(is_stale) {
                tracing::info!(
                    rule = rule.name,
                    "a firewall rule of a process that is no more is taken away"
                );
                remove_rule(&rule.name)?;
            }
            Ok(())
        })
    }
}

fn name(id: &str, protocol: Protocol) -> String {
    format!("{GROUP} {id} {protocol}")
}

/// One for each kind of port.
fn rules(opening: &Opening) -> io::Result<Vec<FirewallRule>> {
    let program = plain(&opening.program)?;
    let rule = |protocol| {
        let ports: Vec<String> =
            opening.ports.iter().filter(|range| range.protocol == protocol).map(numbers).collect();
        (!ports.is_empty()).then(|| FirewallRule {
            name: name(&opening.id, protocol),
            description: format!("{KEPT_IN}{}", opening.folder.display()),
            group: GROUP.to_owned(),
            program: program.clone(),
            protocol,
            ports: ports.join(","),
        })
    };
    Ok([Protocol::Tcp, Protocol::Udp].into_iter().filter_map(rule).collect())
}

/// `80`, or `80-90`.
fn numbers(range: &PortRange) -> String {
    match (range.numbers.start(), range.numbers.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// A path as the firewall compares it: without the prefix for long ones. It takes `%NAME%` for a variable, so a path with one
/// would open ports of another program.
fn plain(program: &Path) -> io::Result<String> {
    let text = program.to_str().filter(|text| !text.contains(['%', '|']));
    let text = text.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "no rule can name a program with % or | in its path")
    })?;
    Ok(text.strip_prefix(r"\\?\").unwrap_or(text).to_owned())
}

/// A rule that names no process is not one that we made.
fn is_stale(rule: &FirewallRule) -> bool {
    rule.description.strip_prefix(KEPT_IN).is_some_and(|folder| is_over(Path::new(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(folder: &Path, program: &str) -> Opening {
        let ports = ["tcp/80", "tcp/8000-8010", "udp/4789"].map(|range| range.parse().expect("ports"));
        Opening {
            id: "7d9f".to_owned(),
            folder: folder.to_owned(),
            program: program.into(),
            ports: ports.to_vec(),
        }
    }

    #[test]
    fn there_is_one_rule_for_all_ports_of_a_kind() {
        let all = rules(&opening(Path::new(r"C:\p\7d9f"), r"\\?\C:\vault\a b.exe")).expect("a usual path");
        let said: Vec<_> = all.iter().map(|rule| (&*rule.name, &*rule.ports, &*rule.program)).collect();
        assert_eq!(
            said,
            [
                ("winstead-agent 7d9f tcp", "80,8000-8010", r"C:\vault\a b.exe"),
                ("winstead-agent 7d9f udp", "4789", r"C:\vault\a b.exe"),
            ]
        );
    }

    #[test]
    fn a_path_that_the_firewall_would_understand_otherwise_is_refused() {
        for program in [r"C:\%TEMP%\a.exe", r"C:\a|App=b.exe"] {
            rules(&opening(Path::new(r"C:\p"), program)).expect_err(program);
        }
    }

    #[test]
    fn a_rule_is_stale_when_its_process_has_ended_or_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let rule = rules(&opening(folder.path(), r"C:\a.exe")).expect("a usual path").remove(0);
        assert!(!is_stale(&rule), "it runs");
        assert!(
            !is_stale(&FirewallRule { description: "ours".to_owned(), ..rule.clone() }),
            "somebody else's"
        );
        fs_err::write(folder.path().join("exit.json"), "{}").expect("it is written");
        assert!(is_stale(&rule), "it has ended");
        drop(folder);
        assert!(is_stale(&rule), "it is forgotten");
    }
}
