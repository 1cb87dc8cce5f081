//! The way to a daemon by the name of its pipe.

use tonic::{Status, transport::Channel};
use winstead_agent_client::{Address, Connection};

use crate::cli::Failure;

/// What went wrong, in the words that scripts look for: those of Go's gRPC.
#[derive(Debug, thiserror::Error)]
#[error("call the server: rpc error: code = {code} desc = {text}")]
pub(super) struct RpcError {
    code: &'static str,
    text: String,
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        // A status with a cause was not sent by the server: the connection broke.
        let (code, text) = match std::error::Error::source(&status) {
            Some(_) => ("Unavailable", "transport is closing".to_owned()),
            None => (name(status.code()), status.message().to_owned()),
        };
        Self { code, text }
    }
}

/// As Go spells it.
fn name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A connection for gRPC.
pub(super) async fn connect(pipe: &str) -> Result<Channel, Failure> {
    Ok(Connection::open(&Address::wins(pipe)).await?.channel())
}
