//! What is wrong with the user's files: every problem with its place, and the words that help to mend it.

use std::fmt;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where in the document: `spec.machine.disk.cap`. Empty when the file is no YAML.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// What was probably meant: the nearest known key or value.
    pub nearest: Option<String>,
}

/// All that is wrong in all files, by file (in the given order), line and column. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) expected: Option<String>,
    pub(crate) nearest: Option<String>,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }

    pub(crate) fn at(self, file: &str, place: Place, key: String) -> Problem {
        Problem {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            key,
            message: self.message,
            expected: self.expected,
            nearest: self.nearest,
        }
    }
}

impl fmt::Display for Problem {
    /// One line. The guess replaces the list of what is possible: both would say the same twice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match (&self.nearest, &self.expected) {
            (Some(nearest), _) => write!(f, "; did you mean `{nearest}`?"),
            (None, Some(expected)) => write!(f, "; expected {expected}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The user's text in a message: in quotes, without control characters, and never a page long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// `a`, `b` or `c`, each in backticks.
pub(crate) fn alternatives(words: &[&str], joint: &str) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<_> = most.iter().map(|word| format!("`{word}`")).collect();
            format!("{} {joint} `{last}`", most.join(", "))
        }
    }
}

/// The known word that `text` most probably stands for.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No known word is longer than this; a longer text would only cost time.
    if text.len() > 64 {
        return None;
    }
    let bare = |word: &str| word.to_lowercase().replace(['-', '_'], "");
    let wanted = bare(text);
    known
        .into_iter()
        .map(|word| (distance(&wanted, &bare(word)), word))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(3)) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How much must be typed otherwise; leaving an end off (`sha` for `sha256`) is the smallest mistake.
fn distance(text: &str, known: &str) -> usize {
    if text.len() >= 3 && known.starts_with(text) { 1 } else { strsim::damerau_levenshtein(text, known) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_whatever_their_case_and_hyphens() {
        let known = ["replicas", "image", "commandLine", "tpm", "secure-boot"];
        for (text, expected) in [
            ("replcas", Some("replicas")),
            ("Image", Some("image")),
            ("command_line", Some("commandLine")),
            ("secureBoot", Some("secure-boot")),
            ("tmp", Some("tpm")),
            ("repl", Some("replicas")),
            ("volume", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, known), expected, "{text}");
        }
    }

    #[test]
    fn quoted_text_is_short_and_harmless_on_a_terminal() {
        assert_eq!(quoted("\u{1b}[31m"), r#""\u{1b}[31m""#);
        assert!(quoted(&"ü".repeat(5000)).len() < 200);
    }
}
