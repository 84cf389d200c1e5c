//! Numbers of faults: when, for how long, which message. Shorter, then rounder.

use std::sync::Arc;

use oncesim_spec::{
    Coordinated, FaultAction, MessagePattern, PlannedFault, Scenario, SystemTrouble, Trigger,
};

use super::Shrinker;

/// A number of a fault.
enum Number<'a> {
    /// Nanoseconds.
    Time(&'a mut u64),
    /// Nanoseconds or millionths, of either sign.
    Signed(&'a mut i64),
    /// The n-th message.
    Count(&'a mut u32),
}

impl Number<'_> {
    fn magnitude(&self) -> u64 {
        match self {
            Number::Time(ns) => **ns,
            Number::Signed(n) => n.unsigned_abs(),
            Number::Count(n) => u64::from(**n),
        }
    }

    fn smaller(&self) -> Vec<u64> {
        match self {
            Number::Time(_) | Number::Signed(_) => smaller_times(self.magnitude()),
            Number::Count(_) => smaller_counts(self.magnitude()),
        }
    }

    /// Sets a magnitude that is smaller than the present one.
    fn set(self, magnitude: u64) {
        match self {
            Number::Time(ns) => *ns = magnitude,
            Number::Signed(n) => {
                let smaller = i64::try_from(magnitude).expect("smaller than one that fits");
                *n = if *n < 0 { -smaller } else { smaller };
            }
            Number::Count(n) => *n = u32::try_from(magnitude).expect("smaller than one that fits"),
        }
    }
}

impl Shrinker<'_> {
    /// Makes the numbers of faults smaller and rounder. Whether any changed.
    pub(super) fn shrink_numbers(&mut self) -> bool {
        let mut smaller = false;
        for fault in 0..self.current.0.scripted.len() {
            let count = numbers(&mut self.current.0.scripted[fault].clone()).len();
            for number in 0..count {
                while self.shrink_number(fault, number) {
                    smaller = true;
                }
            }
        }
        smaller
    }

    fn shrink_number(&mut self, fault: usize, number: usize) -> bool {
        let scenario = Arc::clone(&self.current.0);
        let values = numbers(&mut scenario.scripted[fault].clone())[number].smaller();
        let candidates: Vec<_> = values
            .into_iter()
            .map(|value| {
                let mut smaller = Scenario::clone(&scenario);
                numbers(&mut smaller.scripted[fault]).swap_remove(number).set(value);
                Arc::new(smaller)
            })
            .collect();
        self.take_first(&candidates).is_some()
    }
}

/// Counts below `n`, ascending, 1 the first; fewer than ten.
pub(super) fn smaller_counts(n: u64) -> Vec<u64> {
    let mut smaller = vec![1, n / 32, n / 16, n / 8, n / 4, n / 2, n - n / 4];
    smaller.push(n.saturating_sub((n / 16).max(1)));
    smaller.retain(|value| (1..n).contains(value));
    smaller.sort_unstable();
    smaller.dedup();
    smaller
}

/// Shorter than this is no simpler for a reader.
const SHORT: u64 = 1_000_000;

/// Spans below `n` with few digits, ascending.
fn smaller_times(n: u64) -> Vec<u64> {
    let mut smaller: Vec<u64> = [n / 16, n / 4, n / 2].map(|n| rounded_down(n, 1)).to_vec();
    smaller.extend([1, 2, 3].map(|digits| rounded_down(n, digits)));
    smaller.retain(|value| (SHORT..n).contains(value));
    smaller.sort_unstable();
    smaller.dedup();
    smaller
}

/// `n` with so many digits that are not 0.
fn rounded_down(n: u64, digits: u32) -> u64 {
    let scale = n.checked_ilog10().map_or(1, |log| 10u64.pow((log + 1).saturating_sub(digits)));
    n / scale * scale
}

/// The numbers of a fault, in the order in which they are made smaller.
fn numbers(fault: &mut PlannedFault) -> Vec<Number<'_>> {
    let mut numbers = Vec::new();
    match &mut fault.trigger {
        Trigger::At(at) => numbers.push(Number::Time(&mut at.0)),
        Trigger::Sent { nth, delay, .. } | Trigger::Delivered { nth, delay, .. } => {
            numbers.push(Number::Count(nth));
            numbers.push(Number::Time(&mut delay.0));
        }
        Trigger::OnMessage { nth, .. } => numbers.push(Number::Count(nth)),
    }
    match &mut fault.action {
        FaultAction::Delay(span)
        | FaultAction::Duplicate(span)
        | FaultAction::Crash { down: Some(span), .. }
        | FaultAction::Pause { duration: span, .. }
        | FaultAction::Partition { duration: span, .. }
        | FaultAction::ControllerFailover { duration: span }
        | FaultAction::Disk { duration: span, .. } => numbers.push(Number::Time(&mut span.0)),
        FaultAction::System { trouble, duration, .. } => {
            if let SystemTrouble::Slow(extra) = trouble {
                numbers.push(Number::Time(&mut extra.0));
            }
            numbers.push(Number::Time(&mut duration.0));
        }
        FaultAction::Clog { extra, duration, .. } => {
            numbers.push(Number::Time(&mut extra.0));
            numbers.push(Number::Time(&mut duration.0));
        }
        FaultAction::ClockJump { by_ns, .. } => numbers.push(Number::Signed(by_ns)),
        FaultAction::ClockSkew { ppm, duration, .. } => {
            numbers.push(Number::Signed(ppm));
            numbers.push(Number::Time(&mut duration.0));
        }
        FaultAction::Drop
        | FaultAction::Crash { down: None, .. }
        | FaultAction::LeaderChange { .. }
        | FaultAction::UncleanElection { .. }
        | FaultAction::CoordinatorMove { .. }
        | FaultAction::Rebalance { .. } => {}
    }
    numbers
}

/// Whatever a fault names: actors, roles, partitions, groups.
pub(super) fn names(fault: &mut PlannedFault) -> Vec<&mut String> {
    let mut names: Vec<&mut String> = Vec::new();
    match &mut fault.trigger {
        Trigger::At(_) => {}
        Trigger::Sent { pattern, .. }
        | Trigger::Delivered { pattern, .. }
        | Trigger::OnMessage { pattern, .. } => {
            let MessagePattern { from, to, .. } = pattern;
            names.extend(from);
            names.extend(to);
        }
    }
    match &mut fault.action {
        FaultAction::Crash { actor, .. }
        | FaultAction::Pause { actor, .. }
        | FaultAction::Rebalance { actor }
        | FaultAction::ClockJump { actor, .. }
        | FaultAction::ClockSkew { actor, .. }
        | FaultAction::System { actor, .. }
        | FaultAction::Disk { actor, .. } => names.push(actor),
        FaultAction::Partition { from, to, .. } => {
            names.extend(from);
            names.extend(to);
        }
        FaultAction::Clog { from, to, .. } => names.extend([from, to]),
        FaultAction::LeaderChange { partition, to } => {
            names.push(partition);
            names.extend(to);
        }
        FaultAction::UncleanElection { partition } => names.push(partition),
        FaultAction::CoordinatorMove {
            of: Coordinated::Group(name) | Coordinated::Transaction(name),
        } => names.push(name),
        FaultAction::Drop
        | FaultAction::Delay(_)
        | FaultAction::Duplicate(_)
        | FaultAction::ControllerFailover { .. } => {}
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_shorter_then_rounder() {
        assert_eq!(
            smaller_times(5_123_456_000),
            [
                300_000_000,
                1_000_000_000,
                2_000_000_000,
                5_000_000_000,
                5_100_000_000,
                5_120_000_000
            ]
        );
        assert_eq!(smaller_times(2_000_000), [1_000_000]);
        assert_eq!(smaller_times(700), Vec::<u64>::new());
        assert_eq!(smaller_times(u64::MAX).last(), Some(&18_400_000_000_000_000_000));
    }

    #[test]
    fn counts_end_at_one() {
        assert_eq!(smaller_counts(1), Vec::<u64>::new());
        assert_eq!(smaller_counts(2), [1]);
        assert_eq!(smaller_counts(500), [1, 15, 31, 62, 125, 250, 375, 469]);
        assert!(smaller_counts(0).is_empty());
    }
}
