//! How much is under way at once: what both ends of a connection agree on.

/// Bytes that may be under way in one direction of one call before the receiver has taken some. Enough for a fast local
/// stream: HTTP/2's own 64 KiB would stop it for an answer again and again.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for all calls of a connection together; also the most memory that a receiver spends on those who send faster
/// than it reads.
pub const CONNECTION_WINDOW: u32 = CALLS_APART * STREAM_WINDOW;

/// As many stalled calls can share a connection without stopping the others on it.
pub const CALLS_APART: u32 = 16;

/// The longest frame: one system call each, so longer ones are cheaper, and a piece of output is one. HTTP/2's own 16 KiB
/// halve the throughput.
pub const FRAME: u32 = 512 * 1024;

/// What is read from a socket at once.
pub const CHUNK: usize = 128 * 1024;

/// The longest message of a tunnel: a chunk, or a datagram, with what is around it.
pub const TUNNEL_MESSAGE: usize = CHUNK + 1024;
