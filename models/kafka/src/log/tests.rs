//! The log against a vector of records.

use std::rc::Rc;

use oncesim_types::{
    ActorId, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordId, Sequence,
};
use proptest::prelude::*;

use super::batch::{LogBatch, Record, RecordBatch, Records};
use super::{LeaderEpochCache, PartitionLog, ProducerStates};

#[derive(Debug, Clone)]
enum Step {
    Append { producer: i64, len: i32 },
    NewEpoch,
    Flush,
    Truncate(i64),
    PowerCut(i64),
    CleanRestart,
    ProcessCrash,
    Read { from: i64, bound: i64, max_bytes: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (-1..3_i64, 1..4_i32).prop_map(|(producer, len)| Step::Append { producer, len }),
        1 => Just(Step::NewEpoch),
        1 => Just(Step::Flush),
        1 => (0..60_i64).prop_map(Step::Truncate),
        1 => (0..60_i64).prop_map(Step::PowerCut),
        1 => Just(Step::CleanRestart),
        1 => Just(Step::ProcessCrash),
        3 => (0..60_i64, 0..60_i64, 0..1200_u64)
            .prop_map(|(from, bound, max_bytes)| Step::Read { from, bound, max_bytes }),
    ]
}

/// One record of the naive log.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Naive {
    id: RecordId,
    epoch: LeaderEpoch,
    /// Offset of the batch that it came in.
    batch: i64,
    /// Offset after that batch.
    next: i64,
}

#[derive(Default)]
struct Model {
    records: Vec<Naive>,
    durable: usize,
}

impl Model {
    /// Cuts at the last batch boundary up to `to`.
    fn truncate(&mut self, to: i64) {
        while self.records.last().is_some_and(|record| record.next > to) {
            self.records.pop();
        }
        self.durable = self.durable.min(self.records.len());
    }

    fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for (offset, record) in (0..).zip(&self.records) {
            if epochs.last().is_none_or(|&(epoch, _)| epoch != record.epoch) {
                epochs.push((record.epoch, Offset(offset)));
            }
        }
        epochs
    }
}

fn flat(batches: &[LogBatch]) -> Vec<Naive> {
    let mut records = Vec::new();
    for batch in batches {
        for record in batch.batch.data() {
            records.push(Naive {
                id: record.id,
                epoch: batch.leader_epoch,
                batch: batch.base_offset.0,
                next: batch.next_offset().0,
            });
        }
    }
    records
}

fn batch(producer: i64, sequence: i32, len: i32, serial: &mut u64) -> Rc<RecordBatch> {
    let mut records = Vec::new();
    for _ in 0..len {
        *serial += 1;
        records.push(Record {
            id: RecordId::new(ActorId(1), *serial),
            key: None,
            value: Some(0),
            size: 100,
            timestamp: Instant::ZERO,
        });
    }
    Rc::new(RecordBatch {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(if producer < 0 { -1 } else { 0 }),
        base_sequence: Sequence(sequence),
        transactional: false,
        records: Records::Data(records),
    })
}

/// The producers as a replay of the whole log gives them.
fn replayed(log: &PartitionLog) -> ProducerStates {
    let mut producers = ProducerStates::default();
    for batch in log.batches() {
        producers.update(batch);
    }
    producers
}

fn check_read(log: &PartitionLog, model: &Model, from: i64, bound: i64, max_bytes: u64) {
    let read = log.read(Offset(from), Offset(bound), max_bytes, true);
    let mut expected = Vec::new();
    let mut bytes = 0;
    let mut at = usize::try_from(from).unwrap();
    if at < model.records.len() && from < bound {
        at = usize::try_from(model.records[at].batch).unwrap();
        while at < model.records.len() {
            let next = usize::try_from(model.records[at].next).unwrap();
            bytes += 61 + 100 * (next - at) as u64;
            if next as i64 > bound || (bytes > max_bytes && !expected.is_empty()) {
                break;
            }
            expected.extend_from_slice(&model.records[at..next]);
            at = next;
        }
    }
    assert_eq!(flat(&read.batches), expected, "from {from} to {bound}, {max_bytes} bytes");
}

proptest! {
    #[test]
    fn a_log_is_a_vector_of_records(steps in prop::collection::vec(step(), 1..60)) {
        let (mut log, mut model) = (PartitionLog::default(), Model::default());
        let (mut epoch, mut serial) = (LeaderEpoch(0), 0_u64);
        let mut snapshot_at = None;
        for step in steps {
            match step {
                Step::Append { producer, len } => {
                    let sequence = log
                        .producers()
                        .entries()
                        .iter()
                        .find(|entry| entry.producer_id.0 == producer)
                        .map_or(0, |entry| entry.batches().last().unwrap().last_sequence.0 + 1);
                    let sequence = if producer < 0 { -1 } else { sequence };
                    let batch = batch(producer, sequence, len, &mut serial);
                    let base = model.records.len() as i64;
                    for record in batch.data() {
                        let next = base + i64::from(len);
                        model.records.push(Naive { id: record.id, epoch, batch: base, next });
                    }
                    let appended = log.append_as_leader(epoch, batch);
                    prop_assert_eq!(appended.base_offset, Offset(base));
                }
                Step::NewEpoch => {
                    epoch = epoch.next();
                    log.begin_epoch(epoch);
                }
                Step::Flush => {
                    log.flushed(log.log_end());
                    model.durable = model.records.len();
                }
                Step::Truncate(to) => {
                    log.truncate(Offset(to));
                    model.truncate(to);
                }
                Step::PowerCut(at) => {
                    let cut = Offset(at.max(log.durable().0));
                    log.truncate(log.boundary(cut));
                    log.rebuild_producers();
                    model.truncate(cut.0);
                }
                Step::CleanRestart => {
                    log.close();
                    log.rebuild_producers();
                    model.durable = model.records.len();
                    snapshot_at = Some(log.log_end());
                }
                Step::ProcessCrash => log.rebuild_producers(),
                Step::Read { from, bound, max_bytes } => {
                    check_read(&log, &model, from, bound, max_bytes);
                }
            }
            prop_assert_eq!(&flat(log.batches()), &model.records);
            prop_assert_eq!(log.log_end(), Offset(model.records.len() as i64));
            prop_assert_eq!(log.durable(), Offset(model.durable as i64));
            prop_assert_eq!(written_epochs(log.epochs(), log.log_end()), model.epochs());
            if snapshot_at.is_none() {
                prop_assert_eq!(log.producers(), &replayed(&log));
            }
            // A snapshot forgets older batches, but never what comes next.
            prop_assert_eq!(log.producers().snapshot(), replayed(&log).snapshot());
        }
    }

    #[test]
    fn a_follower_that_copies_a_leader_is_equal(lens in prop::collection::vec(1..4_i32, 1..20)) {
        let (mut leader, mut follower) = (PartitionLog::default(), PartitionLog::default());
        let (mut serial, mut sequence) = (0, 0);
        for (i, len) in (0..).zip(lens) {
            leader.append_as_leader(LeaderEpoch(i / 3), batch(7, sequence, len, &mut serial));
            sequence += len;
        }
        for batch in leader.batches() {
            prop_assert!(follower.append_as_follower(batch));
            prop_assert!(!follower.append_as_follower(batch), "twice");
        }
        prop_assert_eq!(leader.epochs(), follower.epochs());
        prop_assert_eq!(leader.producers(), follower.producers());
    }
}

/// The entries of epochs in which something was written.
fn written_epochs(cache: &LeaderEpochCache, log_end: Offset) -> Vec<(LeaderEpoch, Offset)> {
    cache.entries().iter().copied().filter(|&(_, start)| start < log_end).collect()
}
