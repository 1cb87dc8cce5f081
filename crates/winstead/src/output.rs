//! Data as it is shown: JSON and YAML as the engine's views serialise, tables for people.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use winstead_engine::admission::Sum;
use winstead_spec::{API_VERSION, ByteSize};

use crate::{cli::Format, context::Context, error::CliError, ui::Ui};

/// Shows `data` as the user asked: `table` is called for a table, with whether it may be wide.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show<T: Serialize>(
    ui: &Ui,
    format: Format,
    data: &T,
    table: impl FnOnce(&T, bool) -> String,
) -> Result<(), CliError> {
    let mut text = match format {
        Format::Table => table(data, false),
        Format::Wide => table(data, true),
        Format::Json => json(data)?,
        Format::Yaml => yaml(data)?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    ui.data(&text)
}

/// What a command did or would do to several things, as a list that scripts read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemList<T> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<T>,
}

/// Shows a list of `kind`; in a table, each item is its `line`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show_items<T: Serialize>(
    context: &Context,
    kind: &'static str,
    items: Vec<T>,
    line: impl Fn(&T) -> String,
) -> Result<(), CliError> {
    let list = ItemList { api_version: API_VERSION, kind, items };
    show(&context.ui, context.format, &list, |list, _| list.items.iter().map(line).collect())
}

/// As JSON, for people and `jq` alike.
///
/// # Errors
/// When it has no JSON form.
pub(crate) fn json<T: Serialize>(data: &T) -> Result<String, CliError> {
    serde_json::to_string_pretty(data).map_err(|error| CliError::Render(error.into()))
}

/// As YAML.
///
/// # Errors
/// When it has no YAML form.
pub(crate) fn yaml<T: Serialize>(data: &T) -> Result<String, CliError> {
    serde_saphyr::to_string(data).map_err(|error| CliError::Render(error.into()))
}

/// In less than this no table is readable; the terminal breaks the lines itself.
const NARROWEST: u16 = 40;

/// Columns without lines, as wide as the terminal at most.
pub(crate) struct Columns {
    table: Table,
}

impl Columns {
    /// Headings.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Some terminals say that they are 0 columns wide.
        let fits = table.is_tty() && table.width().is_some_and(|width| width >= NARROWEST);
        let arrangement = if fits { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement).set_header(headings);
        Self { table }
    }

    /// One row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.table.add_row(cells.into_iter().map(Into::into).collect::<Vec<String>>());
    }

    /// The table as text.
    pub(crate) fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        self.table.trim_fmt() + "\n"
    }
}

/// Label and value lines, the values under each other.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    facts.iter().fold(String::new(), |all, (label, value)| {
        let label = format!("{label}:");
        all + &format!("{label:<0$}  {value}\n", width + 1)
    })
}

/// The admission sum, line by line, the numbers under each other.
pub(crate) fn sum(sum: &Sum) -> String {
    let mut lines: Vec<(String, String)> =
        sum.lines.iter().map(|line| (line.what.clone(), line.size.to_string())).collect();
    lines.push(("needed".to_owned(), sum.needed.to_string()));
    lines.push(("available".to_owned(), sum.available.to_string()));
    if !sum.fits() {
        lines.push(("too much by".to_owned(), (sum.needed - sum.available).to_string()));
    }
    let width =
        |text: fn(&(String, String)) -> &String| lines.iter().map(|line| text(line).chars().count()).max();
    let (left, right) =
        (width(|line| &line.0).unwrap_or_default(), width(|line| &line.1).unwrap_or_default());
    let mut text = String::new();
    for (index, (what, size)) in lines.iter().enumerate() {
        if index == sum.lines.len() {
            text.push_str(&format!("{}\n", "-".repeat(left + right + 2)));
        }
        text.push_str(&format!("{what:<left$}  {size:>right$}\n"));
    }
    text
}

/// How long ago, in its largest unit: `42s`, `13m`, `5h`, `12d`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    seconds(now.duration_since(then).as_secs().max(0))
}

/// A time in its largest unit: `42s`, `13m`, `5h`, `12d`.
pub(crate) fn seconds(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `13.1 MiB` of so many bytes.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::from_bytes(bytes).to_string()
}

/// The first twelve digits of a digest: enough to tell versions apart.
pub(crate) fn short_digest(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// The first few of many, and how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    match names.len() {
        0..=SHOWN => names.join(", "),
        many => format!("{}, … ({many} in all)", names[..SHOWN - 1].join(", ")),
    }
}

/// `1 machine`, `4 machines`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use winstead_engine::admission::Line;

    use super::*;

    #[test]
    fn a_sum_is_shown_like_one_on_paper() {
        let gib = |n: u64| ByteSize::from_mib(n * 1024);
        let line = |what: &str, size| Line { what: what.to_owned(), size };
        let lines = vec![line("agents: 8 × 4 GiB guest RAM", gib(32)), line("reserve for the host", gib(1))];
        insta::assert_snapshot!(sum(&Sum { lines, needed: gib(33), available: gib(8), unmeasured: Vec::new() }), @r"
        agents: 8 × 4 GiB guest RAM  32 GiB
        reserve for the host          1 GiB
        -----------------------------------
        needed                       33 GiB
        available                     8 GiB
        too much by                  25 GiB
        ");
    }

    #[test]
    fn columns_have_no_lines_and_no_trailing_blanks() {
        let mut columns = Columns::new(["NAME", "READY", "PHASE"]);
        columns.row(["agents-0", "1", ""]);
        columns.row(["b-10", "10", "Held"]);
        insta::assert_snapshot!(columns.text(), @r"
        NAME       READY   PHASE
        agents-0   1
        b-10       10      Held
        ");
    }

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 400);
        for (seconds, shown) in [(-5, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
            assert_eq!(ago(now - jiff::SignedDuration::from_secs(seconds), now), shown);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names = |n: usize| (0..n).map(|index| format!("a-{index}")).collect::<Vec<_>>();
        assert_eq!(some_of(&names(4)), "a-0, a-1, a-2, a-3");
        assert_eq!(some_of(&names(9)), "a-0, a-1, a-2, … (9 in all)");
    }
}
