//! The memory that a machine's QEMU takes.

use std::io;

use serde::{Deserialize, Serialize};
use winstead_process::ProcessId;
use winstead_spec::ByteSize;

/// Memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resident {
    /// All its pages in RAM; shared ones count in every process that has them.
    pub rss: ByteSize,
    /// Its part of the shared pages, plus its own; `None` where only the owner may know.
    pub pss: Option<ByteSize>,
    /// Its part of the pages of files in RAM: of a guest that was started from saved memory what it has not changed.
    pub shared: Option<ByteSize>,
    /// Its part of the pages of programs and libraries: it becomes more when others that run the same ones end.
    pub files: Option<ByteSize>,
}

impl Resident {
    /// What it takes of the host's RAM, shared pages divided among those that share them.
    #[must_use]
    pub fn proportional(&self) -> ByteSize {
        self.pss.unwrap_or(self.rss)
    }

    /// The same without files in RAM.
    #[must_use]
    pub fn private(&self) -> ByteSize {
        self.proportional() - self.shared.unwrap_or_default()
    }
}

/// The memory of a process, from `/proc/PID/smaps_rollup`, else `/proc/PID/status`. The kernel walks all its pages:
/// measured were 1 to 15 ms for each GiB.
///
/// # Errors
/// When it is gone.
pub fn resident(process: ProcessId) -> io::Result<Resident> {
    let pid = process.pid;
    let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is gone"));
    if !process.is_alive() {
        return Err(gone());
    }
    if let Ok(text) = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let Some(rss) = kib(&text, "Rss:")
    {
        let [pss, shared, files] = ["Pss:", "Pss_Shmem:", "Pss_File:"].map(|key| kib(&text, key));
        return Ok(Resident { rss, pss, shared, files });
    }
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Resident { rss: kib(&status, "VmRSS:").ok_or_else(gone)?, pss: None, shared: None, files: None })
}

/// The size in the line that begins with `key`.
fn kib(text: &str, key: &str) -> Option<ByteSize> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize::from_bytes(kib.checked_mul(1024)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_lines_are_understood() {
        let text = "5634a7a9d000-7ffd9f1d5000 ---p 00000000 00:00 0    [rollup]\nRss:             3492 kB\nPss:              512 kB\nPss_Anon:  140 kB\n";
        assert_eq!(kib(text, "Rss:"), Some(ByteSize::from_bytes(3492 * 1024)));
        assert_eq!(kib(text, "Pss:"), Some(ByteSize::from_bytes(512 * 1024)));
        assert_eq!(kib("Rss: many kB", "Rss:"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_dead_one_none() {
        let me = ProcessId::of(std::process::id()).unwrap();
        let seen = resident(me).unwrap();
        assert!(seen.pss.unwrap() <= seen.rss && seen.rss > ByteSize::from_mib(1), "{seen:?}");
        assert!(resident(ProcessId { started: me.started + 1, ..me }).is_err());
    }
}
