//! `winstead-agent run`: one program, by the agent.

use std::process::ExitCode;

use clap::Args;
use winstead_protocol::v1::{OnDisconnect, StartRequest};
use winstead_spec::PortRange;

use crate::cli::{Failure, listen, reach::Reach, runtime, show, terminal};

const EXAMPLES: &str = "\
Examples:
  winstead-agent run -- uname -a
  winstead-agent run -e KUBECONFIG=/etc/kubernetes/admin.conf -- kubectl get nodes
  tar c /results | winstead-agent run -- tar t
  winstead-agent run -t -- bash                       at your terminal
  winstead-agent run -t --keep -- bash                the same; Ctrl-] leaves, `attach -t` comes back
  winstead-agent run --keep --label proxy -- /opt/kube-proxy --v=2
  winstead-agent run --detach -- /opt/kube-proxy      prints its id, and does not stay
  winstead-agent run --memory 268435456 --cpu 500 -- /opt/job
  winstead-agent run --port tcp/9796 --port udp/4789-4790 -- C:\\opt\\exporter.exe

Each word arrives as it is; write `sh -c` when a shell shall read it. Standard input, output and error pass through byte by
byte, and Ctrl-C goes to the program (as Ctrl-Break, if that runs on Windows). Ends with the program's own exit code, with 128 + the signal that ended it, and with
255 when it could not be run. The program gets a small environment of its own and what -e says, nothing of yours.

Without --keep the program ends with this command: asked first, killed five seconds later, with all that it started.";

/// Runs a program by the agent, and stays with it.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    reach: Reach,
    /// The program stays when this command ends; `attach` comes back to it.
    #[arg(long)]
    keep: bool,
    /// Gives it a terminal, and yours to that: all keys are the program's. With --keep, Ctrl-] leaves it.
    #[arg(short, long)]
    terminal: bool,
    /// Only starts it, without input, and prints its id; it stays.
    #[arg(long, conflicts_with_all = ["keep", "terminal"])]
    detach: bool,
    /// A variable for the program; may be given again.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The folder that it runs in [default: /, or the system's on Windows].
    #[arg(long, value_name = "DIR")]
    folder: Option<String>,
    /// The account that it runs as [default: as the policy says].
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// The digest that the program must have: it is copied first, and the copy is hashed and run.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// The most memory that it and all it starts may have.
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    memory: u64,
    /// The most processes at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    processes: u32,
    /// The most CPU, in thousandths of one.
    #[arg(long, value_name = "MILLI", default_value_t = 0, hide_default_value = true)]
    cpu: u32,
    /// A port, or a range, that it opens to others: tcp/8080, udp/4789-4800; may be given again. On Windows the firewall lets
    /// it through to this program, as long as that runs; on Linux the policy decides, and no firewall is changed.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<PortRange>,
    /// A name for people, shown by `ps`.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// The program and its arguments.
    #[arg(value_name = "PROGRAM", last = true, required = true)]
    command: Vec<String>,
}

/// Runs it to its end, and its code is ours; or starts it.
///
/// # Errors
/// When it could not be run: code 255.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let connection = args.reach.open().await?;
        if args.detach {
            let started = connection.start(request(args)).await?;
            show(&format!("{}\n", started.id))?;
            return Ok(ExitCode::SUCCESS);
        }
        if args.terminal {
            return terminal::run(&connection, request(args), args.keep).await;
        }
        let listening = connection.run(request(args)).await?;
        listen::to_its_end(listening, true).await
    })
}

fn request(args: &RunArgs) -> StartRequest {
    let on_disconnect = if args.keep { OnDisconnect::Keep } else { OnDisconnect::Stop };
    let mut words = args.command.iter().cloned();
    StartRequest {
        program: words.next().unwrap_or_default(),
        arguments: words.collect(),
        environment: args.env.clone(),
        folder: args.folder.clone().unwrap_or_default(),
        account: args.account.clone().unwrap_or_default(),
        sha256: args.sha256.clone().unwrap_or_default(),
        limits: Some(winstead_protocol::v1::Limits {
            memory_bytes: args.memory,
            processes: args.processes,
            cpu_milli: args.cpu,
        }),
        on_disconnect: on_disconnect.into(),
        stdin: !args.detach,
        terminal: None,
        label: args.label.clone().unwrap_or_default(),
        ports: args.ports.iter().map(ToString::to_string).collect(),
    }
}
