//! Reports of made-up experiments, as a reader, a spreadsheet, a program and an attacker meet them.

#[path = "../example/mod.rs"]
mod example;
mod page;
mod texts;
