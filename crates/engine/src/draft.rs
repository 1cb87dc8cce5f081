//! From a plan to jobs: what each machine gets, and what it keeps. Decided in memory; nothing is written.

use crate::{
    EngineError, Home, MachineRecord,
    act::Job,
    allocate::{self, Taken},
    plan::{Action, Change, Desired, DesiredPool, Observed, Plan, Seen},
};

/// A plan whose machines get what they need.
pub(crate) struct Draft<'a> {
    home: &'a Home,
    desired: &'a Desired,
    observed: &'a Observed,
    plan: &'a Plan,
    taken: Taken,
}

impl<'a> Draft<'a> {
    /// What machines have that the plan takes away is free: they go first.
    pub(crate) fn new(home: &'a Home, desired: &'a Desired, observed: &'a Observed, plan: &'a Plan) -> Self {
        let leaving = plan.changes.iter().filter(|change| change.action == Action::Destroy);
        let leaving: std::collections::BTreeSet<_> = leaving.map(|change| &change.machine).collect();
        let staying = observed.machines.iter().filter(|(name, _)| !leaving.contains(name));
        let taken = Taken::by(staying.map(|(_, seen)| &seen.entry.record));
        Self { home, desired, observed, plan, taken }
    }

    /// One job for each change.
    ///
    /// # Errors
    /// When there is no address or port for a machine.
    pub(crate) fn jobs(mut self) -> Result<Vec<(Action, Job)>, EngineError> {
        let mut jobs = Vec::with_capacity(self.plan.changes.len());
        for change in &self.plan.changes {
            let wanted = self.desired.pools.iter().find(|wanted| wanted.pool.name == change.machine.pool);
            let Some(wanted) = wanted else { continue };
            let (record, target) = match self.observed.machines.get(&change.machine) {
                Some(seen) if change.action == Action::Destroy => {
                    (seen.entry.record.clone(), seen.entry.record.clone())
                }
                Some(seen) => (seen.entry.record.clone(), self.known(seen, wanted)?),
                None => {
                    let record = self.new_machine(change, wanted)?;
                    (record.clone(), record)
                }
            };
            jobs.push((change.action, Job::new(record, target, change.why.clone())));
        }
        Ok(jobs)
    }

    fn new_machine(&mut self, change: &Change, wanted: &DesiredPool) -> Result<MachineRecord, EngineError> {
        let placement = self.desired.placement(wanted, None).clone();
        let image = wanted.image.as_ref().ok_or_else(|| not_built(wanted))?;
        let home = (self.home, placement);
        allocate::record((wanted, image), change.machine.clone(), home, &mut self.taken)
    }

    /// A recorded machine: what it keeps, and what is new in the file.
    fn known(&mut self, seen: &Seen, wanted: &DesiredPool) -> Result<MachineRecord, EngineError> {
        let mut target = seen.entry.record.clone();
        if let Some(image) = &wanted.image {
            target.image = image.clone();
        }
        target.shape = wanted.pool.machine.clone();
        target.ready = wanted.pool.ready.clone();
        if target.network != wanted.pool.network {
            target.network = wanted.pool.network.clone();
            target.address = None;
            target.ssh_port = None;
        }
        target.location.placement = self.desired.placement(wanted, Some(seen)).clone();
        allocate::connect(&mut target, &mut self.taken)?;
        Ok(target)
    }
}

fn not_built(wanted: &DesiredPool) -> EngineError {
    EngineError::UnknownImage {
        pool: wanted.pool.name.clone(),
        image: wanted.pool.image.clone(),
        nearest: None,
    }
}
