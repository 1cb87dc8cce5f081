//! Starting from saved memory: templates are made and taken away, machines are restored and become themselves.
//!
//! A template's RAM is a sealed memfd: a file in the kernel's own tmpfs that has no name, and that nobody can change any
//! more, the superuser included. QEMU of any version maps it copy-on-write without a right to any file. It lives as long as
//! a process holds it, so each template has a keeper.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fs_err as fs;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_guest::{
    agent::{Agent, Limits},
    specialise::specialise,
};
use winstead_hypervisor::qemu;
use winstead_image::digest;
use winstead_process::{Command, ProcessId};
use winstead_spec::{ByteSize, MachineName, Name, Sha256};

use crate::{
    EngineError, Home, MachineRecord,
    act::{Actor, Failure, Job},
    allocate::{self, Taken},
    error::chain,
    facts,
    machine::Role,
    observe,
    plan::{self, Action, Desired},
    release,
    template::{self, Template},
};

/// The descriptor under which a keeper holds its template's RAM.
const KEPT: u32 = 3;
/// How often a keeper looks whether its template is still there.
const GLANCE: Duration = Duration::from_secs(2);
/// How long a keeper may take to be there.
const START: Duration = Duration::from_secs(10);
/// Runs in a template when its agent answers: waits until systemd has started all that it will (`degraded` is at rest,
/// too), and reads the programs that each machine needs first, so that they are in the memory that all share.
const SETTLE: &str = "\
state=$(systemctl is-system-running --wait)
[ \"$state\" = running ] || [ \"$state\" = degraded ] || { echo \"the guest is $state\" >&2; exit 1; }
first=\"/usr/bin/perl /usr/sbin/sshd $(echo /usr/lib/openssh/sshd-*) /bin/bash\"
cat $first $(ldd $first | sed -n 's/.* => \\(.*\\) (.*/\\1/p' | sort -u) >/dev/null 2>&1
true";
/// Runs in a template last: what must begin in each machine as its own waits to be woken (the image says what and how), and
/// nothing of the template's own journal is left. The kernel cannot change a boot's and a computer's identity: files in their
/// place can be. Later than the pool's commands, which may log more than fits into a socket.
const LULL: &str = "\
set -e
[ -d /usr/lib/winstead/asleep.d ] || {
    echo \"the image was built by an older winstead; \\`winstead image build --fresh\\` builds it anew\" >&2
    exit 1
}
mkdir -p /run/winstead/asleep
for own in /proc/sys/kernel/random/boot_id /sys/class/dmi/id/product_uuid; do
    cp $own /run/winstead/
    chmod 0444 /run/winstead/${own##*/}
    mount --bind /run/winstead/${own##*/} $own
done
units=
for file in /usr/lib/winstead/asleep.d/*.conf; do
    unit=$(basename \"$file\" .conf)
    units=\"$units $unit\"
    mkfifo -m 0600 \"/run/winstead/asleep/$unit\"
    mkdir -p \"/run/systemd/system/$unit.service.d\"
    cp \"$file\" \"/run/systemd/system/$unit.service.d/asleep.conf\"
done
systemctl daemon-reload
systemctl restart $units
rm -rf /run/log/journal/*
sync";

/// Keeps the RAM of a template that lies in `folder`, handed over as descriptor 3, until the folder is gone or `stop` is
/// cancelled.
pub async fn keep(folder: &Path, stop: &CancellationToken) {
    // Held open, it shares its number with no folder that somebody makes in its place.
    let Ok(held) = fs::File::open(folder) else { return };
    while is_at(&held, folder) {
        tokio::select! {
            () = tokio::time::sleep(GLANCE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether what is open is what lies at `path`.
fn is_at(open: &fs::File, path: &Path) -> bool {
    let number = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((open.metadata(), fs::metadata(path)), (Ok(open), Ok(there)) if number(&open) == number(&there))
}

/// Whether a process keeps the template that lies in `folder`.
fn is_keeper(process: ProcessId, folder: &Path) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    process.is_alive() && words.any(|word| word == folder.as_os_str().as_encoded_bytes())
}

/// Whether a template's memory is still kept.
pub(crate) fn is_kept(home: &Home, template: &Template) -> bool {
    is_keeper(template.keeper, &home.machine(template.name()))
}

/// A template's RAM, from its keeper.
fn kept_ram(template: &Template) -> io::Result<File> {
    let path = format!("/proc/{}/fd/{KEPT}", template.keeper.pid);
    Ok(fs::OpenOptions::new().read(true).write(true).open(path)?.into_parts().0)
}

impl Actor {
    /// Finds or makes the templates that these machines start from. It takes as long as a boot, so it is done before any of
    /// them is in a phase with a deadline. Where there can be none, the machines boot, and a note for their pool says why.
    pub(crate) async fn place_templates(&self, jobs: &mut [(Action, Job)]) -> Result<(), EngineError> {
        let mut found: BTreeMap<Name, Result<Template, String>> = BTreeMap::new();
        let mut told: BTreeSet<Name> = BTreeSet::new();
        let starting = |(action, _): &&mut (Action, Job)| matches!(action, Action::Create | Action::Renew);
        for (_, job) in jobs.iter_mut().filter(starting) {
            let Some(kind) = template::kind_of(&job.target) else { continue };
            let place = match template::obstacle(&job.target) {
                Some(obstacle) => Err(obstacle.to_owned()),
                None => {
                    let name = template::name(&kind, self.facts().await?);
                    if !found.contains_key(&name) {
                        found.insert(name.clone(), self.template(&name, &job.target).await?);
                    }
                    found[&name].clone()
                }
            };
            let pool = &job.target.name.pool;
            match place {
                Ok(template) => job.template = Some(template),
                Err(why) if told.insert(pool.clone()) => {
                    let what = "machines boot instead of starting from memory";
                    self.listener.note(format!("{pool}: {what}: {why}"));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// A template of this name, made if there is none that can be used; or why there can be none.
    async fn template(
        &self,
        name: &Name,
        wanted: &MachineRecord,
    ) -> Result<Result<Template, String>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        for known in snapshot.templates().filter(|known| known.name().pool == *name) {
            match check(&self.home, known, &self.stop).await {
                Ok(()) => return Ok(Ok(known.clone())),
                Err(error) => self.listener.note(format!("{}: made anew: {error}", known.name())),
            }
        }
        match self.make_template(name, wanted).await {
            Ok(made) => {
                let snapshot = self.journal.snapshot().await?;
                let template = snapshot.templates().find(|known| *known.name() == made).cloned();
                Ok(template.ok_or_else(|| "the template is gone again".to_owned()))
            }
            Err(EngineError::Interrupted) => Err(EngineError::Interrupted),
            Err(error) => Ok(Err(chain(&error))),
        }
    }

    async fn make_template(&self, pool: &Name, wanted: &MachineRecord) -> Result<MachineName, EngineError> {
        self.remove_unfinished_templates().await?;
        let snapshot = self.journal.snapshot().await?;
        let names = snapshot.templates().map(Template::name).filter(|name| name.pool == *pool);
        let taken: BTreeSet<u32> = names.map(|name| name.index).collect();
        let index = (0..).find(|index| !taken.contains(index)).unwrap_or_default();
        let name = MachineName { pool: pool.clone(), index };
        let mut taken = Taken::by(snapshot.machines.values().map(|entry| &entry.record));
        let record = allocate::template(wanted, name.clone(), &self.home, &mut taken)?;
        self.journal.add(record.clone()).await?;
        let job = Job::unchanged(record, "others start from its memory");
        let made = async {
            self.admit_template().await?;
            Box::pin(self.run(Action::Template, job)).await
        };
        match made.await {
            Ok(_) => Ok(name),
            Err(EngineError::Interrupted) => Err(EngineError::Interrupted),
            Err(error) => {
                self.remove_unfinished_templates().await?;
                Err(error)
            }
        }
    }

    /// Whether a template that is recorded by now fits in while it is made. `up` has counted one for each pool that had none;
    /// nobody has counted one that replaces a template which this QEMU cannot use, nor what a reset makes.
    async fn admit_template(&self) -> Result<(), EngineError> {
        let host = self.journal.host().await?;
        let places = facts::places(&host, (&self.home, &self.journal)).await?;
        let (observed, _) = observe::observe(&self.home, &self.journal, &places.folders()).await?;
        let plan = plan::plan(&Desired { host, places, pools: Vec::new() }, &observed);
        plan.admitted()?;
        release::remove_templates(&self.home, &self.journal, &plan.given_up).await
    }

    /// Takes away what was to become a template and did not: it failed, or whoever made it died.
    pub(crate) async fn remove_unfinished_templates(&self) -> Result<(), EngineError> {
        let machines = self.journal.snapshot().await?.machines.into_values();
        for entry in machines.filter(|entry| entry.record.role == Role::Template) {
            let job = Job::unchanged(entry.record, "it was not saved");
            Box::pin(self.run(Action::Destroy, job)).await?;
        }
        Ok(())
    }

    /// Lets a template run what its pool says, once everything in it has started.
    pub(crate) async fn warm_up(&self, job: &Job) -> Result<(), Failure> {
        self.wait(&job.record)?.meanwhile(self.run_warm_commands(job)).await?
    }

    async fn run_warm_commands(&self, job: &Job) -> Result<(), Failure> {
        let socket = self.home.run(&job.record.name).join(qemu::AGENT_SOCKET);
        let limit = job.record.ready.deadline.duration();
        let mut agent = Agent::connect_within(&socket, Limits::default(), &self.stop).await?;
        let script =
            |what: &str, text: &str| (what.to_owned(), ["/bin/sh", "-c", text].map(str::to_owned).to_vec());
        let warm = template::warm(&job.record).unwrap_or_default().iter();
        let warm = warm.map(|command| (format!("`{}`", winstead_process::shown(command)), command.clone()));
        let rest = script("the guest's coming to rest", SETTLE);
        let sleep = script("putting to sleep what each machine begins as its own", LULL);
        for (what, command) in std::iter::once(rest).chain(warm).chain([sleep]) {
            run_within(limit, &what, &command, &mut agent).await?;
        }
        Ok(())
    }

    /// Saves a template: state and disk are sealed, its RAM gets a keeper, its row becomes a template's in one commit.
    pub(crate) async fn freeze(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        let ram = job.ram.take().ok_or("its RAM is not in our hands")?;
        let process = job.record.process.ok_or("its QEMU is gone")?;
        let begun = Instant::now();
        let state = qemu::save(process, &run).await?;
        self.stop_qemu(job).await?;
        qemu::seal_ram(&ram).await?;
        // Anew, and never through a link: the folder was the machine's user's until now.
        let file =
            fs::OpenOptions::new().write(true).create_new(true).open(template::state_file(&job.record));
        file?.write_all(&state)?;
        winstead_store::seal(&job.record.location)?;
        let size = rustix::fs::fstat(&ram)?;
        let template = Template {
            keeper: self.start_keeper(&job.record.name, ram).await?,
            state: digest::of_bytes(&state),
            disk: digest::of_file(&job.record.location.overlay(), &self.stop).await?,
            // st_blocks counts 512 bytes on every Linux file system (stat(2)).
            ram: ByteSize::from_bytes(u64::try_from(size.st_blocks).unwrap_or_default() * 512),
            saved_at: Timestamp::now(),
            saved_in: begun.elapsed(),
            unused_since: None,
            machine: job.record.clone(),
        };
        Ok(self.journal.freeze(&template).await?)
    }

    async fn start_keeper(&self, name: &MachineName, ram: OwnedFd) -> Result<ProcessId, Failure> {
        let folder = self.home.machine(name);
        let log = fs::File::create(folder.join("keeper.log"))?;
        let command =
            Command::new(&self.program).arg("--home").arg(self.home.root()).arg("keep").arg(&folder);
        let child = command.start_detached_with(log.file(), std::process::Stdio::null(), vec![ram])?;
        let keeper = child.id().and_then(ProcessId::of).ok_or("its keeper ended at once")?;
        // setsid(1) becomes the program, which is what is looked for later.
        let until = tokio::time::Instant::now() + START;
        while !is_keeper(keeper, &folder) {
            if tokio::time::Instant::now() > until {
                return Err("its keeper did not come up".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(keeper)
    }

    /// The RAM that a machine's QEMU is given in this start, if it is not its own.
    pub(crate) fn ram(&self, job: &mut Job) -> Result<(qemu::Ram, Option<OwnedFd>), Failure> {
        if let Some(template) = &job.template {
            return Ok((qemu::Ram::Saved, Some(kept_ram(template)?.into())));
        }
        if job.record.role == Role::Machine {
            return Ok((qemu::Ram::Own, None));
        }
        let ram = qemu::new_ram(job.record.shape.memory)?;
        job.ram = Some(ram.try_clone()?);
        Ok((qemu::Ram::Shared, Some(ram)))
    }

    /// Puts the template's state into a machine that waits for it.
    pub(crate) async fn restore(&self, job: &Job) -> Result<(), Failure> {
        let template = job.template.as_ref().ok_or("it has no template")?;
        let state = fs::read(template.state_file())?;
        if digest::of_bytes(&state) != template.state {
            return Err("its template's state is not what was saved".into());
        }
        let process = job.record.process.ok_or("its QEMU is gone")?;
        Ok(qemu::restore(process, &self.home.run(&job.record.name), &state).await?)
    }

    /// Makes a restored machine itself, and only then plugs its network in.
    pub(crate) async fn become_itself(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        let process = observe::process(&self.home, &job.record).ok_or("its QEMU is gone")?;
        qemu::resume(process, &run).await?;
        let mut agent =
            Agent::connect_within(&run.join(qemu::AGENT_SOCKET), Limits::default(), &self.stop).await?;
        specialise(&mut agent, &self.identity(&job.record)?, self.faults.left_out()).await?;
        qemu::set_link(process, &run, true).await?;
        job.record.origin.is_itself = true;
        Ok(self.journal.update(&job.record).await?)
    }
}

/// Runs a command that must succeed in a template; when it does not, `what` and its words are told.
async fn run_within(
    limit: Duration,
    what: &str,
    command: &[String],
    agent: &mut Agent,
) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failed = |how: String| format!("{what} {how}");
    let ended = agent.run(program, &arguments, b"", limit).await;
    let ended = ended.map_err(|error| failed(format!("has not ended: {}", chain(&error))))?;
    if ended.code == Some(0) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.errors).trim().to_owned();
    let code = ended.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
    Err(failed(format!("ended {code}: {said:?}")))
}

/// Whether a template is what was saved. Its memory cannot have changed, only be lost.
async fn check(home: &Home, template: &Template, stop: &CancellationToken) -> Result<(), String> {
    if !is_kept(home, template) {
        return Err("the process that kept its memory is gone".to_owned());
    }
    let parts: [(PathBuf, &Sha256); 2] =
        [(template.state_file(), &template.state), (template.machine.location.overlay(), &template.disk)];
    for (file, expected) in parts {
        match digest::of_file(&file, stop).await {
            Ok(found) if found == *expected => {}
            Ok(_) => return Err(format!("{} is not what was saved", file.display())),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::UnixListener,
    };
    use uuid::Uuid;
    use winstead_hypervisor::qemu::Accelerator;
    use winstead_spec::{DirectKernel, Firmware, GuestOs, Start};

    use super::*;
    use crate::{Event, Faults, Listener, facts::Users, fixtures, journal::Journal};

    async fn actor(home: Home, notes: &Arc<Mutex<Vec<String>>>) -> Actor {
        let notes = Arc::clone(notes);
        let listener = Listener::new(move |event| {
            if let Event::Note(note) = event {
                notes.lock().unwrap().push(note);
            }
        });
        Actor {
            journal: Journal::open(&home.root().join("journal.sqlite"), Faults::default()).await.unwrap(),
            home,
            users: Users::of(Uuid::from_u128(1)),
            facts: tokio::sync::OnceCell::new_with(Some(fixtures::facts(2, Accelerator::Tcg))),
            kernel: None,
            program: "/nothing".into(),
            listener,
            starts: tokio::sync::Semaphore::new(1),
            sharing: tokio::sync::Mutex::new(()),
            stop: CancellationToken::new(),
            faults: Faults::default(),
        }
    }

    /// Two machines of a pool that are to start from memory.
    fn jobs(pool: &str, edit: impl Fn(&mut MachineRecord)) -> Vec<(Action, Job)> {
        let job = |index| {
            let mut record = fixtures::record(&fixtures::pool(pool, 2), index, fixtures::image(7));
            record.image.kernel =
                Some(DirectKernel { kernel: "/k".into(), initrd: None, command_line: String::new() });
            record.shape.start = Start::Memory { warm: Vec::new() };
            edit(&mut record);
            (Action::Create, Job::unchanged(record, "new"))
        };
        [0, 1].map(job).into()
    }

    #[tokio::test]
    async fn machines_that_cannot_start_from_memory_boot_and_each_pool_is_told_why_once() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Arc::default();
        let actor = actor(Home::open(folder.path()).unwrap(), &notes).await;
        let mut all = jobs("windows", |record| record.image.os = GuestOs::Windows);
        all.extend(jobs("uefi", |record| record.shape.firmware = Some(Firmware::Uefi)));
        all.extend(jobs("tpm", |record| record.shape.tpm = Some(true)));
        all.extend(jobs("boots", |record| record.shape.start = Start::Boot));
        // These two share a template, which cannot be made: there is no such image.
        all.extend(jobs("first", |_| {}));
        all.extend(jobs("second", |_| {}));
        actor.place_templates(&mut all).await.unwrap();
        assert!(all.iter().all(|(_, job)| job.template.is_none()));
        let notes = notes.lock().unwrap().clone();
        let (obstacles, failures) = notes.split_at(3);
        insta::assert_snapshot!(obstacles.join("\n"), @r"
        windows: machines boot instead of starting from memory: the steps that give a Windows machine its own identity have not been run on a real Windows yet
        uefi: machines boot instead of starting from memory: only machines that start directly, without firmware, are saved so far
        tpm: machines boot instead of starting from memory: a TPM's state cannot be shared
        ");
        let told = |pool| {
            format!("{pool}: machines boot instead of starting from memory: place the image in RAM of ")
        };
        let [first, second] = failures else { panic!("{failures:#?}") };
        assert!(first.starts_with(&told("first")) && second.starts_with(&told("second")), "{failures:#?}");
        assert!(actor.journal.snapshot().await.unwrap().machines.is_empty(), "a half template was left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_ends_when_its_folder_is_gone_also_when_another_one_lies_there() {
        let place = tempfile::tempdir().unwrap();
        let (folder, stop) = (place.path().join("template"), CancellationToken::new());
        fs::create_dir(&folder).unwrap();
        let mut keeper = Box::pin(keep(&folder, &stop));
        assert!(tokio::time::timeout(GLANCE * 3, &mut keeper).await.is_err(), "it ended early");
        fs::remove_dir(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        tokio::time::timeout(GLANCE * 3, keeper).await.expect("it goes on for a folder that is not its own");
    }

    /// An agent whose programs end as `status` says.
    async fn agent_that_says(status: Value, folder: &Path) -> Agent {
        let socket = folder.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (from, mut to) = stream.into_split();
            let mut lines = BufReader::new(from).split(b'\n');
            while let Some(line) = lines.next_segment().await.unwrap() {
                // What comes before was said to make whoever listens begin anew.
                let Some(start) = line.iter().position(|byte| *byte == b'{') else { continue };
                let asked: Value = serde_json::from_slice(&line[start..]).unwrap();
                let answer = match asked["execute"].as_str().unwrap() {
                    "guest-exec" => json!({"pid": 7}),
                    "guest-exec-status" => status.clone(),
                    _ => asked["arguments"]["id"].clone(),
                };
                let text = format!("{}\n", json!({"return": answer}));
                to.write_all(&[b"\xff", text.as_bytes()].concat()).await.unwrap();
            }
        });
        Agent::connect_within(&socket, Limits::default(), &CancellationToken::new()).await.unwrap()
    }

    #[tokio::test]
    async fn a_warm_command_that_fails_or_never_ends_is_named() {
        let command = ["cargo", "--frozen"].map(str::to_owned);
        for (status, told) in [
            (json!({"exited": true, "exitcode": 0}), None),
            (
                json!({"exited": true, "exitcode": 7, "err-data": "bm8gbHVjawo="}),
                Some("`cargo --frozen` ended with 7: \"no luck\""),
            ),
            (json!({"exited": true, "signal": 9}), Some("`cargo --frozen` ended by a signal: \"\"")),
            (json!({"exited": false}), Some("`cargo --frozen` has not ended: ")),
        ] {
            let place = tempfile::tempdir().unwrap();
            let mut agent = agent_that_says(status, place.path()).await;
            let ran = run_within(Duration::from_millis(300), "`cargo --frozen`", &command, &mut agent).await;
            match told {
                None => assert_eq!(ran, Ok(())),
                Some(told) => assert!(ran.clone().is_err_and(|said| said.starts_with(told)), "{ran:?}"),
            }
        }
    }
}
