#![forbid(unsafe_code)]
//! Reports: what an experiment says, for whoever has to be convinced.
//!
//! Pure: findings in, text out. Nothing is computed here that a verdict stands on; that is `winstead-measurement`'s.
//!
//! | for | |
//! |---|---|
//! | a colleague: one file, no network | [`html()`] |
//! | a terminal | [`terminal()`] |
//! | a pull request, a wiki | [`markdown()`] |
//! | a spreadsheet: every run, nothing merged | [`csv()`] |
//! | a program | [`Document`] |
//!
//! Runs that nothing is compared with ([`Runs`]) have a table and a page too.

mod chart;
mod charts;
mod distribution;
mod document;
mod html;
mod markdown;
mod number;
mod rows;
mod runs;
mod table;
mod tables;
mod terminal;
mod timeline;
mod wrap;

pub use document::{Document, VERSION};
pub use html::{Source, Subject, html, html_of_runs};
pub use markdown::{markdown, markdown_of_runs};
pub use rows::{RowsError, csv};
pub use runs::{Load, LoadRun, Runs};
pub use terminal::{terminal, terminal_of_runs};
