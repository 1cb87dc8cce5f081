//! Downloads: from the artefact folder if the file is there, else over HTTP(S).
//!
//! A download goes into `cache/downloads/SHA256.partial`, is resumed by a range request after any interruption, and
//! gets its final name only when its digest is right. The digest is the only thing that is trusted: not the server,
//! not the connection, not a file that somebody else put there.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, Sha256, UrlRecipe};

use crate::{
    build::{self, BuildProgress, Building},
    digest,
    error::{Fault, Need},
};

/// A server that redirects more often is broken.
const REDIRECTS: u32 = 5;
/// To connect, and to the first byte of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// One request's share of a body when the server can resume: a stalled connection is found by its end.
const SHARE: Duration = Duration::from_secs(120);
/// A whole body from a server that cannot resume.
const WHOLE: Duration = Duration::from_secs(6 * 3600);
/// How often in a row a request may bring nothing.
const FRUITLESS: u32 = 4;
const CHUNK: usize = 256 * 1024;

/// A download that did not succeed. What came so far stays for the next attempt, unless it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A file cannot be read or written.
    #[error("write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Only HTTP and HTTPS.
    #[error("fetch {url}: use http:// or https://, or a `file:` recipe")]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The server said no.
    #[error("fetch {url}: the server answered with status {status}")]
    Status {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It points to itself, or round in circles.
    #[error("fetch {url}: it was redirected more than {REDIRECTS} times")]
    Redirects {
        /// The URL.
        url: String,
    },
    /// The server could not be asked, or the connection broke again and again.
    #[error("fetch {url}: {got} bytes came")]
    Connection {
        /// The URL.
        url: String,
        /// What is kept for the next attempt.
        got: u64,
        /// The last failure.
        source: io::Error,
    },
    /// It is something else.
    #[error("trust {from}: it has the digest {found} and the recipe says {expected}")]
    WrongDigest {
        /// The URL or the artefact.
        from: String,
        /// As the recipe says.
        expected: Sha256,
        /// As it is.
        found: Sha256,
    },
}

/// What a transfer tells while it runs in another thread.
#[derive(Debug, Default)]
struct Counter {
    done: AtomicU64,
    /// 0: not known.
    total: AtomicU64,
}

/// Where a transfer stands between two requests.
#[derive(Debug, Clone)]
struct Transfer {
    url: String,
    partial: PathBuf,
    counter: Arc<Counter>,
    stop: CancellationToken,
    patience: Duration,
}

impl Transfer {
    /// The end of it. What a server says that it sends is what the folder must hold.
    fn failed(&self, error: DownloadError) -> Fault {
        let total = ByteSize::from_bytes(self.counter.total.load(Ordering::Relaxed));
        let need = (total > ByteSize::default()).then_some(Need::AtLeast(total));
        Fault::from(error).full_in(self.partial.parent().unwrap_or(&self.partial), need)
    }
}

/// How a request ended that the server answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The body came to its end.
    Complete,
    /// The server has no more than what we have.
    NothingMore,
}

/// The verified file of a `url:` recipe.
///
/// # Errors
/// [`DownloadError`]; [`Fault::Interrupted`].
pub(crate) async fn fetch(recipe: &UrlRecipe, building: &Building<'_>) -> Result<PathBuf, Fault> {
    if let Some(artifact) = building.artifacts.and_then(|folder| artifact(folder, recipe)) {
        building.step("checking the artefact");
        return verified(&artifact, artifact.display().to_string(), &recipe.sha256, building.stop).await;
    }
    if !recipe.url.starts_with("https://") && !recipe.url.starts_with("http://") {
        return Err(DownloadError::Scheme { url: recipe.url.clone() }.into());
    }
    let folder = building.cache.join("downloads");
    fs::create_dir_all(&folder)?;
    let waiting = || building.step("waiting for another download of this file");
    let _lock =
        build::lock(&folder.join(format!("{}.lock", recipe.sha256.hex())), waiting, building.stop).await?;
    let file = folder.join(recipe.sha256.hex());
    if file.exists() {
        building.step("checking the download");
        if digest::of_file(&file, building.stop).await? == recipe.sha256 {
            return Ok(file);
        }
        fs::remove_file(&file)?;
    }
    let partial = file.with_extension("partial");
    transfer(recipe, &partial, building).await?;
    building.step("checking the download");
    let checked = verified(&partial, recipe.url.clone(), &recipe.sha256, building.stop).await;
    if matches!(checked, Err(Fault::Download(DownloadError::WrongDigest { .. }))) {
        // Nothing of it is worth keeping: which byte is wrong cannot be told.
        fs::remove_file(&partial)?;
    }
    fs::rename(checked?, &file)?;
    Ok(file)
}

/// An artefact is found by its digest, or by the last part of the URL's path.
fn artifact(folder: &Path, recipe: &UrlRecipe) -> Option<PathBuf> {
    let path = recipe.url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().filter(|name| !name.is_empty() && *name != ".." && *name != ".");
    let names = [Some(recipe.sha256.hex()), name];
    names.into_iter().flatten().map(|name| folder.join(name)).find(|path| path.is_file())
}

async fn verified(
    path: &Path,
    from: String,
    expected: &Sha256,
    stop: &CancellationToken,
) -> Result<PathBuf, Fault> {
    let found = digest::of_file(path, stop).await?;
    if found == *expected {
        return Ok(path.to_owned());
    }
    Err(DownloadError::WrongDigest { from, expected: expected.clone(), found }.into())
}

/// Requests until the body is whole. A request that brought something is no failure, however it ended.
async fn transfer(recipe: &UrlRecipe, partial: &Path, building: &Building<'_>) -> Result<(), Fault> {
    let mut transfer = Transfer {
        url: recipe.url.clone(),
        partial: partial.to_owned(),
        counter: Arc::default(),
        stop: building.stop.clone(),
        patience: SHARE,
    };
    let mut fruitless = 0;
    loop {
        let before = size(partial);
        let failure = match watched(transfer.clone(), building).await? {
            Ok(_) => return Ok(()),
            Err(error @ DownloadError::Connection { .. }) => error,
            Err(error) => return Err(transfer.failed(error)),
        };
        let now = size(partial);
        tracing::debug!(%failure, before, now, "the download broke off");
        fruitless = if now > before { 0 } else { fruitless + 1 };
        if now < before {
            transfer.patience = WHOLE;
        }
        if fruitless >= FRUITLESS {
            return Err(failure.into());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(fruitless)) => {}
            () = building.stop.cancelled() => return Err(Fault::Interrupted),
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

/// One request in a thread of its own, with progress. When `stop` is cancelled the thread ends with the next bytes
/// that come, without writing them, at the latest at its time limit. Nobody waits for it, which is why it is not one
/// of the runtime's: those keep a program from ending.
async fn watched(
    transfer: Transfer,
    building: &Building<'_>,
) -> Result<Result<Answer, DownloadError>, Fault> {
    let counter = Arc::clone(&transfer.counter);
    let (send, mut answer) = tokio::sync::oneshot::channel();
    // Sending fails when nobody listens any more: then nobody wants to know.
    std::thread::Builder::new()
        .name("download".to_owned())
        .spawn(move || drop(send.send(request(&transfer))))?;
    loop {
        let total = counter.total.load(Ordering::Relaxed);
        (building.listener)(BuildProgress {
            step: "downloading".to_owned(),
            done: Some(counter.done.load(Ordering::Relaxed)),
            total: (total > 0).then_some(total),
        });
        tokio::select! {
            ended = &mut answer => return ended.map_err(|error| Fault::Io(io::Error::other(error))),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = building.stop.cancelled() => return Err(Fault::Interrupted),
        }
    }
}

fn agent(patience: Duration) -> ureq::Agent {
    let settings = ureq::Agent::config_builder()
        .max_redirects(REDIRECTS)
        .http_status_as_error(false)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(patience))
        .user_agent(concat!("winstead/", env!("CARGO_PKG_VERSION")));
    settings.build().into()
}

fn request(transfer: &Transfer) -> Result<Answer, DownloadError> {
    let have = size(&transfer.partial);
    let broken = |source| DownloadError::Connection { url: transfer.url.clone(), got: have, source };
    // identity: a range counts bytes of the file itself, not of a packed form.
    let mut request = agent(transfer.patience).get(&transfer.url).header("Accept-Encoding", "identity");
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(ureq::Error::TooManyRedirects) => {
            return Err(DownloadError::Redirects { url: transfer.url.clone() });
        }
        Err(error) => return Err(broken(as_io(error))),
    };
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
    let start = match response.status().as_u16() {
        206 if range_start(&response) == Some(have) => have,
        200 => 0,
        416 if have > 0 => return Ok(Answer::NothingMore),
        // A server that fails for a moment is asked again; one that refuses is believed.
        status @ (429 | 500..=599) => return Err(broken(io::Error::other(format!("status {status}")))),
        status => return Err(DownloadError::Status { url: transfer.url.clone(), status }),
    };
    let total = number("content-length").map_or(0, |length| start + length);
    transfer.counter.total.store(total, Ordering::Relaxed);
    receive(transfer, start, total, response.into_body().into_reader())
}

/// `Content-Range: bytes 100-199/200` → 100.
fn range_start<T>(response: &ureq::http::Response<T>) -> Option<u64> {
    let text = response.headers().get("content-range")?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn as_io(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn receive(
    transfer: &Transfer,
    start: u64,
    total: u64,
    mut body: impl Read,
) -> Result<Answer, DownloadError> {
    let path = &transfer.partial;
    let failed = |source: io::Error| DownloadError::Io { path: path.clone(), source };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    file.set_len(start).map_err(failed)?;
    let (mut chunk, mut got) = (vec![0; CHUNK], start);
    let broken = |got, source| DownloadError::Connection { url: transfer.url.clone(), got, source };
    loop {
        transfer.counter.done.store(got, Ordering::Relaxed);
        let read = body.read(&mut chunk).map_err(|source| broken(got, source))?;
        if transfer.stop.is_cancelled() {
            return Err(broken(got, io::ErrorKind::Interrupted.into()));
        }
        match read {
            0 if got < total => return Err(broken(got, io::ErrorKind::UnexpectedEof.into())),
            0 => break,
            read => {
                file.write_all(&chunk[..read]).map_err(failed)?;
                got += read as u64;
            }
        }
    }
    file.sync_all().map_err(failed)?;
    Ok(Answer::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_that_fills_its_disk_names_its_folder_and_its_size() {
        let transfer = Transfer {
            url: "http://example.org/disk.img".into(),
            partial: "/cache/downloads/x.partial".into(),
            counter: Arc::new(Counter { total: AtomicU64::new(5 << 20), ..Counter::default() }),
            stop: CancellationToken::new(),
            patience: SHARE,
        };
        let failed = |kind: io::ErrorKind| {
            let error = DownloadError::Io { path: transfer.partial.clone(), source: kind.into() };
            transfer.failed(error).to_string()
        };
        assert_eq!(
            failed(io::ErrorKind::StorageFull),
            "write the image: the disk of /cache/downloads is full (at least 5 MiB are needed)"
        );
        assert_eq!(failed(io::ErrorKind::PermissionDenied), "download the disk image");
    }
}
