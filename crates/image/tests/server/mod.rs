//! An HTTP server for one file that can misbehave.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Each connection ends with its answer, and says so: a client that tried to use it again would meet its end by chance.
const CLOSE: &str = "Connection: close\r\n";
const EMPTY: &str = "Connection: close\r\nContent-Length: 0\r\n";

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// As a good server does.
    Ranges,
    /// Always the whole file.
    NoRanges,
    /// Cuts every connection after so many bytes of the body.
    CutAfter(usize),
    /// Sends so many bytes of the body and then nothing.
    StallAfter(usize),
    /// 404.
    Missing,
    /// To itself, for ever.
    Redirects,
}

/// It runs until the test ends.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    pub(crate) fn start(content: Vec<u8>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (content, seen) = (content.clone(), Arc::clone(&seen));
                // A client that goes away in the middle is part of the test.
                thread::spawn(move || drop(answer(stream.unwrap(), &content, behaviour, &seen)));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The start of the range of each request, `None` for a request of the whole.
    pub(crate) fn requests(&self) -> Vec<Option<usize>> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    behaviour: Behaviour,
    seen: &Mutex<Vec<Option<usize>>>,
) -> std::io::Result<()> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("range: bytes=") {
            range = text.trim_end_matches('-').parse().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    seen.lock().unwrap().push(range);
    match behaviour {
        Behaviour::Missing => return write!(stream, "HTTP/1.1 404 Not Found\r\n{EMPTY}\r\n"),
        Behaviour::Redirects => {
            return write!(stream, "HTTP/1.1 302 Found\r\nLocation: /again\r\n{EMPTY}\r\n");
        }
        _ => {}
    }
    let start = range.filter(|_| !matches!(behaviour, Behaviour::NoRanges));
    let total = content.len();
    let body = &content[start.unwrap_or(0).min(total)..];
    match start {
        Some(start) => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}\r\n",
            total - 1
        )?,
        None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
    }
    write!(stream, "{CLOSE}Content-Length: {}\r\n\r\n", body.len())?;
    match behaviour {
        Behaviour::CutAfter(limit) => stream.write_all(&body[..limit.min(body.len())]),
        Behaviour::StallAfter(limit) => {
            stream.write_all(&body[..limit])?;
            loop {
                thread::park();
            }
        }
        _ => stream.write_all(body),
    }
}
