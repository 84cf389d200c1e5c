//! Numbers as people read them. Every one has a unit.

/// With thousands separators: `12,345,678`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// With a thing to count: `1 seed`, `1,000 seeds`. `plural` is the whole plural word.
#[must_use]
pub fn short_count(n: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { singular } else { plural })
}

/// A share from 0 to 1 in per cent with two significant digits: `0.030 %`, `4.7 %`, `100 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 99.95 {
        return "100 %".to_owned();
    }
    let mut decimals = 1;
    let mut threshold = 1.0;
    while percent < threshold && decimals < 6 {
        threshold /= 10.0;
        decimals += 1;
    }
    format!("{percent:.decimals$} %")
}

/// A span of seconds in the unit that keeps it short: `812 ms`, `4.21 s`, `3.5 min`, `2.1 h`,
/// `4.5 days`.
#[must_use]
pub fn seconds(s: f64) -> String {
    // The sum of no numbers at all is -0.
    let s = s + 0.0;
    if s < 0.0005 {
        format!("{:.0} us", s * 1e6)
    } else if s < 1.0 {
        format!("{:.0} ms", s * 1e3)
    } else if s < 120.0 {
        format!("{s:.2} s")
    } else if s < 7_200.0 {
        format!("{:.1} min", s / 60.0)
    } else if s < 172_800.0 {
        format!("{:.1} h", s / 3_600.0)
    } else {
        format!("{:.1} days", s / 86_400.0)
    }
}

/// Virtual time in seconds.
pub(crate) fn virtual_seconds(duration: oncesim_types::Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_short_unit_and_nothing_is_no_less_than_nothing() {
        for (span, text) in [(0.812, "812 ms"), (4.21, "4.21 s"), (210.0, "3.5 min"), (0.0, "0 us")]
        {
            assert_eq!(seconds(span), text);
        }
        assert_eq!(seconds([0.0_f64; 0].iter().sum()), "0 us");
    }
}
