//! Runs as one names them on the command line: a file, or a folder of files, and which runs of it are meant.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use winstead_measurement::{
    Run,
    import::{self, ChoiceError, Measured},
};

use crate::error::CliError;

/// What a folder's files must end with, so that a README beside results is not read.
const ENDINGS: [&str; 2] = ["json", "xml"];

const FILES: &str = "a file, or a folder of *.json and *.xml files";

/// All runs that `word` names: `FILE`, `FOLDER`, each with `#CHOICE`.
///
/// # Errors
/// When a file cannot be read, is no measurement, or has no such runs.
pub(super) fn runs(word: &str) -> Result<Vec<Run>, CliError> {
    let (path, choice) = split(word);
    let mut runs = Vec::new();
    for file in files(&path)? {
        let chosen = read(&file)?.choose(choice);
        runs.extend(chosen.map_err(|error| no_choice(word, &file, &error))?);
    }
    Ok(runs)
}

/// What a file holds.
///
/// # Errors
/// When it cannot be read, or is no measurement.
pub(super) fn read(file: &Path) -> Result<Measured, CliError> {
    let bytes = fs_err::read(file).map_err(|source| unreadable(file, source))?;
    import::read(&bytes).map_err(|source| unreadable(file, source))
}

/// A path may have the sign in it; what is there is meant.
fn split(word: &str) -> (PathBuf, Option<&str>) {
    match word.rsplit_once('#') {
        Some((path, choice)) if !Path::new(word).exists() => (path.into(), Some(choice)),
        _ => (word.into(), None),
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(path).map_err(|source| unreadable(path, source))? {
        let file = entry.map_err(|source| unreadable(path, source))?.path();
        let known = file.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        if known && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => {
            let message = format!("read {}: there is no *.json or *.xml file in it", path.display());
            Err(CliError::usage(message, format!("name {FILES}")))
        }
        false => Ok(files),
    }
}

fn unreadable(path: &Path, source: impl Error + Send + Sync + 'static) -> CliError {
    CliError::NoMeasurement {
        path: path.to_owned(),
        source: Box::new(source),
        hint: "`winstead bench compare --help` says which files and folders are read",
    }
}

fn no_choice(word: &str, file: &Path, error: &ChoiceError) -> CliError {
    let message = format!("choose runs of {}: {error}", file.display());
    let hint = match error {
        ChoiceError::NotThere { .. } => format!("write it behind the file: {}#NAME", split(word).0.display()),
        ChoiceError::Counters => format!("`winstead bench explain {}`", winstead_process::shown([file])),
        ChoiceError::AllLost { .. } => "`winstead report` says what failed".to_owned(),
        ChoiceError::Result(_) => format!("name {FILES}"),
    };
    CliError::usage(message, hint)
}
