//! Winstead's hand in a machine: its agent there, reached by a port that needs no network in the guest.
//!
//! What comes from a guest is not trusted: messages are bounded, every answer is waited for with a limit, and what it says
//! about files decides nothing about where something is written here.

mod computer;
mod copy;
mod error;
mod exec;
#[cfg(test)]
mod fake;
mod home;
mod inside;
mod reach;
mod vsock;

pub use computer::{Adapter, Facts, Feature, Greeting};
pub use copy::{Copied, copy_in, copy_out};
pub use error::{HandError, HandFailure};
pub use exec::Streams;
pub use home::at_home;
pub use reach::{Hand, Ports};
pub use vsock::{Vsock, may_call_by_vsock};
pub use winstead_agent_client::{Clocks, RebootError, terminal::Screen};
