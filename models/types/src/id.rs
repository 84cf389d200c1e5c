//! Identifiers. Names are interned when a scenario is built: protocol and history carry small
//! integers, and only reports turn them back into names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($repr:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One process of the simulated world: the controller, a broker, a client. Dense from 0.
    /// A broker's `broker.id` is its actor id.
    ActorId(u16), "actor-"
);
id!(
    /// A topic, interned. Dense from 0.
    TopicId(u16), "topic-"
);
id!(
    /// A consumer group (`group.id`), interned. Dense from 0.
    GroupId(u16), "group-"
);
id!(
    /// A `group.instance.id` (static membership, KIP-345), interned.
    GroupInstanceId(u16), "instance-"
);
id!(
    /// A `transactional.id`, interned.
    TransactionalId(u16), "txn-"
);
id!(
    /// A group member's id, given by the coordinator on its first join. Never reused in a run:
    /// the joining client's actor, incarnation and join attempt are packed into it.
    MemberId(u64), "member-"
);
id!(
    /// A producer id, from blocks of 1000 that the controller hands out.
    ProducerId(i64), "pid-"
);
id!(
    /// A client's own number for a transaction, from 1 per incarnation, with the incarnation in the
    /// high half: never reused for one `transactional.id` by one application.
    TransactionNumber(u64), "transaction-"
);
id!(
    /// One *logical* send of an application: the identity that checkers follow. A client's retry
    /// keeps it; so does an application that sends the same record again.
    RecordId(u64), "r"
);
id!(
    /// One connection from a client to a server. Never reused in a run; order is kept within one
    /// connection, not between two.
    ConnectionId(u32), "connection-"
);
id!(
    /// Pairs a response with its request, unique per requesting incarnation.
    CorrelationId(u32), "#"
);
id!(
    /// A system outside of Kafka (a database, an API), interned. Dense from 0.
    SystemId(u16), "system-"
);
id!(
    /// One use of a system: the statements, or the requests, that bring records' effects about.
    SinkId(u16), "sink-"
);
id!(
    /// A statement of a database, interned by the scenario. Dense from 0 in each database.
    StatementId(u16), "statement-"
);
id!(
    /// Pairs a completion with the application's call, unique per incarnation.
    CallId(u64), "call-"
);

impl ProducerId {
    /// No producer id: the producer is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl TransactionNumber {
    /// Of a request that belongs to no transaction.
    pub const NONE: TransactionNumber = TransactionNumber(0);
}

impl RecordId {
    /// The record that actor `origin` sent as its `n`-th logical send (from 0, below 2^40).
    #[must_use]
    pub const fn new(origin: ActorId, n: u64) -> Self {
        RecordId(((origin.0 as u64) << 40) | n)
    }

    /// The actor whose workload made the record.
    #[must_use]
    pub const fn origin(self) -> ActorId {
        ActorId((self.0 >> 40) as u16)
    }

    /// Position in its origin's workload, from 0.
    #[must_use]
    pub const fn ordinal(self) -> u64 {
        self.0 & ((1 << 40) - 1)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// Index within the topic, from 0.
    pub partition: u16,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    #[must_use]
    pub const fn new(topic: TopicId, partition: u16) -> Self {
        TopicPartition { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
