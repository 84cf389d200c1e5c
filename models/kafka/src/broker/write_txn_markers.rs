//! `WriteTxnMarkers`: a coordinator ends transactions in the partitions that this broker leads.
//!
//! Mirrors `KafkaApis.handleWriteTxnMarkersRequest`, `MemoryRecords.withEndTransactionMarker`,
//! `GroupCoordinatorService.completeTransaction` (KIP-98, KIP-890, KIP-1228).
//!
//! Simplifications: the markers of one request are one operation with one timeout (Kafka: one per
//! transaction, and one per partition of `__consumer_offsets`; the answer waits for all of them).

use std::rc::Rc;

use oncesim_types::{Duration, ErrorCode, Instant, Sequence, TopicPartition};

use crate::broker::planted::marker_verdict;
use crate::broker::produce::{Appended, Appender, Round};
use crate::broker::{Broker, REQUEST_TIMEOUT, hit};
use crate::config::TransactionVersion;
use crate::log::batch::{EndTransactionMarker, RecordBatch, Records};
use crate::machine::{Effects, ReplyTo};
use crate::message::{Acks, TxnMarker, WriteTxnMarkersRequest};
use crate::mutation::Mutations;
use crate::note::Note;

/// How long a marker may wait for its replicas.
const TIMEOUT: Duration = REQUEST_TIMEOUT;

impl Broker {
    pub(super) fn on_write_txn_markers(
        &mut self,
        now: Instant,
        to: ReplyTo,
        request: &WriteTxnMarkersRequest,
        effects: &mut Effects,
    ) {
        let markers: Vec<_> = (request.markers.iter())
            .map(|marker| (marker.producer_id, marker.partitions.len()))
            .collect();
        let partitions = markers.iter().map(|(_, count)| count).sum();
        let mut round = Round::new(to, Acks::All, TIMEOUT, Some(markers), partitions);
        for marker in &request.markers {
            let batch = Rc::new(RecordBatch {
                producer_id: marker.producer_id,
                producer_epoch: marker.producer_epoch,
                base_sequence: Sequence::NONE,
                transactional: true,
                records: Records::Control(EndTransactionMarker {
                    result: marker.result,
                    coordinator_epoch: marker.coordinator_epoch,
                }),
            });
            for partition in &marker.partitions {
                let appended = self.append_marker(now, *partition, marker, &batch, effects);
                self.appended(now, &mut round, *partition, appended, effects);
            }
        }
        self.answer_appends(now, round, effects);
    }

    fn append_marker(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        marker: &TxnMarker,
        batch: &Rc<RecordBatch>,
        effects: &mut Effects,
    ) -> Result<(u32, Appended), ErrorCode> {
        let index = self.index_of(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let appender = Appender::Marker(marker.version);
        let appended = self.append_from(now, index, Rc::clone(batch), appender, true, effects)?;
        if self.is_offsets_partition(index) {
            let TxnMarker { producer_id, producer_epoch, result, .. } = *marker;
            let offset = appended.base_offset;
            self.group_marker_appended(now, index, producer_id, producer_epoch, result, offset);
        }
        self.advance_high_watermark(now, index, effects);
        Ok((index, appended))
    }

    /// Judges a marker by what its producer and its coordinator have written before.
    pub(super) fn validate_marker(
        &self,
        index: u32,
        batch: &RecordBatch,
        version: TransactionVersion,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let Records::Control(marker) = batch.records else { return Err(ErrorCode::InvalidRequest) };
        let replica = self.replica(index).expect("checked by the caller");
        let producers = replica.log.producers();
        let (producer_id, producer_epoch) = (batch.producer_id, batch.producer_epoch);
        let epoch = marker.coordinator_epoch;
        let mut verdict = producers.validate_marker(producer_id, producer_epoch, epoch, version);
        if self.mutations != Mutations::NONE {
            let other = marker_verdict(self.mutations, producers, batch, epoch, version, verdict);
            if other != verdict {
                hit(effects);
                verdict = other;
            }
        }
        if let Err(error) = verdict {
            let partition = replica.partition;
            effects.note(Note::MarkerRejected { partition, producer_id, producer_epoch, error });
        }
        verdict
    }
}
