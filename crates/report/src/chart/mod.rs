//! Charts: lines, bands and marks on two axes, drawn as SVG from values that know nothing of pixels.
//!
//! Ours and not a plotting crate's (`plotters`, of which only the SVG part would be used): a page that must be read by
//! everybody needs a title, a description and words that take the reader's font and colours, lines told apart by dashes
//! and marks, and the same chart once for a wide and once for a narrow window. There all of these are worked around with
//! more code than scales and paths take.
//!
//! Colours and dashes are the style sheet's: here things only have classes.

mod draw;
mod scale;
mod svg;

pub(crate) use draw::{Size, draw};
pub(crate) use scale::Kind;
pub(crate) use svg::Escaped;

/// A chart: what is shown, in its own units.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// In a few words.
    pub title: String,
    /// In sentences, for those who cannot see it.
    pub description: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// From the back to the front.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it shows.
    pub label: String,
    /// How it is divided.
    pub kind: Kind,
    /// From where to where; `None`: around what is shown.
    pub range: Option<[f64; 2]>,
    /// What is marked on it; `None`: round numbers.
    pub ticks: Option<Vec<f64>>,
    /// How its numbers are written.
    pub shown: fn(f64) -> String,
}

/// What belongs together in a chart, and looks alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Of the style sheet.
    pub class: &'static str,
    /// Written where its line ends.
    pub label: String,
    /// Through which places its line goes.
    pub line: Vec<[f64; 2]>,
    /// Where the truth may lie: x, the lower end, the upper end.
    pub band: Vec<[f64; 3]>,
    /// What was measured.
    pub marks: Vec<Mark>,
}

/// Something that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Where.
    pub at: [f64; 2],
    /// How it looks.
    pub shape: Shape,
    /// What it says when one points at it.
    pub title: String,
}

/// How a mark looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    /// One of several runs, of which a larger mark shows the middle.
    Dot,
}
