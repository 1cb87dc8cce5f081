//! Golden images: recipes, builds, and a catalogue of versions by content.
//!
//! A version is a folder that is renamed into place when everything in it is finished and described; nothing else
//! counts as present. External programs do the heavy work (mmdebstrap, mke2fs, mtools, qemu-img); what they are told
//! is built by pure functions. Who uses a version, and where its disk is copied to, is not known here.

mod build;
mod catalog;
mod convert;
mod cpio;
mod debian;
pub mod digest;
mod disk;
mod download;
mod error;
mod initrd;
mod kernel;
mod log;
mod modules;
mod qcow2;
mod recipe;
mod tools;
mod verify;
mod version;

pub use build::{BuildProgress, Listener};
pub use catalog::Catalog;
pub use convert::ConvertError;
pub use debian::{host_mirror, keyring};
pub use download::DownloadError;
pub use error::{BuildError, Fault, Need};
pub use initrd::{OPTIONAL_MODULES, REQUIRED_MODULES, ROOT_LABEL, SEED_NAME, initrd};
pub use kernel::{KernelError, uncompressed};
pub use modules::{Module, ModulesError, collect as collect_modules};
pub use verify::{Depth, VerifyError};
pub use version::{Provenance, RecordError, Version};
