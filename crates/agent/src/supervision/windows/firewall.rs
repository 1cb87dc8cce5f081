//! Ports of processes in Windows' firewall: one rule for all ports of a process with TCP, and one with UDP.
//!
//! Rules are not lost when the computer restarts, though the processes are: an interface for such rules exists in WMI alone.
//! So each says where its process is kept, and those of processes that are no more are taken away by the next agent.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use winstead_spec::{PortRange, Protocol};

use crate::{
    service::{self, Phase},
    supervision::{Firewall, Opening, is_over},
    windows::{FirewallRule, add_rule, remove_rule, rules_of},
};

/// What Windows shows as the group of all our rules, and what they are found by.
const GROUP: &str = "winstead-agent";
/// The firewall itself.
const SERVICE: &str = "MpsSvc";
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
            unless_off(rules(opening)?.iter().try_for_each(add_rule), is_off)
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

    fn close_all(&self, processes: &Path) -> io::Result<Vec<String>> {
        self.alone(|| {
            let mut cut_off = Vec::new();
            for rule in rules_of(GROUP)?.into_iter().filter(|rule| is_kept_in(rule, processes)) {
                remove_rule(&rule.name)?;
                let FirewallRule { protocol, ports, program, .. } = &rule;
                cut_off.extend((!is_stale(&rule)).then(|| format!("{protocol} {ports} of {program}")));
            }
            Ok(cut_off)
        })
    }
}

/// A firewall that does not run shuts no port, so a rule that it does not take is missed by nobody.
fn unless_off(made: io::Result<()>, is_off: impl FnOnce() -> bool) -> io::Result<()> {
    match made {
        Err(error) if is_off() => {
            tracing::warn!(%error, "no firewall rule is made: the firewall does not run; once it does, ports are shut");
            Ok(())
        }
        made => made,
    }
}

/// Whether the service that is Windows' firewall does not run. One that does not say is taken to run.
fn is_off() -> bool {
    let status = service::look_at(SERVICE);
    status.is_ok_and(|status| matches!(status.phase, Phase::Stopped | Phase::NotInstalled))
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

/// Where the process of a rule is kept. A rule that names none is not one that we made.
fn folder(rule: &FirewallRule) -> Option<&Path> {
    rule.description.strip_prefix(KEPT_IN).map(Path::new)
}

fn is_stale(rule: &FirewallRule) -> bool {
    folder(rule).is_some_and(is_over)
}

/// Whatever its case: the folder may have been named twice, each time in another one.
fn is_kept_in(rule: &FirewallRule, processes: &Path) -> bool {
    let lower = |path: &Path| PathBuf::from(path.as_os_str().to_ascii_lowercase());
    folder(rule).and_then(Path::parent).is_some_and(|above| lower(above) == lower(processes))
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

    #[test]
    fn an_agent_knows_its_own_rules_by_the_folder_of_its_processes() {
        let rule =
            |folder: &str| rules(&opening(Path::new(folder), r"C:\a.exe")).expect("a usual path").remove(0);
        let is_ours = |folder: &str| is_kept_in(&rule(folder), Path::new(r"C:\State\processes"));
        assert!(is_ours(r"C:\State\processes\7d9f") && is_ours(r"c:\\state\Processes\7d9f"));
        for other in [r"C:\Other\processes\7d9f", r"C:\State\processes", r"C:\State\processes\7d9f\deeper"] {
            assert!(!is_ours(other), "{other}");
        }
        let foreign = FirewallRule { description: "ours".to_owned(), ..rule(r"C:\State\processes\7d9f") };
        assert!(!is_kept_in(&foreign, Path::new(r"C:\State\processes")), "somebody else's");
    }

    #[test]
    fn a_firewall_that_does_not_run_keeps_no_program_from_running() {
        let refused = || Err(io::Error::other("the service is not there"));
        unless_off(refused(), || true).expect("it shuts nothing");
        unless_off(refused(), || false).expect_err("the port would be shut");
        unless_off(Ok(()), || panic!("nobody asks")).expect("it is made");
    }
}
