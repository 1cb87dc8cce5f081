//! `winstead-agent hello`: who answers at the agent's own door.

use std::io::Write as _;

use clap::Args;
use winstead_protocol::v1::HelloRequest;

use crate::cli::{Failure, reach::Reach, runtime};

/// Asks the agent of this computer who it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct HelloArgs {
    #[command(flatten)]
    reach: Reach,
}

/// Runs it to its end.
///
/// # Errors
/// When nobody answers.
pub(crate) fn run(args: &HelloArgs) -> Result<(), Failure> {
    let hello = runtime()?.block_on(async {
        let connection = args.reach.open().await?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = connection.agent().hello(HelloRequest { version }).await?;
        Ok::<_, Failure>(hello.into_inner())
    })?;
    let (version, os, arch, instance) = (hello.version, hello.os, hello.arch, hello.instance_id);
    writeln!(std::io::stdout(), "winstead-agent {version} on {os} {arch}, instance {instance}")?;
    Ok(())
}
