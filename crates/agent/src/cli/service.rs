//! `winstead-agent service`: installs, starts, stops, shows and takes away the daemon as a service.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use winstead_agent::{
    serve::processes,
    service::{self, Service},
    supervision::abandon,
};

use crate::cli::{Failure, Format, platform, runtime, serve::ServeArgs};

/// Manages the daemon as a service: of Windows' service manager, or of systemd.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
    /// The service's name.
    #[arg(long, global = true, value_name = "NAME", default_value = "winstead-agent")]
    name: String,
}

#[derive(Clone, Debug, Subcommand)]
enum ServiceCommand {
    /// Installs it, to start with the computer and again after it failed. One that is there is changed.
    Install(InstallArgs),
    /// Starts it, and waits until it serves.
    Start,
    /// Stops it, and waits until it has ended. The programs that it runs go on.
    Stop,
    /// Says what it is doing.
    Status(StatusArgs),
    /// Stops it and takes it away. What it kept, and the programs that it runs, stay; on Windows the firewall's rules for their
    /// ports go.
    Uninstall,
    /// Is the service: only the service manager calls this.
    #[command(hide = true)]
    Run(ServeArgs),
}

#[derive(Clone, Debug, Args)]
struct InstallArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Starts at boot with the others, not after them (Windows).
    #[arg(long)]
    early: bool,
}

#[derive(Clone, Debug, Args)]
struct StatusArgs {
    /// How it is shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs it to its end.
///
/// # Errors
/// When the system refuses.
pub(crate) fn run(args: ServiceArgs) -> Result<(), Failure> {
    let name = args.name;
    if let ServiceCommand::Run(serve) = args.command {
        return platform::be_a_service(&name, &serve);
    }
    runtime()?.block_on(manage(&name, args.command))
}

async fn manage(name: &str, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Install(args) => install(name, &args).await,
        ServiceCommand::Start => Ok(service::start(name).await?),
        ServiceCommand::Stop => Ok(service::stop(name).await?),
        ServiceCommand::Status(args) => show(name, args.output).await,
        ServiceCommand::Uninstall => uninstall(name).await,
        ServiceCommand::Run(_) => Ok(()),
    }
}

async fn install(name: &str, args: &InstallArgs) -> Result<(), Failure> {
    let program: PathBuf = std::env::current_exe()?;
    let mut arguments: Vec<String> = platform::SERVICE.iter().map(|word| (*word).to_owned()).collect();
    arguments.extend(platform::named(name));
    arguments.extend(args.serve.arguments());
    let description = "Runs processes and tunnels for those whom its policy lets".to_owned();
    let service = Service { name: name.to_owned(), description, program, arguments, delayed: !args.early };
    for missing in service::install(&service).await? {
        writeln!(std::io::stderr(), "warning: installed without {missing}").unwrap_or_default();
    }
    Ok(())
}

/// Takes a service away, and before that the firewall's rules for what it runs: nobody would look after them any more.
///
/// # Errors
/// When the system refuses.
pub(crate) async fn uninstall(name: &str) -> Result<(), Failure> {
    if let Some(state) = platform::state_of(name)? {
        service::stop(name).await?;
        let warnings = match abandon(processes(&state)).await {
            Ok(cut_off) => cut_off
                .iter()
                .map(|what| format!("warning: others do not reach {what} any more, which still runs\n"))
                .collect(),
            Err(error) => format!("warning: firewall rules of the group winstead-agent may stay: {error}\n"),
        };
        std::io::stderr().write_all(warnings.as_bytes()).unwrap_or_default();
    }
    Ok(service::uninstall(name).await?)
}

async fn show(name: &str, output: Format) -> Result<(), Failure> {
    let status = service::status(name).await?;
    match output {
        Format::Text => writeln!(std::io::stdout(), "{status}")?,
        Format::Json => writeln!(std::io::stdout(), "{}", serde_json::to_string(&status)?)?,
    }
    Ok(())
}
