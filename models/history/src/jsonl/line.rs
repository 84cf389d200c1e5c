//! The shape of a line.

use std::borrow::Cow;
use std::fmt;

use oncesim_types::{Operation, StatementRole, TransactionResult};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::intern::Name;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    #[serde(rename = "oncesim-history")]
    pub(super) version: u32,
    #[serde(default)]
    pub(super) actors: Vec<ActorLine>,
    #[serde(default)]
    pub(super) topics: Vec<TopicLine>,
    #[serde(default)]
    pub(super) groups: Vec<GroupLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sinks: Vec<SinkLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) announcements: Vec<AnnouncementLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) relays: Vec<RelayLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActorLine {
    pub(super) name: String,
    pub(super) role: Role,
    /// Of a consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    /// Of a producer; all true unless said otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) durable: bool,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) idempotent: bool,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) ordered: bool,
    /// Of a reader.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) read_committed: bool,
    /// Of a system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<SystemWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    Producer,
    Consumer,
    Auditor,
    Broker,
    Controller,
    System,
    Other,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicLine {
    pub(super) name: String,
    #[serde(default)]
    pub(super) partitions: u16,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) unclean_election: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupLine {
    pub(super) name: String,
    #[serde(default)]
    pub(super) topics: Vec<String>,
    /// `auto.offset.reset` is `earliest`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) from_earliest: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) processor: Option<ProcessorLine>,
}

/// What the members of a group make of their input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessorLine {
    pub(super) to: Vec<String>,
    pub(super) transform: TransformLine,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) transactional: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum TransformLine {
    Map,
    FanOut { outputs: u16 },
    Filter { per_million: u32 },
    Aggregate { changelog: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutputLine {
    Ordinal(u16),
    Aggregate,
    Changelog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SystemWord {
    Database,
    Api,
    TwoPhase,
}

/// What records ask of a system.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkLine {
    pub(super) name: String,
    pub(super) system: String,
    pub(super) group: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) steps: u16,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) absorbs: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) overwrites: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) dedups: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) inbox: bool,
    /// Nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) stores_offsets: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) before_commit: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) tombstones: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnnouncementLine {
    pub(super) service: String,
    pub(super) database: String,
    pub(super) to: String,
    pub(super) how: HowWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HowWord {
    Outbox,
    DatabaseFirst,
    LogFirst,
    InsideTransaction,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayLine {
    pub(super) relay: String,
    pub(super) database: String,
    pub(super) to: String,
    pub(super) progress: ProgressWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProgressWord {
    MarkAfterAck,
    MarkBeforeAck,
    Cursor,
    Capture,
}

/// A step of a record's effect at a sink.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EffectLine<'a> {
    #[serde(borrow)]
    pub(super) sink: Cow<'a, str>,
    pub(super) record: RecordName,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) step: u16,
}

const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_one(n: &u16) -> bool {
    *n == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(n: &u16) -> bool {
    *n == 0
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_true(b: &bool) -> bool {
    *b
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_false(b: &bool) -> bool {
    !*b
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    #[default]
    Send,
    SendEnd,
    Session,
    Subscribe,
    Assign,
    Assigned,
    Revoked,
    Lost,
    Poll,
    PollEnd,
    Processed,
    InitTransactions,
    InitTransactionsEnd,
    Begin,
    SendOffsets,
    SendOffsetsEnd,
    EndTransaction,
    TransactionEnd,
    Emitted,
    Restored,
    Transfer,
    Commit,
    CommitEnd,
    Position,
    Closed,
    Drained,
    Crashed,
    Settled,
    NotSettled,
    Asked,
    Answered,
    EffectDone,
    Intended,
    IntentEnded,
    RelayStarted,
    RelayPosition,
    Applied,
    Replayed,
    KeyEvicted,
    RowCommitted,
    MarksEvicted,
    OffsetStored,
    OffsetServed,
    RolledBack,
    Prepared,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutcomeWord {
    Ok,
    Fail,
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReasonWord {
    Committed,
    NoCommittedOffset,
    OutOfRange,
    Truncated,
    Seek,
}

/// Every other line. Which fields a kind needs is checked where it is turned into an event.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    pub(super) time: u64,
    #[serde(borrow)]
    pub(super) actor: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<u32>,
    pub(super) event: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<RecordName>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tombstone: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<OutcomeWord>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) producer_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) producer_epoch: Option<i16>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) records: Option<Vec<PolledLine<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<Vec<(Cow<'a, str>, u16)>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) owned: Option<Vec<(Cow<'a, str>, u16)>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) offsets: Option<Vec<(Cow<'a, str>, u16, i64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sync: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<ReasonWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) power: Option<bool>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<TransactionResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<RecordName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<OutputLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) amount: Option<i64>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<Operation>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) effect: Option<EffectLine<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) original: Option<EffectLine<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idempotency_key: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aggregate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changes: Option<Vec<(u64, u64, u64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) same_payload: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<StatementRole>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sequence: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<bool>,
}

/// A record as a poll returned it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolledLine<'a> {
    #[serde(borrow)]
    pub(super) topic: Cow<'a, str>,
    pub(super) partition: u16,
    pub(super) offset: i64,
    pub(super) record: RecordName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leader_epoch: Option<i32>,
}

/// The name of a record: a number or a text.
#[derive(Debug)]
pub(super) struct RecordName(pub(super) Name);

impl Serialize for RecordName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Name::Int(n) => serializer.serialize_i64(*n),
            Name::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for RecordName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = RecordName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the unique name of a record: a number or a text")
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<RecordName, E> {
                Ok(RecordName(Name::Int(n)))
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<RecordName, E> {
                i64::try_from(n).map_or_else(
                    |_| Ok(RecordName(Name::Text(n.to_string().into()))),
                    |n| Ok(RecordName(Name::Int(n))),
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RecordName, E> {
                Ok(RecordName(Name::Text(text.into())))
            }
        }
        deserializer.deserialize_any(Names)
    }
}
