//! What an agent is told, mostly by its files: an `Agent` and any number of `AgentPolicy` documents.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use winstead_spec::{self as spec, Agent, Documents, Problems, parse};

use crate::{
    access::{Paths, Policy},
    folder,
    wins::process::OnExit,
};

/// What an agent goes by.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files with an `Agent` and `AgentPolicy` documents; none: the defaults.
    Documents(Vec<PathBuf>),
    /// This, and no files.
    Given(Box<Configuration>),
}

impl Source {
    /// What it says now.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    pub fn read(&self) -> Result<Configuration, ConfigurationError> {
        match self {
            Self::Documents(files) => Configuration::read(files),
            Self::Given(configuration) => Ok((**configuration).clone()),
        }
    }
}

/// What an agent is told.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its doors, places and limits.
    pub agent: Agent,
    /// Who may do what; nothing: there is no policy, and only administrators may do anything.
    pub policy: Option<Policy>,
    /// What old clients see of exit codes.
    pub on_exit: OnExit,
    /// Whether the host of this computer comes in, where this is a guest.
    pub host: bool,
}

/// The files are no use. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file cannot be read.
    #[error("read the configuration")]
    Read(#[source] io::Error),
    /// Somebody else could change a file, and become the agent by it.
    #[error("trust the configuration")]
    Unsafe(#[source] io::Error),
    /// What stands in them is wrong.
    #[error("understand the configuration")]
    Wrong(#[source] Problems),
    /// They are about machines.
    #[error("use {0}: images, pools and hosts are for `winstead up -f`")]
    NotForAnAgent(String),
}

impl Configuration {
    /// What the files say, which nobody but us and administrators may have written. None: the defaults.
    ///
    /// # Errors
    /// When one cannot be read, could be changed by others, or is wrong; all that is wrong at once.
    pub fn read(files: &[PathBuf]) -> Result<Self, ConfigurationError> {
        for file in files {
            folder::guard(file).map_err(ConfigurationError::Unsafe)?;
        }
        Self::read_anybodys(files)
    }

    /// The same of files that anybody may have written: to look at them, not to act by them.
    ///
    /// # Errors
    /// When one cannot be read or is wrong.
    pub fn read_anybodys(files: &[PathBuf]) -> Result<Self, ConfigurationError> {
        let sources = files.iter().map(|file| source(file)).collect::<io::Result<Vec<_>>>();
        let documents = parse_all(&sources.map_err(ConfigurationError::Read)?)?;
        let rules: Vec<_> = documents.rules().cloned().collect();
        let policy = (!documents.policies.is_empty()).then(|| Policy::new(rules, Paths::HERE));
        let agent = documents.agents.into_iter().next().unwrap_or_default();
        Ok(Self { agent, policy, on_exit: OnExit::Tell, host: true })
    }
}

fn parse_all(sources: &[spec::Source]) -> Result<Documents, ConfigurationError> {
    if sources.is_empty() {
        return Ok(Documents::default());
    }
    let documents = parse(sources).map_err(ConfigurationError::Wrong)?;
    if documents.are_for_an_agent() {
        return Ok(documents);
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    Err(ConfigurationError::NotForAnAgent(names.join(", ")))
}

fn source(path: &Path) -> io::Result<spec::Source> {
    let text = fs::read_to_string(path)?;
    let folder = std::path::absolute(path)?.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(spec::Source { name: path.display().to_string(), folder, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_there_is_no_policy_and_with_an_empty_one_there_is() {
        assert!(Configuration::read(&[]).expect("nothing is wrong").policy.is_none());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.yaml");
        let text =
            "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec: {rules: []}\n";
        fs::write(&path, text).expect("it is written");
        let read = Configuration::read(&[path]).expect("it is right");
        assert!(read.policy.is_some_and(|policy| policy.rules().is_empty()));
        assert_eq!(read.agent, Agent::default());
    }

    #[test]
    fn documents_about_machines_are_refused() {
        let host = "apiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {name: local}\nspec: {}\n";
        let source =
            spec::Source { name: "host.yaml".to_owned(), folder: PathBuf::new(), text: host.to_owned() };
        let error = parse_all(&[source]).expect_err("it is about machines");
        assert_eq!(error.to_string(), "use host.yaml: images, pools and hosts are for `winstead up -f`");
    }
}
