//! Tables, whoever shows them: headings, which columns are numbers, rows of text.

use serde::Serialize;

use crate::wrap::is_obeyed;

/// A table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    /// What it shows.
    pub caption: String,
    /// From the left.
    pub columns: Vec<Column>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    /// What is in it.
    pub heading: String,
    /// How its cells look.
    pub content: Content,
}

/// What is in the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// A few words.
    Words,
    /// Digits, which stand under each other.
    Number,
    /// Sentences, which may take several lines.
    Sentence,
}

impl Table {
    /// A table without rows. Headings that begin with `#` are of numbers, those that begin with `~` of sentences.
    pub(crate) fn new(caption: impl Into<String>, headings: &[&str]) -> Self {
        let column = |heading: &&str| {
            let (content, heading) = match (heading.strip_prefix('#'), heading.strip_prefix('~')) {
                (Some(heading), _) => (Content::Number, heading),
                (_, Some(heading)) => (Content::Sentence, heading),
                _ => (Content::Words, *heading),
            };
            Column { heading: heading.to_owned(), content }
        };
        Self { caption: caption.into(), columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(is_obeyed, " ")).collect());
    }

    /// The table for a terminal: columns apart, no lines, no blanks at the end of a line.
    pub(crate) fn text(&self) -> String {
        const GAP: &str = "  ";
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.clone()).collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let width = |index: usize| all().map(|row| row[index].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            let cells =
                row.iter().zip(&self.columns).zip(&widths).map(|((cell, column), width)| {
                    match column.content {
                        Content::Number => format!("{cell:>width$}"),
                        _ => format!("{cell:<width$}"),
                    }
                });
            text += cells.collect::<Vec<_>>().join(GAP).trim_end();
            text.push('\n');
        }
        text
    }

    /// The table in Markdown, as GitHub and Azure DevOps read it.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let headings = self.columns.iter().map(|column| escaped(&column.heading)).collect();
        let rules = self
            .columns
            .iter()
            .map(|column| if column.content == Content::Number { "---:" } else { "---" }.to_owned());
        let mut text = line(headings) + &line(rules.collect());
        for row in &self.rows {
            text += &line(row.iter().map(|text| escaped(text)).collect());
        }
        text
    }
}

/// Text in which Markdown finds no markup: what a document says must not become a link, a picture or HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => safe.extend(['\\', character]),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '@' => safe.push_str("&#64;"),
            obeyed if is_obeyed(obeyed) => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("of two", &["ARM", "#P99", "WALL"]);
        table.row(["ram", "1.24", ""].map(str::to_owned));
        table.row(["disk|noflush", "35.1", "<img src=x> @all"].map(str::to_owned));
        table
    }

    #[test]
    fn numbers_stand_under_each_other() {
        insta::assert_snapshot!(table().text(), @r"
        ARM            P99  WALL
        ram           1.24
        disk|noflush  35.1  <img src=x> @all
        ");
    }

    #[test]
    fn a_cell_cannot_end_itself_or_bring_markup() {
        insta::assert_snapshot!(table().markdown(), @r"
        | ARM | P99 | WALL |
        | --- | ---: | --- |
        | ram | 1.24 |  |
        | disk\|noflush | 35.1 | &lt;img src=x&gt; &#64;all |
        ");
    }
}
