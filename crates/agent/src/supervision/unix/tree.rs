//! Everything that a process has started, as `/proc` shows it (proc(5)). A keeper is a subreaper: nothing that its program
//! starts leaves its tree, whatever it forks.

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};

use crate::supervision::orphans::{Seen, below};

/// Everything that runs now; what ends meanwhile may be missing.
pub(crate) fn all_processes() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| seen(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// The name, field 2, may hold spaces and brackets. Field 4 is the parent, 22 the start time.
pub(crate) fn seen(pid: u32, stat: &str) -> Option<Seen> {
    let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat.get(end + 1..)?.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    let name = stat.get(begin + 1..end)?.to_owned();
    (!dead).then_some(Seen { pid, parent, started, name })
}

/// Sends `signal` to everything below `root`; returns to how many. For a caller that is their subreaper: none of their
/// numbers is another's as long as it reaps nothing meanwhile.
pub(crate) fn signal_below(root: u32, signal: Signal) -> usize {
    let found = below(root, &all_processes());
    for pid in &found {
        let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        if let Err(error) = kill_process(pid, signal) {
            tracing::debug!(%error, "a process was not signalled");
        }
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_program_is_called() {
        let stat = "77 (a) b (c) S 12 77 77 0 -1 4228108 190 0 0 0 3 2 0 0 20 0 5 0 4242 0 0";
        let found = seen(77, stat).expect("it is one");
        assert_eq!((found.parent, found.started, found.name.as_str()), (12, 4242, "a) b (c"));
        assert!(seen(77, &stat.replace(" S ", " Z ")).is_none() && seen(77, "77 (").is_none());
    }
}
