//! The daemon on hosts and in guests: runs processes, opens tunnels and moves files for those whom a policy lets.
//!
//! ```text
//!  old wins clients          new clients            the host, into its guest
//!      │ wins, wins-proxy        │ local, tcp            │ guest
//!      ▼                         ▼                       ▼
//!  ┌ door ─────────────────────────────────────────────────────┐  who is it? the system says, not the caller
//!  │ wins (old protocol)          services (protocol, version 1)│
//!  └─────────────┬──────────────────────────┬───────────────────┘
//!                ▼                          ▼
//!             access                    supervision                may they? every answer is audited
//! ```
//! Everything but `door`, `supervision` and `facts` is the same on Linux and Windows.

#[macro_use]
mod write_through;

pub mod access;
pub mod configuration;
pub mod door;
pub mod facts;
pub mod folder;
pub mod metrics;
pub mod selftest;
pub mod serve;
pub mod service;
pub mod services;
pub mod signature;
pub mod status;
pub mod supervision;
pub mod tunnel;
#[cfg(all(unix, any(test, fuzzing)))]
pub mod untrusted;
#[cfg(windows)]
pub mod windows;
pub mod wins;
