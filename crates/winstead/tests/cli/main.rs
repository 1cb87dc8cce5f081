//! The command line as scripts and people meet it: help, answers, refusals, exit codes. Needs neither root nor QEMU:
//! nothing here starts a machine.

mod answers;
mod bench;
mod help;
mod images;
mod interrupts;
mod refusals;
mod reports;
mod sandbox;
