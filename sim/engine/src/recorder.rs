//! The recorder: turns what machines note and clients see into a history, and into the digest.

use std::hash::{Hash, Hasher};

use oncesim_external::{self as external, StagedName};
use oncesim_history::{
    ActorInfo, ClientKind, CommitEntry, Event, EventKind, ExternalEvent, GroupInfo, History,
    Outcome, PolledRecord, PositionReason, SpanIndex, TopicInfo, WorldEvent,
};
use oncesim_kafka::consumer::{self, ConsumerCompletion, RebalanceCallback};
use oncesim_kafka::log::batch::{Record, Records};
use oncesim_kafka::message::GroupMetadata;
use oncesim_kafka::note::{Note, ResetReason};
use oncesim_kafka::producer::SendResult;
use oncesim_types::lineage::payload;
use oncesim_types::{
    ActorId, CallId, ErrorCode, GroupId, Instant, LeaderEpoch, Offset, RecordId, TopicPartition,
    TransactionNumber,
};

use crate::coverage::Coverage;
use crate::digest::Digester;
use crate::outcome::Digest;

/// Writes one run down.
pub(crate) struct Recorder {
    pub(crate) history: History,
    digester: Digester,
    /// When and where everything happened, folded.
    folded: (u64, u64),
    pub(crate) mutation_hits: u64,
    /// What was reached that the history does not say.
    pub(crate) coverage: Coverage,
    now: Instant,
}

/// Whose event: the actor and its process.
pub(crate) type Who = (ActorId, u32);

impl Recorder {
    pub(crate) fn new(
        actors: Vec<ActorInfo>,
        topics: Vec<TopicInfo>,
        groups: Vec<GroupInfo>,
        faults: Vec<String>,
    ) -> Self {
        let history = History { actors, topics, groups, faults, ..History::default() };
        Recorder {
            history,
            digester: Digester::new(),
            folded: (0, 0),
            mutation_hits: 0,
            coverage: Coverage::default(),
            now: Instant::ZERO,
        }
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Covers something that is no history event (a delivery, a timer) with the digest.
    /// It is folded into 128 bits that close the digest: each step of the fold is a bijection of
    /// the state, so nothing that differs is forgotten but by a collision.
    #[inline]
    pub(crate) fn digest(&mut self, value: (u64, u64)) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let (a, b) = self.folded;
        let a = (a ^ value.0).wrapping_mul(ODD).rotate_left(31);
        let b = (b ^ value.1).wrapping_mul(ODD).rotate_left(29).wrapping_add(a);
        self.folded = (a, b);
    }

    pub(crate) fn finish(mut self) -> (History, Digest, Coverage) {
        self.history.end = self.now;
        self.digester.write_u64(self.folded.0);
        self.digester.write_u64(self.folded.1);
        (self.history, self.digester.finalize(), self.coverage)
    }

    fn push(&mut self, (actor, incarnation): Who, kind: EventKind) {
        let place = u64::from(actor.0) << 32 | u64::from(incarnation);
        self.digest((self.now.0, place));
        kind.hash(&mut self.digester);
        self.history.events.push(Event { time: self.now, actor, incarnation, kind });
    }

    pub(crate) fn client(&mut self, who: Who, kind: ClientKind) {
        self.push(who, EventKind::Client(kind));
    }

    pub(crate) fn world(&mut self, who: Who, event: WorldEvent) {
        self.push(who, EventKind::World(event));
    }

    fn partitions(&mut self, partitions: &[TopicPartition]) -> SpanIndex {
        partitions.hash(&mut self.digester);
        extend(&mut self.history.partitions, partitions.iter().copied())
    }

    /// `send()` was called.
    pub(crate) fn send_invoke(
        &mut self,
        who: Who,
        call: CallId,
        partition: TopicPartition,
        record: &Record,
        attempt: u32,
    ) {
        let kind = ClientKind::SendInvoke {
            call,
            partition,
            record: record.id,
            key: record.key,
            payload: payload(record.id, record.value),
            attempt,
        };
        self.client(who, kind);
    }

    /// `send()` ended.
    pub(crate) fn send_end(&mut self, who: Who, call: CallId, record: RecordId, end: &SendResult) {
        let kind = ClientKind::SendEnd {
            call,
            record,
            partition: end.partition,
            outcome: outcome(end.error, end.maybe_appended),
            offset: (end.offset != Offset::UNKNOWN && end.error.is_ok()).then_some(end.offset),
        };
        self.client(who, kind);
    }

    /// `poll()` returned records.
    pub(crate) fn polled(
        &mut self,
        who: Who,
        group: Option<GroupId>,
        records: &[consumer::PolledRecord],
    ) {
        let span = extend(
            &mut self.history.polled,
            records.iter().map(|polled| PolledRecord {
                partition: polled.partition,
                offset: polled.offset,
                leader_epoch: polled.leader_epoch,
                record: polled.record.id,
                key: polled.record.key,
                payload: payload(polled.record.id, polled.record.value),
            }),
        );
        for polled in records {
            self.digester.write_u64(polled.record.id.0);
            self.digester.write_i64(polled.offset.0);
        }
        self.client(who, ClientKind::PollEnd { group, records: span });
    }

    /// A commit was asked for.
    pub(crate) fn commit_invoke(
        &mut self,
        who: Who,
        call: CallId,
        group: GroupId,
        offsets: &[(TopicPartition, Offset)],
        sync: bool,
    ) {
        offsets.hash(&mut self.digester);
        let offsets = extend(
            &mut self.history.commits,
            offsets.iter().map(|&(partition, offset)| CommitEntry {
                partition,
                offset,
                leader_epoch: LeaderEpoch::NONE,
            }),
        );
        self.client(who, ClientKind::CommitInvoke { call, group, offsets, sync });
    }

    /// A commit ended.
    pub(crate) fn commit_end(&mut self, who: Who, call: CallId, error: ErrorCode, maybe: bool) {
        self.client(who, ClientKind::CommitEnd { call, outcome: outcome(error, maybe) });
    }

    /// `sendOffsetsToTransaction()` was called.
    pub(crate) fn send_offsets(
        &mut self,
        who: Who,
        call: CallId,
        (number, group): (TransactionNumber, GroupId),
        offsets: &[(TopicPartition, Offset, LeaderEpoch)],
        consumer: &GroupMetadata,
    ) {
        offsets.hash(&mut self.digester);
        let offsets = extend(
            &mut self.history.commits,
            offsets.iter().map(|&(partition, offset, leader_epoch)| CommitEntry {
                partition,
                offset,
                leader_epoch,
            }),
        );
        let GroupMetadata { member, generation, .. } = *consumer;
        let kind = ClientKind::SendOffsets { call, number, group, offsets, member, generation };
        self.client(who, kind);
    }

    /// A rebalance callback was made.
    pub(crate) fn callback(&mut self, who: Who, group: GroupId, callback: &RebalanceCallback) {
        let kind = match callback {
            RebalanceCallback::Assigned { member, generation, added, owned } => {
                let (added, owned) = (self.partitions(added), self.partitions(owned));
                ClientKind::Assigned {
                    group,
                    member: *member,
                    generation: *generation,
                    added,
                    owned,
                }
            }
            RebalanceCallback::Revoked { partitions } => {
                ClientKind::Revoked { group, partitions: self.partitions(partitions) }
            }
            RebalanceCallback::Lost { partitions } => {
                ClientKind::Lost { group, partitions: self.partitions(partitions) }
            }
        };
        self.client(who, kind);
    }

    /// Something between an application and a system, or of a system itself.
    pub(crate) fn external(&mut self, who: Who, event: ExternalEvent) {
        self.push(who, EventKind::External(event));
    }

    /// A system noted something about itself.
    pub(crate) fn external_note(&mut self, who: Who, note: external::Note) {
        use external::Note;
        let event = match note {
            Note::Applied { effect, commit, changes, key: _, token, read_at } => {
                changes.hash(&mut self.digester);
                let changes = extend(&mut self.history.row_changes, changes.into_iter());
                let (token, read_at) = (token.unwrap_or(-1), read_at.unwrap_or(u64::MAX));
                ExternalEvent::Applied { effect, commit, changes, token, read_at }
            }
            Note::Replayed { effect, original, key: _, same_payload } => {
                ExternalEvent::Replayed { effect, original, same_payload }
            }
            Note::KeyEvicted { key: _, effect } => ExternalEvent::KeyEvicted { effect },
            Note::Committed { role, record, commit, sequence, changed } => {
                let changed = count(changed);
                ExternalEvent::Committed { role, record, commit, sequence, changed }
            }
            Note::DedupEvicted { commit, rows } => {
                ExternalEvent::DedupEvicted { commit, rows: count(rows) }
            }
            Note::OffsetStored { partition, next, token, commit, accepted } => {
                ExternalEvent::OffsetStored { partition, next, token, commit, accepted }
            }
            Note::OffsetServed { partition, next } => {
                let next = next.unwrap_or(Offset::UNKNOWN);
                ExternalEvent::OffsetServed { partition, next }
            }
            Note::RolledBack { record } => ExternalEvent::RolledBack { record },
            Note::Prepared { name, effects: _ } => {
                let StagedName { partition, first, next, attempt } = name;
                ExternalEvent::Prepared { partition, first, next, attempt }
            }
            Note::Finished { name, commit } => {
                let StagedName { partition, attempt, .. } = name;
                ExternalEvent::Finished { partition, attempt, commit }
            }
        };
        self.external(who, event);
    }

    /// A machine noted something.
    pub(crate) fn note(&mut self, who: Who, group: Option<GroupId>, note: Note) {
        if let (Note::AutoCommitInvoke { id, offsets }, Some(group)) = (&note, group) {
            return self.commit_invoke(who, CallId(AUTO_COMMIT | id), group, offsets, false);
        }
        if let Note::AutoCommitEnd { id, error, maybe_committed } = &note {
            return self.commit_end(who, CallId(AUTO_COMMIT | id), *error, *maybe_committed);
        }
        if let Note::GroupState { from, to, .. } = note {
            return self.coverage.group_edge(from, to);
        }
        if let Some(kind) = client_note(group, &note) {
            self.client(who, kind);
            return;
        }
        if let Some(event) = self.world_note(note) {
            self.world(who, event);
        }
    }

    fn world_note(&mut self, note: Note) -> Option<WorldEvent> {
        Some(match note {
            Note::Append { partition, batch, leader } => {
                if let Records::Control(marker) = &batch.batch.records {
                    return Some(WorldEvent::Marker {
                        partition,
                        offset: batch.base_offset,
                        producer_id: batch.batch.producer_id,
                        producer_epoch: batch.batch.producer_epoch,
                        result: marker.result,
                        coordinator_epoch: marker.coordinator_epoch,
                        leader_epoch: batch.leader_epoch,
                        leader,
                    });
                }
                let ids = batch.batch.data().iter().map(|record| record.id);
                let records = extend(&mut self.history.appended, ids);
                for record in batch.batch.data() {
                    self.digester.write_u64(record.id.0);
                }
                WorldEvent::Append {
                    partition,
                    base_offset: batch.base_offset,
                    records,
                    len: u32::try_from(batch.batch.len()).unwrap_or(u32::MAX),
                    leader_epoch: batch.leader_epoch,
                    producer_id: batch.batch.producer_id,
                    producer_epoch: batch.batch.producer_epoch,
                    base_sequence: batch.batch.base_sequence,
                    leader,
                    transactional: batch.batch.transactional,
                }
            }
            Note::Truncate { partition, to } => WorldEvent::Truncate { partition, to },
            Note::Flushed { partition, to } => WorldEvent::Flushed { partition, to },
            Note::HighWatermark { partition, high_watermark, leader, isr, min_isr } => {
                WorldEvent::HighWatermark { partition, high_watermark, leader, isr, min_isr }
            }
            Note::BecameLeader { partition, leader_epoch, log_end } => {
                WorldEvent::BecameLeader { partition, leader_epoch, log_end }
            }
            Note::BecameFollower { partition, leader, leader_epoch } => {
                WorldEvent::BecameFollower { partition, leader, leader_epoch }
            }
            Note::AckedAll { partition, next_offset, isr, min_isr } => {
                WorldEvent::AckedAll { partition, next_offset, isr, min_isr }
            }
            Note::ProducerStateRejected { partition, producer_id, producer_epoch, error } => {
                WorldEvent::ProducerStateRejected { partition, producer_id, producer_epoch, error }
            }
            Note::Served {
                partition,
                from,
                to,
                high_watermark,
                last_stable_offset,
                read_committed,
            } => WorldEvent::Served {
                partition,
                from,
                to,
                high_watermark,
                last_stable_offset,
                read_committed,
            },
            Note::Retry { partition, attempt, error } => {
                WorldEvent::Retry { partition, attempt, error }
            }
            Note::MutationHit => {
                self.mutation_hits += 1;
                WorldEvent::MutationHit
            }
            other => return self.transaction_note(other),
        })
    }

    /// Notes about transactions.
    fn transaction_note(&mut self, note: Note) -> Option<WorldEvent> {
        Some(match note {
            Note::TransactionState {
                transactional_id,
                producer_id,
                producer_epoch,
                from,
                to,
                number,
                partitions,
                coordinator_epoch,
                coordinator,
            } => WorldEvent::TransactionState {
                transactional_id,
                producer_id,
                producer_epoch,
                from,
                to,
                number,
                partitions: self.partitions(&partitions),
                coordinator_epoch,
                coordinator,
            },
            Note::EndTxnApplied { transactional_id, producer_epoch, issued, applied, result } => {
                WorldEvent::EndTxnApplied {
                    transactional_id,
                    producer_epoch,
                    issued,
                    applied,
                    result,
                }
            }
            Note::TransactionTimedOut { transactional_id, number } => {
                WorldEvent::TransactionTimedOut { transactional_id, number }
            }
            Note::LastStableOffset { partition, last_stable_offset } => {
                WorldEvent::LastStableOffset { partition, last_stable_offset }
            }
            Note::MarkerRejected { partition, producer_id, producer_epoch, error } => {
                WorldEvent::MarkerRejected { partition, producer_id, producer_epoch, error }
            }
            Note::OffsetPending {
                group,
                producer_id,
                producer_epoch,
                member,
                generation,
                current,
                partition,
                offset,
                coordinator_epoch,
            } => WorldEvent::OffsetPending {
                group,
                producer_id,
                producer_epoch,
                member,
                generation,
                current,
                partition,
                offset,
                coordinator_epoch,
            },
            Note::OffsetResolved {
                group,
                producer_id,
                partition,
                offset,
                result,
                coordinator_epoch,
            } => WorldEvent::OffsetResolved {
                group,
                producer_id,
                partition,
                offset,
                result,
                coordinator_epoch,
            },
            other => return self.control_note(other),
        })
    }

    /// Notes of the controller and of group coordinators.
    fn control_note(&mut self, note: Note) -> Option<WorldEvent> {
        Some(match note {
            Note::PartitionChanged {
                partition,
                leader,
                leader_epoch,
                partition_epoch,
                isr,
                elr,
                unclean,
                recovery: _,
            } => {
                isr.hash(&mut self.digester);
                let isr = extend(&mut self.history.actors_arena, isr.iter().copied());
                let elr = extend(&mut self.history.actors_arena, elr.iter().copied());
                WorldEvent::PartitionChanged {
                    partition,
                    leader,
                    leader_epoch,
                    partition_epoch,
                    isr,
                    elr,
                    unclean,
                }
            }
            Note::BrokerRegistered { broker, epoch, clean } => {
                WorldEvent::BrokerRegistered { broker, epoch, clean }
            }
            Note::BrokerFenced { broker, fenced } => WorldEvent::BrokerFenced { broker, fenced },
            Note::Generation { group, generation, assignment, cooperative, coordinator_epoch } => {
                let pairs = assignment.iter().flat_map(|(member, partitions)| {
                    partitions.iter().map(move |partition| (*member, *partition))
                });
                let assignment = extend(&mut self.history.assignments, pairs);
                WorldEvent::Generation {
                    group,
                    generation,
                    assignment,
                    cooperative,
                    coordinator_epoch,
                }
            }
            Note::Rebalance { group, reason } => WorldEvent::Rebalance { group, reason },
            Note::MemberRemoved { group, member, expired } => {
                WorldEvent::MemberRemoved { group, member, expired }
            }
            Note::OffsetAccepted {
                group,
                member,
                generation,
                current,
                partition,
                offset,
                coordinator_epoch,
            } => WorldEvent::OffsetAccepted {
                group,
                member,
                generation,
                current,
                partition,
                offset,
                coordinator_epoch,
            },
            Note::OffsetRejected { group, member, generation, error } => {
                WorldEvent::OffsetRejected { group, member, generation, error }
            }
            Note::CoordinatorLoaded { partition, leader_epoch } => {
                WorldEvent::CoordinatorLoaded { partition, leader_epoch }
            }
            _ => return None,
        })
    }

    /// The end of a consumer's call that the history keeps.
    pub(crate) fn consumer_end(
        &mut self,
        who: Who,
        group: Option<GroupId>,
        call: CallId,
        end: &ConsumerCompletion,
    ) {
        match end {
            ConsumerCompletion::Polled(records) if !records.is_empty() => {
                self.polled(who, group, records);
            }
            ConsumerCompletion::Committed { error, maybe_committed, .. } => {
                self.commit_end(who, call, *error, *maybe_committed);
            }
            _ => {}
        }
    }
}

/// Set in the call id of an auto commit, so that it differs from the application's calls.
const AUTO_COMMIT: u64 = 1 << 62;

/// Notes of clients that a client of a real cluster could log as well.
fn client_note(group: Option<GroupId>, note: &Note) -> Option<ClientKind> {
    match note {
        Note::ProducerSession { producer_id, producer_epoch } => {
            Some(ClientKind::ProducerSession {
                producer_id: *producer_id,
                producer_epoch: *producer_epoch,
            })
        }
        Note::PositionReset { partition, to, reason } => Some(ClientKind::PositionReset {
            group,
            partition: *partition,
            to: *to,
            reason: match reason {
                ResetReason::Committed => PositionReason::Committed,
                ResetReason::NoCommittedOffset => PositionReason::NoCommittedOffset,
                ResetReason::OutOfRange => PositionReason::OutOfRange,
                ResetReason::Truncated => PositionReason::Truncated,
                ResetReason::Seek => PositionReason::Seek,
            },
        }),
        _ => None,
    }
}

fn extend<T>(arena: &mut Vec<T>, items: impl Iterator<Item = T>) -> SpanIndex {
    let start = arena.len();
    arena.extend(items);
    SpanIndex {
        start: u32::try_from(start).expect("an arena is below 2^32"),
        len: u32::try_from(arena.len() - start).expect("an arena is below 2^32"),
    }
}

fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(crate) fn outcome(error: ErrorCode, maybe: bool) -> Outcome {
    match (error, maybe) {
        (ErrorCode::None, _) => Outcome::Ok,
        (error, true) => Outcome::Info(error),
        (error, false) => Outcome::Fail(error),
    }
}
