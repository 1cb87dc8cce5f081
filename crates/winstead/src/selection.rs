//! Names on the command line: pools (`agents`) and machines (`agents-0`).

use std::collections::BTreeSet;

use winstead_engine::{Engine, Selection, nearest};
use winstead_spec::{MachineName, Name};

use crate::error::CliError;

/// What one name on the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Pool(Name),
    Machine(MachineName),
}

/// The pools and machines of a home.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) pools: BTreeSet<Name>,
    pub(crate) machines: BTreeSet<MachineName>,
}

impl Known {
    /// Asks the engine.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn of(engine: &Engine) -> Result<Self, CliError> {
        let mut known = Self::default();
        for machine in engine.machines().await?.items {
            known.machines.extend(machine.metadata.name.parse::<MachineName>());
        }
        for pool in engine.pools().await?.items {
            known.pools.extend(pool.metadata.name.parse());
        }
        known.pools.extend(known.machines.iter().map(|machine| machine.pool.clone()));
        Ok(known)
    }

    /// What `word` means. A name that nothing has is taken for what it looks like: the engine refuses it with the
    /// nearest known one.
    ///
    /// # Errors
    /// When it cannot be a name, or is that of a pool and of a machine.
    pub(crate) fn target(&self, word: &str) -> Result<Target, CliError> {
        if let Some(pool) = word.strip_prefix("pool/") {
            return Ok(Target::Pool(name(pool)?));
        }
        if let Some(machine) = word.strip_prefix("machine/") {
            return Ok(Target::Machine(machine_name(machine)?));
        }
        // A machine's name may be too long for a pool's.
        let Ok(machine) = word.parse::<MachineName>() else { return Ok(Target::Pool(name(word)?)) };
        match word.parse::<Name>().ok().filter(|pool| self.pools.contains(pool)) {
            Some(_) if self.machines.contains(&machine) => Err(CliError::usage(
                format!("tell what {word} is: there is a pool and a machine of that name"),
                format!("write pool/{word} or machine/{word}"),
            )),
            Some(pool) => Ok(Target::Pool(pool)),
            None => Ok(Target::Machine(machine)),
        }
    }

    /// What several names mean together. A machine whose pool is named as well says nothing new.
    ///
    /// # Errors
    /// As [`Known::target`].
    pub(crate) fn selection(&self, words: &[String]) -> Result<Selection, CliError> {
        let mut targets: Vec<Target> =
            words.iter().map(|word| self.target(word)).collect::<Result<_, _>>()?;
        let named: Vec<Name> = targets.iter().filter_map(Target::pool).collect();
        targets.retain(|target| match target {
            Target::Machine(machine) => !self.machines.contains(machine) || !named.contains(&machine.pool),
            Target::Pool(_) => true,
        });
        let pools: Vec<Name> = targets.iter().filter_map(Target::pool).collect();
        if pools.len() == targets.len() {
            return Ok(Selection::Pools(pools));
        }
        if let Some(missing) = pools.iter().find(|pool| !self.pools.contains(pool)) {
            return Ok(Selection::Pools(vec![missing.clone()]));
        }
        Ok(Selection::Machines(self.machines_of(&targets)))
    }

    /// The machines that words on the command line mean, in their order. One that is not there is the engine's to refuse.
    ///
    /// # Errors
    /// When a word cannot be a name, or that of a pool that is not there.
    pub(crate) fn machines(&self, words: &[String]) -> Result<Vec<MachineName>, CliError> {
        let targets: Vec<Target> = words.iter().map(|word| self.target(word)).collect::<Result<_, _>>()?;
        let unknown = targets.iter().filter_map(Target::pool).find(|pool| !self.pools.contains(pool));
        let Some(pool) = unknown else { return Ok(self.machines_of(&targets)) };
        let hint = nearest(pool.as_str(), self.pools.iter().map(ToString::to_string)).map_or_else(
            || "`winstead get machines` and `get pools` show what is there".to_owned(),
            |nearest| format!("did you mean `{nearest}`?"),
        );
        Err(CliError::usage(format!("find the pool {pool}"), hint))
    }

    /// The machines that several names mean: each, and all of each pool; none twice.
    pub(crate) fn machines_of(&self, targets: &[Target]) -> Vec<MachineName> {
        let machines = targets.iter().flat_map(|target| match target {
            Target::Machine(machine) => vec![machine.clone()],
            Target::Pool(pool) => {
                self.machines.iter().filter(|machine| machine.pool == *pool).cloned().collect()
            }
        });
        let mut seen = BTreeSet::new();
        machines.filter(|machine| seen.insert(machine.clone())).collect()
    }
}

impl Target {
    fn pool(&self) -> Option<Name> {
        match self {
            Self::Pool(pool) => Some(pool.clone()),
            Self::Machine(_) => None,
        }
    }
}

/// A pool's or image's name.
///
/// # Errors
/// When the text cannot be one.
pub(crate) fn name(text: &str) -> Result<Name, CliError> {
    text.parse().map_err(|error: winstead_spec::NameError| {
        CliError::usage(format!("understand the name: {error}"), "`winstead get machines` shows the names")
    })
}

/// A machine's name.
///
/// # Errors
/// When the text cannot be one.
pub(crate) fn machine_name(text: &str) -> Result<MachineName, CliError> {
    text.parse().map_err(|_| {
        let hint = format!("machines are named POOL-N: {text}-0; `winstead get machines` shows them");
        CliError::usage(format!("understand {text:?} as a machine's name"), hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let machines = ["agents-0", "agents-1", "agents-1-0", "web-0"];
        Known {
            pools: ["agents", "agents-1", "web"].map(|name| name.parse().unwrap()).into(),
            machines: machines.map(|name| name.parse().unwrap()).into(),
        }
    }

    fn machine(name: &str) -> MachineName {
        name.parse().unwrap()
    }

    #[test]
    fn names_mean_pools_or_machines() {
        let known = known();
        assert_eq!(known.target("web").unwrap(), Target::Pool("web".parse().unwrap()));
        assert_eq!(known.target("web-0").unwrap(), Target::Machine(machine("web-0")));
        assert_eq!(known.target("web-7").unwrap(), Target::Machine(machine("web-7")));
        assert_eq!(known.target("agents-1").unwrap_err().exit_code(), 2);
        assert_eq!(known.target("pool/agents-1").unwrap(), Target::Pool("agents-1".parse().unwrap()));
        assert_eq!(known.target("machine/agents-1").unwrap(), Target::Machine(machine("agents-1")));
        assert_eq!(known.target("../x").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn machines_of_the_longest_pool_names_are_found() {
        let pool: Name = "a".repeat(40).parse().unwrap();
        let longest = MachineName { pool: pool.clone(), index: 0 };
        let known = Known { pools: [pool.clone()].into(), machines: [longest.clone()].into() };
        assert_eq!(known.target(&longest.to_string()).unwrap(), Target::Machine(longest));
        assert_eq!(known.target(pool.as_str()).unwrap(), Target::Pool(pool));
    }

    #[test]
    fn a_pool_that_is_not_there_is_refused_with_the_nearest_and_machines_are_the_engines_to_find() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let error = known().machines(&words(&["web", "agent"])).unwrap_err();
        assert_eq!((error.exit_code(), error.hints()), (2, vec!["did you mean `agents`?".to_owned()]));
        let found = known().machines(&words(&["web-9", "agents", "agents-1"])).unwrap_err();
        assert_eq!(found.exit_code(), 2, "a pool and a machine of one name");
        let found = known().machines(&words(&["web-9", "agents", "agents-0"])).unwrap();
        assert_eq!(found, ["web-9", "agents-0", "agents-1"].map(machine));
    }

    #[test]
    fn pools_and_machines_together_are_machines() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let known = known();
        assert_eq!(
            known.selection(&words(&["web"])).unwrap(),
            Selection::Pools(vec!["web".parse().unwrap()])
        );
        let both = known.selection(&words(&["web", "agents-0"])).unwrap();
        assert_eq!(both, Selection::Machines(vec![machine("web-0"), machine("agents-0")]));
    }

    #[test]
    fn a_machine_that_is_named_twice_is_one_machine() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let known = known();
        let pool = Selection::Pools(vec!["web".parse().unwrap()]);
        assert_eq!(known.selection(&words(&["web", "web-0"])).unwrap(), pool);
        let unknown = known.selection(&words(&["web", "web-7"])).unwrap();
        assert_eq!(unknown, Selection::Machines(vec![machine("web-0"), machine("web-7")]));
        let targets = ["web-0", "web", "web-0"].map(|word| known.target(word).unwrap());
        assert_eq!(known.machines_of(&targets), [machine("web-0")]);
    }
}
