//! Events of clients as Jepsen's operations.
//!
//! A process of Jepsen has one operation open at a time. A producer pipelines, so that its calls are
//! spread over as many processes as are open at once; a process whose call ended without an answer
//! is retired. A consumer is one process, and an `assign` tells where it takes up new positions.
//! Commits, groups and processing have no counterpart.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_types::{ActorId, RecordId, TopicPartition};

use super::op::{JepsenHistory, Mop, Op, OpKind, OpType, Polled, SendOffset, position};
use crate::event::{ClientKind, Event, EventKind, Outcome, SpanIndex};
use crate::history::History;
use crate::intern::Name;

type ProcessId = (ActorId, u32);

/// How a call ended.
#[derive(Debug, Clone, Copy)]
struct End {
    partition: Option<TopicPartition>,
}

/// A consumer on its way.
#[derive(Debug)]
struct Reader {
    process: i64,
    polling: bool,
    /// The keys that it owns or reads.
    keys: BTreeSet<u32>,
}

struct Exporter<'h> {
    source: &'h History,
    out: JepsenHistory,
    ends: BTreeMap<(ActorId, u32, u64), End>,
    /// Where each record was read, for sends that were never told.
    read: BTreeMap<RecordId, TopicPartition>,
    readers: BTreeMap<ProcessId, Reader>,
    /// Idle processes of producers.
    idle: BTreeMap<ProcessId, Vec<i64>>,
    /// Open calls: process, and the record that is sent.
    open: BTreeMap<(ActorId, u32, u64), (i64, u32)>,
    processes: i64,
    now: i64,
}

/// Converts a history.
#[must_use]
pub fn export(source: &History) -> JepsenHistory {
    let mut exporter = Exporter {
        source,
        out: JepsenHistory::default(),
        ends: BTreeMap::new(),
        read: BTreeMap::new(),
        readers: BTreeMap::new(),
        idle: BTreeMap::new(),
        open: BTreeMap::new(),
        processes: 0,
        now: 0,
    };
    exporter.look_ahead();
    for event in &source.events {
        exporter.now = i64::try_from(event.time.0).unwrap_or(i64::MAX);
        if let EventKind::Client(client) = &event.kind {
            exporter.event(event, client);
        }
    }
    exporter.close();
    exporter.out
}

impl Exporter<'_> {
    /// Where each call goes is known when it ends, or when its record is read.
    fn look_ahead(&mut self) {
        for event in &self.source.events {
            if let EventKind::Client(ClientKind::SendEnd { call, partition, .. }) = &event.kind {
                let call = (event.actor, event.incarnation, call.0);
                self.ends.insert(call, End { partition: *partition });
            }
        }
        for polled in &self.source.polled {
            self.read.entry(polled.record).or_insert(polled.partition);
        }
    }

    fn new_process(&mut self) -> i64 {
        self.processes += 1;
        self.processes - 1
    }

    fn push(&mut self, process: i64, ty: OpType, kind: OpKind, mops: SpanIndex, keys: SpanIndex) {
        self.out.ops.push(Op {
            index: i64::from(position(self.out.ops.len())),
            time: self.now,
            process,
            ty,
            kind,
            mops,
            keys,
            rebalanced: SpanIndex::default(),
            seek: false,
        });
    }

    fn mop(&mut self, mop: Mop) -> SpanIndex {
        self.out.mops.push(mop);
        SpanIndex { start: position(self.out.mops.len() - 1), len: 1 }
    }

    fn key(&mut self, partition: TopicPartition) -> u32 {
        self.out.keys.intern(Name::Text(self.source.partition_name(partition).into()))
    }

    fn record(&mut self, partition: TopicPartition, record: RecordId) -> u32 {
        let label = record.ordinal().checked_sub(History::LABELLED);
        let label = label.and_then(|n| self.source.labels.get(usize::try_from(n).ok()?));
        let value = label.cloned().unwrap_or(Name::Int(record.0.cast_signed()));
        let (key, value) = (self.key(partition), self.out.values.intern(value));
        self.out.records.intern((key, value))
    }

    fn event(&mut self, event: &Event, client: &ClientKind) {
        let id = (event.actor, event.incarnation);
        match client {
            ClientKind::SendInvoke { call, partition, record, .. } => {
                let call = (id.0, id.1, call.0);
                let told = self.ends.get(&call).and_then(|end| end.partition);
                let asked = (partition.partition != u16::MAX).then_some(*partition);
                // A record that nobody was told about and nobody has read says nothing.
                let Some(to) = told.or(asked).or_else(|| self.read.get(record).copied()) else {
                    return;
                };
                let record = self.record(to, *record);
                let idle = self.idle.get_mut(&id).and_then(Vec::pop);
                let process = idle.unwrap_or_else(|| self.new_process());
                let mops = self.mop(Mop::Send { record, offset: SendOffset::Open });
                self.push(process, OpType::Invoke, OpKind::Send, mops, SpanIndex::default());
                self.open.insert(call, (process, record));
            }
            ClientKind::SendEnd { call, outcome, offset, .. } => {
                let Some((process, record)) = self.open.remove(&(id.0, id.1, call.0)) else {
                    return;
                };
                let (ty, offset) = match (outcome, offset) {
                    (Outcome::Ok, Some(at)) if at.0 >= 0 => (OpType::Ok, SendOffset::At(at.0)),
                    (Outcome::Ok, _) => (OpType::Ok, SendOffset::Unknown),
                    (Outcome::Fail(_), _) => (OpType::Fail, SendOffset::Open),
                    (Outcome::Info(_), _) => (OpType::Info, SendOffset::Open),
                };
                let mops = self.mop(Mop::Send { record, offset });
                self.push(process, ty, OpKind::Send, mops, SpanIndex::default());
                if ty != OpType::Info {
                    self.idle.entry(id).or_default().push(process);
                }
            }
            ClientKind::PollInvoke => self.poll(id),
            ClientKind::PollEnd { records, .. } => self.polled(id, *records),
            ClientKind::Assigned { added, owned, .. } => {
                let source = self.source;
                let owned: BTreeSet<u32> =
                    source.partitions(*owned).iter().map(|p| self.key(*p)).collect();
                let added: Vec<u32> =
                    source.partitions(*added).iter().map(|p| self.key(*p)).collect();
                self.assign(id, owned, &added);
            }
            ClientKind::Revoked { partitions, .. } | ClientKind::Lost { partitions, .. } => {
                let mut keys = self.keys(id);
                for partition in self.source.partitions(*partitions) {
                    let key = self.key(*partition);
                    keys.remove(&key);
                }
                self.assign(id, keys, &[]);
            }
            ClientKind::PositionReset { partition, .. } => {
                let (keys, key) = (self.keys(id), self.key(*partition));
                if keys.contains(&key) {
                    self.assign(id, keys, &[key]);
                }
            }
            _ => {}
        }
    }

    fn reader(&mut self, id: ProcessId) -> &mut Reader {
        if !self.readers.contains_key(&id) {
            let process = self.new_process();
            let reader = Reader { process, polling: false, keys: BTreeSet::new() };
            self.readers.insert(id, reader);
        }
        self.readers.get_mut(&id).expect("it was inserted if it was missing")
    }

    fn keys(&mut self, id: ProcessId) -> BTreeSet<u32> {
        self.reader(id).keys.clone()
    }

    fn poll(&mut self, id: ProcessId) {
        let reader = self.reader(id);
        let process = reader.process;
        if !std::mem::replace(&mut reader.polling, true) {
            let mops = self.mop(Mop::Poll(SpanIndex::default()));
            self.push(process, OpType::Invoke, OpKind::Poll, mops, SpanIndex::default());
        }
    }

    fn polled(&mut self, id: ProcessId, span: SpanIndex) {
        self.poll(id);
        let start = position(self.out.polled.len());
        let mut records: Vec<(u32, Polled)> = Vec::new();
        for polled in self.source.polled(span) {
            let record = self.record(polled.partition, polled.record);
            let key = self.out.key_of(record);
            records.push((key, Polled { record, offset: polled.offset.0 }));
        }
        // One list per key; stable, so that each keeps its order.
        records.sort_by_key(|(key, _)| *key);
        self.out.polled.extend(records.iter().map(|(_, polled)| *polled));
        let len = position(records.len());
        let reader = self.reader(id);
        reader.polling = false;
        reader.keys.extend(records.iter().map(|(key, _)| *key));
        let process = reader.process;
        let mops = self.mop(Mop::Poll(SpanIndex { start, len }));
        self.push(process, OpType::Ok, OpKind::Poll, mops, SpanIndex::default());
    }

    /// Assigns keys; on the new ones among them the position is taken up anew. It may happen inside
    /// of `poll()`, which is then cut in two.
    fn assign(&mut self, id: ProcessId, keys: BTreeSet<u32>, new: &[u32]) {
        let reader = self.reader(id);
        let (process, polling) = (reader.process, reader.polling);
        reader.keys.clone_from(&keys);
        if polling {
            self.polled(id, SpanIndex::default());
        }
        let kept = keys.iter().copied().filter(|key| !new.contains(key)).collect::<Vec<_>>();
        let rounds =
            if new.is_empty() { vec![kept] } else { vec![kept, keys.into_iter().collect()] };
        for keys in rounds {
            let keys = self.out.list(keys);
            self.push(process, OpType::Invoke, OpKind::Assign, SpanIndex::default(), keys);
            self.push(process, OpType::Ok, OpKind::Assign, SpanIndex::default(), keys);
        }
        if polling {
            self.poll(id);
        }
    }

    /// What is open at the end may still happen.
    fn close(&mut self) {
        for (process, record) in std::mem::take(&mut self.open).into_values() {
            let mops = self.mop(Mop::Send { record, offset: SendOffset::Open });
            self.push(process, OpType::Info, OpKind::Send, mops, SpanIndex::default());
        }
        let polling: Vec<i64> =
            self.readers.values().filter(|r| r.polling).map(|r| r.process).collect();
        for process in polling {
            let mops = self.mop(Mop::Poll(SpanIndex::default()));
            self.push(process, OpType::Info, OpKind::Poll, mops, SpanIndex::default());
        }
    }
}
