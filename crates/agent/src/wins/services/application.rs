//! `wins.ApplicationService`: which program answers.

use std::{
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use sha1::{Digest as _, Sha1};
use tokio::sync::OnceCell;
use tonic::{Request, Response, Status};
use winstead_protocol::wins::{ApplicationInfo, ApplicationInfoResponse, Void, application_service_server};

use super::internal;
use crate::{
    access::{self, Access, Query},
    services::caller,
};

/// Scripts cut the `v` off and want three numbers; versions of the old server end with v0.15, and some want at least
/// v0.1.0. The daemon's own version is in its own protocol.
pub const VERSION: &str = concat!(
    "v",
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR"),
    ".",
    env!("CARGO_PKG_VERSION_PATCH")
);

/// What this program is, as old clients ask for it.
///
/// # Errors
/// When the program's file cannot be read.
pub fn info() -> io::Result<ApplicationInfo> {
    let checksum = checksum(&std::env::current_exe()?)?;
    Ok(ApplicationInfo { checksum, version: VERSION.to_owned(), commit: "winstead-agent".to_owned() })
}

/// SHA-1 in lower-case hexadecimal: what old clients compare files by. It protects nothing.
///
/// # Errors
/// When the file cannot be read.
pub fn checksum(file: &Path) -> io::Result<String> {
    let (mut file, mut digest, mut piece) = (fs_err::File::open(file)?, Sha1::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => digest.update(&piece[..count]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Says which program answers.
#[derive(Debug)]
pub struct ApplicationService {
    access: Arc<Access>,
    info: OnceCell<ApplicationInfo>,
}

impl ApplicationService {
    /// For the program that runs. Its file is read once, when somebody asks.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self { access, info: OnceCell::new() }
    }
}

#[tonic::async_trait]
impl application_service_server::ApplicationService for ApplicationService {
    async fn info(&self, request: Request<Void>) -> Result<Response<ApplicationInfoResponse>, Status> {
        self.access.decide(caller(&request)?, access::Request::Query(Query::Agent))?;
        let read = || async { tokio::task::spawn_blocking(info).await.map_err(io::Error::other)? };
        let info = self.info.get_or_try_init(read).await;
        let info = info.map_err(|error| internal("could not get application info", &error))?;
        Ok(Response::new(ApplicationInfoResponse { info: Some(info.clone()) }))
    }
}
