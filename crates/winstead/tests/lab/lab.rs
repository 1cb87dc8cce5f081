//! A home of the test's own, and the binary run in it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use winstead_spec::{FileRecipe, Image, Recipe};

const ACCELERATOR: &str = "cache/accelerator.json";
/// How long what must happen may take on a computer that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn known_accelerator() -> PathBuf {
    winstead_testing::lab_folder().join("accelerator.json")
}

/// One home, one file, one test. Whatever happens, nothing of it outlives the test.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    /// Put before the binary: `setpriv …` or `nsenter …`.
    wrapper: Vec<String>,
    /// The home, when it is a disk of its own.
    disk: Option<Disk>,
}

/// A small disk, unmounted at the end of the test. Only root can have one.
pub(crate) struct Disk(PathBuf);

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// A lab with whatever rights this process has: the product must work with each.
    pub(crate) fn new() -> Self {
        let lab = Self { folder: winstead_testing::scratch(), wrapper: Vec::new(), disk: None };
        // Which accelerator works is this computer's business: one test finds out, the others are told.
        if fs_err::create_dir_all(lab.home().join("cache")).is_ok() {
            let _first_test = fs_err::copy(known_accelerator(), lab.home().join(ACCELERATOR));
        }
        lab
    }

    /// The same for a test that only root can set up; without, the reason is told.
    pub(crate) fn as_root() -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return Some(Self::new());
        }
        winstead_testing::skip("only root can mount, make networks and become another user");
        None
    }

    /// Runs everything through another program.
    pub(crate) fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Gives the home a small disk of its own. Only root can.
    pub(crate) fn on_a_disk_of(mut self, size: &str) -> Self {
        self.disk = Some(Disk::mounted(&self.home(), size));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The file of this test: the tiny image, and a pool.
    pub(crate) fn file(&self, pool: &str) -> PathBuf {
        self.file_booting("", pool)
    }

    /// The same with another parameter for the guest's kernel.
    pub(crate) fn file_booting(&self, parameter: &str, pool: &str) -> PathBuf {
        self.write(&tiny(parameter), pool)
    }

    /// The same with winstead-agent in the image.
    pub(crate) fn file_with_agent(&self, pool: &str) -> PathBuf {
        self.write(&tiny_with_agent(), pool)
    }

    fn write(&self, image: &str, pool: &str) -> PathBuf {
        let text = format!("{image}---\n{pool}");
        let path = self.folder.path().join("lab.yaml");
        fs_err::write(&path, text).expect("write the lab's file");
        path
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test is the user's shell: it starts and kills the binary itself"
    )]
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut words = self.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_winstead").to_owned());
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).args(arguments).env("WINSTEAD_HOME", self.home()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("start winstead"))
    }

    /// Runs a command that must succeed, and returns what it said on standard output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "winstead {}: {}{}", arguments.join(" "), ran.stderr, self.logs());
        ran.stdout
    }

    pub(crate) fn up(&self, file: &Path) -> String {
        self.ok(&["up", "-f", file.to_str().expect("a path in UTF-8")])
    }

    pub(crate) fn machines(&self) -> Vec<Value> {
        let text = self.ok(&["get", "machines", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON from get");
        list["items"].as_array().expect("a list").clone()
    }

    pub(crate) fn machine(&self, name: &str) -> Value {
        let machines = self.machines();
        let found = machines.iter().find(|machine| machine["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {machines:?}")).clone()
    }

    pub(crate) fn phases(&self) -> Vec<String> {
        let phase = |machine: &Value| machine["status"]["phase"].as_str().unwrap_or_default().to_owned();
        self.machines().iter().map(phase).collect()
    }

    /// What happened to a machine, oldest first.
    pub(crate) fn history(&self, machine: &str) -> Vec<Value> {
        let text = self.ok(&["describe", machine, "-o", "json"]);
        let described: Value = serde_json::from_str(&text).expect("JSON from describe");
        described["history"].as_array().expect("a history").clone()
    }

    pub(crate) fn exec(&self, machine: &str, script: &str) -> Ran {
        self.run(&["exec", machine, "--", "sh", "-c", script])
    }

    /// Waits until a machine is in a phase.
    pub(crate) fn wait_for(&self, machine: &str, phase: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.machine(machine);
            if found["status"]["phase"] == phase {
                return found;
            }
            assert!(Instant::now() < until, "{machine} never became {phase}: {found:#}{}", self.logs());
            pause();
        }
    }

    /// QEMU processes of this home, found by their working folder.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let home = self.home();
        let processes = fs_err::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let here = |pid: &u32| {
            let cwd = fs_err::read_link(format!("/proc/{pid}/cwd"));
            let mine = cwd.is_ok_and(|cwd| cwd.starts_with(&home));
            let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            mine || String::from_utf8_lossy(&command).contains(&format!("--home\0{}", home.display()))
        };
        pids.filter(here).collect()
    }

    pub(crate) fn mounts(&self) -> Vec<String> {
        let home = self.home().display().to_string();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        mounts.lines().filter(|line| line.contains(&home)).map(str::to_owned).collect()
    }

    /// Asserts that nothing is left of any machine: process, mount, folder, row. The supervisor ends after its last
    /// machine, not with it.
    pub(crate) fn assert_nothing_left(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.processes().is_empty() && Instant::now() < until {
            pause();
        }
        assert_eq!(self.processes(), [] as [u32; 0], "processes are left");
        assert_eq!(self.mounts(), [] as [String; 0], "mounts are left");
        for folder in ["machines", "bases"] {
            let left: Vec<_> = fs_err::read_dir(self.home().join(folder)).expect(folder).flatten().collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
        // The folder in RAM that machines share carries a name that only the journal knows: see `rights`.
        let disks: Vec<_> =
            fs_err::read_dir(self.home().join("disk")).into_iter().flatten().flatten().collect();
        assert!(disks.is_empty(), "disk: {disks:?}");
        assert_eq!(self.phases(), [] as [String; 0], "rows are left");
    }

    /// The supervisor's and QEMU's own words, for a failing test's output.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let mut add = |path: PathBuf| {
            if let Ok(bytes) = fs_err::read(&path) {
                let words = String::from_utf8_lossy(&bytes);
                let tail = words.char_indices().rev().nth(1500).map_or(0, |(at, _)| at);
                text.push_str(&format!("\n--- {}\n{}", path.display(), &words[tail..]));
            }
        };
        add(self.home().join("supervisor.log"));
        for machine in fs_err::read_dir(self.home().join("machines")).into_iter().flatten().flatten() {
            add(machine.path().join("run/qemu.log"));
            add(machine.path().join("run/console.log"));
        }
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _never_asked = fs_err::copy(self.home().join(ACCELERATOR), known_accelerator());
        let downed = self.run(&["down", "--all"]);
        if downed.code != Some(0) {
            for pid in self.processes() {
                let _gone = kill(pid, rustix::process::Signal::KILL);
            }
        }
        self.disk.take();
    }
}

impl Disk {
    pub(crate) fn mounted(at: &Path, size: &str) -> Self {
        fs_err::create_dir_all(at).expect("a folder");
        let (options, at) = (format!("size={size},mode=0711"), at.to_owned());
        system(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", at.to_str().expect("a path in UTF-8")])
            .expect("mount a disk");
        Self(at)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = system(&["umount", "--lazy", &self.0.display().to_string()]);
        // A second panic would hide the first.
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The tiny image's document, made by the first test that needs it.
fn tiny(parameter: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let image = runtime.block_on(winstead_testing::tiny_image(&winstead_testing::lab_folder()));
    document(image.expect("make the tiny guest"), parameter)
}

/// The same with winstead-agent in it.
fn tiny_with_agent() -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let image = runtime.block_on(winstead_testing::tiny_image_with_agent(&winstead_testing::lab_folder()));
    document(image.expect("make the tiny guest with an agent"), "")
}

fn document(image: Image, parameter: &str) -> String {
    let Recipe::File(FileRecipe { path, kernel: Some(kernel), .. }) = image.recipe else {
        panic!("the tiny guest is a file with a kernel")
    };
    let initrd = kernel.initrd.expect("the tiny guest has an initial RAM disk");
    format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Image\nmetadata: {{name: tiny}}\nspec:\n  seed: fw-cfg\n  \
         agent: {}\n  file:\n    path: {}\n    format: raw\n    kernel: {{path: {}, initrd: {}, commandLine: \"{} {parameter}\"}}\n",
        image.agent,
        path.display(),
        kernel.kernel.display(),
        initrd.display(),
        kernel.command_line
    )
}

/// Ends a process that this test started.
pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a pid")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

pub(crate) fn pause() {
    #[expect(clippy::disallowed_methods, reason = "a test that polls another process from outside")]
    std::thread::sleep(Duration::from_millis(100));
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        pause();
    }
}

/// Runs a program of the system that must succeed.
#[expect(clippy::disallowed_methods, reason = "the test is the user's shell")]
pub(crate) fn system(words: &[&str]) -> Result<String> {
    let output = std::process::Command::new(words[0]).args(&words[1..]).output()?;
    let ran = Ran::of(&output);
    ensure!(ran.code == Some(0), "{words:?}: {ran:?}");
    Ok(ran.stdout)
}

/// A pool of the tiny image.
pub(crate) fn pool(name: &str, replicas: u32, machine: &str) -> String {
    format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec:\n  image: tiny\n  \
         replicas: {replicas}\n  machine: {{cpus: 1, memory: 128MiB, {machine}}}\n  ready: {{deadline: 5m}}\n"
    )
}

/// A RAM disk with a cap.
pub(crate) fn ram(cap: &str) -> String {
    format!("disk: {{store: ram, cap: {cap}}}")
}
