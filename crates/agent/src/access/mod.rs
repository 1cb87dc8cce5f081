//! Who may do what. One function decides, and each answer is written down.
//!
//! ```text
//! door → Caller ─┐
//! request ───────┴→ Access::decide ─ policy (pure) ─→ Terms, or Denied
//!                                  └ audit: one line, or nothing is allowed
//! ```

pub mod advice;
mod audit;
mod caller;
mod decide;
pub mod describe;
mod glob;
mod paths;
mod policy;
#[cfg(test)]
mod properties;
mod request;

pub use audit::{Audit, AuditError};
pub use caller::{Account, Caller, CallingProcess, Certificate};
pub use decide::{Access, Denied, Terms};
pub use paths::Paths;
pub use policy::{Policy, Verdict, Why};
pub use request::{Limits, MOST_PORTS, Port, Query, Request, Run, Signer};
pub use winstead_spec::{Door, Protocol};
