//! The grammar of QEMU's command line. Pure.

use std::path::Path;

/// A command line that grows.
#[derive(Debug, Default)]
pub(crate) struct Line(Vec<String>);

impl Line {
    /// Adds an option and its value.
    pub(crate) fn option(&mut self, option: &str, value: impl Into<String>) {
        self.0.extend([option.to_owned(), value.into()]);
    }

    /// Adds an option without a value.
    pub(crate) fn flag(&mut self, option: &str) {
        self.0.push(option.to_owned());
    }

    /// Its words.
    pub(crate) fn into_words(self) -> Vec<String> {
        self.0
    }
}

/// A value inside QEMU's `key=value,…` syntax, where a comma is written twice.
pub(crate) fn value(text: &str) -> String {
    text.replace(',', ",,")
}

/// A path inside QEMU's `key=value,…` syntax.
pub(crate) fn path(path: &Path) -> String {
    value(&path.to_string_lossy())
}
