//! The one place that starts external commands.
//!
//! An argv array, never a shell string; a deadline; the exit status is always read; both outputs are kept and
//! shown in errors as one would type the command. The child gets a fixed locale and no standard input unless
//! some is given.

mod command;
mod descriptors;
mod error;
mod identity;
mod lock;
mod log;
mod shown;
mod terminal;

pub use command::{Command, Output};
pub use descriptors::keep_inherited_descriptors;
pub use error::{CommandError, Failure};
pub use identity::ProcessId;
pub use lock::try_lock;
pub use log::{append_log, cut_log, last_words, open_log};
pub use shown::shown;
pub use terminal::Raw;
