//! The user's files: `-f` takes files, folders and `-`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use tokio_util::sync::CancellationToken;
use winstead_engine::EngineError;
use winstead_spec::{Documents, Source, parse};

use crate::error::CliError;

/// `-f`, for commands that read files.
#[derive(Clone, Debug, Args)]
pub(crate) struct FileArgs {
    /// A file, a folder (all *.yaml and *.yml in it), or - for standard input. May be given several times.
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

impl FileArgs {
    /// Reads and checks everything that is named; all problems of all files are told at once.
    ///
    /// # Errors
    /// When nothing is named, something cannot be read or is wrong, or `stop` is cancelled.
    pub(crate) async fn documents(
        &self,
        command: &str,
        stop: &CancellationToken,
    ) -> Result<Documents, CliError> {
        if self.files.is_empty() {
            return Err(CliError::usage("find a file: none is given", format!("winstead {command} -f FILE")));
        }
        let named = self.files.clone();
        // Standard input may be a terminal at which nobody types.
        let reading = tokio::task::spawn_blocking(move || documents(&named));
        tokio::select! {
            read = reading => read.map_err(|error| CliError::runtime(error.into()))?,
            () = stop.cancelled() => Err(EngineError::Interrupted.into()),
        }
    }
}

fn documents(named: &[PathBuf]) -> Result<Documents, CliError> {
    let mut sources = Vec::new();
    for path in named {
        for source in read(path)? {
            // `-f pools/ -f pools/agents.yaml` names one file twice.
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    let documents = parse(&sources).map_err(|problems| {
        let wrong = |file: &&str| problems.0.iter().any(|problem| problem.file == **file);
        let files: Vec<&str> = sources.iter().map(|source| source.name.as_str()).filter(wrong).collect();
        CliError::Problems { files: files.join(", "), problems }
    })?;
    not_for_an_agent(&documents, &sources)?;
    Ok(documents)
}

/// Refuses files that only winstead-agent has a use for. Beside other documents its own are passed over: [`remark`].
fn not_for_an_agent(documents: &Documents, sources: &[Source]) -> Result<(), CliError> {
    if documents.are_for_an_agent() {
        let files: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let message = format!("use {}: it holds nothing but documents for winstead-agent", files.join(", "));
        return Err(CliError::usage(message, format!("winstead-agent serve -f {}", files.join(" -f "))));
    }
    Ok(())
}

/// What to say of documents that are passed over.
pub(crate) fn remark(documents: &Documents) -> Option<String> {
    let agents = documents.agents.iter().map(|agent| format!("Agent `{}`", agent.name));
    let policies = documents.policies.iter().map(|policy| format!("AgentPolicy `{}`", policy.name));
    let names: Vec<String> = agents.chain(policies).collect();
    let what = names.join(", ");
    (!names.is_empty()).then(|| format!("{what}: for winstead-agent; nothing is done with it here"))
}

fn read(named: &Path) -> Result<Vec<Source>, CliError> {
    if named == Path::new("-") {
        return Ok(vec![standard_input()?]);
    }
    if !named.is_dir() {
        return Ok(vec![file(named)?]);
    }
    let files = yaml_files(named).map_err(|source| CliError::Read { path: named.to_owned(), source })?;
    if files.is_empty() {
        let message = format!("read {}: there is no *.yaml or *.yml file in it", named.display());
        return Err(CliError::usage(message, "name the file itself: -f FILE"));
    }
    files.iter().map(|path| file(path)).collect()
}

fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn file(path: &Path) -> Result<Source, CliError> {
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let text = fs_err::read_to_string(path).map_err(failed)?;
    let whole = std::path::absolute(path).map_err(failed)?;
    let folder = whole.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Source { name: path.display().to_string(), folder, text })
}

fn standard_input() -> Result<Source, CliError> {
    let failed = |source| CliError::Read { path: "standard input".into(), source };
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
    Ok(Source { name: "<stdin>".to_owned(), folder: std::env::current_dir().map_err(failed)?, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_all_its_yaml_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.txt"] {
            fs_err::write(folder.path().join(name), name).unwrap();
        }
        fs_err::create_dir(folder.path().join("d.yaml")).unwrap();
        let sources = read(folder.path()).unwrap();
        let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, ["a.yml", "b.yaml"]);
        assert!(sources.iter().all(|source| source.folder == folder.path()));
    }

    #[test]
    fn what_only_an_agent_reads_is_refused_with_the_command_that_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.yaml");
        let agent = "apiVersion: winstead.dev/v1alpha1\nkind: Agent\nmetadata: {name: a}\nspec: {}\n";
        fs_err::write(&path, agent).unwrap();
        let refused = documents(std::slice::from_ref(&path)).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().ends_with("nothing but documents for winstead-agent"), "{refused}");
        let host =
            "\n---\napiVersion: winstead.dev/v1alpha1\nkind: Host\nmetadata: {name: local}\nspec: {}\n";
        fs_err::write(&path, format!("{agent}{host}")).unwrap();
        let both = documents(&[path]).unwrap();
        let said = remark(&both);
        assert_eq!(said.as_deref(), Some("Agent `a`: for winstead-agent; nothing is done with it here"));
        assert_eq!(both.hosts.len(), 1);
    }

    #[tokio::test]
    async fn nothing_named_and_nothing_found_are_the_users_to_mend() {
        let nothing = FileArgs { files: Vec::new() };
        assert_eq!(nothing.documents("up", &CancellationToken::new()).await.unwrap_err().exit_code(), 2);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(read(empty.path()).unwrap_err().exit_code(), 2);
        assert_eq!(read(&empty.path().join("none.yaml")).unwrap_err().exit_code(), 2);
    }
}
