//! What an event of a history is about: partitions, transactional ids, groups, records.

use std::collections::BTreeMap;

use oncesim_history::trace::About;
use oncesim_history::{ClientKind, EventKind, ExternalEvent, History, WorldEvent};
use oncesim_types::{ActorId, GroupId, ProducerId, RecordId, TopicPartition, TransactionalId};

/// Who acts under which transactional id, as far as the history says.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    actors: BTreeMap<ActorId, TransactionalId>,
    producers: BTreeMap<ProducerId, TransactionalId>,
}

impl Sessions {
    pub(crate) fn of(history: &History) -> Sessions {
        let mut sessions = Sessions::default();
        for event in &history.events {
            match &event.kind {
                EventKind::Client(ClientKind::InitTransactions { transactional_id, .. }) => {
                    sessions.actors.insert(event.actor, *transactional_id);
                }
                EventKind::World(WorldEvent::TransactionState {
                    transactional_id,
                    producer_id,
                    ..
                }) => {
                    sessions.producers.insert(*producer_id, *transactional_id);
                }
                _ => {}
            }
        }
        sessions
    }

    fn actor(&self, actor: ActorId) -> Vec<TransactionalId> {
        self.actors.get(&actor).copied().into_iter().collect()
    }

    fn producer(&self, producer: ProducerId) -> Vec<TransactionalId> {
        self.producers.get(&producer).copied().into_iter().collect()
    }

    /// What a line is about, with the transactional ids of the producers that it names.
    pub(crate) fn of_line(&self, about: &About) -> About {
        let mut about = about.clone();
        let ids = about.producers.iter().filter_map(|it| self.producers.get(it));
        about.transactional_ids.extend(ids);
        about.transactional_ids.sort_unstable();
        about.transactional_ids.dedup();
        about
    }

    /// What an event is about.
    pub(crate) fn about(&self, history: &History, actor: ActorId, kind: &EventKind) -> About {
        let mut about = match kind {
            EventKind::Client(client) => self.client(history, actor, client),
            EventKind::World(world) => self.world(history, world),
            EventKind::External(external) => external_about(external),
        };
        about.partitions.sort_unstable();
        about.partitions.dedup();
        about
    }

    fn client(&self, history: &History, actor: ActorId, client: &ClientKind) -> About {
        let transaction = || About { transactional_ids: self.actor(actor), ..About::default() };
        let committed =
            |span| history.commits(span).iter().map(|entry| entry.partition).collect::<Vec<_>>();
        match client {
            ClientKind::SendInvoke { record, partition, .. } => About {
                records: vec![*record],
                partitions: Some(*partition)
                    .filter(|partition| partition.partition != u16::MAX)
                    .into_iter()
                    .collect(),
                ..transaction()
            },
            ClientKind::SendEnd { record, partition, .. } => About {
                records: vec![*record],
                partitions: partition.iter().copied().collect(),
                ..transaction()
            },
            ClientKind::ProducerSession { .. }
            | ClientKind::InitTransactionsEnd { .. }
            | ClientKind::TransactionBegin { .. }
            | ClientKind::SendOffsetsEnd { .. }
            | ClientKind::EndTransaction { .. }
            | ClientKind::TransactionEnd { .. } => transaction(),
            ClientKind::InitTransactions { transactional_id, .. } => {
                About { transactional_ids: vec![*transactional_id], ..About::default() }
            }
            ClientKind::SendOffsets { group, offsets, .. } => {
                About { groups: vec![*group], partitions: committed(*offsets), ..transaction() }
            }
            ClientKind::Emitted { record, input, partition, .. } => About {
                records: vec![*record, *input],
                partitions: vec![*partition],
                ..About::default()
            },
            ClientKind::StateRestored { changelog: partition, .. }
            | ClientKind::Drained { partition, .. } => partitions(vec![*partition]),
            ClientKind::Transfer { record, .. } => records(vec![*record]),
            ClientKind::Subscribe { group } => in_group(*group, Vec::new()),
            ClientKind::Assigned { group, owned, .. } => {
                in_group(*group, history.partitions(*owned).to_vec())
            }
            ClientKind::Revoked { group, partitions } | ClientKind::Lost { group, partitions } => {
                in_group(*group, history.partitions(*partitions).to_vec())
            }
            ClientKind::PollEnd { group, records } => {
                let polled = history.polled(*records);
                About {
                    groups: group.iter().copied().collect(),
                    partitions: polled.iter().map(|it| it.partition).collect(),
                    records: polled.iter().map(|it| it.record).collect(),
                    ..About::default()
                }
            }
            ClientKind::Processed { group, partition, record, .. } => {
                About { records: vec![*record], ..in_group(*group, vec![*partition]) }
            }
            ClientKind::CommitInvoke { group, offsets, .. } => {
                in_group(*group, committed(*offsets))
            }
            ClientKind::PositionReset { group, partition, .. } => {
                About { groups: group.iter().copied().collect(), ..partitions(vec![*partition]) }
            }
            ClientKind::CommitEnd { .. }
            | ClientKind::Assign
            | ClientKind::PollInvoke
            | ClientKind::Closed => About::default(),
        }
    }

    fn world(&self, history: &History, world: &WorldEvent) -> About {
        match world {
            WorldEvent::Append { partition, records, producer_id, .. } => About {
                partitions: vec![*partition],
                records: history.appended(*records).to_vec(),
                transactional_ids: self.producer(*producer_id),
                ..About::default()
            },
            WorldEvent::Marker { partition, producer_id, .. }
            | WorldEvent::MarkerRejected { partition, producer_id, .. }
            | WorldEvent::ProducerStateRejected { partition, producer_id, .. } => About {
                transactional_ids: self.producer(*producer_id),
                ..partitions(vec![*partition])
            },
            WorldEvent::TransactionState { transactional_id, partitions: span, .. } => About {
                transactional_ids: vec![*transactional_id],
                ..partitions(history.partitions(*span).to_vec())
            },
            WorldEvent::EndTxnApplied { transactional_id, .. }
            | WorldEvent::TransactionTimedOut { transactional_id, .. } => {
                About { transactional_ids: vec![*transactional_id], ..About::default() }
            }
            WorldEvent::OffsetPending { group, producer_id, partition, .. }
            | WorldEvent::OffsetResolved { group, producer_id, partition, .. } => About {
                transactional_ids: self.producer(*producer_id),
                ..in_group(*group, vec![*partition])
            },
            WorldEvent::OffsetAccepted { group, partition, .. } => {
                in_group(*group, vec![*partition])
            }
            WorldEvent::OffsetRejected { group, .. }
            | WorldEvent::Rebalance { group, .. }
            | WorldEvent::MemberRemoved { group, .. } => in_group(*group, Vec::new()),
            WorldEvent::Generation { group, assignment, .. } => {
                let owned = history.assignment(*assignment).iter();
                in_group(*group, owned.map(|(_, partition)| *partition).collect())
            }
            WorldEvent::LastStableOffset { partition, .. }
            | WorldEvent::Truncate { partition, .. }
            | WorldEvent::DiskLoss { partition, .. }
            | WorldEvent::Flushed { partition, .. }
            | WorldEvent::HighWatermark { partition, .. }
            | WorldEvent::BecameLeader { partition, .. }
            | WorldEvent::BecameFollower { partition, .. }
            | WorldEvent::AckedAll { partition, .. }
            | WorldEvent::Served { partition, .. }
            | WorldEvent::PartitionChanged { partition, .. }
            | WorldEvent::CoordinatorLoaded { partition, .. }
            | WorldEvent::Retry { partition, .. } => partitions(vec![*partition]),
            WorldEvent::InvariantBroken { partition, .. } | WorldEvent::Stuck { partition, .. } => {
                partitions(partition.iter().copied().collect())
            }
            _ => About::default(),
        }
    }
}

fn partitions(partitions: Vec<TopicPartition>) -> About {
    About { partitions, ..About::default() }
}

fn records(records: Vec<RecordId>) -> About {
    About { records, ..About::default() }
}

fn in_group(group: GroupId, partitions: Vec<TopicPartition>) -> About {
    About { groups: vec![group], partitions, ..About::default() }
}

fn external_about(external: &ExternalEvent) -> About {
    match external {
        ExternalEvent::Asked { effect: Some(effect), .. }
        | ExternalEvent::EffectDone { effect, .. }
        | ExternalEvent::Applied { effect, .. }
        | ExternalEvent::KeyEvicted { effect } => records(vec![effect.record]),
        ExternalEvent::Replayed { effect, original, .. } => {
            records(vec![effect.record, original.record])
        }
        ExternalEvent::Intended { record, .. } | ExternalEvent::IntentEnded { record, .. } => {
            records(vec![*record])
        }
        ExternalEvent::Committed { record, .. } | ExternalEvent::RolledBack { record } => {
            records(record.iter().copied().collect())
        }
        ExternalEvent::OffsetStored { partition, .. }
        | ExternalEvent::OffsetServed { partition, .. }
        | ExternalEvent::Prepared { partition, .. }
        | ExternalEvent::Finished { partition, .. } => partitions(vec![*partition]),
        _ => About::default(),
    }
}
