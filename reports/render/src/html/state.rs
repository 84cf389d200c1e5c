//! How the state of logs, coordinators, groups, consumers and systems changes from row to row: the
//! page replays these changes to show any moment.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, Event, EventKind, ExternalEvent, History, WorldEvent};
use oncesim_types::{ActorId, GroupId, MemberId, RecordId, TopicPartition};
use serde_json::{Value, json};

use super::intern::Texts;
use super::rows::{Kind, Sink};
use crate::event::event_text;

/// What is drawn along a lane. The page knows the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Lane {
    Down = 0,
    Paused = 1,
    ApplicationPaused = 2,
    Leads = 3,
    Epoch = 4,
    Generation = 5,
    Transaction = 6,
}

/// A stretch of a lane: from row to row.
type Open = BTreeMap<(ActorId, Lane, Option<TopicPartition>), (usize, usize)>;

/// Collects changes of the state, and stretches of lanes.
pub(super) struct Changes<'a> {
    history: &'a History,
    pub(super) texts: Texts,
    /// `[row, code, ...]`, in order.
    pub(super) ops: Vec<Value>,
    /// `[actor, lane, from, to or -1, text]`.
    pub(super) spans: Vec<Value>,
    open: Open,
    partitions: BTreeMap<TopicPartition, usize>,
    members: BTreeMap<MemberId, ActorId>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(history: &'a History) -> Changes<'a> {
        let all = (0u16..).zip(&history.topics).flat_map(|(topic, info)| {
            let topic = oncesim_types::TopicId(topic);
            (0..info.partitions).map(move |index| TopicPartition::new(topic, index))
        });
        let members = history.events.iter().filter_map(|event| match &event.kind {
            EventKind::Client(ClientKind::Assigned { member, .. }) => Some((*member, event.actor)),
            _ => None,
        });
        let members = members.collect();
        Changes {
            history,
            texts: Texts::default(),
            ops: Vec::new(),
            spans: Vec::new(),
            open: Open::new(),
            partitions: all.zip(0..).collect(),
            members,
        }
    }

    /// The partitions that operations name by their position: `[name, internal]`.
    pub(super) fn partitions(&self) -> Vec<Value> {
        let internal = |partition: &TopicPartition| {
            let topic = self.history.topics.get(usize::from(partition.topic.0));
            u8::from(topic.is_some_and(|topic| topic.internal))
        };
        self.partitions
            .keys()
            .map(|it| json!([self.history.partition_name(*it), internal(it)]))
            .collect()
    }

    /// Ends every stretch that is still open.
    pub(super) fn finish(&mut self) {
        let open: Vec<_> = self.open.keys().copied().collect();
        for key in open {
            self.close(key, None);
        }
    }

    fn partition(&self, partition: TopicPartition) -> usize {
        self.partitions.get(&partition).copied().unwrap_or(0)
    }

    fn begin(
        &mut self,
        row: usize,
        actor: ActorId,
        lane: Lane,
        at: Option<TopicPartition>,
        text: &str,
    ) {
        self.close((actor, lane, at), Some(row));
        let text = self.texts.add(text);
        self.open.insert((actor, lane, at), (row, text));
    }

    fn end(&mut self, row: usize, actor: ActorId, lane: Lane, at: Option<TopicPartition>) {
        self.close((actor, lane, at), Some(row));
    }

    fn close(&mut self, key: (ActorId, Lane, Option<TopicPartition>), row: Option<usize>) {
        if let Some((from, text)) = self.open.remove(&key) {
            let to = row.map_or(json!(-1), |row| json!(row));
            self.spans.push(json!([key.0.0, key.1 as u8, from, to, text]));
        }
    }

    /// A process has ended: whatever it was is over.
    fn end_all(&mut self, row: usize, actor: ActorId) {
        let open: Vec<_> = self.open.keys().filter(|key| key.0 == actor).copied().collect();
        for key in open {
            self.close(key, Some(row));
        }
    }

    /// `shop #3 to #7`, as short as it can be said.
    fn records(&self, records: &[RecordId]) -> String {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return String::new();
        };
        let name = self.history.record_name(*first);
        let row = records.windows(2).all(|pair| {
            pair[0].origin() == pair[1].origin() && pair[0].ordinal() + 1 == pair[1].ordinal()
        });
        match records.len() {
            1 => name,
            n if row && n > 2 => format!("{name} to #{}", last.ordinal()),
            n => {
                let names = records.iter().take(4).map(|it| self.history.record_name(*it));
                let more = if n > 4 { format!(" and {} more", n - 4) } else { String::new() };
                format!("{}{more}", names.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn member(&self, member: MemberId) -> String {
        let actor = self.members.get(&member);
        actor.map_or_else(|| member.to_string(), |it| self.history.actor_name(*it).to_owned())
    }

    fn member_text(&mut self, member: MemberId) -> usize {
        let name = self.member(member);
        self.texts.add(&name)
    }

    fn world(&mut self, row: usize, actor: ActorId, world: &WorldEvent) {
        let own = actor.0;
        let op = match world {
            WorldEvent::Started => {
                self.end(row, actor, Lane::Down, None);
                json!([row, 19, own, 0])
            }
            WorldEvent::Crashed { power } => {
                self.end_all(row, actor);
                let text = if *power { "no power" } else { "down" };
                self.begin(row, actor, Lane::Down, None, text);
                json!([row, 19, own, 1])
            }
            WorldEvent::Append {
                partition,
                base_offset,
                records,
                len,
                leader_epoch,
                producer_id,
                producer_epoch,
                base_sequence,
                leader,
                transactional,
            } => {
                let what = self.records(self.history.appended(*records));
                let what = self.texts.add(&what);
                let flags = u8::from(*leader) | u8::from(*transactional) << 1;
                json!([
                    row,
                    0,
                    self.partition(*partition),
                    own,
                    base_offset.0,
                    len,
                    producer_id.0,
                    producer_epoch.0,
                    base_sequence.0,
                    leader_epoch.0,
                    flags,
                    what
                ])
            }
            WorldEvent::Marker {
                partition,
                offset,
                producer_id,
                producer_epoch,
                result,
                leader_epoch,
                ..
            } => {
                let commit = u8::from(result.name() == "commit");
                json!([
                    row,
                    1,
                    self.partition(*partition),
                    own,
                    offset.0,
                    producer_id.0,
                    producer_epoch.0,
                    commit,
                    leader_epoch.0
                ])
            }
            _ => return self.partition_event(row, actor, world),
        };
        self.ops.push(op);
    }

    /// What changes a partition besides what is appended to it.
    fn partition_event(&mut self, row: usize, actor: ActorId, world: &WorldEvent) {
        let own = actor.0;
        let op = match world {
            WorldEvent::Truncate { partition, to } | WorldEvent::DiskLoss { partition, to } => {
                json!([row, 2, self.partition(*partition), own, to.0])
            }
            WorldEvent::HighWatermark { partition, high_watermark, leader: true, .. } => {
                json!([row, 3, self.partition(*partition), high_watermark.0])
            }
            WorldEvent::LastStableOffset { partition, last_stable_offset } => {
                json!([row, 4, self.partition(*partition), last_stable_offset.0])
            }
            WorldEvent::PartitionChanged {
                partition, leader, leader_epoch, isr, unclean, ..
            } => {
                let isr: Vec<u16> = self.history.actor_list(*isr).iter().map(|it| it.0).collect();
                let leader = leader.map_or(-1, |it| i32::from(it.0));
                json!([
                    row,
                    5,
                    self.partition(*partition),
                    leader,
                    leader_epoch.0,
                    isr,
                    u8::from(*unclean)
                ])
            }
            WorldEvent::Flushed { partition, to } => {
                json!([row, 6, self.partition(*partition), own, to.0])
            }
            WorldEvent::BecameLeader { partition, leader_epoch, .. } => {
                let text =
                    format!("{} e{}", self.history.partition_name(*partition), leader_epoch.0);
                self.begin(row, actor, Lane::Leads, Some(*partition), &text);
                return;
            }
            WorldEvent::BecameFollower { partition, .. } => {
                self.end(row, actor, Lane::Leads, Some(*partition));
                return;
            }
            _ => return self.coordinator(row, actor, world),
        };
        self.ops.push(op);
    }

    fn coordinator(&mut self, row: usize, actor: ActorId, world: &WorldEvent) {
        let op = match world {
            WorldEvent::TransactionState {
                transactional_id,
                producer_id,
                producer_epoch,
                to,
                number,
                partitions,
                coordinator,
                ..
            } => {
                let inside: Vec<usize> = self
                    .history
                    .partitions(*partitions)
                    .iter()
                    .map(|it| self.partition(*it))
                    .collect();
                let state = self.texts.add(to.name());
                let number = self.texts.add(&number.to_string());
                json!([
                    row,
                    7,
                    transactional_id.0,
                    state,
                    producer_id.0,
                    producer_epoch.0,
                    number,
                    inside,
                    actor.0,
                    self.partition(*coordinator)
                ])
            }
            WorldEvent::Generation { group, generation, assignment, .. } => {
                let owned: Vec<(MemberId, TopicPartition)> =
                    self.history.assignment(*assignment).to_vec();
                let owned: Vec<Value> = owned
                    .into_iter()
                    .map(|(member, partition)| {
                        json!([self.member_text(member), self.partition(partition)])
                    })
                    .collect();
                json!([row, 8, group.0, generation.0, owned, actor.0])
            }
            WorldEvent::Rebalance { group, reason } => {
                json!([row, 9, group.0, self.texts.add(reason)])
            }
            WorldEvent::MemberRemoved { group, member, .. } => {
                json!([row, 10, group.0, self.member_text(*member)])
            }
            WorldEvent::OffsetAccepted { group, partition, offset, generation, .. } => {
                json!([row, 11, group.0, self.partition(*partition), offset.0, generation.0])
            }
            WorldEvent::OffsetPending { group, partition, offset, producer_id, .. } => {
                json!([row, 12, group.0, self.partition(*partition), offset.0, producer_id.0])
            }
            WorldEvent::OffsetResolved {
                group, partition, offset, producer_id, result, ..
            } => {
                let commit = u8::from(result.name() == "commit");
                json!([
                    row,
                    13,
                    group.0,
                    self.partition(*partition),
                    offset.0,
                    producer_id.0,
                    commit
                ])
            }
            _ => return,
        };
        self.ops.push(op);
    }

    fn client(&mut self, row: usize, actor: ActorId, client: &ClientKind) {
        let own = actor.0;
        match client {
            ClientKind::ProducerSession { producer_id, producer_epoch } => {
                if producer_id.0 < 0 {
                    return;
                }
                let text = format!("pid {} epoch {}", producer_id.0, producer_epoch.0);
                self.begin(row, actor, Lane::Epoch, None, &text);
                self.ops.push(json!([row, 17, own, producer_id.0, producer_epoch.0]));
            }
            ClientKind::TransactionBegin { number } => {
                let text = number.to_string();
                self.begin(row, actor, Lane::Transaction, None, &text);
                let text = self.texts.add(&text);
                self.ops.push(json!([row, 18, own, text]));
            }
            ClientKind::TransactionEnd { .. } => {
                self.end(row, actor, Lane::Transaction, None);
                self.ops.push(json!([row, 18, own, -1]));
            }
            ClientKind::Assigned { group, generation, owned, .. } => {
                let text =
                    format!("{} generation {}", self.history.group_name(*group), generation.0);
                self.begin(row, actor, Lane::Generation, None, &text);
                let owned = self.all(*owned);
                self.ops.push(json!([row, 15, own, group.0, generation.0, owned]));
            }
            ClientKind::Revoked { partitions, .. } => {
                let partitions = self.all(*partitions);
                self.ops.push(json!([row, 16, own, partitions]));
            }
            ClientKind::Lost { partitions, .. } => {
                self.end(row, actor, Lane::Generation, None);
                let partitions = self.all(*partitions);
                self.ops.push(json!([row, 16, own, partitions]));
            }
            ClientKind::PollEnd { group, records } => {
                let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
                for polled in self.history.polled(*records) {
                    next.insert(polled.partition, polled.offset.0 + 1);
                }
                for (partition, offset) in next {
                    self.position(row, actor, *group, partition, offset);
                }
            }
            ClientKind::PositionReset { group, partition, to, .. } => {
                self.position(row, actor, *group, *partition, to.0);
            }
            _ => {}
        }
    }

    fn position(
        &mut self,
        row: usize,
        actor: ActorId,
        group: Option<GroupId>,
        partition: TopicPartition,
        offset: i64,
    ) {
        let group = group.map_or(-1, |group| i32::from(group.0));
        self.ops.push(json!([row, 14, actor.0, self.partition(partition), offset, group]));
    }

    fn all(&self, span: oncesim_history::SpanIndex) -> Vec<usize> {
        self.history.partitions(span).iter().map(|it| self.partition(*it)).collect()
    }

    fn external(&mut self, row: usize, event: &Event, external: &ExternalEvent) {
        let commit = match external {
            ExternalEvent::Applied { commit, .. }
            | ExternalEvent::Committed { commit, .. }
            | ExternalEvent::DedupEvicted { commit, .. } => *commit,
            ExternalEvent::OffsetStored { partition, next, commit, accepted, .. } => {
                if *accepted {
                    let at = self.partition(*partition);
                    self.ops.push(json!([row, 21, event.actor.0, at, next.0]));
                }
                *commit
            }
            ExternalEvent::Prepared { .. }
            | ExternalEvent::Finished { .. }
            | ExternalEvent::Replayed { .. }
            | ExternalEvent::KeyEvicted { .. } => 0,
            _ => return,
        };
        let text = self.texts.add(&event_text(self.history, event));
        self.ops.push(json!([row, 20, event.actor.0, commit, text]));
    }
}

impl Sink for Changes<'_> {
    fn line(&mut self, row: usize, kind: Kind, actor: ActorId) {
        let status = match kind {
            Kind::Paused => {
                self.begin(row, actor, Lane::Paused, None, "paused");
                2
            }
            Kind::ApplicationPaused => {
                self.begin(row, actor, Lane::ApplicationPaused, None, "application paused");
                3
            }
            Kind::Resumed => {
                self.end(row, actor, Lane::Paused, None);
                self.end(row, actor, Lane::ApplicationPaused, None);
                0
            }
            _ => return,
        };
        self.ops.push(json!([row, 19, actor.0, status]));
    }

    fn event(&mut self, row: usize, event: &Event) {
        match &event.kind {
            EventKind::Client(client) => self.client(row, event.actor, client),
            EventKind::World(world) => self.world(row, event.actor, world),
            EventKind::External(external) => self.external(row, event, external),
        }
    }
}
