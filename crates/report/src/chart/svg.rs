//! SVG as text: elements, numbers and escaped words. Nothing here knows what is drawn.

use std::fmt::{Display, Write};

/// A drawing under way.
#[derive(Debug, Default)]
pub(crate) struct Svg(String);

/// An attribute's name and value.
pub(crate) type Attribute<'a> = (&'static str, &'a dyn Display);

/// A place on paper, with as many decimals as an eye can see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub f64);

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whole numbers need no decimals, and nothing is at -0.
        let rounded = (self.0 * 10.0).round() / 10.0 + 0.0;
        write!(f, "{rounded}")
    }
}

/// Text that may stand between tags and within quotes.
pub(crate) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl Svg {
    /// Begins an element that has others within.
    pub(crate) fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(name, attributes);
        self.0.push('>');
    }

    /// Ends an element.
    pub(crate) fn close(&mut self, name: &'static str) {
        self.push(format_args!("</{name}>"));
    }

    /// An element with nothing within.
    pub(crate) fn empty(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.begin(name, attributes);
        self.0.push_str("/>");
    }

    /// An element with text within.
    pub(crate) fn text(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.open(name, attributes);
        self.push(format_args!("{}", Escaped(text)));
        self.close(name);
    }

    /// The whole drawing.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn begin(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.push(format_args!("<{name}"));
        for (name, value) in attributes {
            self.push(format_args!(" {name}=\"{}\"", Escaped(&value.to_string())));
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to a String cannot fail");
    }
}

/// A path through all places: `M1 2L3 4`. Where there is none it is interrupted: nothing is drawn where nothing is known.
/// Steps are written short, since a page has thousands of them.
pub(crate) fn path(places: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut text = String::new();
    let mut last: Option<(String, String)> = None;
    for place in places {
        let next = place.map(|(x, y)| (Place(x).to_string(), Place(y).to_string()));
        text += &match (&last, &next) {
            (_, None) => String::new(),
            (None, Some((x, y))) => format!("M{x} {y}"),
            (Some((before, _)), Some((x, y))) if before == x => format!("V{y}"),
            (Some((_, before)), Some((x, y))) if before == y => format!("H{x}"),
            (Some(_), Some((x, y))) => format!("L{x} {y}"),
        };
        last = next;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_text_or_an_attribute_stays_text() {
        let mut svg = Svg::default();
        svg.text("text", &[("class", &"a\" onload=\"x")], "<script>'&");
        assert_eq!(svg.finish(), "<text class=\"a&quot; onload=&quot;x\">&lt;script&gt;&#39;&amp;</text>");
    }

    #[test]
    fn places_are_short_and_gaps_stay_gaps() {
        assert_eq!(path([Some((0.0, -0.01)), Some((10.26, 3.0))]), "M0 0L10.3 3");
        assert_eq!(path([None, Some((1.0, 1.0)), None, Some((2.0, 2.0)), Some((3.0, 2.0))]), "M1 1M2 2H3");
        assert_eq!(path([Some((1.0, 1.0)), Some((2.0, 1.0)), Some((2.0, 5.0))]), "M1 1H2V5");
    }
}
