//! What machines that stay as they are stand on: `up` puts it back when somebody took it away.

use crate::{
    EngineError, Step,
    act::Actor,
    plan::{Action, Desired, Observed, Plan, Seen},
};

/// Joins the machines that stay to their networks again: an own bridge with its DHCP and names, and their taps. What
/// is there is kept, so this costs some questions to the kernel; nothing at all with user networking.
pub(crate) async fn networks(
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    actor: &Actor,
) -> Result<(), EngineError> {
    for seen in observed.machines.values().filter(|seen| stays(seen, desired, plan)) {
        let record = &seen.entry.record;
        actor.join_network(record).await.map_err(|source| EngineError::Step {
            machine: record.name.clone(),
            step: Step::JoinNetwork.label(),
            source,
        })?;
    }
    Ok(())
}

fn stays(seen: &Seen, desired: &Desired, plan: &Plan) -> bool {
    let name = &seen.entry.record.name;
    let change = plan.changes.iter().find(|change| change.machine == *name);
    seen.running
        && desired.pools.iter().any(|wanted| wanted.pool.name == name.pool)
        && change.is_none_or(|change| matches!(change.action, Action::Await | Action::Update))
}
