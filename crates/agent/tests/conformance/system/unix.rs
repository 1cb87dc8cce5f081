//! Sockets, and scripts.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::{io::AsyncWriteExt as _, net::UnixStream};

pub(crate) type Stream = UnixStream;

/// A folder that every computer has.
pub(crate) const FOLDER: &str = "/";

pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await
}

/// Tells the other side that nothing more comes.
pub(crate) async fn end(stream: &mut Stream) {
    stream.shutdown().await.expect("it is there");
}

/// A program that does this, and what its arguments begin with.
pub(crate) fn program(folder: &Path, script: &str) -> (PathBuf, Vec<String>) {
    let program = folder.join("nginx.exe");
    fs_err::write(&program, format!("#!/bin/sh\n{}\n", script)).expect("it is written");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is set");
    (program, Vec::new())
}
