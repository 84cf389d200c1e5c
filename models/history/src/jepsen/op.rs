//! Operations, and the arenas that they point into.

use crate::event::SpanIndex;
use crate::intern::{Interner, Name};

/// One operation's invocation or completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// `:index`, or its position where the history has none.
    pub index: i64,
    /// `:time`, nanoseconds; its position where the history has none.
    pub time: i64,
    /// `:process`.
    pub process: i64,
    /// `:type`.
    pub ty: OpType,
    /// `:f`.
    pub kind: OpKind,
    /// Sends and polls: a span of [`JepsenHistory::mops`].
    pub mops: SpanIndex,
    /// Keys of an assignment or subscription: a span of [`JepsenHistory::key_lists`].
    pub keys: SpanIndex,
    /// Keys in `:rebalance-log`: a span of [`JepsenHistory::key_lists`].
    pub rebalanced: SpanIndex,
    /// `:seek-to-beginning?`.
    pub seek: bool,
}

/// `:type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpType {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Unknown.
    Info,
}

/// `:f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// Sends only.
    Send,
    /// Polls only.
    Poll,
    /// Both.
    Txn,
    /// `subscribe()`.
    Subscribe,
    /// `assign()`.
    Assign,
    /// The client goes away.
    Crash,
    /// Anything that says nothing about records.
    Other,
}

impl OpKind {
    /// Whether its value is a list of sends and polls.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, OpKind::Send | OpKind::Poll | OpKind::Txn)
    }
}

/// One send or one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mop {
    /// `[:send k v]`, `[:send k [offset v]]`.
    Send {
        /// The key and value, as a number of [`JepsenHistory::records`].
        record: u32,
        /// Where.
        offset: SendOffset,
    },
    /// `[:poll {k [[offset v] ...]}]`: a span of [`JepsenHistory::polled`].
    Poll(SpanIndex),
}

/// What a send says about its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOffset {
    /// `v`: the send has not completed.
    Open,
    /// `[nil v]`: it has, without an offset.
    Unknown,
    /// `[offset v]`.
    At(i64),
}

/// One polled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// The key and value, as a number of [`JepsenHistory::records`].
    pub record: u32,
    /// Where.
    pub offset: i64,
}

/// A whole history. The operations of clients only, in order.
#[derive(Debug, Clone, Default)]
pub struct JepsenHistory {
    /// Operations.
    pub ops: Vec<Op>,
    /// Arena of sends and polls.
    pub mops: Vec<Mop>,
    /// Arena of polled records.
    pub polled: Vec<Polled>,
    /// Arena of lists of keys.
    pub key_lists: Vec<u32>,
    /// The keys (partitions).
    pub keys: Interner<Name>,
    /// The values.
    pub values: Interner<Name>,
    /// The records: pairs of a key and a value.
    pub records: Interner<(u32, u32)>,
    /// How many operations of others (a nemesis) were left out.
    pub foreign: u64,
}

impl JepsenHistory {
    /// Sends and polls of an operation.
    #[must_use]
    pub fn mops(&self, op: &Op) -> &[Mop] {
        &self.mops[op.mops.start as usize..(op.mops.start + op.mops.len) as usize]
    }

    /// Records of a poll.
    #[must_use]
    pub fn polled(&self, span: SpanIndex) -> &[Polled] {
        &self.polled[span.start as usize..(span.start + span.len) as usize]
    }

    /// A list of keys.
    #[must_use]
    pub fn key_list(&self, span: SpanIndex) -> &[u32] {
        &self.key_lists[span.start as usize..(span.start + span.len) as usize]
    }

    /// The key of a record.
    #[must_use]
    pub fn key_of(&self, record: u32) -> u32 {
        self.records.keys()[record as usize].0
    }

    /// A key's name.
    #[must_use]
    pub fn key_name(&self, key: u32) -> &Name {
        &self.keys.keys()[key as usize]
    }

    /// A record's value.
    #[must_use]
    pub fn value_name(&self, record: u32) -> &Name {
        &self.values.keys()[self.records.keys()[record as usize].1 as usize]
    }

    /// The number of a record.
    pub fn record(&mut self, key: Name, value: Name) -> u32 {
        let (key, value) = (self.keys.intern(key), self.values.intern(value));
        self.records.intern((key, value))
    }

    /// Appends to the arena of lists of keys.
    pub(crate) fn list(&mut self, keys: impl IntoIterator<Item = u32>) -> SpanIndex {
        let start = position(self.key_lists.len());
        self.key_lists.extend(keys);
        SpanIndex { start, len: position(self.key_lists.len()) - start }
    }
}

pub(crate) fn position(n: usize) -> u32 {
    u32::try_from(n).expect("a history has fewer than 2^32 entries")
}
