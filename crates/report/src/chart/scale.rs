//! Where values lie on an axis, and which of them are marked.

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios.
    Log,
}

/// An axis on paper: values from `low` to `high` lie from `start` to `end`, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

/// A value that is marked on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Which.
    pub value: f64,
    /// Whether its number is written.
    pub labelled: bool,
}

/// The steps within a decade that people count in.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
/// Labels that are closer than so many pixels crowd an axis.
const LABEL: f64 = 40.0;

impl Scale {
    /// An axis that shows all `values`, widened to round numbers; a linear one also shows 0. Values that it cannot show are
    /// left out.
    pub(crate) fn around(kind: Kind, values: impl IntoIterator<Item = f64>, [start, end]: [f64; 2]) -> Self {
        let shown =
            values.into_iter().filter(|value| value.is_finite() && (kind == Kind::Linear || *value > 0.0));
        let (low, high) = shown
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let most = most_labels(start, end);
        let (low, high) = match kind {
            _ if low > high => (1.0, 10.0),
            Kind::Linear => (low.min(0.0), whole_steps(low.min(0.0), high.max(f64::MIN_POSITIVE), most)),
            Kind::Log => (round_down(low), round_up(high)),
        };
        // One value alone would make an axis without length.
        let high = if high > low { high } else { low * 10.0 };
        Self { kind, low, high, start, end }
    }

    /// An axis from `low` to `high`, as they are.
    pub(crate) const fn from_to(kind: Kind, [low, high]: [f64; 2], [start, end]: [f64; 2]) -> Self {
        Self { kind, low, high, start, end }
    }

    /// Where a value lies; `None` for one that has no place.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let share = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        share.is_finite().then_some(self.start + share * (self.end - self.start))
    }

    /// The values to mark, ascending.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        match self.kind {
            Kind::Linear => self.linear_ticks(),
            Kind::Log => self.log_ticks(),
        }
    }

    fn linear_ticks(&self) -> Vec<Tick> {
        let step = step(self.high - self.low, most_labels(self.start, self.end));
        let count = ((self.high - self.low) / step + 1e-9).floor();
        let ticks = (0u32..).map(f64::from).take_while(|number| *number <= count);
        ticks.map(|number| Tick { value: self.low + number * step, labelled: true }).collect()
    }

    /// Every 1, 2 and 5; where these are too many to be read only each decade has its number, or each second one.
    fn log_ticks(&self) -> Vec<Tick> {
        let inside = |value: &f64| (self.low * 0.999..=self.high * 1.001).contains(value);
        let all: Vec<f64> = decades(self.low, self.high)
            .flat_map(|exponent| STEPS.map(|step| step * 10f64.powi(exponent)))
            .filter(inside)
            .collect();
        if all.len() as f64 <= most_labels(self.start, self.end) {
            return all.into_iter().map(|value| Tick { value, labelled: true }).collect();
        }
        let is_decade = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-6;
        let decades = all.iter().filter(|value| is_decade(**value)).count() as f64;
        let each = (decades / most_labels(self.start, self.end)).ceil().max(1.0);
        let mut passed = 0.0;
        let mark = |value| {
            let labelled = is_decade(value) && passed % each == 0.0;
            passed += if is_decade(value) { 1.0 } else { 0.0 };
            Tick { value, labelled }
        };
        all.into_iter().map(mark).collect()
    }
}

/// How many labels an axis has room for.
fn most_labels(start: f64, end: f64) -> f64 {
    ((end - start).abs() / LABEL).floor().max(2.0)
}

/// A round distance between labels, of which at most so many fit.
fn step(distance: f64, most: f64) -> f64 {
    round_up(distance / (most - 1.0))
}

/// The first label that is not below `high`, counted from `low`.
fn whole_steps(low: f64, high: f64, most: f64) -> f64 {
    let step = step(high - low, most);
    low + ((high - low) / step - 1e-9).ceil() * step
}

#[expect(clippy::cast_possible_truncation, reason = "an exponent of a finite f64 is a small number")]
fn decades(low: f64, high: f64) -> std::ops::RangeInclusive<i32> {
    low.log10().floor() as i32..=high.log10().ceil() as i32
}

/// The next 1, 2 or 5 times a power of ten that is not below `value`, which is above 0.
fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let steps = STEPS.iter().chain(&[10.0]).map(|step| step * decade);
    steps.into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(value)
}

/// The last 1, 2 or 5 times a power of ten that is not above `value`, which is above 0.
fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let steps = STEPS.iter().rev().map(|step| step * decade);
    steps.into_iter().find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<f64> {
        scale.ticks().iter().filter(|tick| tick.labelled).map(|tick| tick.value).collect()
    }

    #[test]
    fn a_log_axis_has_equal_distances_for_equal_ratios() {
        let scale = Scale::around(Kind::Log, [1e3, 1e6], [0.0, 300.0]);
        let at = |value| scale.at(value).map(f64::round);
        assert_eq!([1e3, 1e4, 1e6].map(at), [Some(0.0), Some(100.0), Some(300.0)]);
        assert_eq!([0.0, -1.0, f64::NAN].map(at), [None; 3]);
        assert_eq!(labels(scale), [1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn axes_begin_and_end_at_round_numbers() {
        assert_eq!(
            labels(Scale::around(Kind::Log, [1.3, 37.0], [0.0, 250.0])),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        );
        assert_eq!(
            labels(Scale::around(Kind::Linear, [130.0, 720.0], [250.0, 0.0])),
            [0.0, 200.0, 400.0, 600.0, 800.0]
        );
        assert_eq!(labels(Scale::around(Kind::Linear, [2.0], [250.0, 0.0])), [0.0, 0.5, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn wide_axes_are_not_crowded_and_empty_ones_still_have_a_length() {
        let wide = Scale::around(Kind::Log, [1.0, 1e12], [0.0, 250.0]);
        assert_eq!(labels(wide), [1.0, 1e3, 1e6, 1e9, 1e12]);
        for empty in [
            Scale::around(Kind::Log, [], [0.0, 250.0]),
            Scale::around(Kind::Log, [f64::NAN, -1.0], [0.0, 250.0]),
        ] {
            assert_eq!(labels(empty), [1.0, 2.0, 5.0, 10.0]);
        }
        assert!(Scale::around(Kind::Log, [10.0], [0.0, 1.0]).at(10.0).is_some());
        assert!(Scale::around(Kind::Linear, [0.0], [0.0, 1.0]).at(0.0).is_some());
    }
}
