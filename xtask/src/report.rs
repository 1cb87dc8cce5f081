//! What xtask says: plain lines on standard output, complaints on standard error, tables with aligned columns.

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

/// A line on standard output.
pub(crate) fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    // A reader that went away (`./x test | head`) is no reason to stop the work; its exit code still counts.
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap_or_default();
}

/// A line on standard error.
pub(crate) fn note(text: impl Display) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// An error with its causes, numbered.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("error: {error}"));
    for (number, cause) in error.chain().skip(1).enumerate() {
        note(format_args!("  {}: {cause}", number + 1));
    }
}

/// A heading between parts of the work.
pub(crate) fn heading(text: impl Display) {
    line(format_args!("\n== {text}"));
}

/// Rows as text, each column as wide as its widest cell; the first row is the header. All columns but the first are
/// aligned to the right, as numbers want it.
#[must_use]
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Seconds with as many digits as are worth reading.
#[must_use]
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
}

/// Bytes in the unit that fits.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub(crate) fn bytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.1} MiB") } else { format!("{:.2} GiB", mebibytes / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_short_rows_are_allowed() {
        let rows =
            [vec!["machine".into(), "RAM".into()], vec!["a".into(), "1.0 MiB".into()], vec!["b".into()]];
        insta::assert_snapshot!(table(&rows), @r"
        machine      RAM
        a        1.0 MiB
        b
        ");
    }

    #[test]
    fn bytes_and_seconds_are_short() {
        assert_eq!(bytes(3 << 19), "1.5 MiB");
        assert_eq!(bytes(3 << 30), "3.00 GiB");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(seconds(Duration::from_millis(12_345)), "12 s");
    }
}
