//! How many operations took longer than so long: a curve for each arm, in which tails are as large as the rest.
//!
//! Not a density: that of a tail cannot be told from nothing. Not a cumulative curve either: all of the tail lies in its
//! last hundredth.

use winstead_statistics::{Histogram, Percentile};

use crate::{
    chart::{Axis, Chart, Kind, Mark, Series, Shape},
    charts::latency_axis,
    number::{duration, millis, trimmed},
    table::Table,
};

/// What a curve is of, and how it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve<'a> {
    /// Written at its end.
    pub name: &'a str,
    /// Of the style sheet.
    pub class: &'static str,
    /// Of its marks.
    pub shape: Shape,
    /// What was measured.
    pub histogram: &'a Histogram,
}

/// The shares, in millionths of all operations, whose latency is shown: so many took longer.
const SLOWER: [u32; 21] = [
    900_000, 700_000, 500_000, 300_000, 200_000, 150_000, 100_000, 70_000, 50_000, 30_000, 20_000, 15_000,
    10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 10,
];
/// Those that people have names for: the median, p90, p99, p99.9 and p99.99.
const MARKED: [u32; 5] = [500_000, 100_000, 10_000, 1_000, 100];
/// Where fewer operations took longer, single ones decide and nothing is drawn.
const FEWEST_BEYOND: u64 = 10;

impl Curve<'_> {
    /// Share of operations that took longer, in millionths, and the latency that they exceeded, as far as operations go.
    fn points(&self) -> Vec<(u32, f64)> {
        let count = self.histogram.count();
        let at = |slower: &u32| {
            let percentile = Percentile::from_millionths(1_000_000 - slower)?;
            let enough = percentile.beyond(count) >= FEWEST_BEYOND;
            let nanos = self.histogram.percentile(percentile).filter(|_| enough)?.as_nanos() as f64;
            Some((*slower, nanos))
        };
        SLOWER.iter().filter_map(at).collect()
    }

    fn series(&self) -> Series {
        let points = self.points();
        let mark = |(slower, nanos): &(u32, f64)| {
            let (share, took) = (share(*slower), duration(*nanos));
            let title = format!("{}: {} took longer than {took}", self.name, share_text(share));
            Mark { at: [*nanos, share], shape: self.shape, title }
        };
        Series {
            class: self.class,
            label: self.name.to_owned(),
            line: points.iter().map(|(slower, nanos)| [*nanos, share(*slower)]).collect(),
            marks: points.iter().filter(|(slower, _)| MARKED.contains(slower)).map(mark).collect(),
            band: Vec::new(),
        }
    }
}

fn share(millionths: u32) -> f64 {
    f64::from(millionths) / 1e6
}

/// `10 %`, `0.01 %`.
fn share_text(share: f64) -> String {
    trimmed(&format!("{:.4} %", share * 100.0))
}

/// All curves in one chart.
pub(crate) fn distribution(title: String, curves: &[Curve<'_>]) -> Chart {
    let series: Vec<Series> = curves.iter().map(Curve::series).collect();
    let described = series.iter().flat_map(|series| series.marks.iter().map(|mark| mark.title.clone()));
    Chart {
        title,
        description: described.collect::<Vec<_>>().join("; "),
        x: latency_axis("latency (log scale)"),
        y: Axis {
            label: "share of operations that took longer (log scale)".to_owned(),
            kind: Kind::Log,
            range: None,
            ticks: None,
            shown: share_text,
        },
        series,
    }
}

/// The numbers of all curves.
pub(crate) fn distributions(caption: String, curves: &[Curve<'_>]) -> Table {
    let names = curves.iter().map(|curve| format!("#{}, ms", curve.name));
    let headings: Vec<String> = std::iter::once("#took longer".to_owned()).chain(names).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(caption, &headings);
    let points: Vec<Vec<(u32, f64)>> = curves.iter().map(Curve::points).collect();
    for slower in SLOWER {
        let of = |points: &[(u32, f64)]| {
            points.iter().find(|(at, _)| *at == slower).map(|(_, nanos)| millis(*nanos))
        };
        let cells: Vec<Option<String>> = points.iter().map(|points| of(points)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
            table.row(std::iter::once(share_text(share(slower))).chain(cells));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_curve_ends_where_single_operations_would_decide() {
        let mut histogram = Histogram::new();
        (0..990).for_each(|_| histogram.record(Duration::from_millis(1)));
        (0..10).for_each(|_| histogram.record(Duration::from_millis(50)));
        let curve = Curve { name: "ram", class: "ram", shape: Shape::Circle, histogram: &histogram };
        let last = curve.points().last().copied().expect("points");
        assert_eq!((last.0, millis(last.1).as_str()), (10_000, "1.00"));
        let titles: Vec<String> = curve.series().marks.into_iter().map(|mark| mark.title).collect();
        assert_eq!(titles.last().map(String::as_str), Some("ram: 1 % took longer than 1.00 ms"));
        assert!(distribution(String::new(), &[]).series.is_empty());
    }
}
