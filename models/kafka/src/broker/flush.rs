//! Flushing: what an append waits for, what happens by time, and what a lying disk makes of it.
//!
//! Mirrors `UnifiedLog.append` (`flush.messages`, `log.flush.interval.messages`),
//! `LogManager.flushDirtyLogs` (`log.flush.interval.ms`).
//!
//! Simplifications:
//! - An append that causes a flush is in the log at once, but does not count for the high watermark
//!   and is not acknowledged until the flush is done (Kafka holds the log's lock meanwhile).
//! - The next flush that really happens also writes what a lost flush left behind.

use oncesim_types::{Instant, Offset};

use crate::broker::{Broker, TIMER_FLUSH};
use crate::machine::{Effect, Effects, TimerKey, WriteId};
use crate::note::Note;
use crate::replica::Held;

/// A flush under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    id: WriteId,
    index: u32,
    target: Offset,
    /// Whether an append waits for it.
    held: bool,
}

impl Broker {
    /// After an append at `before`: flushes if the topic wants it, and arms the flush by time.
    pub(super) fn flush_if_due(&mut self, index: u32, before: Offset, effects: &mut Effects) {
        let slot = &self.slots[index as usize];
        let topic = &self.topics[usize::from(slot.topic)];
        let every = topic.flush_messages.or(self.config.log_flush_interval_messages);
        if let Some(every) = every {
            let replica = slot.replica.as_deref().expect("just appended");
            let unflushed = u64::try_from(replica.log.records_after(replica.flushed)).unwrap_or(0);
            if replica.held.is_none() && unflushed >= every {
                self.hold(index, before, effects);
            }
        } else if self.config.log_flush_interval.is_some() {
            self.flush_later(index, effects);
        }
    }

    fn hold(&mut self, index: u32, visible_end: Offset, effects: &mut Effects) {
        let id = self.write_id();
        let replica = self.replica_mut(index).expect("just appended");
        let target = replica.log.log_end();
        replica.held = Some(Held { visible_end, target });
        self.writes.push(Write { id, index, target, held: true });
        effects.0.push(Effect::Persist(id));
    }

    fn flush_later(&mut self, index: u32, effects: &mut Effects) {
        let slot = self.slot_mut(index);
        if !slot.unflushed {
            slot.unflushed = true;
            self.unflushed.push(index);
        }
        if let Some(interval) = self.config.log_flush_interval
            && !self.timers.flush
        {
            self.timers.flush = true;
            effects.set_timer(TimerKey(TIMER_FLUSH), interval);
        }
    }

    pub(super) fn on_flush_timer(&mut self, effects: &mut Effects) {
        self.timers.flush = false;
        for index in std::mem::take(&mut self.unflushed) {
            let id = self.write_id();
            let slot = self.slot_mut(index);
            slot.unflushed = false;
            if let Some(replica) = &slot.replica {
                let target = replica.log.log_end();
                self.writes.push(Write { id, index, target, held: false });
                effects.0.push(Effect::Persist(id));
            }
        }
    }

    pub(super) fn on_durable(&mut self, now: Instant, id: WriteId, effects: &mut Effects) {
        let Some(at) = self.writes.iter().position(|write| write.id == id) else { return };
        let write = self.writes.swap_remove(at);
        let lost = self.lost_flush;
        let Some(replica) = self.replica_mut(write.index) else { return };
        let target = write.target.min(replica.log.log_end());
        replica.flushed = replica.flushed.max(target);
        if !lost {
            replica.log.flushed(target);
        }
        effects.note(Note::Flushed { partition: replica.partition, to: target });
        if write.held && replica.held.is_some_and(|held| held.target == write.target) {
            replica.held = None;
            let log_end = replica.log.log_end();
            if target < log_end {
                self.flush_if_due(write.index, target, effects);
            }
            self.advance_high_watermark(now, write.index, effects);
            self.answer_committed(write.index, effects);
            self.resume_following(write.index);
        }
    }
}
