//! Puts a chart on paper.

use super::{
    Axis, Chart, Series, Shape,
    scale::{Scale, Tick},
    svg::{Attribute, Place, Svg, path},
};

/// A chart's paper, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Of the style sheet; also tells two drawings of one chart apart.
    pub class: &'static str,
    /// All of it.
    pub width: f64,
    /// All of it.
    pub height: f64,
    /// What the labels of lines have.
    pub labels: f64,
}

/// The numbers of the left axis.
const LEFT: f64 = 52.0;
/// The left axis' label.
const TOP: f64 = 30.0;
/// The lower axis' numbers and label.
const BOTTOM: f64 = 40.0;
/// Less than this, and labels lie on each other.
const LINE: f64 = 15.0;

/// Numbers of the lower axis that are closer to each other run together.
const NUMBER: f64 = 18.0;
/// Labels that begin closer to each other are in each other's way.
const WORD: f64 = 90.0;
/// What letters need above the lower axis.
const BASELINE: f64 = 7.0;

/// Where what is drawn.
struct Paper {
    x: Scale,
    y: Scale,
    right: f64,
    bottom: f64,
}

/// The chart as an `svg` element; `id` is its own in the whole page.
pub(crate) fn draw(chart: &Chart, size: Size, id: &str) -> String {
    let paper = Paper::of(chart, size);
    let (title, description) =
        (format!("{id}-{}-title", size.class), format!("{id}-{}-description", size.class));
    let mut svg = Svg::default();
    svg.open(
        "svg",
        &[
            ("class", &format!("chart {}", size.class)),
            ("viewBox", &format!("0 0 {} {}", size.width, size.height)),
            ("role", &"img"),
            ("aria-labelledby", &title),
            ("aria-describedby", &description),
        ],
    );
    svg.text("title", &[("id", &title)], &chart.title);
    svg.text("desc", &[("id", &description)], &chart.description);
    paper.axes(chart, &mut svg);
    for series in &chart.series {
        paper.series(series, &mut svg);
    }
    paper.labels(&chart.series, &mut svg);
    svg.close("svg");
    svg.finish()
}

impl Paper {
    fn of(chart: &Chart, size: Size) -> Self {
        let (right, bottom) = (size.width - size.labels, size.height - BOTTOM);
        let places = || chart.series.iter().flat_map(Series::places);
        Self {
            x: scale(&chart.x, places().map(|[x, _]| x), [LEFT, right]),
            y: scale(&chart.y, places().map(|[_, y]| y), [bottom, TOP]),
            right,
            bottom,
        }
    }

    fn axes(&self, chart: &Chart, svg: &mut Svg) {
        let (right, bottom) = (Place(self.right), Place(self.bottom));
        for (tick, place) in marked(&chart.y, &self.y) {
            let y = Place(place);
            svg.empty(
                "line",
                &[("class", grid(tick)), ("x1", &LEFT), ("x2", &right), ("y1", &y), ("y2", &y)],
            );
            if tick.labelled {
                let baseline = Place(place + 4.0);
                word(svg, "tick left", [Place(LEFT - 7.0), baseline], &(chart.y.shown)(tick.value));
            }
        }
        for (tick, place) in marked(&chart.x, &self.x) {
            let (x, end) = (Place(place), Place(self.bottom + if tick.labelled { 5.0 } else { 3.0 }));
            svg.empty("line", &[("class", &"axis"), ("x1", &x), ("x2", &x), ("y1", &bottom), ("y2", &end)]);
            if tick.labelled {
                word(svg, "tick below", [x, Place(self.bottom + 18.0)], &(chart.x.shown)(tick.value));
            }
        }
        svg.empty(
            "line",
            &[("class", &"axis"), ("x1", &LEFT), ("x2", &right), ("y1", &bottom), ("y2", &bottom)],
        );
        word(svg, "title", [Place(0.0), Place(13.0)], &chart.y.label);
        word(svg, "title right", [right, Place(self.bottom + 35.0)], &chart.x.label);
    }

    fn series(&self, series: &Series, svg: &mut Svg) {
        svg.open("g", &[("class", &series.class)]);
        let upper = series.band.iter().filter_map(|[x, _, high]| self.place([*x, *high]));
        let lower = series.band.iter().rev().filter_map(|[x, low, _]| self.place([*x, *low]));
        let band = path(upper.chain(lower).map(Some));
        if !band.is_empty() {
            svg.empty("path", &[("class", &"band"), ("d", &format!("{band}Z"))]);
        }
        let line = path(series.line.iter().map(|at| self.place(*at)));
        if !line.is_empty() {
            svg.empty("path", &[("class", &"line"), ("d", &line)]);
        }
        for mark in &series.marks {
            if let Some(place) = self.place(mark.at) {
                let class = if mark.shape == Shape::Dot { "dot" } else { "mark" };
                svg.open("path", &[("class", &class), ("d", &outline(mark.shape, place))]);
                svg.text("title", &[], &mark.title);
                svg.close("path");
            }
        }
        svg.close("g");
    }

    /// Labels beside the ends of their lines, moved apart where lines end close to each other.
    fn labels(&self, all: &[Series], svg: &mut Svg) {
        let end = |series: &Series| series.line.iter().rev().find_map(|at| self.place(*at));
        let labelled = all.iter().filter(|series| !series.label.is_empty());
        let mut labels: Vec<((f64, f64), &Series)> =
            labelled.filter_map(|series| Some((end(series)?, series))).collect();
        labels.sort_by(|((one, _), _), ((other, _), _)| one.total_cmp(other));
        for column in labels.chunk_by_mut(|((one, _), _), ((other, _), _)| other - one < WORD) {
            column.sort_by(|((_, one), _), ((_, other), _)| one.total_cmp(other));
            let heights = apart(column.iter().map(|((_, y), _)| *y), [TOP, self.bottom - BASELINE]);
            for (y, ((x, _), series)) in heights.into_iter().zip(column) {
                let class = format!("label {}", series.class);
                word(svg, &class, [Place(*x + 10.0), Place(y + 4.0)], &series.label);
            }
        }
    }

    fn place(&self, [x, y]: [f64; 2]) -> Option<(f64, f64)> {
        Some((self.x.at(x)?, self.y.at(y)?))
    }
}

impl Series {
    /// All that must be seen of it.
    fn places(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        let band = self.band.iter().flat_map(|[x, low, high]| [[*x, *low], [*x, *high]]);
        self.line.iter().copied().chain(band).chain(self.marks.iter().map(|mark| mark.at))
    }
}

fn scale(axis: &Axis, values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Scale {
    match axis.range {
        Some(range) => Scale::from_to(axis.kind, range, pixels),
        None => Scale::around(axis.kind, values, pixels),
    }
}

fn marked(axis: &Axis, scale: &Scale) -> Vec<(Tick, f64)> {
    let own = axis.ticks.as_ref().map(|values| {
        let places: Vec<Option<f64>> = values.iter().map(|value| scale.at(*value)).collect();
        let ticks = values.iter().zip(readable(&places));
        ticks.map(|(value, labelled)| Tick { value: *value, labelled }).collect()
    });
    let ticks: Vec<Tick> = own.unwrap_or_else(|| scale.ticks());
    ticks.into_iter().filter_map(|tick| Some((tick, scale.at(tick.value)?))).collect()
}

/// Which of some places, in order, have room for a number: the last, then those that are far enough from the next.
fn readable(places: &[Option<f64>]) -> Vec<bool> {
    let mut next: Option<f64> = None;
    let mut has_room: Vec<bool> = Vec::new();
    for place in places.iter().rev() {
        let free = place.is_some_and(|place| next.is_none_or(|next| (next - place).abs() >= NUMBER));
        next = if free { *place } else { next };
        has_room.push(free);
    }
    has_room.reverse();
    has_room
}

const fn grid(tick: Tick) -> &'static &'static str {
    if tick.labelled { &"grid" } else { &"grid minor" }
}

fn word(svg: &mut Svg, class: &str, [x, y]: [Place; 2], text: &str) {
    let attributes: [Attribute<'_>; 3] = [("class", &class), ("x", &x), ("y", &y)];
    svg.text("text", &attributes, text);
}

/// Heights, ascending, moved down until each has its line, and up again where they leave the paper.
fn apart(wanted: impl Iterator<Item = f64>, [top, bottom]: [f64; 2]) -> Vec<f64> {
    let mut places: Vec<f64> = Vec::new();
    for y in wanted {
        let free = places.last().map_or(top, |last| last + LINE);
        places.push(y.max(free));
    }
    let mut free = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(free);
        free = *place - LINE;
    }
    places
}

fn outline(shape: Shape, (x, y): (f64, f64)) -> String {
    let round = |radius: f64| {
        let (left, wide) = (Place(x - radius), Place(2.0 * radius));
        format!("M{left} {}a{radius} {radius} 0 1 0 {wide} 0a{radius} {radius} 0 1 0 -{wide} 0Z", Place(y))
    };
    let corners =
        |offsets: &[(f64, f64)]| path(offsets.iter().map(|(right, down)| Some((x + right, y + down)))) + "Z";
    match shape {
        Shape::Circle => round(4.5),
        Shape::Dot => round(2.0),
        Shape::Square => corners(&[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)]),
        Shape::Triangle => corners(&[(0.0, -5.5), (5.0, 4.0), (-5.0, 4.0)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Kind, Mark};

    fn axis(kind: Kind) -> Axis {
        Axis { label: "a < b".to_owned(), kind, range: None, ticks: None, shown: |value| value.to_string() }
    }

    fn chart(series: Vec<Series>) -> Chart {
        let (title, description) = ("<title>".to_owned(), "what it shows".to_owned());
        Chart { title, description, x: axis(Kind::Linear), y: axis(Kind::Log), series }
    }

    const SIZE: Size = Size { class: "wide", width: 720.0, height: 360.0, labels: 100.0 };

    #[test]
    fn a_chart_has_a_title_a_description_and_nothing_that_is_read_as_markup() {
        let mark = Mark { at: [1.0, 10.0], shape: Shape::Square, title: "<b>".to_owned() };
        let series = Series {
            class: "ram",
            label: "<ram>".to_owned(),
            line: vec![[1.0, 10.0]],
            marks: vec![mark],
            ..Series::default()
        };
        let drawn = draw(&chart(vec![series]), SIZE, "c1");
        for expected in [
            "aria-labelledby=\"c1-wide-title\"",
            "<title id=\"c1-wide-title\">&lt;title&gt;</title>",
            "<desc id=\"c1-wide-description\">what it shows</desc>",
            ">&lt;ram&gt;</text>",
            "<title>&lt;b&gt;</title></path>",
            ">a &lt; b</text>",
        ] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
    }

    #[test]
    fn what_has_no_place_is_left_out_and_an_empty_chart_still_has_axes() {
        let series = Series { class: "ram", line: vec![[1.0, 0.0], [1.0, f64::NAN]], ..Series::default() };
        let drawn = draw(&chart(vec![series]), SIZE, "c1");
        assert!(
            !drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("class=\"line\""),
            "{drawn}"
        );
        assert!(drawn.contains("class=\"axis\""), "{drawn}");
    }

    #[test]
    fn numbers_that_would_run_together_are_left_out_and_the_last_never() {
        assert_eq!(readable(&[Some(10.0), Some(20.0), Some(40.0), Some(50.0)]), [false, true, false, true]);
        assert_eq!(readable(&[Some(30.0), None]), [true, false]);
    }

    #[test]
    fn labels_keep_their_distance_and_stay_on_the_paper() {
        let places = |wanted: &[f64]| apart(wanted.iter().copied(), [30.0, 100.0]);
        assert_eq!(places(&[40.0, 42.0, 90.0]), [40.0, 55.0, 90.0]);
        assert_eq!(places(&[98.0, 99.0, 100.0]), [70.0, 85.0, 100.0]);
        assert_eq!(places(&[0.0]), [30.0]);
    }
}
