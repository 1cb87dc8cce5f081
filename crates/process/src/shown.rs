//! Commands as one would type them.

use std::ffi::OsStr;

/// The command line quoted for a POSIX shell. Bytes that are no UTF-8 are shown replaced.
#[must_use]
pub fn shown<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(argv: I) -> String {
    let words: Vec<String> =
        argv.into_iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}
