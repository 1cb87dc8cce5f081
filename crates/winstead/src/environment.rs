//! Everything that is read from the environment, once, at the start. Options of the command line come first.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `NO_COLOR` is set to anything (no-color.org).
    pub(crate) no_color: bool,
    /// `TERM`: what kind the terminal is.
    pub(crate) term: Option<String>,
    /// `WINSTEAD_LOG`: which log lines are written, as `tracing-subscriber` reads it.
    pub(crate) log: Option<String>,
    /// Where a crash test wants this process to die.
    #[cfg(feature = "faults")]
    pub(crate) kill_at: Option<u64>,
    /// What a test leaves out of a clone's becoming itself.
    #[cfg(feature = "faults")]
    pub(crate) left_out: Option<winstead_guest::specialise::Step>,
    /// Whether this is root, who has a home of the system's.
    root: bool,
    state: Option<PathBuf>,
    home: Option<PathBuf>,
    winstead_home: Option<PathBuf>,
    /// `WINSTEAD_ARTIFACTS`: a folder with files that would otherwise be downloaded.
    pub(crate) artifacts: Option<PathBuf>,
}

impl Environment {
    /// Reads it. An empty variable counts as unset.
    pub(crate) fn read() -> Self {
        Self {
            no_color: value("NO_COLOR").is_some(),
            term: value("TERM").and_then(|text| text.into_string().ok()),
            log: value("WINSTEAD_LOG").and_then(|text| text.into_string().ok()),
            #[cfg(feature = "faults")]
            kill_at: value("WINSTEAD_FAULT_KILL_AT").and_then(|text| text.to_str()?.parse().ok()),
            #[cfg(feature = "faults")]
            left_out: value("WINSTEAD_FAULT_LEAVE_OUT").and_then(|text| step(text.to_str()?)),
            root: rustix::process::geteuid().is_root(),
            // Relative paths are to be ignored (XDG Base Directory Specification).
            state: value("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()),
            home: value("HOME").map(PathBuf::from),
            winstead_home: value("WINSTEAD_HOME").map(PathBuf::from),
            artifacts: value("WINSTEAD_ARTIFACTS").map(PathBuf::from),
        }
    }

    /// The home folder of Winstead when no option names one; `None` when there is no place for one.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.winstead_home.clone().or_else(|| self.default_home())
    }

    /// Whether the terminal cannot do more than print.
    pub(crate) fn has_dumb_terminal(&self) -> bool {
        self.term.as_deref() == Some("dumb")
    }

    fn default_home(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/var/lib/winstead"));
        }
        let state = self.state.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
        state.map(|state| state.join("winstead"))
    }

    /// Whether a command finds this home without being told, in the same shell.
    pub(crate) fn leads_to(&self, home: &Path) -> bool {
        self.home().as_deref() == Some(home)
    }
}

fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A step by its name.
#[cfg(feature = "faults")]
fn step(name: &str) -> Option<winstead_guest::specialise::Step> {
    let tasks = winstead_guest::specialise::tasks(winstead_spec::GuestOs::Linux);
    tasks.iter().map(|task| task.step).find(|step| format!("{step:?}") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_home_depends_on_who_asks() {
        let mut environment = Environment { home: Some("/home/me".into()), ..Environment::default() };
        assert_eq!(environment.default_home(), Some("/home/me/.local/state/winstead".into()));
        environment.state = Some("/state".into());
        assert_eq!(environment.default_home(), Some("/state/winstead".into()));
        environment.root = true;
        assert_eq!(environment.default_home(), Some("/var/lib/winstead".into()));
        assert_eq!(Environment::default().default_home(), None);
    }

    #[test]
    fn a_home_that_the_environment_names_need_not_be_said_again() {
        let mut environment = Environment { root: true, ..Environment::default() };
        assert!(environment.leads_to(Path::new("/var/lib/winstead")));
        environment.winstead_home = Some("/other".into());
        assert!(environment.leads_to(Path::new("/other")));
        assert!(!environment.leads_to(Path::new("/var/lib/winstead")));
    }
}
