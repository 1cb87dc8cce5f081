//! `winstead.agent.v1.Files`: files in and out, whole or not at all.

mod error;
mod place;
mod read;
mod service;
mod walk;
mod write;

pub use service::FilesService;
