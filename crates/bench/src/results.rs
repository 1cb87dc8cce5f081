//! Where an experiment is kept: a folder with what was planned and a file for each run, so that it can go on after
//! anything, and one document of all of it.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use winstead_measurement::{
    Contention,
    contention::{ContentionRun, Design, Host, KIND, VERSION, Way},
    flat,
};

use crate::{error::BenchError, lock::Lock, schedule::Cell};

/// The document of a whole experiment, in its folder.
pub const DOCUMENT: &str = "contention.json";
const PLAN: &str = "plan.json";
const RUNS: &str = "runs";
const LOCK: &str = "lock";

/// The folder of one experiment. Nobody else measures into it meanwhile.
#[derive(Debug)]
pub struct Results {
    folder: PathBuf,
    /// Without runs.
    plan: Contention,
    _lock: Lock,
}

impl Results {
    /// Whether a folder holds an experiment that was begun.
    #[must_use]
    pub fn are_in(folder: &Path) -> bool {
        folder.join(PLAN).exists()
    }

    /// Makes the folder of an experiment, or goes on in one that was begun with the same design on the same host.
    ///
    /// # Errors
    /// When the folder holds another experiment, is in use, or cannot be used.
    pub fn open(folder: &Path, design: Design, host: Host, winstead: &str) -> Result<Self, BenchError> {
        let runs = folder.join(RUNS);
        fs::create_dir_all(&runs).map_err(|source| failed("make", &runs, source))?;
        let path = folder.join(PLAN);
        let folder = folder.to_owned();
        let lock = Lock::take(&folder.join(LOCK))?;
        if Self::are_in(&folder) {
            let plan: Contention = read(&path)?;
            let mut differences = differences(&plan.design, &design);
            differences.append(&mut self::differences(&plan.host, &host));
            if differences.is_empty() {
                return Ok(Self { folder, plan, _lock: lock });
            }
            return Err(BenchError::OtherExperiment { folder, differences });
        }
        let plan = Contention {
            kind: KIND.to_owned(),
            version: VERSION,
            winstead: winstead.to_owned(),
            started_at: Timestamp::now(),
            design,
            host,
            runs: Vec::new(),
        };
        write(&path, &plan)?;
        Ok(Self { folder, plan, _lock: lock })
    }

    /// What was planned.
    #[must_use]
    pub const fn design(&self) -> &Design {
        &self.plan.design
    }

    /// Where it is measured.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.plan.host
    }

    /// Whether a cell was measured already.
    #[must_use]
    pub fn has(&self, cell: Cell) -> bool {
        self.run(cell).exists()
    }

    /// Keeps a run: all of it, or nothing when the computer fails half way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&self, cell: Cell, run: &ContentionRun) -> Result<(), BenchError> {
        write(&self.run(cell), run)
    }

    /// The document of all runs so far, in the order in which they were measured, kept in the folder as [`DOCUMENT`].
    ///
    /// # Errors
    /// When a run cannot be read, or the document not be written.
    pub fn document(&self) -> Result<(PathBuf, Contention), BenchError> {
        let document = Contention { runs: self.runs()?, ..self.plan.clone() };
        let path = self.folder.join(DOCUMENT);
        write(&path, &document)?;
        Ok((path, document))
    }

    /// The way by which machines of the last run were entered; nothing: no run says.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub fn way(&self) -> Result<Option<Way>, BenchError> {
        Ok(self.runs()?.iter().rev().find_map(|run| run.via))
    }

    /// All runs so far, in the order in which they were measured.
    fn runs(&self) -> Result<Vec<ContentionRun>, BenchError> {
        let folder = self.folder.join(RUNS);
        let mut runs = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|source| failed("read", &folder, source))? {
            let path = entry.map_err(|source| failed("read", &folder, source))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                runs.push(read::<ContentionRun>(&path)?);
            }
        }
        runs.sort_by_key(|run| run.started_at);
        Ok(runs)
    }

    fn run(&self, cell: Cell) -> PathBuf {
        let Cell { arm, agents, repeat } = cell;
        self.folder.join(RUNS).join(format!("{repeat:03}-{}-{agents}.json", arm.name()))
    }
}

/// What differs between two designs or hosts, by their keys.
fn differences<T: Serialize>(before: &T, now: &T) -> Vec<String> {
    let keys = |value| serde_json::to_value(value).map(|value| flat(&value)).unwrap_or_default();
    let (before, now) = (keys(before), keys(now));
    let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differing = all.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let shown =
        |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    differing
        .map(|key| format!("{key}: {} then, {} now", shown(before.get(key)), shown(now.get(key))))
        .collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, BenchError> {
    let bytes = fs::read(path).map_err(|source| failed("read", path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| failed("read", path, error.into()))
}

/// Under another name first, flushed, then put in place.
fn write(path: &Path, value: &impl Serialize) -> Result<(), BenchError> {
    let put = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // Like any file that one makes: colleagues may read it, if the user's umask lets them.
        let readable = std::fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
        let mut out = io::BufWriter::new(&mut file);
        serde_json::to_writer(&mut out, value)?;
        // Dropping it would forget that the disk is full.
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().map_err(|source| failed("write", path, source))
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> BenchError {
    BenchError::File { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use winstead_measurement::contention::{Arm, Disk};

    use super::*;
    use crate::fixtures;

    fn design() -> Design {
        fixtures::design(&[1, 2], 5)
    }

    fn open(folder: &Path, design: Design) -> Result<Results, BenchError> {
        let host = Host {
            cpu_model: None,
            cpus: 2,
            memory_bytes: 1,
            kernel: String::new(),
            qemu: String::new(),
            accelerator: "tcg".to_owned(),
            disk: Disk { file_system: None, options: None, device: None },
        };
        Results::open(folder, design, host, "0.1.0")
    }

    fn run(cell: Cell) -> ContentionRun {
        ContentionRun {
            arm: cell.arm,
            agents: cell.agents,
            repeat: cell.repeat,
            started_at: Timestamp::now(),
            started_from: [("boot".to_owned(), cell.agents)].into(),
            bring_seconds: 1.0,
            image: None,
            direct: None,
            via: None,
            workloads: Vec::new(),
        }
    }

    #[test]
    fn an_experiment_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let cells = [Arm::Ram, Arm::Disk].map(|arm| Cell { arm, agents: 2, repeat: 1 });
        let first = open(folder.path(), design()).expect("a new one");
        first.keep(cells[0], &run(cells[0])).expect("kept");
        let busy = open(folder.path(), design()).expect_err("somebody measures into it");
        assert!(matches!(busy, BenchError::InUse { .. }), "{busy}");
        drop(first);
        let second = open(folder.path(), design()).expect("the same one");
        assert_eq!(cells.map(|cell| second.has(cell)), [true, false]);
        second.keep(cells[1], &run(cells[1])).expect("kept");
        let (path, document) = second.document().expect("a document");
        assert_eq!(document.runs.iter().map(|run| run.arm).collect::<Vec<_>>(), [Arm::Ram, Arm::Disk]);
        let value = serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON");
        assert_eq!(Contention::read(&value).expect("what we read").runs.len(), 2);
    }

    #[test]
    fn an_experiment_goes_on_by_the_way_of_its_last_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = open(folder.path(), design()).expect("a new one");
        assert_eq!(results.way().expect("no run"), None);
        // The last one failed before any machine was entered.
        let ways = [Some(Way::Agent), Some(Way::Ssh), None];
        for (repeat, (via, arm)) in (1..).zip(ways.into_iter().zip(Arm::ALL)) {
            let cell = Cell { arm, agents: 1, repeat };
            results.keep(cell, &ContentionRun { via, ..run(cell) }).expect("kept");
        }
        assert_eq!(results.way().expect("they are read"), Some(Way::Ssh));
    }

    #[test]
    fn another_experiment_in_the_folder_is_left_alone_and_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), design()).expect("a new one"));
        let error = open(folder.path(), Design { repeats: 6, ..design() }).expect_err("another one");
        assert!(
            error.to_string().ends_with("it holds another experiment (repeats: 5 then, 6 now)"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), design()).expect("a new one"));
        let path = folder.path().join(PLAN);
        fs::write(&path, "{\"kind\":").expect("written");
        let error = open(folder.path(), design()).expect_err("no plan");
        assert!(error.to_string().ends_with("plan.json"), "{error}");
    }
}
