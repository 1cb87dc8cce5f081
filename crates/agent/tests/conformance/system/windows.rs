//! Pipes as go-winio opens them, and the shell by another name.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::windows::named_pipe::{ClientOptions, NamedPipeClient},
};
use windows_sys::Win32::{Foundation::ERROR_PIPE_BUSY, Storage::FileSystem::SECURITY_ANONYMOUS};

pub(crate) type Stream = NamedPipeClient;

/// A folder that every computer has.
pub(crate) const FOLDER: &str = r"C:\";

/// As often as Go asks again when all instances are taken.
const PAUSE: Duration = Duration::from_millis(10);

/// To read and write, alone, and so that the server cannot find out by impersonation who it is.
pub(crate) async fn connect(path: &Path) -> io::Result<Stream> {
    loop {
        match ClientOptions::new().security_qos_flags(SECURITY_ANONYMOUS).open(path) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed()) => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Tells the other side that nothing more comes: on a pipe of messages by an empty one.
pub(crate) async fn end(stream: &mut Stream) {
    assert_eq!(stream.write(b"").await.expect("it is there"), 0);
}

/// A program that does this, and what its arguments begin with.
pub(crate) fn program(folder: &Path, script: &str) -> (PathBuf, Vec<String>) {
    let program = folder.join("nginx.exe");
    fs_err::copy(r"C:\Windows\System32\cmd.exe", &program).expect("every Windows has it");
    let words = script.split(' ').map(str::to_owned);
    (program, std::iter::once("/c".to_owned()).chain(words).collect())
}
