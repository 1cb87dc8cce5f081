//! `winstead-agent hello`: who answers at the agent's own door.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use winstead_agent_client::Connection;
use winstead_protocol::v1::HelloRequest;

use crate::cli::{Failure, platform};

/// Asks the agent of this computer who it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct HelloArgs {
    /// The folder of its sockets; on Windows the name of its pipe.
    #[arg(long, value_name = "DIR", default_value = platform::RUNTIME)]
    runtime: PathBuf,
}

/// Runs it to its end.
///
/// # Errors
/// When nobody answers.
pub(crate) fn run(args: &HelloArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hello = runtime.block_on(async {
        let connection = Connection::open(&platform::address(&args.runtime)).await?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = connection.agent().hello(HelloRequest { version }).await?;
        Ok::<_, Failure>(hello.into_inner())
    })?;
    let (version, os, arch, instance) = (hello.version, hello.os, hello.arch, hello.instance_id);
    writeln!(std::io::stdout(), "winstead-agent {version} on {os} {arch}, instance {instance}")?;
    Ok(())
}
