//! The decision.

use std::sync::{Arc, PoisonError, RwLock};

use winstead_spec::ByteSize;

use crate::{
    access::{Audit, Caller, Door, Limits, Policy, Query, Request, Run, Verdict},
    metrics::Decisions,
};

/// The rule of those who could do it anyway.
const ADMINISTRATORS: &str = "administrators";
/// The rule of those who started a process.
const OWNERS: &str = "owners";

/// Decides what callers may do, and writes each answer down. To be shared; asking is cheap.
///
/// Without a policy only those get anything who can do everything on this computer anyway: administrators who come in
/// by the agent's own socket, and the host of the machine that the agent is in. With a policy its rules decide, for them
/// too; there are two things that no rule is needed for: processes are used by those who started them, and administrators
/// may ask for the agent's status.
#[derive(Debug, Default)]
pub struct Access {
    policy: RwLock<Option<Arc<Policy>>>,
    audit: Option<Audit>,
    arguments: Option<ByteSize>,
    decisions: Decisions,
}

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
    /// Nobody may have so much.
    #[error("arguments and environment have more than {most}")]
    TooLong {
        /// The most they may have.
        most: ByteSize,
    },
    /// It was allowed, and cannot be written down.
    #[error("the audit log cannot be written, so nothing is allowed")]
    Unaudited,
}

impl Access {
    /// Decides by this policy, writes to this log, and takes no longer `arguments` from anybody.
    #[must_use]
    pub fn new(policy: Option<Policy>, audit: Audit, arguments: ByteSize, decisions: Decisions) -> Self {
        let policy = RwLock::new(policy.map(Arc::new));
        Self { policy, audit: Some(audit), arguments: Some(arguments), decisions }
    }

    /// Decides by another policy from now on; what was allowed before goes on.
    pub fn replace(&self, policy: Option<Policy>) {
        // Whoever panicked in here left a whole policy.
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.map(Arc::new);
    }

    /// The policy that decides now.
    #[must_use]
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the policy asks who signed a program.
    #[must_use]
    pub fn asks_for_signers(&self) -> bool {
        self.policy().is_some_and(|policy| policy.asks_for_signers())
    }

    /// Whether `caller` may do that, and on which terms.
    ///
    /// # Errors
    /// When they may not.
    pub fn decide(&self, caller: &Caller, request: Request<'_>) -> Result<Terms, Denied> {
        let too_long = self.too_long(request);
        let verdict = match too_long {
            Some(_) => Verdict::Refused(None),
            None => self.judge(caller, request),
        };
        if verdict == Verdict::NeedsDigest {
            // No answer yet, and nothing happens by it.
            return Err(Denied::NeedsDigest);
        }
        let written = self.written(caller, request, &verdict);
        self.decisions.count(caller.door, written && matches!(verdict, Verdict::Allowed(_)));
        match (verdict, too_long) {
            (Verdict::Allowed(terms), _) if written => Ok(terms),
            (Verdict::Allowed(_), _) => Err(Denied::Unaudited),
            (_, Some(most)) => Err(Denied::TooLong { most }),
            _ => Err(Denied::NoRule { what: request.to_string(), caller: caller.to_string() }),
        }
    }

    /// The most that arguments and environment may have, if these have more.
    fn too_long(&self, request: Request<'_>) -> Option<ByteSize> {
        let Request::Run(run) = request else { return None };
        self.arguments.filter(|most| length(run) > most.bytes())
    }

    /// Whether an answer is written down, or need not be.
    fn written(&self, caller: &Caller, request: Request<'_>, verdict: &Verdict) -> bool {
        let written = self.audit.as_ref().map_or(Ok(()), |audit| audit.write(caller, request, verdict));
        if let Err(error) = &written {
            tracing::error!(error = error as &dyn std::error::Error, "a decision is not written down");
        }
        written.is_ok()
    }

    /// Whether [`Access::decide`] would say yes: for lists of what a caller may see. Nothing is written down.
    #[must_use]
    pub fn may(&self, caller: &Caller, request: Request<'_>) -> bool {
        matches!(self.judge(caller, request), Verdict::Allowed(_))
    }

    /// What [`Access::decide`] would say, and why. Nothing is written down.
    #[must_use]
    pub fn judge(&self, caller: &Caller, request: Request<'_>) -> Verdict {
        let trusted = match caller.door {
            Door::Local => caller.account.administrator,
            Door::Guest => true,
            Door::Wins | Door::WinsProxy | Door::Tcp => false,
        };
        let by = |rule: &str| Verdict::Allowed(Terms { rule: rule.to_owned(), ..Terms::default() });
        match (request, self.policy()) {
            (Request::Process { owner }, _) if owner == caller.owner() => by(OWNERS),
            (Request::Query(Query::Status), _) if trusted => by(ADMINISTRATORS),
            (_, Some(policy)) => policy.judge(caller, request),
            (Request::Run(run), None) if trusted => Verdict::Allowed(Terms {
                rule: ADMINISTRATORS.to_owned(),
                account: run.account.clone(),
                limits: run.limits,
            }),
            (_, None) if trusted => by(ADMINISTRATORS),
            (_, None) => Verdict::Refused(None),
        }
    }
}

/// Of arguments and environment, as the system counts them: each with the zero, or the `=`, behind it.
fn length(run: &Run) -> u64 {
    let arguments = run.arguments.iter().map(|argument| argument.len() + 1);
    let variables = run.environment.iter().map(|(name, value)| name.len() + value.len() + 2);
    arguments.chain(variables).fold(0, |sum, length| sum + length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Account, Paths};

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
    fn with_a_policy_without_rules_nobody_may_do_anything_but_ask_for_the_status() {
        let access = Access::default();
        access.replace(Some(Policy::new(Vec::new(), Paths::HERE)));
        let administrator = caller(Door::Local, true);
        assert!(access.decide(&administrator, Request::Reboot).is_err());
        assert!(access.decide(&administrator, Request::Query(Query::Host)).is_err());
        assert!(access.decide(&administrator, Request::Query(Query::Status)).is_ok());
        assert!(access.decide(&caller(Door::Local, false), Request::Query(Query::Status)).is_err());
        access.replace(None);
        assert!(access.decide(&administrator, Request::Reboot).is_ok());
    }

    #[test]
    fn a_process_is_used_by_who_started_it_from_whichever_process() {
        let access = Access::default();
        let owner = caller(Door::Local, false);
        let may = |caller: &Caller| access.may(caller, Request::Process { owner: &owner.owner() });
        assert!(may(&owner));
        assert!(!may(&Caller { container: Some("/c".to_owned()), ..owner.clone() }));
        assert!(!may(&Caller { door: Door::Wins, ..owner.clone() }));
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_to_whom() {
        let denied = Access::default()
            .decide(&caller(Door::Wins, true), Request::Query(Query::Hns))
            .expect_err("nobody allowed it");
        assert_eq!(denied.to_string(), "asking for container networks is not allowed for 7 (wins)");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_written_down_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(folder.path()).expect("it opens");
        let access = Access::new(None, audit, ByteSize::from_mib(1), Decisions::default());
        let administrator = caller(Door::Local, true);
        access.decide(&administrator, Request::Reboot).expect("there is room");
        access.audit.as_ref().expect("it has one").fill_up();
        assert_eq!(access.decide(&administrator, Request::Reboot), Err(Denied::Unaudited));
    }

    #[test]
    fn endless_arguments_are_refused_before_anything_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(folder.path()).expect("it opens");
        let access = Access::new(None, audit, ByteSize::from_bytes(10), Decisions::default());
        let run = |argument: &str| Run { arguments: vec![argument.to_owned()], ..Run::default() };
        let administrator = caller(Door::Local, true);
        assert!(access.decide(&administrator, Request::Run(&run("123456789"))).is_ok());
        let denied = access.decide(&administrator, Request::Run(&run("1234567890")));
        assert_eq!(denied, Err(Denied::TooLong { most: ByteSize::from_bytes(10) }));
    }
}
