//! Durations, summed up: counts, percentiles to three digits, the exact ends.

use hdrhistogram::Histogram;
use oncesim_types::Duration;

/// How durations are distributed. Percentiles are exact to three significant digits and never
/// beyond the longest duration; all are zero when there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// The shortest.
    pub min: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// 999 of 1,000.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
    /// All of them together.
    pub total: Duration,
}

impl Percentiles {
    pub(super) fn of(durations: &[Duration]) -> Percentiles {
        let (Some(&min), Some(&max)) = (durations.iter().min(), durations.iter().max()) else {
            return Percentiles::default();
        };
        let mut histogram = Histogram::<u64>::new(3).expect("three digits are allowed");
        for duration in durations {
            histogram.record(duration.0).expect("it grows as it has to");
        }
        let at = |quantile| Duration(histogram.value_at_quantile(quantile).clamp(min.0, max.0));
        Percentiles {
            count: durations.len() as u64,
            min,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max,
            total: durations.iter().fold(Duration::ZERO, |sum, duration| sum + *duration),
        }
    }
}
