//! Transactions in a log against a naive reading of the whole log.

use std::collections::BTreeMap;
use std::rc::Rc;

use oncesim_types::{
    ActorId, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordId, Sequence,
    TransactionResult,
};
use proptest::prelude::*;

use super::batch::{EndTransactionMarker, LogBatch, Record, RecordBatch, Records};
use super::{CompletedTransaction, PartitionLog};
use crate::message::AbortedTransaction;

#[derive(Debug, Clone)]
enum Step {
    Append { producer: i64, transactional: bool, len: u64 },
    End { producer: i64, commit: bool, bump: bool },
    Commit(i64),
    Truncate(i64),
    ProcessCrash,
    CleanRestart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (-1..3_i64, any::<bool>(), 1..3_u64)
            .prop_map(|(producer, transactional, len)| Step::Append { producer, transactional, len }),
        4 => (0..3_i64, any::<bool>(), any::<bool>())
            .prop_map(|(producer, commit, bump)| Step::End { producer, commit, bump }),
        4 => (0..8_i64).prop_map(Step::Commit),
        1 => (1..20_i64).prop_map(Step::Truncate),
        1 => Just(Step::ProcessCrash),
        1 => Just(Step::CleanRestart),
    ]
}

/// What a log says about one producer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NaiveProducer {
    epoch: ProducerEpoch,
    coordinator_epoch: LeaderEpoch,
    open_since: Option<Offset>,
}

/// What a whole log says about transactions.
#[derive(Debug, Default)]
struct Naive {
    producers: BTreeMap<ProducerId, NaiveProducer>,
    completed: Vec<CompletedTransaction>,
}

fn naive(batches: &[LogBatch]) -> Naive {
    let mut naive = Naive::default();
    for batch in batches {
        let (id, epoch) = (batch.batch.producer_id, batch.batch.producer_epoch);
        if id == ProducerId::NONE {
            continue;
        }
        let fresh = NaiveProducer { epoch, coordinator_epoch: LeaderEpoch::NONE, open_since: None };
        let producer = naive.producers.entry(id).or_insert(fresh);
        producer.epoch = epoch;
        let Records::Control(marker) = &batch.batch.records else {
            if batch.batch.transactional && producer.open_since.is_none() {
                producer.open_since = Some(batch.base_offset);
            }
            continue;
        };
        producer.coordinator_epoch = marker.coordinator_epoch;
        let Some(first_offset) = producer.open_since.take() else { continue };
        let last_offset = batch.base_offset;
        let open = naive.producers.values().filter_map(|producer| producer.open_since).min();
        naive.completed.push(CompletedTransaction {
            producer_id: id,
            first_offset,
            last_offset,
            last_stable_offset: open.unwrap_or(last_offset.next()),
            aborted: marker.result == TransactionResult::Abort,
        });
    }
    naive
}

/// A log with its high watermark, and what its last reload began with.
#[derive(Default)]
struct World {
    log: PartitionLog,
    high_watermark: Offset,
    epochs: [i16; 3],
    serial: u64,
    snapshots: Vec<Offset>,
    reloaded_from: Offset,
}

impl World {
    fn append(&mut self, producer: i64, transactional: bool, records: Records) {
        let epoch = usize::try_from(producer).map_or(-1, |at| self.epochs[at]);
        let batch = RecordBatch {
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence::NONE,
            transactional,
            records,
        };
        self.log.append_as_leader(LeaderEpoch(0), Rc::new(batch));
    }

    fn reloaded(&mut self) {
        let end = self.log.log_end();
        self.snapshots.retain(|snapshot| *snapshot <= end);
        self.reloaded_from = self.snapshots.last().copied().unwrap_or_default();
        self.high_watermark = self.high_watermark.min(end);
        self.log.high_watermark_moved(self.high_watermark);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { producer, transactional, len } => {
                let entry = self.log.producers().entry(ProducerId(producer));
                let is_open = entry.is_some_and(|e| e.current_txn_first_offset.is_some());
                let transactional = producer >= 0 && (transactional || is_open);
                let mut records = Vec::new();
                for _ in 0..len {
                    self.serial += 1;
                    records.push(Record {
                        id: RecordId::new(ActorId(1), self.serial),
                        key: None,
                        value: None,
                        size: 10,
                        timestamp: Instant::ZERO,
                    });
                }
                self.append(producer, transactional, Records::Data(records));
            }
            Step::End { producer, commit, bump } => {
                self.epochs[usize::try_from(producer).unwrap()] += i16::from(bump);
                let result =
                    if commit { TransactionResult::Commit } else { TransactionResult::Abort };
                let coordinator_epoch = LeaderEpoch(i32::try_from(self.serial).unwrap());
                let marker = EndTransactionMarker { result, coordinator_epoch };
                self.append(producer, true, Records::Control(marker));
            }
            Step::Commit(by) => {
                self.high_watermark = self.log.log_end().min(self.high_watermark + by);
                self.log.high_watermark_moved(self.high_watermark);
            }
            Step::Truncate(by) => {
                let to = Offset((self.log.log_end().0 - by).max(0));
                if self.log.truncate(to) {
                    self.reloaded();
                }
            }
            Step::ProcessCrash => {
                self.log.restart();
                self.reloaded();
            }
            Step::CleanRestart => {
                self.log.close();
                self.snapshots.push(self.log.log_end());
                if self.snapshots.len() > 2 {
                    self.snapshots.remove(0);
                }
                self.log.restart();
                self.reloaded();
            }
        }
    }

    fn check(&self) {
        let naive = naive(self.log.batches());
        let known = self.log.producers().entries().iter().map(|entry| {
            let producer = NaiveProducer {
                epoch: entry.epoch,
                coordinator_epoch: entry.coordinator_epoch,
                open_since: entry.current_txn_first_offset,
            };
            (entry.producer_id, producer)
        });
        assert_eq!(known.collect::<BTreeMap<_, _>>(), naive.producers);
        let aborted: Vec<_> = naive.completed.iter().copied().filter(|c| c.aborted).collect();
        assert_eq!(self.log.transaction_index().aborted(), aborted);
        let open = naive.producers.values().filter_map(|producer| producer.open_since);
        // A snapshot says nothing of transactions that had ended.
        let unreplicated = (naive.completed.iter())
            .filter(|c| c.last_offset >= self.high_watermark && c.last_offset >= self.reloaded_from)
            .map(|completed| completed.first_offset);
        let first_unstable = open.chain(unreplicated).min();
        assert_eq!(self.log.producers().first_unstable_offset(), first_unstable);
        let stable = self.log.last_stable_offset(self.high_watermark);
        assert_eq!(stable, first_unstable.unwrap_or(stable).min(self.high_watermark));
        for from in (0..=stable.0).map(Offset) {
            for to in (from.0..=stable.0).map(Offset) {
                let found = self.log.aborted_transactions(from, to);
                let expected: Vec<_> = (aborted.iter())
                    .filter(|a| a.last_offset >= from && a.first_offset < to)
                    .map(|a| AbortedTransaction {
                        producer_id: a.producer_id,
                        first_offset: a.first_offset,
                    })
                    .collect();
                assert_eq!(found, expected, "{from}..{to}");
            }
            self.check_reader(from, stable, &naive);
        }
    }

    /// What a reader of committed data makes of the answer is what was committed.
    fn check_reader(&self, from: Offset, stable: Offset, naive: &Naive) {
        let read = self.log.read(from, stable, u64::MAX, true).batches;
        let Some(last) = read.last() else { return };
        let mut aborted = self.log.aborted_transactions(from, last.next_offset());
        aborted.sort_by_key(|aborted| aborted.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut filtered = Vec::new();
        for batch in &read {
            while let Some(next) = aborted.next_if(|a| a.first_offset <= batch.last_offset()) {
                filtered.push(next.producer_id);
            }
            let id = batch.batch.producer_id;
            if matches!(batch.batch.records, Records::Control(_)) {
                filtered.retain(|other| *other != id);
                continue;
            }
            let returned = !(batch.batch.transactional && filtered.contains(&id));
            let offset = batch.base_offset;
            let is_within = |c: &&CompletedTransaction| {
                c.producer_id == id && c.first_offset <= offset && offset < c.last_offset
            };
            let committed = !batch.batch.transactional
                || !naive.completed.iter().find(is_within).expect("stable data has an end").aborted;
            assert_eq!(returned, committed, "{offset}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_what_the_log_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        world.check();
    }
}
