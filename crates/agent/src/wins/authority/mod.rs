//! Old Go clients send the name of their pipe as `:authority`: `npipe:////./pipe/rancher_wins`, newer ones
//! `npipe:%2F%2F%2F%2F.%2Fpipe%2Francher_wins`. Neither is an authority, and Rust's HTTP/2 answers both with
//! PROTOCOL_ERROR. So each header block is read here and written anew, with a name that is legal, before HTTP/2 sees it.
//!
//! To change only the name's bytes would not do: the client takes the field up in its table and sends an index after
//! that. Only on the door of the old clients.

mod hpack;
mod huffman;
mod rewriter;
mod stream;
mod table;

pub use rewriter::{RewriteError, Rewriter, Taken};
pub use stream::LegalAuthority;
