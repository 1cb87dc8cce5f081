//! Numbers as people read them: three significant digits, a unit, thousands apart.
//!
//! Files for programs (CSV, JSON) have whole nanoseconds instead.

/// A narrow space that no line breaks at: groups of digits, and between a number and its unit.
pub(crate) const THIN: char = '\u{202f}';

const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

/// `1.24 ms` of so many nanoseconds.
pub(crate) fn duration(nanos: f64) -> String {
    let (size, unit) = unit_of(nanos);
    format!("{} {unit}", digits(nanos / size))
}

/// The largest unit in which a duration is at least 1, as nanoseconds and name.
fn unit_of(nanos: f64) -> (f64, &'static str) {
    // What three digits would round up to the next unit is written in it: 999.6 µs is 1.00 ms.
    let fits = |(size, _): &&(f64, &str)| nanos >= size * 0.9995;
    UNITS.iter().find(fits).copied().unwrap_or((1.0, "ns"))
}

/// So many nanoseconds as milliseconds without their unit: columns have it in their headings.
pub(crate) fn millis(nanos: f64) -> String {
    digits(nanos / 1e6)
}

/// Three significant digits, at most three decimals, never an exponent: `0.052`, `1.24`, `35.1`, `1230`.
pub(crate) fn digits(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    // What rounds to nothing has no sign.
    match text.strip_prefix('-') {
        Some(size @ ("0" | "0.000")) => size.to_owned(),
        _ => text,
    }
}

/// A rate or a count in few letters: `87.0`, `940`, `12.4k`, `3.10M`.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 999_500.0 => format!("{}M", digits(value / 1e6)),
        size if size >= 9_999.5 => format!("{}k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// A number and its unit without decimals that say nothing, as on an axis: `2 ms` of `2.00 ms`.
pub(crate) fn trimmed(text: &str) -> String {
    let end = text.find(|character: char| !matches!(character, '0'..='9' | '.' | '-')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

/// A count with its thousands apart: `12 431`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(THIN);
        }
        text.push(digit);
    }
    text
}

/// `12.5 %` of a share.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", digits(share * 100.0))
}

/// `15.6 GiB` of so many bytes.
pub(crate) fn bytes(count: f64) -> String {
    const BINARY: [(f64, &str); 4] =
        [(1_099_511_627_776.0, "TiB"), (1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")];
    let fits = |(size, _): &&(f64, &str)| count >= *size;
    let (size, unit) = BINARY.iter().find(fits).copied().unwrap_or((1.0, "B"));
    trimmed(&format!("{} {unit}", digits(count / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_keeps_them_short() {
        for (nanos, shown) in [
            (0.0, "0 ns"),
            (7.0, "7.00 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (51_230.0, "51.2 µs"),
            (999_600.0, "1.00 ms"),
            (35_149_000.0, "35.1 ms"),
            (2.5e9, "2.50 s"),
            (1.23e12, "1230 s"),
        ] {
            assert_eq!(duration(nanos), shown);
        }
    }

    #[test]
    fn round_numbers_need_no_decimals() {
        for (text, shown) in
            [("2.00 ms", "2 ms"), ("1.50k", "1.5k"), ("100 µs", "100 µs"), ("-", "-"), ("0.000", "0")]
        {
            assert_eq!(trimmed(text), shown);
        }
    }

    #[test]
    fn what_is_no_number_is_a_dash_and_nothing_has_no_sign() {
        assert_eq!([0.0, -0.0, -0.000_1].map(digits), ["0", "0", "0.000"]);
        assert_eq!(digits(f64::NAN), "-");
        assert_eq!(short(f64::NAN), "-");
    }

    #[test]
    fn large_counts_are_readable_and_short_ones_stay() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!(
            [9.0, 940.0, 9_999.4, 12_431.0, 3.1e6].map(short),
            ["9.00", "940", "9999", "12.4k", "3.10M"]
        );
        assert_eq!([512.0, 1024.0, 16_777_216_000.0].map(bytes), ["512 B", "1 KiB", "15.6 GiB"]);
        assert_eq!(percent(0.1251), "12.5 %");
    }
}
