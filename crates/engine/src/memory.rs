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
    time::Duration,
};

use fs_err as fs;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_guest::{
    agent::{Agent, Limits},
    specialise::{self, specialise},
};
use winstead_hypervisor::qemu;
use winstead_image::digest;
use winstead_process::{Command, ProcessId};
use winstead_spec::{ByteSize, MachineName, Name, Sha256};

use crate::{
    EngineError, Home, MachineRecord,
    act::{Actor, Failure, Job, remove_folder},
    allocate::{self, Taken},
    error::chain,
    journal::SharedKind,
    machine::Role,
    observe,
    plan::Action,
    sweep,
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
    /// them is in a phase with a deadline. Where there can be none, the machine boots, and a note says why.
    pub(crate) async fn place_templates(&self, jobs: &mut [(Action, Job)]) -> Result<(), EngineError> {
        let mut found: BTreeMap<Name, Option<Template>> = BTreeMap::new();
        let starting = |(action, _): &&mut (Action, Job)| matches!(action, Action::Create | Action::Renew);
        for (_, job) in jobs.iter_mut().filter(starting) {
            let Some(warm) = template::warm(&job.target) else { continue };
            if let Some(obstacle) = template::obstacle(&job.target) {
                self.boots_instead(&job.target, obstacle);
                continue;
            }
            let name = template::name(&job.target, warm, self.facts().await?);
            if !found.contains_key(&name) {
                found.insert(name.clone(), self.template(&name, &job.target).await?);
            }
            job.template = found.get(&name).cloned().flatten();
        }
        Ok(())
    }

    fn boots_instead(&self, machine: &MachineRecord, why: &str) {
        let pool = &machine.name.pool;
        self.listener.note(format!("{pool}: machines boot instead of starting from memory: {why}"));
    }

    /// A template of this name, made if there is none that can be used; `None` when it cannot be made, which a note says.
    async fn template(&self, name: &Name, wanted: &MachineRecord) -> Result<Option<Template>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        for known in snapshot.templates().filter(|known| known.name().pool == *name) {
            match check(&self.home, known, &self.stop).await {
                Ok(()) => return Ok(Some(known.clone())),
                Err(error) => self.listener.note(format!("{}: made anew: {error}", known.name())),
            }
        }
        match self.make_template(name, wanted).await {
            Ok(made) => {
                let snapshot = self.journal.snapshot().await?;
                Ok(snapshot.templates().find(|known| *known.name() == made).cloned())
            }
            Err(EngineError::Interrupted) => Err(EngineError::Interrupted),
            Err(error) => {
                self.boots_instead(wanted, &chain(&error));
                Ok(None)
            }
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
        match Box::pin(self.run(Action::Template, job)).await {
            Ok(_) => Ok(name),
            Err(EngineError::Interrupted) => Err(EngineError::Interrupted),
            Err(error) => {
                self.remove_unfinished_templates().await?;
                Err(error)
            }
        }
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

    /// Takes a template away; gone already, in part or whole, is fine.
    pub(crate) async fn remove_template(&self, template: &Template) -> Result<(), EngineError> {
        let removed = self.take_apart(template).await;
        removed.map_err(|error| EngineError::host("remove a template")(error))?;
        Ok(self.journal.drop_shared(SharedKind::Template, &template.name().to_string()).await?)
    }

    async fn take_apart(&self, template: &Template) -> Result<(), Failure> {
        let folder = self.home.machine(template.name());
        if is_keeper(template.keeper, &folder) {
            sweep::kill(template.keeper).await?;
        }
        winstead_store::remove(&template.machine.location).await?;
        remove_folder(&folder)
    }

    /// Lets a template run what its pool says, once everything in it has started.
    pub(crate) async fn warm_up(&self, job: &Job) -> Result<(), Failure> {
        let socket = self.home.run(&job.record.name).join(qemu::AGENT_SOCKET);
        let limit = job.record.ready.deadline.duration();
        let mut agent = Agent::connect_within(&socket, Limits::default(), &self.stop).await?;
        let [settle, lull] = [SETTLE, LULL].map(|text| ["/bin/sh", "-c", text].map(str::to_owned));
        let warm = template::warm(&job.record).unwrap_or_default().iter().map(Vec::as_slice);
        for command in std::iter::once(settle.as_slice()).chain(warm).chain([lull.as_slice()]) {
            let Some((program, arguments)) = command.split_first() else { continue };
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let ended = agent.run(program, &arguments, b"", limit).await?;
            if ended.code != Some(0) {
                let said = String::from_utf8_lossy(&ended.errors).trim().to_owned();
                let code = ended.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
                let shown = winstead_process::shown(command);
                return Err(format!("`{shown}` ended {code}: {said:?}").into());
            }
        }
        Ok(())
    }

    /// Saves a template: state and disk are sealed, its RAM gets a keeper, its row becomes a template's in one commit.
    pub(crate) async fn freeze(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        let ram = job.ram.take().ok_or("its RAM is not in our hands")?;
        let process = job.record.process.ok_or("its QEMU is gone")?;
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
        let steps = self.faults.without_left_out(specialise::LINUX);
        specialise(&mut agent, &self.identity(&job.record)?, &steps).await?;
        qemu::set_link(process, &run, true).await?;
        job.record.origin.is_itself = true;
        Ok(self.journal.update(&job.record).await?)
    }
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
    use super::*;

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
}
