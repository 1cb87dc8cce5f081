//! Follows the log file of a running program, for progress.

use std::{convert::Infallible, path::Path, time::Duration};

use fs_err as fs;

/// Often enough for eyes.
const INTERVAL: Duration = Duration::from_millis(250);
/// mmdebstrap begins its own messages with this.
const MESSAGE: &str = "I: ";

/// Calls `tell` with each new message in the file, for ever: to be raced against the program. Cancel safe.
pub(crate) async fn follow(path: &Path, tell: impl Fn(&str)) -> Infallible {
    let mut told = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let text =
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        // Without a line that is only half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let messages: Vec<&str> = whole.lines().filter_map(|line| line.strip_prefix(MESSAGE)).collect();
        messages.iter().skip(told).for_each(|message| tell(shortened(message)));
        told = messages.len();
    }
}

/// A hook is announced with its whole text; the first words are enough.
fn shortened(message: &str) -> &str {
    if message.contains("--customize-hook") {
        "writing the root file system"
    } else {
        message.trim_end_matches('.')
    }
}

/// The last lines, for an error.
pub(crate) fn last_words(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" / ")
}
