//! A report as one page: no network, no script, everything readable without a mouse, in the dark and on paper.
//!
//! The page's order is its argument: the verdict, what weakens it, what to do, the plots, and then everything that a
//! sceptical reader needs to check them. Whatever stands in a document is hostile until it is escaped: the template escapes
//! by default, charts escape each of their words, and the page forbids itself everything but its one style sheet.

mod contention;
mod method;
mod runs;
mod view;

use base64::{Engine, prelude::BASE64_STANDARD};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::Serde};
use sha2::{Digest, Sha256};
use winstead_measurement::{Contention, Findings, Goal};

use view::Page;

use crate::{chart::Escaped, runs::Runs};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

const DISTRIBUTION: &str = "Lower and further left is better. A curve that passes 10 ms at 1 % says: one operation in a hundred took \
    longer than 10 ms. A curve ends where fewer than ten operations are left, since single ones would decide.";

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What was measured.
    pub document: &'a Contention,
    /// What it says.
    pub findings: &'a Findings,
    /// The document's file.
    pub source: &'a Source,
    /// What latency was to hold.
    pub goal: Option<Goal>,
}

/// Where a document comes from, so that somebody else can take the same.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name, without its folder.
    pub name: String,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
    /// Where the bootstrap's random numbers started.
    pub seed: u64,
}

impl Source {
    /// A file of this name with these bytes.
    #[must_use]
    pub fn of(name: impl Into<String>, bytes: &[u8], seed: u64) -> Self {
        let digest = Sha256::digest(bytes);
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: name.into(), sha256, seed }
    }
}

/// The page of an experiment, whole: it loads nothing.
#[must_use]
pub fn html(subject: &Subject<'_>) -> String {
    rendered(Page::of(subject))
}

/// The page of runs that nothing is compared with.
#[must_use]
pub fn html_of_runs(runs: &Runs, source: &Source) -> String {
    rendered(Page::of_runs(runs, source))
}

/// # Panics
/// Never: the template and what it is given are made for each other, which tests see to.
fn rendered(page: Page) -> String {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("prose", |text: String| Value::from_safe_string(prose(&text)));
    let page = minijinja::context! {
        style => STYLE,
        style_hash => BASE64_STANDARD.encode(Sha256::digest(STYLE)),
        page => Serde(page),
    };
    templates.render_str(TEMPLATE, page).expect("the template fits what it is given")
}

/// What stays beside its number.
const UNITS: [&str; 3] = ["%", "ms", "µs"];

/// A sentence whose intervals and units are not torn apart at the end of a line: `(26.8-29.9)`, `95 %`.
fn prose(text: &str) -> String {
    let between = |pair: &[char]| pair[0].is_ascii_digit() && pair[1] == '-' && pair[2].is_ascii_digit();
    let is_interval = |word: &str| word.chars().collect::<Vec<_>>().windows(3).any(between);
    let words = text.split(' ').map(|word| match is_interval(word) {
        true => format!("<span class=\"whole\">{}</span>", Escaped(word)),
        false => Escaped(word).to_string(),
    });
    let text = words.collect::<Vec<_>>().join(" ");
    UNITS.iter().fold(text, |text, unit| text.replace(&format!(" {unit}"), &format!("\u{a0}{unit}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_units_stay_whole_and_words_stay_words() {
        for (said, shown) in [
            (
                "by 2.0× (1.9-2.1), 5 % <b>",
                "by 2.0× <span class=\"whole\">(1.9-2.1),</span> 5\u{a0}% &lt;b&gt;",
            ),
            ("1-2\"><i>", "<span class=\"whole\">1-2&quot;&gt;&lt;i&gt;</span>"),
            ("rand-write", "rand-write"),
        ] {
            assert_eq!(prose(said), shown);
        }
    }
}
