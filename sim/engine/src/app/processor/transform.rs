//! What a processor makes of one record.
//!
//! A record without a value is an input as any other: values of outputs follow from identities alone.
//! An aggregation takes it in, too, where Kafka Streams would leave it out (`KStreamAggregate`): so
//! every record with a key is owed a place in the aggregate.

use oncesim_history::Output;
use oncesim_kafka::consumer::PolledRecord;
use oncesim_kafka::log::batch::Record;
use oncesim_kafka::producer::ProducerCall;
use oncesim_types::lineage::{aggregated, keeps, transformed};
use oncesim_types::{CallId, Instant, RecordId, TopicId, Transform};

use super::super::{AppEffect, set_consumed};
use super::ProcessorApp;

impl ProcessorApp {
    /// Processes the next record: hands its outputs to `send()`.
    pub(super) fn process(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let Some(input) = self.todo.pop_front() else { return };
        let id = input.record.id;
        match self.spec.transform {
            Transform::Map => {
                let value = transformed(id, 0);
                self.emit(now, &input, (self.spec.to[0], None), Output::Ordinal(0), value, out);
            }
            Transform::FanOut { outputs } => {
                let mut ordinal = 0;
                for index in 0..self.spec.to.len() {
                    for _ in 0..outputs {
                        let to = (self.spec.to[index], None);
                        let value = transformed(id, ordinal);
                        self.emit(now, &input, to, Output::Ordinal(ordinal), value, out);
                        ordinal += 1;
                    }
                }
            }
            Transform::Filter { per_million } if keeps(id, per_million) => {
                let value = transformed(id, 0);
                self.emit(now, &input, (self.spec.to[0], None), Output::Ordinal(0), value, out);
            }
            Transform::Filter { .. } => {}
            Transform::Aggregate { changelog } => self.aggregate(now, &input, changelog, out),
        }
        let PolledRecord { partition, offset, .. } = input;
        if self.commits_what_it_processed() {
            let session = self.session_of(partition);
            set_consumed(&mut self.sessions[session].uncommitted, &input);
            self.since_commit += 1;
        }
        out.push(AppEffect::Processed { partition, offset, record: id });
    }

    /// Streams leaves records without a key out of an aggregation (`KStreamAggregate`).
    fn aggregate(
        &mut self,
        now: Instant,
        input: &PolledRecord,
        changelog: TopicId,
        out: &mut Vec<AppEffect>,
    ) {
        let Some(key) = input.record.key else { return };
        let partition = input.partition.partition;
        let value = aggregated(self.stores.get(partition, key).unwrap_or(0), input.record.id);
        self.stores.put(partition, key, Some(value));
        let to = (self.spec.to[0], None);
        self.emit(now, input, to, Output::Aggregate, value, out);
        self.emit(now, input, (changelog, Some(partition)), Output::Changelog, value, out);
    }

    fn emit(
        &mut self,
        now: Instant,
        input: &PolledRecord,
        (topic, partition): (TopicId, Option<u16>),
        output: Output,
        value: i64,
        out: &mut Vec<AppEffect>,
    ) {
        let ordinal = self.records;
        self.records += 1;
        let producer = self.sessions[self.session_of(input.partition)].actor;
        let id = RecordId::new(producer, ordinal);
        out.push(AppEffect::Emitted {
            record: id,
            input: input.record.id,
            partition: input.partition,
            offset: input.offset,
            output,
        });
        let record = Record {
            id,
            key: input.record.key,
            value: Some(value),
            size: input.record.size,
            timestamp: now,
        };
        let (call, body) =
            (CallId(ordinal << 16 | 1), ProducerCall::Send { topic, partition, record });
        out.push(AppEffect::Produce { producer, call, attempt: 1, body });
    }
}
