//! What takes too long: transactions, ids that nobody uses, writes.
//!
//! Mirrors `TransactionCoordinator.abortTimedOutTransactions`,
//! `TransactionStateManager.removeExpiredTransactionalIds`.
//!
//! Kafka scans periodically. Here a scan is a timer that is armed only while there is something that
//! it may find, and it goes off when Kafka's would.

use oncesim_types::{Duration, Instant, TransactionState, TransactionalId};

use crate::note::Note;
use crate::transaction::shard::{Shard, Turn};
use crate::transaction::state::TransactionMetadata;
use crate::transaction::writes::{After, TimerKind};

/// How long from `now` until the first scan at `due` or later, when scans are every `interval` from
/// `phase` on.
fn until_scan(now: Instant, phase: Instant, due: Instant, interval: Duration) -> Duration {
    let elapsed = due.max(now).since(phase).as_nanos();
    let interval = interval.as_nanos().max(1);
    // Right now is too late: the scan of this moment has been.
    let scans = elapsed.div_ceil(interval).max(now.since(phase).as_nanos() / interval + 1);
    (phase + Duration(interval) * scans).since(now)
}

impl Turn<'_> {
    /// Arms the scan that may have to do with an id, unless it is armed.
    pub(super) fn watch(&mut self, metadata: &TransactionMetadata) {
        let (now, phase) = (self.now, self.armed.phase);
        match metadata.state {
            TransactionState::Ongoing if !self.armed.abort => {
                self.armed.abort = true;
                let interval = self.config.transaction_abort_interval;
                self.set_timer(TimerKind::Abort, until_scan(now, phase, now, interval));
            }
            TransactionState::Empty
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort
                if !self.armed.expire =>
            {
                self.armed.expire = true;
                let interval = self.config.transaction_remove_expired_interval;
                let due = metadata.updated + self.config.transactional_id_expiration;
                self.set_timer(TimerKind::Expire, until_scan(now, phase, due, interval));
            }
            _ => {}
        }
    }

    /// Arms the timer of the writes, unless it is armed.
    pub(super) fn arm_write(&mut self, deadline: Instant) {
        if !self.armed.write {
            self.armed.write = true;
            self.set_timer(TimerKind::Write, deadline.since(self.now));
        }
    }
}

impl Shard {
    fn matching(&self, is: impl Fn(&TransactionMetadata) -> bool) -> Vec<TransactionalId> {
        self.ids.iter().filter(|(_, metadata)| is(metadata)).map(|(id, _)| *id).collect()
    }

    /// Aborts what has been open for longer than its timeout.
    pub(super) fn abort_timed_out(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let timed_out = self.matching(|metadata| {
            metadata.state == TransactionState::Ongoing
                && metadata.pending.is_none()
                && metadata.started + metadata.timeout < now
        });
        for id in timed_out {
            let number = self.ids[&id].number;
            turn.note(Note::TransactionTimedOut { transactional_id: id, number });
            self.fence_and_abort(id, None, turn);
        }
        self.watch_all(turn);
    }

    /// Forgets ids that nobody has used for long.
    pub(super) fn remove_expired(&mut self, turn: &mut Turn<'_>) {
        let (now, expiration) = (turn.now, turn.config.transactional_id_expiration);
        let expired = self.matching(|metadata| {
            matches!(
                metadata.state,
                TransactionState::Empty
                    | TransactionState::CompleteCommit
                    | TransactionState::CompleteAbort
            ) && metadata.pending.is_none()
                && metadata.updated + expiration <= now
        });
        for id in expired {
            self.ids.get_mut(&id).expect("found above").prepare_dead();
            self.append(id, None, After::Expire, turn);
        }
        self.watch_all(turn);
    }

    /// Arms what the ids need, after a timer went off.
    fn watch_all(&self, turn: &mut Turn<'_>) {
        for metadata in self.ids.values() {
            if metadata.pending != Some(TransactionState::Dead) {
                turn.watch(metadata);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_when_kafkas_would_be() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let until = |now, phase, due| {
            until_scan(at(now), at(phase), at(due), Duration::from_millis(10)).as_millis()
        };
        assert_eq!(until(0, 0, 0), 10);
        assert_eq!(until(10, 0, 10), 10, "the scan of this moment has been");
        assert_eq!(until(13, 3, 14), 10);
        assert_eq!(until(14, 3, 14), 9);
        assert_eq!(until(14, 3, 40), 29);
        assert_eq!(until(14, 3, 43), 29);
        assert_eq!(until(14, 3, 44), 39);
    }
}
