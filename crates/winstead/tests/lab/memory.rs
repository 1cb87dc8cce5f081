//! Machines that start from saved memory, with real Debian guests: the tiny one has no guest agent.

mod agent;
mod elsewhere;
mod faults;
mod identity;
mod keeping;
mod life;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use winstead_testing::{DEBIAN_IMAGE, debian_images_or_skip, lab_folder};

use crate::lab::{Lab, system};

/// What templates run in the tests: the file is in all that start from memory, and in no machine that booted.
const WARM: &str = "[sh, -c, 'echo warm >/run/warmed']";
/// A program of the template that draws random numbers as soon as a clone has its files.
const DRAW: &str = "[sh, -c, \"setsid perl -e 'select(undef, undef, undef, 0.01) until -e q(/root/.ssh/authorized_keys); \
                    open(F, q(<), q(/dev/urandom)); sysread(F, my $drawn, 32); open(D, q(>), q(/run/drawn)); \
                    print D unpack(q(H*), $drawn);' >/dev/null 2>&1 </dev/null &\"]";
/// What is looked at in a guest, and how.
const LOOK: &[(&str, &str)] = &[
    ("host name", "hostname"),
    ("machine-id", "cat /etc/machine-id"),
    ("journal", "ls /run/log/journal"),
    ("boot", "cat /proc/sys/kernel/random/boot_id"),
    ("product", "cat /sys/class/dmi/id/product_uuid"),
    ("hardware address", "cat /sys/class/net/[!l]*/address"),
    ("random numbers", "head -c 4096 /dev/urandom | sha256sum"),
    ("drawn", "cat /run/drawn"),
    ("host key", "cat /etc/ssh/ssh_host_ed25519_key.pub"),
    ("warmed", "cat /run/warmed"),
    ("name server", "cat /etc/resolv.conf"),
];
/// What no two machines have in common.
const OWN: &[&str] = &[
    "host name",
    "machine-id",
    "journal",
    "boot",
    "product",
    "hardware address",
    "random numbers",
    "drawn",
    "host key",
];
/// What a guest on QEMU's user network resolves names by.
const NAME_SERVER: &str = "nameserver 10.0.2.3";
/// By how much a guest's clock may be wrong, beyond what the question itself took.
const CLOCK: Duration = Duration::from_millis(50);
const CLOCK_SAMPLES: usize = 5;

/// A lab whose home has the Debian image; without, the reason is told.
fn lab() -> Option<Lab> {
    prepared(Lab::new())
}

fn prepared(lab: Lab) -> Option<Lab> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let images = runtime.block_on(debian_images_or_skip(&lab_folder()))?;
    Some(with_images(lab, &images))
}

/// The lab, with these images in its home.
fn with_images(lab: Lab, images: &Path) -> Lab {
    let (images, home) = (images.display().to_string(), lab.home().display().to_string());
    system(&["cp", "-a", "--reflink=auto", &images, &home]).expect("copy the built image");
    lab
}

/// The file of a test: a pool `mem` of Debian machines.
fn file(lab: &Lab, replicas: u32, warm: &[&str], probe: &str) -> PathBuf {
    file_with(lab, replicas, warm, probe, "")
}

/// The same with one more line in the pool's `spec`.
fn file_with(lab: &Lab, replicas: u32, warm: &[&str], probe: &str, more: &str) -> PathBuf {
    let text = format!(
        "{DEBIAN_IMAGE}---\napiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: mem}}\nspec:\n  image: debian\n  \
         replicas: {replicas}\n  machine: {{cpus: 1, memory: 384MiB, disk: {{store: ram, cap: 256MiB}}, start: memory}}\n  \
         warm: [{}]\n  ready: {{probe: {probe}, deadline: 15m}}\n  {more}\n",
        warm.join(", ")
    );
    let path = lab.folder().join("memory.yaml");
    fs_err::write(&path, text).expect("write the lab's file");
    path
}

/// A guest as it looks from inside; empty when nobody could log in.
#[derive(Clone, Debug, Default)]
struct Seen {
    values: BTreeMap<&'static str, String>,
    /// By how much its clock is surely wrong.
    clock: Duration,
}

impl Seen {
    fn get(&self, what: &str) -> &str {
        self.values.get(what).map_or("", String::as_str)
    }

    fn has_started_from_memory(&self) -> bool {
        self.get("warmed") == "warm"
    }
}

/// Looks into a machine, in one login.
fn look(lab: &Lab, machine: &str) -> Seen {
    let look: String = LOOK.iter().map(|(_, command)| format!("echo $({command} 2>/dev/null); ")).collect();
    let script = format!("{look} while read go; do date +%s%N; done");
    let mut command = lab.command(&["exec", machine, "--", "sh", "-c", &script]);
    let mut exec = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start winstead");
    let mut to = exec.stdin.take().expect("its standard input");
    let mut from = BufReader::new(exec.stdout.take().expect("its standard output"));
    let mut seen = Seen::default();
    for (what, _) in LOOK {
        let mut line = String::new();
        if from.read_line(&mut line).expect("a line") > 0 {
            seen.values.insert(what, line.trim().to_owned());
        }
    }
    if seen.values.len() == LOOK.len() {
        let errors = (0..CLOCK_SAMPLES).map(|_| clock_error(&mut to, &mut from));
        seen.clock = errors.min().expect("samples");
    }
    drop(to);
    exec.wait().expect("its end");
    seen
}

/// By how much the guest's clock lies outside the time that asking took.
fn clock_error(to: &mut ChildStdin, from: &mut BufReader<ChildStdout>) -> Duration {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let (before, mut line) = (now(), String::new());
    to.write_all(b"go\n").expect("ask for the time");
    from.read_line(&mut line).expect("the time");
    let after = now();
    let guest = Duration::from_nanos(line.trim().parse().expect("a number"));
    before.saturating_sub(guest).max(guest.saturating_sub(after))
}

fn names(replicas: u32) -> Vec<String> {
    (0..replicas).map(|index| format!("mem-{index}")).collect()
}

/// Looks into machines, by name.
fn look_at(lab: &Lab, replicas: u32) -> BTreeMap<String, Seen> {
    names(replicas).into_iter().map(|name| (name.clone(), look(lab, &name))).collect()
}

/// What is wrong with machines that all should be themselves.
fn mistaken(lab: &Lab, seen: &BTreeMap<String, Seen>) -> BTreeSet<&'static str> {
    let mut wrong = BTreeSet::new();
    for what in OWN {
        let values: BTreeSet<&str> = seen.values().map(|seen| seen.get(what)).collect();
        if values.len() < seen.len() || values.contains("") {
            wrong.insert(*what);
        }
    }
    for machine in lab.machines() {
        let text = |at: &str| machine.pointer(at).and_then(Value::as_str).expect("a text").to_owned();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        let seen = &seen[&name];
        let id = uid.replace('-', "");
        let expected: [(&'static str, &str); 4] =
            [("host name", &name), ("machine-id", &id), ("journal", &id), ("product", &uid)];
        wrong.extend(expected.iter().filter(|(what, value)| seen.get(what) != *value).map(|(what, _)| what));
        wrong.extend((seen.get("name server") != NAME_SERVER).then_some("name server"));
        wrong.extend((!seen.has_started_from_memory()).then_some("warmed"));
        wrong.extend((seen.clock > CLOCK).then_some("clock"));
    }
    wrong
}

/// Processes of this home that keep templates' memory.
fn keepers(lab: &Lab) -> Vec<u32> {
    let keeps = |pid: &u32| {
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == b"keep")
    };
    lab.processes().into_iter().filter(keeps).collect()
}

/// The folders of templates in this home.
fn templates(lab: &Lab) -> Vec<PathBuf> {
    let folders = fs_err::read_dir(lab.home().join("machines")).into_iter().flatten().flatten();
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("template-"));
    folders.map(|folder| folder.path()).filter(named).collect()
}
