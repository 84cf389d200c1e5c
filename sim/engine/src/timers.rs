//! The timers of one actor, re-armed lazily.
//!
//! Moving a timer to a later moment, or cancelling it, touches no heap: the queued entry finds out
//! when it is due. A client that moves its request timeout with every response therefore costs one
//! queue entry per timeout, not one per request.

use oncesim_kafka::machine::TimerKey;
use oncesim_types::Instant;

/// One timer.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: TimerKey,
    /// When it is due; `None` when it is not set.
    deadline: Option<Instant>,
    /// When its valid queue entry comes up.
    queued: Option<Instant>,
    /// Which queue entry is the valid one.
    generation: u32,
}

/// A queue entry that the caller has to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) at: Instant,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What a due queue entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The timer goes off.
    Fires(TimerKey),
    /// It was moved: queue it again.
    Later(Arm),
    /// It was cancelled, or the entry is old.
    Nothing,
}

/// The timers of one process.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    slots: Vec<Slot>,
}

impl Timers {
    /// Sets `key` to `deadline`; the queue entry to make, if one is needed.
    pub(crate) fn set(&mut self, key: TimerKey, deadline: Instant) -> Option<Arm> {
        let index = self.slots.iter().position(|slot| slot.key == key).unwrap_or_else(|| {
            // A slot without a valid queue entry can serve another key.
            let unused = |slot: &Slot| slot.deadline.is_none() && slot.queued.is_none();
            if let Some(index) = self.slots.iter().position(unused) {
                self.slots[index].key = key;
                return index;
            }
            self.slots.push(Slot { key, deadline: None, queued: None, generation: 0 });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.deadline = Some(deadline);
        if slot.queued.is_some_and(|queued| queued <= deadline) {
            return None;
        }
        slot.queued = Some(deadline);
        slot.generation += 1;
        let slot_index = u32::try_from(index).expect("an actor has few timers");
        Some(Arm { at: deadline, slot: slot_index, generation: slot.generation })
    }

    /// Cancels `key`.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.key == key) {
            slot.deadline = None;
        }
    }

    /// A queue entry came up.
    pub(crate) fn due(&mut self, now: Instant, index: u32, generation: u32) -> Due {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Due::Nothing };
        if slot.generation != generation {
            return Due::Nothing;
        }
        slot.queued = None;
        match slot.deadline {
            None => Due::Nothing,
            Some(deadline) if deadline > now => {
                slot.queued = Some(deadline);
                slot.generation += 1;
                Due::Later(Arm { at: deadline, slot: index, generation: slot.generation })
            }
            Some(_) => {
                slot.deadline = None;
                Due::Fires(slot.key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TimerKey = TimerKey(7);

    #[test]
    fn a_timer_that_moves_later_makes_no_new_entry() {
        let mut timers = Timers::default();
        let arm = timers.set(KEY, Instant(10)).unwrap();
        assert_eq!(timers.set(KEY, Instant(30)), None);
        let Due::Later(again) = timers.due(Instant(10), arm.slot, arm.generation) else {
            panic!("it was moved");
        };
        assert_eq!(again.at, Instant(30));
        assert_eq!(timers.due(Instant(30), again.slot, again.generation), Due::Fires(KEY));
    }

    #[test]
    fn a_timer_that_moves_earlier_goes_off_once() {
        let mut timers = Timers::default();
        let late = timers.set(KEY, Instant(30)).unwrap();
        let early = timers.set(KEY, Instant(10)).unwrap();
        assert_eq!(timers.due(Instant(10), early.slot, early.generation), Due::Fires(KEY));
        assert_eq!(timers.due(Instant(30), late.slot, late.generation), Due::Nothing);
    }

    #[test]
    fn a_cancelled_timer_is_silent() {
        let mut timers = Timers::default();
        let arm = timers.set(KEY, Instant(10)).unwrap();
        timers.cancel(KEY);
        assert_eq!(timers.due(Instant(10), arm.slot, arm.generation), Due::Nothing);
    }
}
