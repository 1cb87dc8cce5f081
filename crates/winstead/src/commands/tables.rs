//! Tables of machines, pools, images, templates and hosts, for people.

use jiff::Timestamp;
use winstead_engine::{
    Phase,
    view::{
        AgentStatus, DamagedVersion, Host, Image, ImageTemplate, ImageVersion, List, Machine, Pool, Template,
        TemplateStatus,
    },
};

use crate::output::{Columns, ago, short_digest, size, some_of};

/// Machines: name, phase, image, what they use of what they may, how to reach them.
pub(crate) fn machines(list: &List<Machine>, wide: bool) -> String {
    if list.items.is_empty() {
        return String::new();
    }
    let noteworthy = wide || list.items.iter().any(|machine| !note(machine).is_empty());
    let mut headings = vec!["NAME", "PHASE", "IMAGE", "DISK", "GUEST RAM", "RESIDENT", "SSH", "AGE"];
    if wide {
        headings.extend(["PRIVATE", "SHARED", "STORE", "CPUS", "DIGEST", "ADDRESSES", "GENERATION", "AGENT"]);
    }
    if noteworthy {
        headings.push("NOTE");
    }
    let mut columns = Columns::new(headings);
    let now = Timestamp::now();
    for machine in &list.items {
        let mut cells = machine_cells(machine, now);
        if wide {
            cells.extend(wide_cells(machine));
        }
        if noteworthy {
            cells.push(if wide { machine.status.message.clone() } else { note(machine) });
        }
        columns.row(cells);
    }
    columns.text()
}

fn machine_cells(machine: &Machine, now: Timestamp) -> Vec<String> {
    let status = &machine.status;
    vec![
        machine.metadata.name.clone(),
        status.phase.to_string(),
        status.image.name.clone(),
        format!("{} of {}", size(status.disk.used_bytes), size(status.disk.cap_bytes)),
        size(status.memory.guest_bytes),
        known(status.memory.resident_bytes),
        status.ssh.as_ref().map_or_else(|| "-".to_owned(), |ssh| format!("{}:{}", ssh.host, ssh.port)),
        status.started_at.map_or_else(|| "-".to_owned(), |started| ago(started, now)),
    ]
}

/// A size, if it is known.
fn known(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), size)
}

fn wide_cells(machine: &Machine) -> Vec<String> {
    let status = &machine.status;
    vec![
        known(status.memory.private_bytes),
        known(status.memory.shared_bytes),
        store(status.disk.store).to_owned(),
        machine.spec.cpus.to_string(),
        short_digest(&status.image.digest).to_owned(),
        if status.addresses.is_empty() { "-".to_owned() } else { status.addresses.join(", ") },
        status.generation.to_string(),
        status.agent.as_ref().map_or_else(|| "-".to_owned(), agent),
    ]
}

/// The version of an agent, or that it does not answer.
pub(crate) fn agent(agent: &AgentStatus) -> String {
    match &agent.version {
        Some(version) if agent.answers => version.clone(),
        _ => "no answer".to_owned(),
    }
}

/// As in the file.
pub(crate) const fn store(kind: winstead_spec::StoreKind) -> &'static str {
    match kind {
        winstead_spec::StoreKind::Ram => "ram",
        winstead_spec::StoreKind::Disk => "disk",
    }
}

/// What is unusual about a machine: the first condition that is not as it should be.
fn note(machine: &Machine) -> String {
    let status = &machine.status;
    let wrong = status.conditions.iter().find(|condition| condition.status == "False");
    let text = match (status.phase, wrong) {
        (Phase::Held | Phase::Failed, _) => &status.message,
        (_, Some(condition)) => &condition.message,
        (_, None) => return String::new(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// Pools: how many machines they should have and do have.
pub(crate) fn pools(list: &List<Pool>, wide: bool) -> String {
    if list.items.is_empty() {
        return String::new();
    }
    let mut headings = vec!["NAME", "IMAGE", "READY", "HELD", "FAILED", "APPLIED"];
    if wide {
        headings.extend(["DIGEST", "CPUS", "MEMORY", "CAP"]);
    }
    let mut columns = Columns::new(headings);
    let now = Timestamp::now();
    for pool in &list.items {
        let status = &pool.status;
        let mut cells = vec![
            pool.metadata.name.clone(),
            status.image.name.clone(),
            format!("{} of {}", status.ready, pool.spec.replicas),
            status.held.to_string(),
            status.failed.to_string(),
            format!("{} ago", ago(status.applied_at, now)),
        ];
        if wide {
            cells.extend([
                short_digest(&status.image.digest).to_owned(),
                pool.spec.cpus.to_string(),
                size(pool.spec.memory_bytes),
                size(pool.spec.cap_bytes),
            ]);
        }
        columns.row(cells);
    }
    columns.text()
}

/// Images: a row for each version, the damaged ones with a note.
pub(crate) fn images(list: &List<Image>, wide: bool) -> String {
    if list.items.is_empty() {
        return String::new();
    }
    let noteworthy = list.items.iter().any(|image| !image.status.damaged.is_empty());
    let mut headings = vec!["NAME", "DIGEST", "OS", "SIZE", "ON DISK", "BUILT", "USED BY", "TEMPLATES"];
    if wide {
        headings.push("RECIPE");
    }
    if noteworthy {
        headings.push("NOTE");
    }
    let mut columns = Columns::new(headings);
    let now = Timestamp::now();
    for image in &list.items {
        let name = &image.metadata.name;
        for version in &image.status.versions {
            let mut cells = version_cells(name, version, now);
            if wide {
                cells.push(short_digest(&version.recipe).to_owned());
            }
            columns.row(cells);
        }
        for version in &image.status.damaged {
            columns.row(damaged_cells(name, version, wide));
        }
    }
    columns.text()
}

fn version_cells(name: &str, version: &ImageVersion, now: Timestamp) -> Vec<String> {
    let os = match version.os {
        winstead_spec::GuestOs::Linux => "linux",
        winstead_spec::GuestOs::Windows => "windows",
    };
    vec![
        name.to_owned(),
        short_digest(&version.digest).to_owned(),
        os.to_owned(),
        size(version.virtual_bytes),
        size(version.disk_bytes),
        format!("{} ago", ago(version.built_at, now)),
        users(&version.users),
        saved(&version.templates),
    ]
}

/// Templates of one image: how many, and their RAM together.
fn saved(templates: &[ImageTemplate]) -> String {
    match templates.len() {
        0 => "-".to_owned(),
        many => format!("{many}, {}", size(templates.iter().map(|template| template.ram_bytes).sum())),
    }
}

/// Nothing of it is known but its folder.
fn damaged_cells(name: &str, version: &DamagedVersion, wide: bool) -> Vec<String> {
    let unknown = ["-"; 4].map(str::to_owned);
    let mut cells = vec![name.to_owned(), version.digest.clone()];
    cells.extend(unknown);
    cells.extend([users(&version.users), "-".to_owned()]);
    match wide {
        true => cells.extend(["-".to_owned(), format!("damaged: {}", version.message)]),
        false => cells.push("damaged".to_owned()),
    }
    cells
}

fn users(users: &[String]) -> String {
    if users.is_empty() { "-".to_owned() } else { some_of(users) }
}

/// Templates: what they take, and who stands on them.
pub(crate) fn templates(list: &List<Template>, wide: bool) -> String {
    if list.items.is_empty() {
        return String::new();
    }
    let mut headings = vec!["NAME", "IMAGE", "GUEST RAM", "RAM", "DISK", "SAVED", "USED BY", "GOES"];
    if wide {
        headings.extend(["DIGEST", "CPUS", "SAVED IN", "KEPT"]);
    }
    let mut columns = Columns::new(headings);
    let now = Timestamp::now();
    for template in &list.items {
        let (spec, status) = (&template.spec, &template.status);
        let mut cells = vec![
            template.metadata.name.clone(),
            status.image.name.clone(),
            size(spec.memory_bytes),
            size(status.ram_bytes),
            size(status.disk_bytes),
            format!("{} ago", ago(status.saved_at, now)),
            users(&status.users),
            goes(status, now),
        ];
        if wide {
            cells.extend([
                short_digest(&status.image.digest).to_owned(),
                spec.cpus.to_string(),
                format!("{} ms", status.saved_in_millis),
                if status.kept { "yes" } else { "no" }.to_owned(),
            ]);
        }
        columns.row(cells);
    }
    columns.text()
}

/// When a template goes.
fn goes(status: &TemplateStatus, now: Timestamp) -> String {
    match status.stays_until {
        Some(until) if until > now => format!("in {}", ago(now, until)),
        Some(_) => "now".to_owned(),
        None => "-".to_owned(),
    }
}

/// Hosts: what they have.
pub(crate) fn hosts(list: &List<Host>, _wide: bool) -> String {
    let mut columns = Columns::new([
        "NAME",
        "MACHINES",
        "MEMORY FREE FOR MACHINES",
        "GROWN",
        "SUPERVISOR",
        "QEMU",
        "RUNS GUESTS BY",
    ]);
    for host in &list.items {
        let status = &host.status;
        columns.row([
            host.metadata.name.clone(),
            status.machines.to_string(),
            format!("{} of {}", size(status.memory_available_bytes), size(status.memory_total_bytes)),
            size(status.grown_bytes),
            if status.supervised { "runs" } else { "-" }.to_owned(),
            status.qemu.version.clone().unwrap_or_else(|| "-".to_owned()),
            status.qemu.accelerator.map_or_else(|| "-".to_owned(), |by| by.to_string()),
        ]);
    }
    columns.text()
}
