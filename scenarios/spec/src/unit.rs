//! Durations and ratios as people write them, and back without loss.

use oncesim_types::{Duration, Ratio};

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `250ms`, `1.5s`, `2m`.
///
/// # Errors
/// What is wrong, and what to type instead if that can be guessed.
pub(crate) fn duration(text: &str) -> Result<Duration, (String, String)> {
    let example = || "write a number and a unit, such as \"250ms\"".to_owned();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let squeezed: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
        let squeezed = squeezed.to_lowercase();
        let help = if squeezed != text && duration(&squeezed).is_ok() {
            format!("write \"{squeezed}\"")
        } else {
            example()
        };
        let message = if unit.is_empty() {
            "a duration without a unit".to_owned()
        } else if number.is_empty() {
            format!("`{text}` is not a duration")
        } else {
            format!("`{}` is not a unit of time: ns, us, ms, s, m, h are", unit.trim())
        };
        return Err((message, help));
    };
    scaled(number, *scale)
        .map(Duration::from_nanos)
        .ok_or_else(|| (format!("`{text}` is not a duration in whole nanoseconds"), example()))
}

/// Reads a duration with a sign, in nanoseconds: `-5s`.
pub(crate) fn signed_duration(text: &str) -> Result<i64, (String, String)> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = i64::try_from(duration(rest)?.as_nanos())
        .map_err(|_| (format!("`{text}` is too long"), "at most 292 years".to_owned()))?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// `1.5` times 1,000,000 is 1,500,000; `None` if that is not a whole number of 64 bits.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(u128::from(scale))?;
    if whole.is_empty() || !scaled.is_multiple_of(divisor) {
        return None;
    }
    u64::try_from(scaled / divisor).ok()
}

/// Prints a duration so that [`duration`] reads the same: `1.5s`, `250ms`, `1.000001ms`.
pub(crate) fn print_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let (unit, scale, digits) = match ns {
        0 => return "0s".to_owned(),
        _ if ns >= 1_000_000_000 => ("s", 1_000_000_000, 9),
        _ if ns >= 1_000_000 => ("ms", 1_000_000, 6),
        _ if ns >= 1_000 => ("us", 1_000, 3),
        _ => ("ns", 1, 0),
    };
    let fraction = if digits == 0 { String::new() } else { format!("{:0digits$}", ns % scale) };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}{unit}", ns / scale)
}

/// Prints signed nanoseconds.
pub(crate) fn print_signed(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", print_duration(Duration::from_nanos(ns.unsigned_abs())))
}

/// Reads `1 in 1000`, `0.1%`, or a decimal: `0.001`.
pub(crate) fn ratio(text: &str) -> Option<Ratio> {
    if let Some(percent) = text.strip_suffix('%') {
        let (whole, fraction) =
            percent.trim_end().split_once('.').unwrap_or((percent.trim_end(), ""));
        let digits = format!("{whole}{fraction}");
        let scale = 10u32.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let is_number = !whole.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let numerator: u32 = digits.parse().ok().filter(|_| is_number)?;
        let denominator = scale.checked_mul(100)?;
        return (numerator <= denominator).then(|| Ratio::new(numerator, denominator));
    }
    let (numerator, denominator): (u32, u32) = if let Some((left, right)) = text.split_once(" in ")
    {
        (left.trim().parse().ok()?, right.trim().parse().ok()?)
    } else {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let denominator = 10u32.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let whole: u32 = whole.parse().ok()?;
        let fraction: u32 = fraction.parse().ok()?;
        (whole.checked_mul(denominator)?.checked_add(fraction)?, denominator)
    };
    (denominator > 0 && numerator <= denominator).then(|| Ratio::new(numerator, denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, ns) in [
            ("0s", 0),
            ("12ns", 12),
            ("250us", 250_000),
            ("250µs", 250_000),
            ("3ms", 3_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1.000000001s", 1_000_000_001),
        ] {
            assert_eq!(duration(text), Ok(Duration(ns)), "{text}");
        }
        for text in ["", "ms", "3", "250 m s", "1.0000000001s", ".5s", "1e3s", "3 weeks", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("250 m s").unwrap_err().1, "write \"250ms\"");
        assert_eq!(signed_duration("-1.5s"), Ok(-1_500_000_000));
    }

    #[test]
    fn ratios_are_read_without_floats() {
        assert_eq!(ratio("1 in 1000"), Some(Ratio::new(1, 1000)));
        assert_eq!(ratio("0.001"), Some(Ratio::new(1, 1000)));
        assert_eq!(ratio("1.0"), Some(Ratio::new(10, 10)));
        assert_eq!(ratio("5%"), Some(Ratio::new(5, 100)));
        assert_eq!(ratio("0.1%"), Some(Ratio::new(1, 1000)));
        for text in ["%", "101%", "-1%", "x%", "2 in 1", "1 in 0", "1.5", "often", "-0.1"] {
            assert_eq!(ratio(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn printed_durations_read_back(ns: u64) {
            proptest::prop_assert_eq!(duration(&print_duration(Duration(ns))), Ok(Duration(ns)));
        }

        #[test]
        fn printed_signed_durations_read_back(ns in -i64::MAX..i64::MAX) {
            proptest::prop_assert_eq!(signed_duration(&print_signed(ns)), Ok(ns));
        }
    }
}
