//! Dense numbers for what a history names: partitions, records and offsets.
//!
//! A simulated history numbers everything densely, so a subtraction finds the row of a record or an
//! offset. An imported history may not: then the numbers in use are sorted once, and found by
//! bisection. No table is larger than a small multiple of the history.

use oncesim_history::{
    ClientKind, Event, EventKind, ExternalEvent, History, SpanIndex, WorldEvent,
};
use oncesim_types::{Offset, RecordId, TopicPartition};

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// Numbers in use, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    /// Every number from `base` on.
    Dense { base: i64, len: u32 },
    /// Only these.
    Sparse(Vec<i64>),
}

impl Keys {
    fn len(&self) -> u32 {
        match self {
            Keys::Dense { len, .. } => *len,
            Keys::Sparse(keys) => row(keys.len()),
        }
    }

    fn row(&self, key: i64) -> Option<u32> {
        match self {
            Keys::Dense { base, len } => {
                let row = u32::try_from(key.checked_sub(*base)?).ok()?;
                (row < *len).then_some(row)
            }
            Keys::Sparse(keys) => keys.binary_search(&key).ok().map(row),
        }
    }

    fn key(&self, row: u32) -> i64 {
        match self {
            Keys::Dense { base, .. } => base + i64::from(row),
            Keys::Sparse(keys) => keys[row as usize],
        }
    }

    /// The first row whose number is not below `key`.
    fn row_from(&self, key: i64) -> u32 {
        match self {
            Keys::Dense { base, len } => {
                u32::try_from(key.saturating_sub(*base).clamp(0, i64::from(*len)))
                    .expect("a row is at most the length")
            }
            Keys::Sparse(keys) => row(keys.partition_point(|k| *k < key)),
        }
    }
}

fn row(n: usize) -> u32 {
    u32::try_from(n).expect("a history has fewer than 2^32 rows")
}

/// How many numbers of one kind there are, and how far apart.
#[derive(Debug, Clone, Copy)]
struct Extent {
    min: i64,
    max: i64,
    count: u64,
}

impl Extent {
    const EMPTY: Extent = Extent { min: i64::MAX, max: i64::MIN, count: 0 };

    fn see(&mut self, key: i64) {
        self.min = self.min.min(key);
        self.max = self.max.max(key);
        self.count += 1;
    }

    /// Dense unless most rows would stay empty.
    fn keys(self) -> Option<Keys> {
        if self.count == 0 {
            return Some(Keys::Dense { base: 0, len: 0 });
        }
        let width = u64::try_from(self.max.checked_sub(self.min)?).ok()?.checked_add(1)?;
        (width <= self.count.saturating_mul(4) + 1024)
            .then(|| Keys::Dense { base: self.min, len: u32::try_from(width).unwrap_or(NONE) })
    }
}

/// Rows of everything that a history names.
#[derive(Debug)]
pub(crate) struct Index {
    /// First partition row of each topic, and one past the last.
    topics: Vec<u32>,
    /// The partitions by row.
    pub(crate) partitions: Vec<TopicPartition>,
    records: Vec<(u32, Keys)>,
    /// How many records.
    pub(crate) records_len: usize,
    offsets: Vec<(u32, Keys)>,
    /// How many offsets, over all partitions.
    pub(crate) slots_len: usize,
}

impl Index {
    /// Numbers a history whose spans are valid.
    pub(crate) fn build(history: &History) -> Index {
        let topics = topic_rows(history);
        let partitions: Vec<TopicPartition> = (0u16..)
            .zip(topics.windows(2))
            .flat_map(|(topic, rows)| {
                let count = u16::try_from(rows[1] - rows[0]).expect("partitions are 16 bits");
                (0..count).map(move |p| TopicPartition::new(oncesim_types::TopicId(topic), p))
            })
            .collect();
        let mut index = Index {
            topics,
            partitions,
            records: Vec::new(),
            records_len: 0,
            offsets: Vec::new(),
            slots_len: 0,
        };
        index.number(history);
        index
    }

    fn number(&mut self, history: &History) {
        let mut records = vec![Extent::EMPTY; 0];
        let mut offsets = vec![Extent::EMPTY; self.partitions.len()];
        walk(
            history,
            &mut |record| {
                let (origin, ordinal) = split(record);
                if records.len() <= origin {
                    records.resize(origin + 1, Extent::EMPTY);
                }
                records[origin].see(ordinal);
            },
            &mut |partition, offset| {
                if let Some(p) = self.partition(partition) {
                    offsets[p as usize].see(offset.0);
                }
            },
        );
        let mut record_keys: Vec<Option<Keys>> = records.into_iter().map(Extent::keys).collect();
        let mut offset_keys: Vec<Option<Keys>> = offsets.into_iter().map(Extent::keys).collect();
        if record_keys.iter().chain(&offset_keys).any(Option::is_none) {
            let mut sparse_records = vec![Vec::new(); record_keys.len()];
            let mut sparse_offsets = vec![Vec::new(); offset_keys.len()];
            walk(
                history,
                &mut |record| {
                    let (origin, ordinal) = split(record);
                    if record_keys[origin].is_none() {
                        sparse_records[origin].push(ordinal);
                    }
                },
                &mut |partition, offset| {
                    if let Some(p) = self.partition(partition)
                        && offset_keys[p as usize].is_none()
                    {
                        sparse_offsets[p as usize].push(offset.0);
                    }
                },
            );
            fill(&mut record_keys, sparse_records);
            fill(&mut offset_keys, sparse_offsets);
        }
        (self.records, self.records_len) = stack(record_keys);
        (self.offsets, self.slots_len) = stack(offset_keys);
    }

    /// The row of a partition.
    #[inline]
    pub(crate) fn partition(&self, partition: TopicPartition) -> Option<u32> {
        let topic = usize::from(partition.topic.0);
        let (from, to) = (*self.topics.get(topic)?, *self.topics.get(topic + 1)?);
        let row = from + u32::from(partition.partition);
        (row < to).then_some(row)
    }

    /// The partition rows of a topic.
    pub(crate) fn topic(&self, topic: oncesim_types::TopicId) -> std::ops::Range<u32> {
        let topic = usize::from(topic.0);
        match (self.topics.get(topic), self.topics.get(topic + 1)) {
            (Some(from), Some(to)) => *from..*to,
            _ => 0..0,
        }
    }

    /// The row of a record that was sent, read or processed.
    #[inline]
    pub(crate) fn record(&self, record: RecordId) -> Option<u32> {
        let (origin, ordinal) = split(record);
        let (base, keys) = self.records.get(origin)?;
        Some(base + keys.row(ordinal)?)
    }

    /// The record of a row.
    pub(crate) fn record_id(&self, row: u32) -> RecordId {
        let origin = self.records.partition_point(|(base, _)| *base <= row) - 1;
        let (base, keys) = &self.records[origin];
        let ordinal = u64::try_from(keys.key(row - base)).expect("ordinals are not negative");
        let origin = u16::try_from(origin).expect("actors are 16 bits");
        RecordId::new(oncesim_types::ActorId(origin), ordinal)
    }

    /// The row of an offset that was acknowledged, read or processed.
    #[inline]
    pub(crate) fn slot(&self, partition: u32, offset: Offset) -> Option<u32> {
        let (base, keys) = &self.offsets[partition as usize];
        Some(base + keys.row(offset.0)?)
    }

    /// The rows of a partition's offsets.
    pub(crate) fn slots(&self, partition: u32) -> std::ops::Range<u32> {
        let (base, keys) = &self.offsets[partition as usize];
        *base..base + keys.len()
    }

    /// The first row of a partition whose offset is not below `offset`.
    pub(crate) fn slot_from(&self, partition: u32, offset: i64) -> u32 {
        let (base, keys) = &self.offsets[partition as usize];
        base + keys.row_from(offset)
    }

    /// The offset of a row of `partition`.
    pub(crate) fn offset(&self, partition: u32, slot: u32) -> i64 {
        let (base, keys) = &self.offsets[partition as usize];
        keys.key(slot - base)
    }

    /// Partition and offset of a row.
    pub(crate) fn place(&self, slot: u32) -> (u32, i64) {
        let partition = row(self.offsets.partition_point(|(base, _)| *base <= slot) - 1);
        (partition, self.offset(partition, slot))
    }
}

fn split(record: RecordId) -> (usize, i64) {
    let ordinal = i64::try_from(record.ordinal()).expect("ordinals are below 2^40");
    (usize::from(record.origin().0), ordinal)
}

fn fill(keys: &mut [Option<Keys>], sparse: Vec<Vec<i64>>) {
    for (keys, mut numbers) in keys.iter_mut().zip(sparse) {
        if keys.is_none() {
            numbers.sort_unstable();
            numbers.dedup();
            *keys = Some(Keys::Sparse(numbers));
        }
    }
}

fn stack(keys: Vec<Option<Keys>>) -> (Vec<(u32, Keys)>, usize) {
    let mut base = 0u32;
    let stacked = keys
        .into_iter()
        .map(|keys| {
            let keys = keys.expect("every kind was numbered");
            let at = base;
            base = base.checked_add(keys.len()).expect("a history has fewer than 2^32 rows");
            (at, keys)
        })
        .collect();
    (stacked, base as usize)
}

fn walk(
    history: &History,
    record: &mut dyn FnMut(RecordId),
    offset: &mut dyn FnMut(TopicPartition, Offset),
) {
    for polled in &history.polled {
        record(polled.record);
        offset(polled.partition, polled.offset);
    }
    for Event { kind, .. } in &history.events {
        match kind {
            EventKind::Client(ClientKind::SendInvoke { record: r, .. }) => record(*r),
            EventKind::Client(ClientKind::SendEnd { record: r, partition, offset: at, .. }) => {
                record(*r);
                if let (Some(partition), Some(at)) = (partition, at)
                    && at.0 >= 0
                {
                    offset(*partition, *at);
                }
            }
            EventKind::Client(ClientKind::Processed {
                partition, offset: at, record: r, ..
            }) => {
                record(*r);
                offset(*partition, *at);
            }
            EventKind::Client(ClientKind::Emitted {
                record: r,
                input,
                partition,
                offset: at,
                ..
            }) => {
                record(*r);
                record(*input);
                offset(*partition, *at);
            }
            EventKind::Client(ClientKind::Transfer { record: r, .. }) => record(*r),
            EventKind::External(external) => external_records(external, record),
            _ => {}
        }
    }
}

/// The records that an event outside of Kafka is about.
fn external_records(event: &ExternalEvent, record: &mut dyn FnMut(RecordId)) {
    match event {
        ExternalEvent::Asked { effect: Some(effect), .. }
        | ExternalEvent::EffectDone { effect, .. }
        | ExternalEvent::Applied { effect, .. }
        | ExternalEvent::KeyEvicted { effect } => record(effect.record),
        ExternalEvent::Replayed { effect, original, .. } => {
            record(effect.record);
            record(original.record);
        }
        ExternalEvent::Intended { record: r, .. }
        | ExternalEvent::IntentEnded { record: r, .. }
        | ExternalEvent::Committed { record: Some(r), .. }
        | ExternalEvent::RolledBack { record: Some(r) } => record(*r),
        _ => {}
    }
}

/// Where each topic's partitions begin; a history may name more partitions than it declares.
fn topic_rows(history: &History) -> Vec<u32> {
    let mut counts: Vec<u32> =
        history.topics.iter().map(|topic| u32::from(topic.partitions)).collect();
    each_partition(history, &mut |partition| {
        let topic = usize::from(partition.topic.0);
        if counts.len() <= topic {
            counts.resize(topic + 1, 0);
        }
        counts[topic] = counts[topic].max(u32::from(partition.partition) + 1);
    });
    let mut rows = vec![0];
    let mut sum = 0u32;
    for count in counts {
        sum += count;
        rows.push(sum);
    }
    rows
}

fn each_partition(history: &History, see: &mut dyn FnMut(TopicPartition)) {
    history.polled.iter().for_each(|r| see(r.partition));
    history.partitions.iter().for_each(|p| see(*p));
    history.commits.iter().for_each(|c| see(c.partition));
    history.assignments.iter().for_each(|(_, p)| see(*p));
    for event in &history.events {
        match &event.kind {
            EventKind::Client(kind) => client_partition(kind, see),
            EventKind::World(event) => {
                if let Some(partition) = world_partition(event) {
                    see(partition);
                }
            }
            EventKind::External(event) => {
                if let ExternalEvent::OffsetStored { partition, .. }
                | ExternalEvent::OffsetServed { partition, .. }
                | ExternalEvent::Prepared { partition, .. }
                | ExternalEvent::Finished { partition, .. } = event
                {
                    see(*partition);
                }
            }
        }
    }
}

fn client_partition(kind: &ClientKind, see: &mut dyn FnMut(TopicPartition)) {
    match kind {
        ClientKind::SendInvoke { partition, .. } if partition.partition != u16::MAX => {
            see(*partition);
        }
        ClientKind::SendEnd { partition: Some(partition), .. }
        | ClientKind::Processed { partition, .. }
        | ClientKind::PositionReset { partition, .. }
        | ClientKind::Emitted { partition, .. }
        | ClientKind::StateRestored { changelog: partition, .. }
        | ClientKind::Drained { partition, .. } => see(*partition),
        _ => {}
    }
}

/// The partition that an event of the world concerns.
pub(crate) fn world_partition(event: &WorldEvent) -> Option<TopicPartition> {
    match event {
        WorldEvent::Append { partition, .. }
        | WorldEvent::Truncate { partition, .. }
        | WorldEvent::DiskLoss { partition, .. }
        | WorldEvent::Flushed { partition, .. }
        | WorldEvent::HighWatermark { partition, .. }
        | WorldEvent::BecameLeader { partition, .. }
        | WorldEvent::BecameFollower { partition, .. }
        | WorldEvent::AckedAll { partition, .. }
        | WorldEvent::Served { partition, .. }
        | WorldEvent::PartitionChanged { partition, .. }
        | WorldEvent::Marker { partition, .. }
        | WorldEvent::LastStableOffset { partition, .. }
        | WorldEvent::OffsetPending { partition, .. }
        | WorldEvent::OffsetResolved { partition, .. }
        | WorldEvent::TransactionState { coordinator: partition, .. }
        | WorldEvent::OffsetAccepted { partition, .. } => Some(*partition),
        _ => None,
    }
}

/// Whether every span of the history lies within its arena.
pub(crate) fn spans_are_valid(history: &History) -> Result<(), u32> {
    let within = |span: SpanIndex, len: usize| {
        span.start.checked_add(span.len).is_some_and(|end| end as usize <= len)
    };
    for (position, event) in (0u32..).zip(&history.events) {
        let valid = match &event.kind {
            EventKind::Client(kind) => match kind {
                ClientKind::PollEnd { records, .. } => within(*records, history.polled.len()),
                ClientKind::CommitInvoke { offsets, .. }
                | ClientKind::SendOffsets { offsets, .. } => {
                    within(*offsets, history.commits.len())
                }
                ClientKind::Assigned { added, owned, .. } => {
                    within(*added, history.partitions.len())
                        && within(*owned, history.partitions.len())
                }
                ClientKind::Revoked { partitions, .. } | ClientKind::Lost { partitions, .. } => {
                    within(*partitions, history.partitions.len())
                }
                _ => true,
            },
            EventKind::World(event) => match event {
                WorldEvent::Append { records, .. } => within(*records, history.appended.len()),
                WorldEvent::TransactionState { partitions, .. } => {
                    within(*partitions, history.partitions.len())
                }
                WorldEvent::PartitionChanged { isr, elr, .. } => {
                    within(*isr, history.actors_arena.len())
                        && within(*elr, history.actors_arena.len())
                }
                WorldEvent::Generation { assignment, .. } => {
                    within(*assignment, history.assignments.len())
                }
                _ => true,
            },
            EventKind::External(ExternalEvent::Applied { changes, .. }) => {
                within(*changes, history.row_changes.len())
            }
            EventKind::External(_) => true,
        };
        if !valid {
            return Err(position);
        }
    }
    Ok(())
}
