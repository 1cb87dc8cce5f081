//! The computer that was measured: a number without it says nothing.

use fs_err as fs;
use serde::Serialize;

use crate::{bench::lab::Lab, command::Command};

/// A computer, as it was when measuring began.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Host {
    pub(super) taken_at: String,
    pub(super) name: String,
    commit: String,
    cpu: String,
    cores: usize,
    memory: String,
    kernel: String,
    system: String,
    qemu: String,
    accelerator: String,
    /// The file system that holds the home: device, type, options.
    home_mount: String,
    root: bool,
    /// Work by others before we began.
    load: String,
    rust: String,
}

impl Host {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Self {
            taken_at, cpu, cores, memory, kernel, system, qemu, accelerator, home_mount, load, ..
        } = self;
        format!(
            "{taken_at}: {cpu}, {cores} cores, {memory}, {system}, Linux {kernel}, {qemu}, {accelerator}; home on {home_mount}; load before: {load}"
        )
    }
}

/// Looks at this computer.
///
/// # Errors
/// When something of it cannot be read.
pub(super) fn describe(lab: &Lab) -> anyhow::Result<Host> {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let file = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let read = |argv: &[&str]| Command::new(argv.iter().copied()).read().map(first);
    Ok(Host {
        taken_at: read(&["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
        name: file("/proc/sys/kernel/hostname")?,
        commit: read(&["git", "describe", "--always", "--dirty", "--abbrev=12"])
            .unwrap_or_else(|_| "none".to_owned()),
        cpu: field(&file("/proc/cpuinfo")?, "model name"),
        cores: std::thread::available_parallelism()?.get(),
        memory: field(&file("/proc/meminfo")?, "MemTotal"),
        kernel: file("/proc/sys/kernel/osrelease")?,
        system: field(&file("/etc/os-release")?, "PRETTY_NAME"),
        qemu: read(&["qemu-system-x86_64", "--version"])?,
        accelerator: accelerator(lab)?,
        home_mount: mount_of(&file("/proc/self/mounts")?, &lab.product().home().display().to_string()),
        root: crate::place::is_root(),
        load: file("/proc/loadavg")?,
        rust: read(&["rustc", "--version"])?,
    })
}

fn accelerator(lab: &Lab) -> anyhow::Result<String> {
    let qemu = lab.qemu()?;
    let word = |key: &str| qemu[key].as_str().unwrap_or("unknown").to_owned();
    Ok(format!("{} ({})", word("accelerator"), word("reason")))
}

/// The value after `key` and `:` or `=`, without quotes.
fn field(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix([':', '=']));
    value.unwrap_or("unknown").trim().trim_matches('"').to_owned()
}

/// The line of `/proc/self/mounts` with the longest mount point above `path`.
fn mount_of(mounts: &str, path: &str) -> String {
    let split = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let above = mounts.lines().map(split).filter(|words| {
        words.get(1).is_some_and(|point| std::path::Path::new(path).starts_with(point)) && words.len() > 3
    });
    above
        .max_by_key(|words| words[1].len())
        .map_or_else(|| "unknown".to_owned(), |words| format!("{} {} {}", words[0], words[2], words[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_with_either_separator() {
        assert_eq!(field("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n", "model name"), "A CPU @ 2 GHz");
        assert_eq!(field("PRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME"), "Debian 12");
        assert_eq!(field("", "x"), "unknown");
    }

    #[test]
    fn the_longest_mount_point_above_a_path_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /work tmpfs rw,size=1 0 0\ntmpfs /workshop tmpfs rw 0 0\n";
        assert_eq!(mount_of(mounts, "/work/home"), "tmpfs tmpfs rw,size=1");
    }
}
