//! A timer for the earliest of many deadlines.
//!
//! Mirrors the `timeout` of `NetworkClient.poll`: a client sleeps until the first thing that may be
//! due, and looks then at what really is.

use oncesim_types::Instant;

use crate::machine::{Effects, TimerKey};

/// One timer that is set only when something comes up earlier than it is set for. When it fires,
/// the client handles what is due and asks for the next deadline again.
#[derive(Debug)]
pub struct Alarm {
    key: TimerKey,
    at: Instant,
}

impl Alarm {
    /// Not set.
    #[must_use]
    pub fn new(key: TimerKey) -> Self {
        Alarm { key, at: Instant::NEVER }
    }

    /// Makes sure that the timer fires at `at`, or earlier.
    pub fn ensure(&mut self, now: Instant, at: Instant, effects: &mut Effects) {
        if at < self.at {
            self.at = at;
            effects.set_timer(self.key, at.since(now));
        }
    }

    /// The timer fired: it is not set any more.
    pub fn fired(&mut self) {
        self.at = Instant::NEVER;
    }
}

#[cfg(test)]
mod tests {
    use oncesim_types::Duration;

    use super::*;
    use crate::machine::Effect;

    #[test]
    fn only_something_earlier_sets_it_again() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let (mut alarm, mut effects) = (Alarm::new(TimerKey(7)), Effects::default());
        for wish in [50, 80, 20, 30] {
            alarm.ensure(at(10), at(wish), &mut effects);
        }
        alarm.fired();
        alarm.ensure(at(20), at(30), &mut effects);
        alarm.ensure(at(20), Instant::NEVER, &mut effects);
        let set = |effect: &Effect| match effect {
            Effect::SetTimer { key: TimerKey(7), after } => after.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(effects.0.iter().map(set).collect::<Vec<_>>(), [40, 10, 10]);
    }
}
