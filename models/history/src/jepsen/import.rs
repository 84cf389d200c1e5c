//! Jepsen's operations as events of clients.
//!
//! A process is an actor, a key is a partition. What the history does not say is taken in favour of
//! the system: which of the subscribed processes owns a partition, when it was rebalanced, and
//! whether a position was committed.

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, CallId, ErrorCode, GenerationId, GroupId, Instant, LeaderEpoch, MemberId, Offset,
    RecordId, TopicId, TopicPartition,
};

use super::op::{JepsenHistory, Mop, Op, OpKind, OpType, SendOffset, position};
use crate::complaint::Complaint;
use crate::event::{
    ClientKind, Event, EventKind, Outcome, PolledRecord, PositionReason, SpanIndex,
};
use crate::history::{ActorInfo, ActorRole, CommitEntry, GroupInfo, History, TopicInfo};
use crate::intern::Name;

/// A history that was converted.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The events.
    pub history: History,
    /// How many operations sent or polled more than one thing at once: transactions.
    pub transactions: u64,
    /// How many of those have an unknown outcome that no read has settled.
    pub unsettled: u64,
}

/// The group of every process that subscribes.
const GROUP: GroupId = GroupId(0);
const NONE: u32 = u32::MAX;
const SHARED: u32 = u32::MAX - 1;

/// One process on its way.
#[derive(Debug)]
struct Process {
    actor: ActorId,
    subscribed: bool,
    invoked: Option<u32>,
    /// The next offset of each key that it reads.
    next: BTreeMap<u32, i64>,
}

struct Importer<'j> {
    source: &'j JepsenHistory,
    history: History,
    processes: BTreeMap<i64, Process>,
    /// By key.
    partitions: Vec<TopicPartition>,
    /// By key: the actor that reads it for the group.
    owner: Vec<Option<ActorId>>,
    /// By record: its identity.
    ids: Vec<RecordId>,
    /// By record: whether anybody read it.
    read: Vec<bool>,
    /// By record: how often it was sent.
    attempts: Vec<u32>,
    /// Whether rebalances are on record.
    logged: bool,
    calls: u64,
    now: Instant,
    imported: (u64, u64),
}

/// Converts a history.
///
/// # Errors
///
/// More processes or keys than can be numbered.
pub fn import(source: &JepsenHistory) -> Result<Imported, Complaint> {
    let mut importer = Importer {
        source,
        history: History::default(),
        processes: BTreeMap::new(),
        partitions: Vec::new(),
        owner: vec![None; source.keys.keys().len()],
        ids: Vec::new(),
        read: vec![false; source.records.keys().len()],
        attempts: vec![0; source.records.keys().len()],
        logged: source.ops.iter().any(|op| op.rebalanced.len > 0),
        calls: 0,
        now: Instant::default(),
        imported: (0, 0),
    };
    importer.name()?;
    importer.identify();
    for (at, op) in (0u32..).zip(&source.ops) {
        importer.op(at, op);
    }
    importer.history.end = importer.now;
    let (transactions, unsettled) = importer.imported;
    Ok(Imported { history: importer.history, transactions, unsettled })
}

impl Importer<'_> {
    /// Gives actors, partitions and the group their numbers.
    fn name(&mut self) -> Result<(), Complaint> {
        let many = |what: &str| Complaint::new(1, format!("too many {what}"), "at most 65534");
        for op in &self.source.ops {
            if self.processes.contains_key(&op.process) {
                continue;
            }
            let actor = u16::try_from(self.history.actors.len()).map_err(|_| many("processes"))?;
            let name = format!("process {}", op.process);
            let read_committed = false;
            self.history.actors.push(ActorInfo { name, role: ActorRole::Other, read_committed });
            let process = Process {
                actor: ActorId(actor),
                subscribed: false,
                invoked: None,
                next: BTreeMap::new(),
            };
            self.processes.insert(op.process, process);
        }
        let nobody =
            ActorInfo { name: "nobody".to_owned(), role: ActorRole::Other, read_committed: false };
        self.history.actors.push(nobody);
        // Small numbers are partitions of one topic; any other key is a topic of its own.
        let mut numbered = 0;
        let topic = |name: String, partitions| TopicInfo {
            name,
            partitions,
            internal: false,
            unclean_election: false,
        };
        self.history.topics.push(topic("key".to_owned(), 0));
        for key in self.source.keys.keys() {
            let small = match key {
                Name::Int(n) => u16::try_from(*n).ok().filter(|n| *n < u16::MAX),
                Name::Text(_) => None,
            };
            if let Some(partition) = small {
                numbered = numbered.max(partition + 1);
                self.partitions.push(TopicPartition::new(TopicId(0), partition));
                continue;
            }
            let id = u16::try_from(self.history.topics.len()).map_err(|_| many("keys"))?;
            self.history.topics.push(topic(key.to_string(), 1));
            self.partitions.push(TopicPartition::new(TopicId(id), 0));
        }
        self.history.topics[0].partitions = numbered;
        let topics = (0..self.history.topics.len())
            .map(|t| u16::try_from(t).map(TopicId).map_err(|_| many("keys")))
            .collect::<Result<_, _>>()?;
        let name = "subscribers".to_owned();
        self.history.groups.push(GroupInfo { name, topics, from_earliest: true, processor: None });
        Ok(())
    }

    /// A record is its key and value. One that was read under a key to which nobody sent it is the
    /// record with that value that was sent elsewhere, if there is only one.
    fn identify(&mut self) {
        let source = self.source;
        let records = source.records.keys();
        let nobody = ActorId(u16::try_from(self.history.actors.len() - 1).unwrap_or(u16::MAX));
        let mut sender: Vec<Option<ActorId>> = vec![None; records.len()];
        let mut sent_as = vec![NONE; source.values.keys().len()];
        for op in &source.ops {
            for mop in source.mops(op) {
                match mop {
                    Mop::Send { record, .. } => {
                        let row = *record as usize;
                        if sender[row].is_none() {
                            sender[row] = self.processes.get(&op.process).map(|p| p.actor);
                            let known = &mut sent_as[records[row].1 as usize];
                            *known = if *known == NONE { *record } else { SHARED };
                        }
                    }
                    Mop::Poll(span) => {
                        for polled in source.polled(*span) {
                            self.read[polled.record as usize] = true;
                        }
                    }
                }
            }
        }
        let id = |origin: ActorId, record: usize| {
            RecordId::new(origin, History::LABELLED + record as u64)
        };
        for (row, (_, value)) in records.iter().enumerate() {
            let other = sent_as[*value as usize];
            self.ids.push(match (sender[row], other) {
                (Some(origin), _) => id(origin, row),
                (None, NONE | SHARED) => id(nobody, row),
                (None, other) => id(sender[other as usize].unwrap_or(nobody), other as usize),
            });
            self.history.labels.push(source.values.keys()[*value as usize].clone());
        }
    }

    fn push(&mut self, actor: ActorId, kind: ClientKind) {
        let kind = EventKind::Client(kind);
        self.history.events.push(Event { time: self.now, actor, incarnation: 0, kind });
    }

    fn op(&mut self, at: u32, op: &Op) {
        self.now = Instant(u64::try_from(op.time).unwrap_or(0));
        let Some(process) = self.processes.get_mut(&op.process) else { return };
        let actor = process.actor;
        if op.ty == OpType::Invoke {
            process.invoked = Some(at);
            if op.kind.is_data() {
                self.begin(actor, op);
            }
            return;
        }
        let begun = process.invoked.take();
        match op.kind {
            OpKind::Send | OpKind::Poll | OpKind::Txn => self.end(actor, begun, op),
            OpKind::Assign | OpKind::Subscribe if op.ty != OpType::Fail => {
                process.subscribed |= op.kind == OpKind::Subscribe;
                let kept = self.source.key_list(op.keys);
                let dropped: Vec<u32> =
                    process.next.keys().copied().filter(|k| op.seek || !kept.contains(k)).collect();
                if op.kind == OpKind::Subscribe {
                    self.push(actor, ClientKind::Subscribe { group: GROUP });
                } else {
                    self.push(actor, ClientKind::Assign);
                }
                self.leave(actor, op.process, &dropped);
            }
            OpKind::Crash => self.push(actor, ClientKind::Closed),
            _ => {}
        }
    }

    /// A process no longer has a position on these keys.
    fn leave(&mut self, actor: ActorId, process: i64, keys: &[u32]) {
        if keys.is_empty() {
            return;
        }
        if let Some(process) = self.processes.get_mut(&process) {
            process.next.retain(|key, _| !keys.contains(key));
        }
        for key in keys {
            if self.owner[*key as usize] == Some(actor) {
                self.owner[*key as usize] = None;
            }
        }
        let partitions = self.partitions_of(keys);
        self.push(actor, ClientKind::Revoked { group: GROUP, partitions });
    }

    fn partitions_of(&mut self, keys: &[u32]) -> SpanIndex {
        let start = position(self.history.partitions.len());
        let partitions = keys.iter().map(|key| self.partitions[*key as usize]);
        self.history.partitions.extend(partitions);
        SpanIndex { start, len: position(keys.len()) }
    }

    fn begin(&mut self, actor: ActorId, op: &Op) {
        let source = self.source;
        let mut polls = false;
        for mop in source.mops(op) {
            let Mop::Send { record, .. } = mop else {
                polls = true;
                continue;
            };
            self.calls += 1;
            self.attempts[*record as usize] += 1;
            let kind = ClientKind::SendInvoke {
                call: CallId(self.calls),
                partition: self.partitions[source.key_of(*record) as usize],
                record: self.ids[*record as usize],
                key: None,
                payload: 0,
                attempt: self.attempts[*record as usize],
            };
            self.push(actor, kind);
        }
        if polls {
            self.push(actor, ClientKind::PollInvoke);
        }
    }

    fn end(&mut self, actor: ActorId, begun: Option<u32>, op: &Op) {
        let source = self.source;
        let invocation = begun.map_or(op, |at| &source.ops[at as usize]);
        let sends = || {
            source.mops(invocation).iter().filter_map(|mop| match mop {
                Mop::Send { record, .. } => Some(*record),
                Mop::Poll(_) => None,
            })
        };
        let seen = sends().any(|record| self.read[record as usize]);
        // What was sent together is committed together: one part that was read settles the others.
        let committed = op.ty == OpType::Ok || op.ty == OpType::Info && seen;
        if source.mops(op).len().max(source.mops(invocation).len()) > 1 {
            self.imported.0 += 1;
            self.imported.1 += u64::from(op.ty == OpType::Info && !committed);
        }
        self.polls(actor, invocation, op);
        let told: Vec<(u32, SendOffset)> = source
            .mops(op)
            .iter()
            .filter_map(|mop| match mop {
                Mop::Send { record, offset } => Some((*record, *offset)),
                Mop::Poll(_) => None,
            })
            .collect();
        for (nth, record) in sends().enumerate() {
            let told = match told.get(nth) {
                Some((same, offset)) if *same == record => Some(*offset),
                _ => told.iter().find(|(r, _)| *r == record).map(|(_, offset)| *offset),
            };
            let offset = match told {
                Some(SendOffset::At(offset)) => Some(Offset(offset)),
                _ => None,
            };
            let doubtful = op.ty == OpType::Info && self.read[record as usize] && offset.is_none();
            let outcome = match op.ty {
                _ if committed && !doubtful => Outcome::Ok,
                OpType::Fail => Outcome::Fail(ErrorCode::UnknownServerError),
                _ => Outcome::Info(ErrorCode::RequestTimedOut),
            };
            let kind = ClientKind::SendEnd {
                call: CallId(self.calls),
                record: self.ids[record as usize],
                partition: Some(self.partitions[source.key_of(record) as usize]),
                outcome,
                offset: offset.filter(|_| outcome == Outcome::Ok),
            };
            self.push(actor, kind);
        }
    }

    /// What an operation polled. Each call of `poll()` is one event, unless a rebalance between two
    /// of them is on record, or nothing is.
    fn polls(&mut self, actor: ActorId, invocation: &Op, op: &Op) {
        let source = self.source;
        let begun = source.mops(invocation).iter().any(|mop| matches!(mop, Mop::Poll(_)));
        let spans: Vec<SpanIndex> = source
            .mops(op)
            .iter()
            .filter_map(|mop| match mop {
                Mop::Poll(span) => Some(*span),
                Mop::Send { .. } => None,
            })
            .collect();
        if !begun && spans.is_empty() {
            return;
        }
        if !begun {
            self.push(actor, ClientKind::PollInvoke);
        }
        let subscribed = self.processes.get(&op.process).is_some_and(|p| p.subscribed);
        let group = subscribed.then_some(GROUP);
        let mut keys: Vec<u32> = spans
            .iter()
            .flat_map(|span| source.polled(*span))
            .map(|polled| source.key_of(polled.record))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let rebalanced = source.key_list(op.rebalanced);
        if subscribed {
            self.take(actor, op.process, &keys, rebalanced);
        }
        let before = self.processes.get(&op.process).map(|p| p.next.clone()).unwrap_or_default();
        let start = position(self.history.polled.len());
        for (nth, span) in spans.iter().enumerate() {
            let polled = source.polled(*span).iter().map(|polled| PolledRecord {
                partition: self.partitions[source.key_of(polled.record) as usize],
                offset: Offset(polled.offset),
                leader_epoch: LeaderEpoch::NONE,
                record: self.ids[polled.record as usize],
                key: None,
                payload: 0,
            });
            self.history.polled.extend(polled);
            if nth + 1 < spans.len() && !rebalanced.is_empty() {
                self.poll_end(actor, group, start);
                self.push(actor, ClientKind::PollInvoke);
            }
        }
        self.poll_end(actor, group, start);
        self.advance(actor, op, &spans, &keys, &before, subscribed);
    }

    fn poll_end(&mut self, actor: ActorId, group: Option<GroupId>, start: u32) {
        let len = position(self.history.polled.len()) - start;
        let records = SpanIndex { start, len };
        self.push(actor, ClientKind::PollEnd { group, records });
    }

    /// A subscribed process reads keys that may have been another's, or nobody's, since it last did.
    fn take(&mut self, actor: ActorId, process: i64, keys: &[u32], rebalanced: &[u32]) {
        for key in keys {
            let owner = self.owner[*key as usize];
            if owner == Some(actor) && self.logged && !rebalanced.contains(key) {
                continue;
            }
            let partitions = self.partitions_of(&[*key]);
            if let Some(owner) = owner {
                self.push(owner, ClientKind::Revoked { group: GROUP, partitions });
            }
            if let Some(process) = self.processes.get_mut(&process) {
                process.next.remove(key);
            }
            self.owner[*key as usize] = Some(actor);
            let kind = ClientKind::Assigned {
                group: GROUP,
                member: MemberId(u64::from(actor.0)),
                generation: GenerationId(0),
                added: partitions,
                owned: partitions,
            };
            self.push(actor, kind);
        }
    }

    /// An ok operation moves positions, and its records are processed; any other is rolled back.
    fn advance(
        &mut self,
        actor: ActorId,
        op: &Op,
        spans: &[SpanIndex],
        keys: &[u32],
        before: &BTreeMap<u32, i64>,
        subscribed: bool,
    ) {
        let source = self.source;
        if op.ty != OpType::Ok {
            for key in keys {
                let partition = self.partitions[*key as usize];
                let Some(next) = before.get(key) else {
                    let partitions = self.partitions_of(&[*key]);
                    self.owner[*key as usize] = None;
                    self.push(actor, ClientKind::Revoked { group: GROUP, partitions });
                    continue;
                };
                let (to, reason) = (Offset(*next), PositionReason::Seek);
                let group = subscribed.then_some(GROUP);
                self.push(actor, ClientKind::PositionReset { group, partition, to, reason });
            }
            return;
        }
        let Some(process) = self.processes.get_mut(&op.process) else { return };
        for polled in spans.iter().flat_map(|span| source.polled(*span)) {
            process.next.insert(source.key_of(polled.record), polled.offset + 1);
        }
        if !subscribed || keys.is_empty() {
            return;
        }
        let next: Vec<CommitEntry> = keys
            .iter()
            .map(|key| CommitEntry {
                partition: self.partitions[*key as usize],
                offset: Offset(process.next.get(key).copied().unwrap_or(0)),
                leader_epoch: LeaderEpoch::NONE,
            })
            .collect();
        for polled in spans.iter().flat_map(|span| source.polled(*span)) {
            let kind = ClientKind::Processed {
                group: GROUP,
                partition: self.partitions[source.key_of(polled.record) as usize],
                offset: Offset(polled.offset),
                record: self.ids[polled.record as usize],
            };
            self.push(actor, kind);
        }
        // Nobody says whether it committed; if it did, then no more than it had read.
        let start = position(self.history.commits.len());
        let offsets = SpanIndex { start, len: position(next.len()) };
        self.history.commits.extend(next);
        self.calls += 1;
        let call = CallId(self.calls);
        self.push(actor, ClientKind::CommitInvoke { call, group: GROUP, offsets, sync: false });
        let outcome = Outcome::Info(ErrorCode::RequestTimedOut);
        self.push(actor, ClientKind::CommitEnd { call, outcome });
    }
}
