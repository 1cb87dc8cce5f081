//! Names of processes as old clients have them. No process, no file.

use std::{collections::HashMap, fmt};

use tonic::Status;

use crate::wins::rules::clean;

/// What each file and name begins with: scripts look for it.
pub(super) const PREFIX: &str = "rancher-wins-";

/// Names with the same beginning, told apart by a number. Nobody has so many.
const MOST: usize = 1000;

/// The file's name in the vault: `rancher-wins-nginx.exe`.
pub(super) fn file(program: &str) -> String {
    let cleaned = clean(program);
    let name = cleaned.rsplit(['/', '\\']).next().unwrap_or_default();
    format!("{PREFIX}{name}")
}

/// The process's name: that of the file, with all of `.`, `e` and `x` cut off its end. `nginx.exe` is `rancher-wins-ngin`:
/// a mistake of 2019 that is in firewall rules and scripts.
pub(super) fn process(program: &str) -> String {
    file(program).trim_end_matches(['.', 'e', 'x']).to_owned()
}

/// Whose name it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The program as it was asked for.
    pub(super) program: String,
    /// The supervisor's name; nothing while it is being started.
    pub(super) id: Option<String>,
    /// How many clients keep it alive.
    pub(super) clients: usize,
    /// Whether its client may still come: it was started by this agent a moment ago.
    pub(super) fresh: bool,
}

/// A name is taken by the same program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It runs, and a client is with it.
    Runs(String),
    /// It runs and no client is with it any more: to be stopped, then asked again.
    Stale { name: String, id: String },
    /// There are too many of this name.
    TooMany,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs(name) | Self::Stale { name, .. } => write!(out, "{name} runs already"),
            Self::TooMany => out.write_str("there are too many processes of this name"),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        Self::already_exists(format!("could not create process: {refused}"))
    }
}

/// All names in use.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashMap<String, Taken>,
}

impl Names {
    /// Takes a name for a program. Another program of the same name gets a number behind it; the same one is refused.
    pub(super) fn reserve(&mut self, program: &str) -> Result<String, Refused> {
        let base = process(program);
        if let Some((name, taken)) = self.taken.iter().find(|(_, taken)| taken.program == program) {
            return Err(match &taken.id {
                Some(id) if taken.clients == 0 && !taken.fresh => {
                    Refused::Stale { name: name.clone(), id: id.clone() }
                }
                _ => Refused::Runs(name.clone()),
            });
        }
        let numbered = (2..MOST).map(|number| format!("{base}-{number}"));
        let mut candidates = std::iter::once(base.clone()).chain(numbered);
        let name = candidates.find(|name| !self.taken.contains_key(name)).ok_or(Refused::TooMany)?;
        let taken = Taken { program: program.to_owned(), id: None, clients: 0, fresh: true };
        self.taken.insert(name.clone(), taken);
        Ok(name)
    }

    /// Notes one that an earlier agent has started.
    pub(super) fn adopt(&mut self, name: &str, program: &str, id: &str) {
        let taken = Taken { program: program.to_owned(), id: Some(id.to_owned()), clients: 0, fresh: false };
        self.taken.insert(name.to_owned(), taken);
    }

    /// What has this name.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Taken> {
        self.taken.get_mut(name)
    }

    /// Gives a name free.
    pub(super) fn release(&mut self, name: &str) {
        self.taken.remove(name);
    }

    /// Gives the names free whose processes `ended` says are over.
    pub(super) fn forget(&mut self, ended: impl Fn(&str) -> bool) {
        self.taken.retain(|_, taken| taken.id.as_ref().is_none_or(|id| !ended(id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_old_server_cut_them() {
        for (program, name) in [
            (r"c:\etc\nginx\nginx.exe", "rancher-wins-ngin"),
            ("c:/x/node.exe", "rancher-wins-nod"),
            ("/opt/kubelet.exe", "rancher-wins-kubelet"),
            ("/opt/flanneld", "rancher-wins-flanneld"),
            ("/opt/exe.exe", "rancher-wins-"),
        ] {
            assert_eq!(process(program), name, "{program}");
        }
        assert_eq!(file(r"c:\etc\nginx\nginx.exe"), "rancher-wins-nginx.exe");
    }

    #[test]
    fn two_programs_of_one_name_are_told_apart_and_one_program_runs_once() {
        let mut names = Names::default();
        assert_eq!(names.reserve("/a/nginx.exe").as_deref(), Ok("rancher-wins-ngin"));
        assert_eq!(names.reserve("/b/nginx.exe").as_deref(), Ok("rancher-wins-ngin-2"));
        assert_eq!(names.reserve("/c/ngine.exe").as_deref(), Ok("rancher-wins-ngin-3"), "cut to the same");
    }

    #[test]
    fn a_program_without_a_client_gives_way() {
        let mut names = Names::default();
        let name = names.reserve("/a/x").expect("free");
        assert_eq!(names.reserve("/a/x"), Err(Refused::Runs(name.clone())), "it is being started");
        let taken = names.get_mut(&name).expect("taken");
        (taken.id, taken.clients, taken.fresh) = (Some("7".to_owned()), 1, false);
        assert_eq!(names.reserve("/a/x"), Err(Refused::Runs(name.clone())));
        names.get_mut(&name).expect("taken").clients = 0;
        assert_eq!(names.reserve("/a/x"), Err(Refused::Stale { name: name.clone(), id: "7".to_owned() }));
        names.forget(|id| id == "7");
        assert_eq!(names.reserve("/a/x"), Ok(name));
    }
}
