//! `winstead logs`: what a machine's console said.

use std::{
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use winstead_hypervisor::qemu;

use crate::{context::Context, error::CliError, selection::machine_name, terminal::Tamer};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);
const CHUNK: usize = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  winstead logs agents-0
  winstead logs agents-0 -f             and what comes next, over resets too
  winstead logs agents-0 --tail 50
  winstead logs agents-0 --qemu         what QEMU itself said";

/// Prints what a machine's console said since it was last started.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
    /// Goes on with what comes next, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// QEMU's own messages instead of the guest's console.
    #[arg(long)]
    qemu: bool,
}

/// Runs `logs`.
///
/// # Errors
/// When there is no such machine, or its log cannot be read.
pub(crate) async fn run(context: &Context, args: &LogsArgs) -> Result<(), CliError> {
    let name = machine_name(&args.name)?;
    let engine = context.engine().await?;
    engine.machine(&name).await?;
    let folder = engine.home().run(&name);
    let path = if args.qemu { qemu::machine_log(&folder) } else { qemu::console_log(&folder) };
    let mut log = Log { path, file: None, tamer: Tamer::default() };
    if !log.reopen()? && !args.follow {
        context.ui.note(&format!("{name} has said nothing yet"));
        return Ok(());
    }
    if let Some(lines) = args.tail {
        log.skip_to_last(lines)?;
    }
    log.print(context)?;
    if args.follow {
        log.follow(context, &engine.home().machine(&name)).await?;
        context.ui.note(&format!("{name} has been taken away"));
    }
    Ok(())
}

/// Prints a machine's console so far.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn print_console(context: &Context, folder: &Path) -> Result<(), CliError> {
    let mut log = Log { path: qemu::console_log(folder), file: None, tamer: Tamer::default() };
    log.reopen()?;
    log.print(context)
}

/// A log that a guest's QEMU writes: it may be any size, grow, vanish and come anew.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<std::fs::File>,
    tamer: Tamer,
}

impl Log {
    /// Opens the log that is there now; `false` when there is none.
    fn reopen(&mut self) -> Result<bool, CliError> {
        match winstead_process::open_log(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether the path leads to another file than the open one by now.
    fn is_another(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = &self.file else { return true };
        let same = file.metadata().ok().zip(fs_err::symlink_metadata(&self.path).ok());
        same.is_some_and(|(open, named)| (open.dev(), open.ino()) != (named.dev(), named.ino()))
    }

    /// Prints what is there and not printed yet.
    fn print(&mut self, context: &Context) -> Result<(), CliError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        back_if_cut(&mut file).map_err(|error| self.failed(error))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk).map_err(|error| self.failed(error))? {
                0 => break,
                read => context.ui.guest_bytes(&mut self.tamer, &chunk[..read])?,
            }
        }
        self.file = Some(file);
        Ok(())
    }

    /// Prints what comes, until the machine has been taken away with its folder, or somebody drops it.
    async fn follow(&mut self, context: &Context, folder: &Path) -> Result<(), CliError> {
        while folder.exists() {
            tokio::time::sleep(INTERVAL).await;
            self.print(context)?;
            if self.is_another() && self.reopen()? {
                self.print(context)?;
            }
        }
        Ok(())
    }

    /// Moves to where the last `lines` lines begin, reading backwards.
    fn skip_to_last(&mut self, lines: usize) -> Result<(), CliError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let moved = start_of_last(&mut file, lines).and_then(|at| file.seek(SeekFrom::Start(at)));
        moved.map_err(|error| self.failed(error))?;
        self.file = Some(file);
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> CliError {
        CliError::System { what: format!("read {}", self.path.display()), source, hints: Vec::new() }
    }
}

/// The supervisor empties a log that grows too long: then it is read from its start.
fn back_if_cut(file: &mut std::fs::File) -> std::io::Result<()> {
    if file.metadata()?.len() < file.stream_position()? {
        file.rewind()?;
    }
    Ok(())
}

/// Where the last `lines` lines of a file begin.
fn start_of_last(file: &mut (impl Read + Seek), lines: usize) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut ends) = (end, 0);
    while at > 0 {
        let length = at.min(CHUNK as u64);
        at -= length;
        file.seek(SeekFrom::Start(at))?;
        let mut chunk = Vec::new();
        file.by_ref().take(length).read_to_end(&mut chunk)?;
        for (offset, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = at + offset as u64 + 1;
            // The end of the last line does not begin one.
            if after == end {
                continue;
            }
            ends += 1;
            if ends == lines {
                return Ok(after);
            }
        }
    }
    Ok(if lines == 0 { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_log_that_was_cut_is_read_from_its_start() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"much").unwrap();
        back_if_cut(&mut file).unwrap();
        assert_eq!(file.stream_position().unwrap(), 4);
        file.set_len(1).unwrap();
        back_if_cut(&mut file).unwrap();
        assert_eq!(file.stream_position().unwrap(), 0);
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let long = "x".repeat(CHUNK);
        let text = format!("one\n{long}\ntwo\nthree\n");
        let from = |lines| {
            let at = start_of_last(&mut Cursor::new(text.as_bytes()), lines).unwrap();
            text[usize::try_from(at).unwrap()..].to_owned()
        };
        assert_eq!(from(1), "three\n");
        assert_eq!(from(2), "two\nthree\n");
        assert_eq!(from(3), format!("{long}\ntwo\nthree\n"));
        assert_eq!(from(99), text);
        assert_eq!(from(0), "");
    }
}
