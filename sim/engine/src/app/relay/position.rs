//! Where a relay keeps its position.
//!
//! In a topic it does what Kafka Connect does with source offsets: a record per source, whose key
//! names it, is written every `offset.flush.interval.ms` (`SourceTaskOffsetCommitter`), covers only
//! what is acknowledged (KAFKA-13469 tells what happens otherwise), and is read at a start, up to the
//! topic's end (`KafkaBasedLog.readToLogEnd`). With a transactional producer the record is in the
//! transaction of the events, and is read with `read_committed` after `initTransactions()` has ended
//! what was open (KIP-618).
//!
//! Simplifications:
//! - The key is a hash of the relay's name: the position belongs to the source, whichever instance
//!   writes it, as a source partition's offset does.
//! - The record goes to partition 0: one key needs no more.
//! - Where the topic ends is told at once and without a message, as to a stateful processor.

use oncesim_external::Rows;
use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion};
use oncesim_kafka::log::batch::Record;
use oncesim_spec::{PositionStore, RelayKind};
use oncesim_types::{
    CallId, Duration, Instant, Offset, StatementId, StatementRole, TopicId, TopicPartition,
};

use super::super::AppEffect;
use super::capture::unpack;
use super::event::short;
use super::{Doing, RECORD_SIZE, RelayApp};
use crate::app::deadline::Deadline;

/// The timeout of `poll()`.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A position on its way back from a topic.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// The topic's end, once it is known.
    end: Option<Offset>,
    found: Option<i64>,
}

impl RelayApp {
    /// A position as events have it: of capture, its commit.
    pub(super) fn reported(&self, position: i64) -> i64 {
        match self.spec.kind {
            RelayKind::Poll { .. } => position,
            RelayKind::Capture { .. } => unpack(position).commit.cast_signed(),
        }
    }

    /// Whether the position is written in the transaction of the events.
    pub(super) fn position_is_stored_with_events(&self) -> bool {
        self.is_transactional() && self.position_topic().is_some()
    }

    pub(super) fn is_unstored(&self) -> bool {
        match self.spec.position {
            PositionStore::None | PositionStore::Memory => false,
            PositionStore::Database { .. } => self.position != self.stored,
            PositionStore::Topic { .. } => {
                !self.position_is_stored_with_events() && self.position != self.stored
            }
        }
    }

    fn position_topic(&self) -> Option<TopicId> {
        match self.spec.position {
            PositionStore::Topic { topic, .. } => Some(topic),
            _ => None,
        }
    }

    fn position_partition(&self) -> Option<TopicPartition> {
        self.position_topic().map(|topic| TopicPartition::new(topic, 0))
    }

    fn key(&self) -> u32 {
        short(self.spec.name.as_bytes())
    }

    // ---- at the start ----

    pub(super) fn load(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.spec.position {
            PositionStore::None | PositionStore::Memory => self.loaded(now, None, out),
            PositionStore::Database { read, .. } => {
                let role = StatementRole::CursorRead;
                self.execute(Doing::ReadingCursor, (read, role), None, self.parameters(), out);
            }
            PositionStore::Topic { .. } => {
                self.doing = Doing::Restoring;
                self.restoring = Restoring::default();
                self.ask_for_end(out);
            }
        }
    }

    pub(super) fn cursor_read(&mut self, now: Instant, rows: &Rows, out: &mut Vec<AppEffect>) {
        let first = rows.rows.first().and_then(|row| row.first());
        self.loaded(now, first.and_then(oncesim_external::Datum::integer), out);
    }

    fn loaded(&mut self, now: Instant, position: Option<i64>, out: &mut Vec<AppEffect>) {
        self.position = position;
        self.stored = position;
        match self.spec.kind {
            RelayKind::Capture { .. } => self.read_table(out),
            RelayKind::Poll { .. } => {
                let position = position.unwrap_or(-1);
                out.push(AppEffect::RelayStarted { position, snapshot: false });
                self.begin_round(now, out);
            }
        }
    }

    // ---- from a topic ----

    fn ask_for_end(&mut self, out: &mut Vec<AppEffect>) {
        out.push(AppEffect::LogEnds(self.position_partition().into_iter().collect()));
    }

    /// Where the topic ends, as far as its leader can tell.
    pub(crate) fn log_ends(
        &mut self,
        now: Instant,
        ends: &[(TopicPartition, Option<Offset>)],
        out: &mut Vec<AppEffect>,
    ) {
        if self.doing != Doing::Restoring {
            return;
        }
        match ends.first() {
            Some((_, Some(Offset::ZERO))) => self.loaded(now, None, out),
            Some((partition, Some(end))) => {
                self.restoring.end = Some(*end);
                self.restore_call(ConsumerCall::Assign(vec![*partition]), out);
                self.restore_call(ConsumerCall::SeekToBeginning, out);
                self.restore_poll(out);
            }
            _ => out.push(AppEffect::Wake(POLL_TIMEOUT)),
        }
    }

    fn restore_poll(&mut self, out: &mut Vec<AppEffect>) {
        out.push(AppEffect::Wake(POLL_TIMEOUT));
        self.restore_call(ConsumerCall::Poll, out);
    }

    fn restore_call(&mut self, body: ConsumerCall, out: &mut Vec<AppEffect>) {
        let call = self.next_call();
        out.push(AppEffect::Restore { call, body });
    }

    pub(super) fn restore_poll_timeout(&mut self, out: &mut Vec<AppEffect>) {
        if self.restoring.end.is_none() {
            return self.ask_for_end(out);
        }
        out.push(AppEffect::Wake(POLL_TIMEOUT));
        self.restore_call(ConsumerCall::PollTimeout, out);
    }

    /// A call of the restore consumer ended; `position` is its `position()`.
    pub(crate) fn restore_completed(
        &mut self,
        now: Instant,
        end: &ConsumerCompletion,
        position: impl Fn(TopicPartition) -> Option<Offset>,
        out: &mut Vec<AppEffect>,
    ) {
        let (Doing::Restoring, ConsumerCompletion::Polled(records)) = (self.doing, end) else {
            return;
        };
        let own = Some(self.key());
        for polled in records.iter().filter(|polled| polled.record.key == own) {
            self.restoring.found = polled.record.value;
        }
        let reached = self.position_partition().and_then(position);
        if reached.is_some() && reached >= self.restoring.end {
            self.loaded(now, self.restoring.found, out);
        } else {
            self.restore_poll(out);
        }
    }

    // ---- afterwards ----

    /// Stores the position, if it is time; then the round is over.
    pub(super) fn store(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.spec.position {
            PositionStore::Database { write, .. } if self.is_unstored() => {
                self.write_cursor(Doing::Storing, write, out);
            }
            _ => {
                self.flush(now, out);
                self.end_round(now, out);
            }
        }
    }

    /// The mistake: stores the position, and waits for the acknowledgements then.
    pub(super) fn store_first(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        match self.spec.position {
            PositionStore::Database { write, .. } if self.is_unstored() => {
                self.write_cursor(Doing::StoringFirst, write, out);
            }
            _ => {
                self.flush(now, out);
                self.await_acks(now, out);
            }
        }
    }

    fn write_cursor(&mut self, doing: Doing, write: StatementId, out: &mut Vec<AppEffect>) {
        let role = StatementRole::CursorWrite;
        self.execute(doing, (write, role), None, self.parameters(), out);
    }

    /// If it failed, or nobody knows, the end of the next round tries again.
    pub(super) fn cursor_written(&mut self, written: bool) {
        if written {
            self.stored = self.position;
        }
    }

    /// Writes the position to its topic, if it has moved and it is time.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let PositionStore::Topic { flush_interval, .. } = self.spec.position else { return };
        if self.storing.is_some() || !self.is_unstored() {
            return;
        }
        let Some(position) = self.position else { return };
        if !self.next_flush.is_due(now) {
            out.push(AppEffect::Wake(self.next_flush.left(now)));
            return;
        }
        self.next_flush = Deadline::after(now, flush_interval);
        let call = self.send_position(now, position, out);
        self.storing = Some((call, position));
    }

    pub(super) fn send_position(
        &mut self,
        now: Instant,
        position: i64,
        out: &mut Vec<AppEffect>,
    ) -> CallId {
        let topic = self.position_topic().expect("it is kept in a topic");
        let id = self.next_record();
        let (key, value) = (Some(self.key()), Some(position));
        let record = Record { id, key, value, size: RECORD_SIZE, timestamp: now };
        self.send(topic, Some(0), record, out)
    }
}
