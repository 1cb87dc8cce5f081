//! Arms as pools: what an arm changes of the file's pool, and nothing else.

use std::time::Duration;

use winstead_engine::Engine;
use winstead_measurement::contention::{Arm, Design};
use winstead_spec::{Documents, Flush, Name, Pool, Span, Start, StoreKind};

use crate::error::BenchError;

/// For how long a saved memory waits for its arm's next turn: longer than all other arms take.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The pool that an experiment is about: the only one of the file, or the one called so.
///
/// # Errors
/// When there is none, or several and none is named.
pub fn pool_of<'a>(documents: &'a Documents, named: Option<&Name>) -> Result<&'a Pool, BenchError> {
    let known = || documents.pools.iter().map(|pool| pool.name.to_string()).collect();
    match (named, documents.pools.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(BenchError::WhichPool(known())),
        (Some(name), pools) => pools
            .iter()
            .find(|pool| pool.name == *name)
            .ok_or_else(|| BenchError::UnknownPool { pool: name.clone(), known: known() }),
    }
}

/// The documents of an experiment: each arm's pool without machines, but for that of `bring`, which has as many as said.
///
/// # Errors
/// When a pool's name has no room for its arm's.
pub(crate) fn documents(
    of: &Documents,
    pool: &Pool,
    design: &Design,
    bring: Option<(Arm, u32)>,
) -> Result<Documents, BenchError> {
    let pools = design.arms.iter().map(|arm| {
        let replicas = bring.filter(|(brought, _)| brought == arm).map_or(0, |(_, agents)| agents);
        Ok(Pool { replicas, ..arm_pool(pool, *arm)? })
    });
    Ok(Documents { pools: pools.collect::<Result<_, BenchError>>()?, ..of.clone() })
}

/// Checks that the largest cell of each arm fits on this host. Changes nothing.
///
/// # Errors
/// When one does not, with the sum.
pub async fn admitted(
    engine: &Engine,
    of: &Documents,
    pool: &Pool,
    design: &Design,
) -> Result<(), BenchError> {
    let most = design.agents.iter().copied().max().unwrap_or_default();
    for arm in &design.arms {
        engine.plan(&documents(of, pool, design, Some((*arm, most)))?).await?.admitted()?;
    }
    Ok(())
}

/// Checks that no pool of this home is called like an arm's: an experiment takes those away.
///
/// # Errors
/// When one is.
pub async fn ensure_free(engine: &Engine, pool: &Pool, design: &Design) -> Result<(), BenchError> {
    let known: Vec<String> = engine.pools().await?.items.into_iter().map(|pool| pool.metadata.name).collect();
    for arm in &design.arms {
        let name = name(&pool.name, *arm)?;
        if known.iter().any(|known| *known == name.as_str()) {
            return Err(BenchError::Taken(name));
        }
    }
    Ok(())
}

/// What an arm's pool is called.
///
/// # Errors
/// When the name would be too long.
pub(crate) fn name(pool: &Name, arm: Arm) -> Result<Name, BenchError> {
    let name = format!("{pool}-bench-{}", arm.name());
    name.parse().map_err(|_| BenchError::LongName(pool.clone()))
}

fn arm_pool(pool: &Pool, arm: Arm) -> Result<Pool, BenchError> {
    let mut changed = Pool { name: name(&pool.name, arm)?, ..pool.clone() };
    let (store, flush) = match arm {
        Arm::Ram => (StoreKind::Ram, Flush::Ignored),
        Arm::Disk => (StoreKind::Disk, Flush::Honored),
        Arm::DiskNoflush => (StoreKind::Disk, Flush::Ignored),
    };
    changed.machine.disk.store = store;
    changed.machine.disk.flush = flush;
    if matches!(changed.machine.start, Start::Memory { .. }) {
        changed.keep_template = Some(Span::from_secs(KEPT.as_secs()));
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use winstead_spec::{Source, parse};

    use super::*;

    const FILE: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: Pool
metadata: {name: agents}
spec:
  image: debian
  replicas: 4
  machine: {cpus: 1, memory: 384MiB, start: memory, disk: {cap: 512MiB}}
";

    fn documents_of(text: &str) -> Documents {
        parse(&[Source { name: "agents.yaml".to_owned(), folder: "/".into(), text: text.to_owned() }])
            .expect("a good file")
    }

    #[test]
    fn an_arm_changes_the_store_and_the_flushes_and_nothing_else() {
        let documents = documents_of(FILE);
        let pool = pool_of(&documents, None).expect("one pool");
        let arms: Vec<Pool> =
            Arm::ALL.iter().map(|arm| arm_pool(pool, *arm).expect("a short name")).collect();
        let kinds: Vec<_> =
            arms.iter().map(|pool| (pool.machine.disk.store, pool.machine.disk.flush)).collect();
        assert_eq!(
            kinds,
            [
                (StoreKind::Ram, Flush::Ignored),
                (StoreKind::Disk, Flush::Honored),
                (StoreKind::Disk, Flush::Ignored)
            ]
        );
        for arm in &arms {
            let mut back = arm.clone();
            back.machine.disk = pool.machine.disk;
            back.name = pool.name.clone();
            back.keep_template = pool.keep_template;
            assert_eq!(back, *pool);
            assert!(arm.keep_template.is_some(), "each run would boot a template anew");
        }
    }

    #[test]
    fn which_pool_is_asked_when_it_is_not_clear() {
        let two = documents_of(&format!("{FILE}---\n{}", FILE.replace("agents", "others")));
        assert!(matches!(pool_of(&two, None), Err(BenchError::WhichPool(_))));
        let named: Name = "others".parse().expect("a name");
        assert_eq!(pool_of(&two, Some(&named)).expect("there").name, named);
        let unknown: Name = "nobody".parse().expect("a name");
        assert!(matches!(pool_of(&two, Some(&unknown)), Err(BenchError::UnknownPool { .. })));
    }

    #[test]
    fn a_name_without_room_is_refused() {
        let long: Name = "a".repeat(38).parse().expect("a name");
        assert!(matches!(name(&long, Arm::DiskNoflush), Err(BenchError::LongName(_))));
    }
}
