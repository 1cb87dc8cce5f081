//! The decision.

use crate::access::{Caller, Door, Limits, Request};

/// Decides what callers may do.
///
/// Without a policy only those get anything who can do everything on this computer anyway: administrators who come in
/// by the agent's own socket, and the host of the machine that the agent is in.
#[derive(Debug, Default)]
pub struct Access {}

/// Yes, and on which terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The rule that says so, for the audit log.
    pub rule: String,
    /// As whom a program runs; nothing: as the agent itself does.
    pub account: Option<String>,
    /// The most that a program may have.
    pub limits: Limits,
}

/// No. Display is for the caller: it says what was refused, and nothing of what others may do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule allows it.
    #[error("{what} is not allowed for {caller}")]
    NoRule {
        /// What was asked for.
        what: String,
        /// Who asked.
        caller: String,
    },
    /// Rules might allow it, depending on what the program is: to be asked again with its digest, of the copy that will
    /// be run.
    #[error("the program's digest decides")]
    NeedsDigest,
}

impl Access {
    /// Whether `caller` may do that, and on which terms.
    ///
    /// # Errors
    /// When they may not.
    pub fn decide(&self, caller: &Caller, request: Request<'_>) -> Result<Terms, Denied> {
        let trusted = match caller.door {
            Door::Local => caller.account.administrator,
            Door::Guest => true,
            Door::Wins | Door::WinsProxy | Door::Tcp => false,
        };
        if !trusted {
            return Err(Denied::NoRule { what: request.to_string(), caller: caller.to_string() });
        }
        let (account, limits) = match request {
            Request::Run(run) => (run.account.clone(), run.limits),
            _ => (None, Limits::default()),
        };
        Ok(Terms { rule: "administrators".to_owned(), account, limits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Account, Query};

    fn caller(door: Door, administrator: bool) -> Caller {
        let account = Account { id: "7".to_owned(), administrator, ..Account::default() };
        Caller { door, account, process: None, container: None }
    }

    #[test]
    fn without_a_policy_only_those_get_in_who_could_do_it_anyway() {
        let may = |door, administrator| {
            Access::default().decide(&caller(door, administrator), Request::Reboot).is_ok()
        };
        assert!(may(Door::Local, true) && may(Door::Guest, false));
        assert!(!may(Door::Local, false) && !may(Door::Wins, true) && !may(Door::Tcp, true));
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_to_whom() {
        let denied = Access::default()
            .decide(&caller(Door::Wins, true), Request::Query(Query::Hns))
            .expect_err("nobody allowed it");
        assert_eq!(denied.to_string(), "asking for container networks is not allowed for 7 (wins)");
    }
}
