//! Processes on Windows, without a daemon around them and with one. Under Wine these are run by `tests/wine.rs`.

#![cfg(windows)]

mod commands;
#[path = "../daemon/mod.rs"]
mod daemon;
#[path = "../listening/mod.rs"]
mod listening;
#[path = "../place/mod.rs"]
mod place;
#[path = "../ports/mod.rs"]
mod ports;
mod programs;
#[path = "../supervised/mod.rs"]
mod supervised;
mod supervisor;
