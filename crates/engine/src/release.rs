//! Taking away what machines shared and none needs any more: at the end of each command, and by the supervisor when a
//! template's time is over or its room is needed.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_spec::{Bridge, MachineName, Network, StoreKind};

use crate::{
    Engine, EngineError, Home, Listener, MachineRecord,
    act::{Failure, remove_folder},
    engine::unknown,
    journal::{Journal, Shared, SharedKind, Snapshot},
    machine::Role,
    memory, plan, sweep,
    template::Template,
};

impl Engine {
    /// The templates that [`Engine::remove_templates`] would remove: those with these names; when there is none, all that
    /// no machine stands on. Changes nothing.
    ///
    /// # Errors
    /// When a name is unknown, or machines stand on a named one: then they are named.
    pub async fn template_removal(&self, names: &[MachineName]) -> Result<Vec<MachineName>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        if names.is_empty() {
            let unused = snapshot.templates().map(Template::name).filter(|name| !is_used(name, &snapshot));
            return Ok(unused.cloned().collect());
        }
        for name in names {
            let mut known = snapshot.templates().map(Template::name);
            if !known.any(|known| known == name) {
                let known = snapshot.templates().map(|template| template.name().to_string());
                return Err(unknown("template", &name.to_string(), known));
            }
            let users: Vec<MachineName> = users(name, &snapshot).cloned().collect();
            if !users.is_empty() {
                return Err(EngineError::InUse { what: format!("template {name}"), users });
            }
        }
        Ok(names.to_vec())
    }

    /// Removes what [`Engine::template_removal`] returns, and returns it. The next machine that wants one of them makes it
    /// anew.
    ///
    /// # Errors
    /// As there, and when something cannot be removed, or `stop` is cancelled while another command works.
    pub async fn remove_templates(
        &self,
        names: &[MachineName],
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Vec<MachineName>, EngineError> {
        let _lock = self.lock(listener, stop).await?;
        let chosen = self.template_removal(names).await?;
        remove_templates(&self.home, &self.journal, &chosen).await?;
        self.release_unused(listener, stop).await?;
        Ok(chosen)
    }
}

/// Removes these templates, on which no machine stands. Only for who holds the home's lock.
pub(crate) async fn remove_templates(
    home: &Home,
    journal: &Journal,
    names: &[MachineName],
) -> Result<(), EngineError> {
    let snapshot = journal.snapshot().await?;
    for template in snapshot.templates().filter(|template| names.contains(template.name())) {
        remove_template(home, journal, template).await?;
    }
    Ok(())
}

/// Removes whatever is shared and stood on by nobody, templates whose time is not over excepted. Returns which machines and
/// templates are left. Only for who holds the home's lock.
///
/// # Errors
/// When something cannot be removed; the next release tries again.
pub(crate) async fn unused(
    home: &Home,
    journal: &Journal,
    stop: &CancellationToken,
) -> Result<Snapshot, EngineError> {
    let now = Timestamp::now();
    let snapshot = journal.snapshot().await?;
    for template in snapshot.templates() {
        let used = is_used(template.name(), &snapshot);
        let unused_since = (!used).then(|| template.unused_since.unwrap_or(now));
        let now_known = Template { unused_since, ..template.clone() };
        if is_over(&now_known, &snapshot, now) || !used && !memory::is_kept(home, template) {
            remove_template(home, journal, template).await?;
        } else if now_known != *template {
            journal.update_template(&now_known).await?;
        }
    }
    let left = journal.snapshot().await?;
    for (name, shared) in left.shared.iter().filter(|(_, shared)| shared.kind() != SharedKind::Template) {
        if !left.records().any(|record| uses(record, shared)) {
            remove(journal, (name, shared), stop).await?;
        }
    }
    Ok(left)
}

/// Whether a machine stands on the template.
pub(crate) fn is_used(template: &MachineName, snapshot: &Snapshot) -> bool {
    users(template, snapshot).next().is_some()
}

fn users<'a>(
    template: &'a MachineName,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = &'a MachineName> + 'a {
    let records = snapshot.machines.values().map(|entry| &entry.record);
    let stand_on_it = records.filter(move |record| record.origin.is(template));
    stand_on_it.map(|record| &record.name)
}

/// Whether a template has stayed without a machine for as long as it should.
fn is_over(template: &Template, snapshot: &Snapshot, now: Timestamp) -> bool {
    template.stays_until(&snapshot.pools).is_some_and(|until| until <= now)
}

/// Whether what has a disk stands on something shared that is no template.
fn uses(record: &MachineRecord, shared: &Shared) -> bool {
    match shared {
        Shared::Template(_) => false,
        Shared::Base(base) => {
            record.shape.disk.store == StoreKind::Ram
                && base.folder.file_name().is_some_and(|name| name == record.image.digest.short())
        }
        Shared::Bridge(bridge) => {
            // A template is connected to nothing.
            let own = |name: &str| record.role == Role::Machine && name == bridge.name;
            matches!(&record.network, Network::Bridge(Bridge::Own { name, .. }) if own(name))
        }
        Shared::Folder(folder) => plan::folder(&record.location.placement).as_ref() == Some(folder),
    }
}

/// Takes a template away; gone already, in part or whole, is fine.
pub(crate) async fn remove_template(
    home: &Home,
    journal: &Journal,
    template: &Template,
) -> Result<(), EngineError> {
    let removed = take_apart(home, template).await;
    removed.map_err(|error| EngineError::host("remove a template")(error))?;
    Ok(journal.drop_shared(SharedKind::Template, &template.name().to_string()).await?)
}

async fn take_apart(home: &Home, template: &Template) -> Result<(), Failure> {
    if memory::is_kept(home, template) {
        sweep::kill(template.keeper).await?;
    }
    winstead_store::remove(&template.machine.location).await?;
    remove_folder(&home.machine(template.name()))
}

async fn remove(
    journal: &Journal,
    (name, shared): (&str, &Shared),
    stop: &CancellationToken,
) -> Result<(), EngineError> {
    let gone = match shared {
        // It goes by its own rules.
        Shared::Template(_) => false,
        Shared::Base(base) => {
            let removed = winstead_store::remove_base(base).await;
            removed.map_err(|error| EngineError::host("remove an image's RAM copy")(error.into()))?;
            true
        }
        Shared::Bridge(bridge) => {
            let removed = winstead_network::remove_bridge(bridge, stop).await;
            removed.map_err(|error| EngineError::host("remove a bridge")(error.into()))?;
            true
        }
        Shared::Folder(folder) => {
            let removed = sweep::remove_folder(folder);
            removed.map_err(|error| EngineError::host("remove a store's folder")(error.into()))?
        }
    };
    if gone {
        journal.drop_shared(shared.kind(), name).await?;
    }
    Ok(())
}
