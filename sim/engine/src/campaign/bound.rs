//! What a number of seeds is worth.

/// Upper 95 % bound (Clopper-Pearson, one-sided) on the share of seeds that fail, after `failures`
/// of `seeds`. It speaks of the distribution of seeds, not of all executions.
#[must_use]
pub fn bound_95(failures: u64, seeds: u64) -> f64 {
    if seeds == 0 || failures >= seeds {
        return 1.0;
    }
    if failures == 0 {
        return 1.0 - 0.05_f64.powf(1.0 / to_f64(seeds));
    }
    let (k, n) = (to_f64(failures), to_f64(seeds));
    statrs::distribution::Beta::new(k + 1.0, n - k)
        .map_or(1.0, |beta| statrs::distribution::ContinuousCDF::inverse_cdf(&beta, 0.95))
}

#[expect(clippy::cast_precision_loss, reason = "counts of seeds are far below 2^52")]
pub(super) fn to_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_rule_of_three_and_the_beta_quantile() {
        assert!((bound_95(0, 10_000) - 0.000_299_5).abs() < 1e-6);
        assert!((bound_95(3, 10_000) - 0.000_775).abs() < 1e-5);
        assert!((bound_95(0, 0) - 1.0).abs() < 1e-12);
    }
}
