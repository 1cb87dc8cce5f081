//! `cli prc run`: runs a program of the host and stays with it.

use std::{
    env,
    io::{self},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};
use winstead_agent::wins::{lists, services::checksum};
use winstead_protocol::wins::{
    ProcessKeepAliveRequest, ProcessName, ProcessStartRequest, ProcessWaitRequest, ProcessWaitResponse,
    process_service_client::ProcessServiceClient, process_wait_response::Options,
};

use super::{
    connect::{RpcError, connect},
    questions::Server,
};
use crate::cli::{Failure, platform::Interruptions};

/// How often the server is told that somebody is there.
const ALIVE: Duration = Duration::from_mins(5);
/// How long the server may take to end the process.
const END: Duration = Duration::from_secs(15);

/// Runs a program on the host, prints what it says, and ends it when this command ends.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// The program. The same file must be at the same path on the host.
    #[arg(long)]
    path: PathBuf,
    /// Its arguments, with spaces between them; quotes group and stay.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    args: String,
    /// Ports that it opens: `TCP:80 UDP:4789-4800`.
    #[arg(long, default_value = "")]
    exposes: String,
    /// Its environment: `A=B "C=D E"`.
    #[arg(long, default_value = "")]
    envs: String,
    /// Where it runs. Default: the program's folder.
    #[arg(long, default_value = "")]
    dir: String,
    #[command(flatten)]
    server: Server,
}

/// No such program. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("find {}: there is no such file, here or in PATH", .0.display())]
    Missing(PathBuf),
    #[error("run {}: it is a folder", .0.display())]
    Folder(PathBuf),
}

pub(super) async fn run(args: &RunArgs) -> Result<(), Failure> {
    let request = request(args)?;
    let mut client = ProcessServiceClient::new(connect(&args.server.server).await?);
    let name = client.start(request).await.map_err(RpcError::from)?.into_inner().data.unwrap_or_default();
    let (tell, told) = mpsc::channel(1);
    let mut keeping = client.clone();
    let kept = tokio::spawn(async move { keeping.keep_alive(ReceiverStream::new(told)).await });
    let outcome = stay(client, name, tell).await;
    // The stream has ended; the answer comes when the process is gone.
    match timeout(END, kept).await {
        Ok(Ok(answer)) => outcome.and(answer.map(drop).map_err(|status| RpcError::from(status).into())),
        Ok(Err(_)) | Err(_) => outcome,
    }
}

/// Until the process ends, or somebody ends this command.
async fn stay(
    mut client: ProcessServiceClient<Channel>,
    name: ProcessName,
    tell: mpsc::Sender<ProcessKeepAliveRequest>,
) -> Result<(), Failure> {
    let alive = async {
        loop {
            if tell.send(ProcessKeepAliveRequest { data: Some(name.clone()) }).await.is_err() {
                // The server does not listen any more: Wait tells why.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(ALIVE).await;
        }
    };
    let said = async {
        let request = ProcessWaitRequest { data: Some(name.clone()) };
        copy(client.wait(request).await.map_err(RpcError::from)?.into_inner()).await
    };
    let mut interruptions = Interruptions::open()?;
    tokio::select! {
        () = alive => Ok(()),
        outcome = said => outcome,
        _ = interruptions.next() => Ok(()),
    }
}

async fn copy(mut said: Streaming<ProcessWaitResponse>) -> Result<(), Failure> {
    while let Some(message) = said.message().await.map_err(RpcError::from)? {
        match message.options {
            Some(Options::StdOut(data)) => write(io::stdout().lock(), &data)?,
            Some(Options::StdErr(data)) => write(io::stderr().lock(), &data)?,
            None => {}
        }
    }
    Ok(())
}

fn write(mut out: impl io::Write, data: &[u8]) -> io::Result<()> {
    out.write_all(data)?;
    out.flush()
}

fn request(args: &RunArgs) -> Result<ProcessStartRequest, Failure> {
    let program = find(&args.path)?;
    let parent = || program.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    Ok(ProcessStartRequest {
        checksum: checksum(&program)?,
        path: program.to_string_lossy().into_owned(),
        args: lists::split(&args.args)?,
        exposes: lists::exposes(&args.exposes)?,
        envs: lists::split(&args.envs)?,
        dir: if args.dir.is_empty() { parent() } else { args.dir.clone() },
    })
}

/// The file that is meant: a bare name is looked up in PATH, and `.exe` is tried behind what has no ending.
fn find(path: &Path) -> Result<PathBuf, Failure> {
    let bare = path.components().count() == 1 && !path.is_absolute();
    let search = if bare { env::var_os("PATH").unwrap_or_default() } else { Default::default() };
    let folders = env::split_paths(&search).map(|folder| folder.join(path));
    let candidates =
        std::iter::once(path.to_owned()).filter(|_| !bare || path.starts_with(".")).chain(folders);
    let mut folder = None;
    for candidate in candidates {
        let with_ending = candidate.extension().is_none().then(|| candidate.with_extension("exe"));
        for file in std::iter::once(candidate).chain(with_ending) {
            if file.is_file() {
                return Ok(std::path::absolute(file)?);
            }
            folder = folder.or_else(|| file.is_dir().then_some(file));
        }
    }
    Err(folder.map_or_else(|| ProgramError::Missing(path.to_owned()), ProgramError::Folder).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_with_and_without_its_ending_and_a_folder_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nginx.exe");
        fs_err::write(&file, "x").expect("it is written");
        assert_eq!(find(&file).expect("as it is"), file);
        assert_eq!(find(&folder.path().join("nginx")).expect("without"), file);
        let said = |path: &Path| find(path).expect_err("no program").to_string();
        assert!(said(folder.path()).ends_with("it is a folder"));
        assert!(said(&folder.path().join("other")).contains("no such file"));
        assert!(find(Path::new("sh")).expect("in PATH").is_absolute());
    }
}
