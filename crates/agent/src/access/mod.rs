//! Who may do what. One function decides, and each answer is written down.

mod caller;
mod decide;
mod request;

pub use caller::{Account, Caller, CallingProcess, Door};
pub use decide::{Access, Denied, Terms};
pub use request::{Limits, Port, Protocol, Query, Request, Run};
