//! Hashes that stand for rows and their contents in a system's log.

use oncesim_types::lineage;

/// A hash of the parts; never 0, which says "no row".
pub(crate) fn image(parts: &[u64]) -> u64 {
    let hash = parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| mix(hash ^ part));
    hash.max(1)
}

/// SplitMix64's step: every bit of the input reaches every bit of the result, also of 0.
pub(crate) const fn mix(x: u64) -> u64 {
    lineage::mix(x.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_tell_parts_and_their_order_apart() {
        let images = [image(&[]), image(&[0]), image(&[1]), image(&[0, 1]), image(&[1, 0])];
        for (n, one) in images.iter().enumerate() {
            assert!(images[..n].iter().all(|other| other != one), "image {n}");
        }
    }
}
