//! A producer application: sends its records one after the other and remembers how far it is.
//!
//! What it remembers across a crash is its restart strategy. It may go on with the next record that
//! it has never given to `send()`, as a sensor does. Or it keeps a checkpoint of the acknowledged
//! prefix, as an application does that reads a file or a queue, and goes on from there: what was
//! sent and not acknowledged is sent again, as a new `send()` of the same record.

use oncesim_kafka::log::batch::Record;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::{ProducerCall, ProducerCompletion};
use oncesim_spec::{ProducerSpec, RestartStrategy};
use oncesim_types::{ActorId, CallId, Duration, Instant, RecordId};

use super::AppEffect;
use crate::draw::{Draws, Purpose};

/// `send()` calls that may wait at the same time, so that a producer without an interval does not
/// put its whole workload into memory at once.
const OUTSTANDING_MAX: u64 = 2_000;

/// How long the application waits before it repeats a failed `send()`.
const RESEND_AFTER: Duration = Duration::from_millis(100);

/// The application of one producer instance. Survives crashes: its checkpoint is durable.
#[derive(Debug)]
pub(crate) struct ProducerApp {
    actor: ActorId,
    spec: ProducerSpec,
    draws: Draws,
    keys: Vec<u32>,
    /// Which records have no value; as a stream of its own it changes no key.
    deletions: Draws,
    deletes: Vec<bool>,
    /// `send()` calls made so far, per record.
    attempts: Vec<u16>,
    /// Whether a record is acknowledged, or given up.
    complete: Vec<bool>,
    /// Everything before is complete.
    checkpoint: u64,
    /// The next record to send.
    next: u64,
    outstanding: u64,
    /// Records whose `send()` failed and will be repeated.
    resend: Vec<u64>,
    closing: bool,
    finished: bool,
}

impl ProducerApp {
    pub(crate) fn new(actor: ActorId, spec: ProducerSpec, seed: u64) -> Self {
        let records = usize::try_from(spec.records).expect("a workload fits in memory");
        ProducerApp {
            actor,
            draws: Draws::new(seed, Purpose::Workload, actor.0, 0),
            keys: Vec::new(),
            deletions: Draws::new(seed, Purpose::Workload, actor.0, 2),
            deletes: Vec::new(),
            attempts: vec![0; records],
            complete: vec![false; records],
            checkpoint: 0,
            next: 0,
            outstanding: 0,
            resend: Vec::new(),
            closing: false,
            finished: false,
            spec,
        }
    }

    pub(crate) fn spec(&self) -> &ProducerSpec {
        &self.spec
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Records that are neither acknowledged nor given up.
    pub(crate) fn pending(&self) -> u64 {
        self.spec.records - self.checkpoint
    }

    /// The process starts (again).
    pub(crate) fn start(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.spec.restart {
            RestartStrategy::ResendUnacknowledged => self.next = self.checkpoint,
            RestartStrategy::Continue => {
                // Nobody will ever know what became of what was in the buffer.
                let given = usize::try_from(self.next).expect("a workload fits in memory");
                self.complete[..given].fill(true);
                self.checkpoint = self.next;
            }
        }
        self.outstanding = 0;
        self.resend.clear();
        self.closing = false;
        self.wake(now, out);
    }

    /// Time to send.
    pub(crate) fn wake(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        for ordinal in std::mem::take(&mut self.resend) {
            self.send(now, ordinal, out);
        }
        let burst = if self.spec.interval == Duration::ZERO { OUTSTANDING_MAX } else { 1 };
        for _ in 0..burst {
            if !self.may_send() {
                break;
            }
            let ordinal = self.next;
            self.next += 1;
            self.send(now, ordinal, out);
        }
        if self.next < self.spec.records && self.spec.interval > Duration::ZERO {
            out.push(AppEffect::Wake(self.spec.interval));
        }
        self.close_when_complete(out);
    }

    fn may_send(&self) -> bool {
        let window = if self.spec.synchronous { 1 } else { OUTSTANDING_MAX };
        self.next < self.spec.records && self.outstanding < window
    }

    fn send(&mut self, now: Instant, ordinal: u64, out: &mut Vec<AppEffect>) {
        let index = usize::try_from(ordinal).expect("a workload fits in memory");
        self.attempts[index] = self.attempts[index].saturating_add(1);
        let attempt = self.attempts[index];
        self.outstanding += 1;
        let record = Record {
            id: RecordId::new(self.actor, ordinal),
            key: self.key(index),
            value: (!self.deletes(index)).then_some(ordinal.cast_signed()),
            size: self.spec.record_size,
            timestamp: now,
        };
        let call = CallId(ordinal << 16 | u64::from(attempt));
        let body =
            Call::Producer(ProducerCall::Send { topic: self.spec.to, partition: None, record });
        out.push(AppEffect::Call { call, attempt: u32::from(attempt), body });
    }

    fn key(&mut self, index: usize) -> Option<u32> {
        if self.spec.keys == 0 {
            return None;
        }
        while self.keys.len() <= index {
            let key = self.draws.below_inclusive(u64::from(self.spec.keys) - 1);
            self.keys.push(u32::try_from(key).expect("keys are numbered in 32 bits"));
        }
        Some(self.keys[index])
    }

    /// Whether a record is a tombstone, the same in every `send()`.
    fn deletes(&mut self, index: usize) -> bool {
        if self.spec.tombstones.is_zero() {
            return false;
        }
        while self.deletes.len() <= index {
            self.deletes.push(self.deletions.chance(self.spec.tombstones));
        }
        self.deletes[index]
    }

    /// A call ended. Returns the record that it was for.
    pub(crate) fn completed(
        &mut self,
        now: Instant,
        call: CallId,
        end: &ProducerCompletion,
        out: &mut Vec<AppEffect>,
    ) -> Option<RecordId> {
        let sent = match end {
            ProducerCompletion::Sent(sent) => sent,
            ProducerCompletion::Closed => {
                self.finished = true;
                out.push(AppEffect::Finished);
                return None;
            }
            ProducerCompletion::Flushed | ProducerCompletion::Transaction(_) => return None,
        };
        let ordinal = call.0 >> 16;
        let index = usize::try_from(ordinal).expect("a workload fits in memory");
        self.outstanding = self.outstanding.saturating_sub(1);
        if !sent.error.is_ok() && self.spec.resend_on_error {
            self.resend.push(ordinal);
            out.push(AppEffect::Wake(RESEND_AFTER));
        } else {
            self.complete[index] = true;
            self.advance_checkpoint();
            if self.spec.synchronous || self.spec.interval == Duration::ZERO {
                self.refill(now, out);
            }
        }
        self.close_when_complete(out);
        Some(RecordId::new(self.actor, ordinal))
    }

    /// With an interval the timer sends; without one, or when the window was full, the completion.
    fn refill(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        if self.spec.interval == Duration::ZERO && self.may_send() {
            self.wake(now, out);
        }
    }

    fn advance_checkpoint(&mut self) {
        let done = |at: u64| {
            let index = usize::try_from(at).expect("a workload fits in memory");
            self.complete.get(index).copied().unwrap_or(false)
        };
        let mut at = self.checkpoint;
        while done(at) {
            at += 1;
        }
        self.checkpoint = at;
    }

    fn close_when_complete(&mut self, out: &mut Vec<AppEffect>) {
        let all_sent = self.next == self.spec.records && self.outstanding == 0;
        if all_sent && self.resend.is_empty() && !self.closing {
            self.closing = true;
            let body = Call::Producer(ProducerCall::Close);
            out.push(AppEffect::Call { call: CallId(u64::MAX), attempt: 0, body });
        }
    }
}

#[cfg(test)]
mod tests {
    use oncesim_kafka::config::ProducerConfig;
    use oncesim_types::{Ratio, TopicId};

    use super::*;

    /// Key and value of every record that it sends.
    fn workload(tombstones: Ratio) -> Vec<(Option<u32>, Option<i64>)> {
        let spec = ProducerSpec {
            name: "shop".to_owned(),
            instances: 1,
            to: TopicId(0),
            records: 40,
            keys: 5,
            interval: Duration::ZERO,
            record_size: 10,
            resend_on_error: false,
            synchronous: false,
            restart: RestartStrategy::ResendUnacknowledged,
            tombstones,
            transactions: None,
            config: ProducerConfig::default(),
        };
        let mut app = ProducerApp::new(ActorId(4), spec, 1);
        let mut out = Vec::new();
        app.start(Instant::ZERO, &mut out);
        // After a restart the same records come again.
        app.start(Instant::ZERO, &mut out);
        let sent = out.into_iter().filter_map(|effect| match effect {
            AppEffect::Call { body: Call::Producer(ProducerCall::Send { record, .. }), .. } => {
                Some((record.key, record.value))
            }
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn tombstones_are_the_same_in_every_send_and_change_nothing_else() {
        let (none, some) = (workload(Ratio::ZERO), workload(Ratio::new(1, 2)));
        assert_eq!(some[..40], some[40..]);
        let deleted = some.iter().filter(|(_, value)| value.is_none()).count();
        assert!((20..=60).contains(&deleted), "{deleted} of 80");
        for (without, with) in none.iter().zip(&some) {
            assert_eq!(without.0, with.0, "keys are drawn from a stream of their own");
            assert!(with.1.is_none() || with.1 == without.1);
        }
    }
}
