//! One figure: a number with its unit, and how it varies over runs.

use oncesim_types::Duration;

use crate::number::{grouped, percent};

/// What a figure counts in. Every time is virtual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds of virtual time.
    Time,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Things per input record.
    PerInput,
    /// Bytes per input record.
    BytesPerInput,
    /// Records per second of virtual time.
    PerSecond,
    /// A share, 0 to 1.
    Share,
}

impl Unit {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Time => "virtual ns",
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::PerInput => "per input record",
            Unit::BytesPerInput => "bytes per input record",
            Unit::PerSecond => "records per virtual s",
            Unit::Share => "share",
        }
    }
}

/// A number with its unit; of several runs the median, the lowest and the highest.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it counts in.
    pub unit: Unit,
    /// The median.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// The values that it is made of.
    values: Vec<f64>,
}

impl Figure {
    /// The figure of one run.
    #[must_use]
    pub fn new(unit: Unit, value: f64) -> Figure {
        Figure { unit, median: value, low: value, high: value, values: vec![value] }
    }

    /// A time.
    #[must_use]
    pub fn time(duration: Duration) -> Figure {
        Figure::new(Unit::Time, duration.as_nanos() as f64)
    }

    /// A count.
    #[must_use]
    pub fn count(n: u64) -> Figure {
        Figure::new(Unit::Count, n as f64)
    }

    /// Takes the values of another figure in; [`Figure::settle`] follows.
    pub(super) fn join(&mut self, other: &Figure) {
        self.values.extend(&other.values);
    }

    /// Median and range of its values.
    pub(super) fn settle(&mut self) {
        self.values.sort_by(f64::total_cmp);
        let n = self.values.len();
        self.median = f64::midpoint(self.values[(n - 1) / 2], self.values[n / 2]);
        (self.low, self.high) = (self.values[0], self.values[n - 1]);
    }

    /// Of how many runs (or faults, calls of several runs) it is the median.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.values.len()
    }

    /// The median, for people.
    #[must_use]
    pub fn text(&self) -> String {
        in_words(self.unit, self.median)
    }

    /// The range, for people: nothing where there is none.
    #[must_use]
    pub fn range(&self) -> String {
        if self.runs() < 2 {
            return String::new();
        }
        let (low, high) = (in_words(self.unit, self.low), in_words(self.unit, self.high));
        if low == high { String::new() } else { format!("{low}..{high}") }
    }
}

/// A number in its unit.
pub(crate) fn in_words(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Time => virtual_time(value),
        Unit::Count => short(value),
        Unit::Bytes | Unit::BytesPerInput => bytes(value),
        Unit::PerInput => format!("{}x", short(value)),
        Unit::PerSecond => format!("{}/s", short(value)),
        Unit::Share => percent(value),
    }
}

/// Three significant digits: `0`, `0.042`, `3.14`, `27.5`, `812`, `12,345`.
fn short(value: f64) -> String {
    if value >= 100.0 || value == value.round() {
        return grouped(value.round() as u64);
    }
    let decimals = match value {
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `0 s`, `350 us`, `3.12 ms`, `4.21 s`, `12.5 min`.
fn virtual_time(ns: f64) -> String {
    let three = |value: f64, unit: &str| {
        let decimals = match value {
            v if v >= 99.95 => 0,
            v if v >= 9.995 => 1,
            _ => 2,
        };
        format!("{value:.decimals$} {unit}")
    };
    match ns {
        n if n <= 0.0 => "0 s".to_owned(),
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 999_500.0 => three(n / 1e3, "us"),
        n if n < 999_500_000.0 => three(n / 1e6, "ms"),
        n if n < 120e9 => three(n / 1e9, "s"),
        n => three(n / 60e9, "min"),
    }
}

fn bytes(n: f64) -> String {
    match n {
        n if n < 1_000.0 => format!("{n:.0} B"),
        n if n < 1e6 => format!("{:.1} kB", n / 1e3),
        n => format!("{:.1} MB", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_units() {
        for (unit, value, text) in [
            (Unit::Time, 0.0, "0 s"),
            (Unit::Time, 350_000.0, "350 us"),
            (Unit::Time, 999_700.0, "1.00 ms"),
            (Unit::Time, 3_124_999.0, "3.12 ms"),
            (Unit::Time, 27_460_000.0, "27.5 ms"),
            (Unit::Time, 4_210_000_000.0, "4.21 s"),
            (Unit::Time, 750_000_000_000.0, "12.5 min"),
            (Unit::Count, 12_345.0, "12,345"),
            (Unit::PerInput, 3.12345, "3.12x"),
            (Unit::PerInput, 2.0, "2x"),
            (Unit::PerInput, 0.0421, "0.042x"),
            (Unit::PerSecond, 333.3, "333/s"),
            (Unit::Bytes, 1_234.0, "1.2 kB"),
            (Unit::Share, 0.104, "10.4 %"),
        ] {
            assert_eq!(in_words(unit, value), text);
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_between() {
        let mut figure = Figure::new(Unit::Count, 1.0);
        for value in [9.0, 2.0, 4.0] {
            figure.join(&Figure::new(Unit::Count, value));
        }
        figure.settle();
        assert_eq!((figure.median, figure.low, figure.high), (3.0, 1.0, 9.0));
        assert_eq!(figure.range(), "1..9");
    }
}
