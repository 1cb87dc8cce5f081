//! The product as a user runs it, with real QEMU guests: a tiny Linux that boots in seconds, seeded and reached by
//! SSH like any other. One file for each promise.

mod agent;
mod bench;
mod faults;
mod flood;
mod golden;
mod growth;
mod lab;
mod life;
mod many;
mod memory;
mod networks;
mod pressure;
mod rights;
