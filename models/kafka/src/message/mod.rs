//! Requests and responses: one variant per API key, typed bodies, no bytes.
//!
//! Mirrors the schemas of `clients/src/main/resources/common/message` of Kafka 4.x, with the fields
//! that delivery depends on. Bodies that are large or rare are boxed, so that a message stays small
//! in the kernel's heap.
//!
//! Simplifications:
//! - Topic ids, client ids, racks, quotas and authorisation do not exist; nothing here recreates a
//!   topic.
//! - A fetch session lives exactly as long as its connection (Kafka: also until evicted). A client
//!   re-sends the full partition list on a new connection, as Kafka does after a session error.
//! - Brokers read the metadata log from the one controller with `FetchMetadata` (KRaft: `Fetch` on
//!   `__cluster_metadata`); the quorum is one linearizable log.

mod cluster;
mod data;
mod group;
mod transaction;

use oncesim_types::{ErrorCode, TopicPartition};
use serde::{Deserialize, Serialize};

pub use cluster::*;
pub use data::*;
pub use group::*;
pub use transaction::*;

/// The name of an API, for faults ("the 3rd Produce response from b1") and for traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ApiKey {
    /// Key 0.
    Produce,
    /// Key 1, from a consumer.
    Fetch,
    /// Key 1, from a follower.
    ReplicaFetch,
    /// Key 2.
    ListOffsets,
    /// Key 3.
    Metadata,
    /// Key 8.
    OffsetCommit,
    /// Key 9.
    OffsetFetch,
    /// Key 10.
    FindCoordinator,
    /// Key 11.
    JoinGroup,
    /// Key 12.
    Heartbeat,
    /// Key 13.
    LeaveGroup,
    /// Key 14.
    SyncGroup,
    /// Key 22.
    InitProducerId,
    /// Key 23.
    OffsetForLeaderEpoch,
    /// Key 24.
    AddPartitionsToTxn,
    /// Key 25.
    AddOffsetsToTxn,
    /// Key 26.
    EndTxn,
    /// Key 27.
    WriteTxnMarkers,
    /// Key 28.
    TxnOffsetCommit,
    /// Key 43.
    ElectLeaders,
    /// Key 56.
    AlterPartition,
    /// Key 62.
    BrokerRegistration,
    /// Key 63.
    BrokerHeartbeat,
    /// Key 67.
    AllocateProducerIds,
    /// Brokers reading the metadata log.
    FetchMetadata,
}

impl ApiKey {
    /// All of them.
    pub const ALL: &'static [ApiKey] = &[
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ReplicaFetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::Heartbeat,
        ApiKey::LeaveGroup,
        ApiKey::SyncGroup,
        ApiKey::InitProducerId,
        ApiKey::OffsetForLeaderEpoch,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::EndTxn,
        ApiKey::WriteTxnMarkers,
        ApiKey::TxnOffsetCommit,
        ApiKey::ElectLeaders,
        ApiKey::AlterPartition,
        ApiKey::BrokerRegistration,
        ApiKey::BrokerHeartbeat,
        ApiKey::AllocateProducerIds,
        ApiKey::FetchMetadata,
    ];

    /// Kafka's name: `OffsetCommit`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ApiKey::Produce => "Produce",
            ApiKey::Fetch => "Fetch",
            ApiKey::ReplicaFetch => "ReplicaFetch",
            ApiKey::ListOffsets => "ListOffsets",
            ApiKey::Metadata => "Metadata",
            ApiKey::OffsetCommit => "OffsetCommit",
            ApiKey::OffsetFetch => "OffsetFetch",
            ApiKey::FindCoordinator => "FindCoordinator",
            ApiKey::JoinGroup => "JoinGroup",
            ApiKey::Heartbeat => "Heartbeat",
            ApiKey::LeaveGroup => "LeaveGroup",
            ApiKey::SyncGroup => "SyncGroup",
            ApiKey::InitProducerId => "InitProducerId",
            ApiKey::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            ApiKey::AddPartitionsToTxn => "AddPartitionsToTxn",
            ApiKey::AddOffsetsToTxn => "AddOffsetsToTxn",
            ApiKey::EndTxn => "EndTxn",
            ApiKey::WriteTxnMarkers => "WriteTxnMarkers",
            ApiKey::TxnOffsetCommit => "TxnOffsetCommit",
            ApiKey::ElectLeaders => "ElectLeaders",
            ApiKey::AlterPartition => "AlterPartition",
            ApiKey::BrokerRegistration => "BrokerRegistration",
            ApiKey::BrokerHeartbeat => "BrokerHeartbeat",
            ApiKey::AllocateProducerIds => "AllocateProducerIds",
            ApiKey::FetchMetadata => "FetchMetadata",
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Request {
    /// Append batches: exactly one per partition.
    Produce(ProduceRequest),
    /// Read batches, as a consumer or as a follower; waits for data.
    Fetch(Box<FetchRequest>),
    /// Find the earliest or the latest offset.
    ListOffsets(ListOffsetsRequest),
    /// Who leads what.
    Metadata(MetadataRequest),
    /// Commit a group's offsets.
    OffsetCommit(Box<OffsetCommitRequest>),
    /// Read a group's committed offsets.
    OffsetFetch(OffsetFetchRequest),
    /// Who coordinates a group.
    FindCoordinator(FindCoordinatorRequest),
    /// Join a group; answered when its rebalance has gathered all members.
    JoinGroup(Box<JoinGroupRequest>),
    /// Stay in a group.
    Heartbeat(HeartbeatRequest),
    /// Leave a group.
    LeaveGroup(LeaveGroupRequest),
    /// Distribute, or wait for, a group's assignment.
    SyncGroup(Box<SyncGroupRequest>),
    /// Get a producer id, or bump its epoch (KIP-360).
    InitProducerId(InitProducerIdRequest),
    /// Find where an epoch ended, to detect truncation (KIP-101, KIP-320).
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    /// Add partitions to a transaction, or verify that they are in it.
    AddPartitionsToTxn(Box<AddPartitionsToTxnRequest>),
    /// Add a group's offsets to a transaction.
    AddOffsetsToTxn(AddOffsetsToTxnRequest),
    /// Commit or abort a transaction.
    EndTxn(EndTxnRequest),
    /// Write the ends of transactions into partitions.
    WriteTxnMarkers(WriteTxnMarkersRequest),
    /// Commit offsets within a transaction.
    TxnOffsetCommit(Box<TxnOffsetCommitRequest>),
    /// Move leadership, as an operator does.
    ElectLeaders(ElectLeadersRequest),
    /// A leader asks for other in-sync replicas (KIP-497).
    AlterPartition(Box<AlterPartitionRequest>),
    /// A broker process announces itself (KIP-631).
    BrokerRegistration(BrokerRegistrationRequest),
    /// A broker stays alive (KIP-631).
    BrokerHeartbeat(BrokerHeartbeatRequest),
    /// A broker wants a block of producer ids (KIP-730).
    AllocateProducerIds(AllocateProducerIdsRequest),
    /// A broker reads the metadata log; waits for records.
    FetchMetadata(FetchMetadataRequest),
}

impl Request {
    /// Its API.
    #[must_use]
    pub fn api_key(&self) -> ApiKey {
        match self {
            Request::Produce(_) => ApiKey::Produce,
            Request::Fetch(fetch) if fetch.replica.is_some() => ApiKey::ReplicaFetch,
            Request::Fetch(_) => ApiKey::Fetch,
            Request::ListOffsets(_) => ApiKey::ListOffsets,
            Request::Metadata(_) => ApiKey::Metadata,
            Request::OffsetCommit(_) => ApiKey::OffsetCommit,
            Request::OffsetFetch(_) => ApiKey::OffsetFetch,
            Request::FindCoordinator(_) => ApiKey::FindCoordinator,
            Request::JoinGroup(_) => ApiKey::JoinGroup,
            Request::Heartbeat(_) => ApiKey::Heartbeat,
            Request::LeaveGroup(_) => ApiKey::LeaveGroup,
            Request::SyncGroup(_) => ApiKey::SyncGroup,
            Request::InitProducerId(_) => ApiKey::InitProducerId,
            Request::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Request::AddPartitionsToTxn(_) => ApiKey::AddPartitionsToTxn,
            Request::AddOffsetsToTxn(_) => ApiKey::AddOffsetsToTxn,
            Request::EndTxn(_) => ApiKey::EndTxn,
            Request::WriteTxnMarkers(_) => ApiKey::WriteTxnMarkers,
            Request::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
            Request::ElectLeaders(_) => ApiKey::ElectLeaders,
            Request::AlterPartition(_) => ApiKey::AlterPartition,
            Request::BrokerRegistration(_) => ApiKey::BrokerRegistration,
            Request::BrokerHeartbeat(_) => ApiKey::BrokerHeartbeat,
            Request::AllocateProducerIds(_) => ApiKey::AllocateProducerIds,
            Request::FetchMetadata(_) => ApiKey::FetchMetadata,
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone)]
pub enum Response {
    /// Key 0: per partition.
    Produce(Vec<ProducePartitionResponse>),
    /// Key 1.
    Fetch(Box<FetchResponse>),
    /// Key 2: per partition.
    ListOffsets(Vec<ListOffsetsPartitionResponse>),
    /// Key 3.
    Metadata(Box<MetadataResponse>),
    /// Key 8: per partition.
    OffsetCommit(Vec<(TopicPartition, ErrorCode)>),
    /// Key 9.
    OffsetFetch(Box<OffsetFetchResponse>),
    /// Key 10.
    FindCoordinator(FindCoordinatorResponse),
    /// Key 11.
    JoinGroup(Box<JoinGroupResponse>),
    /// Key 12.
    Heartbeat(ErrorCode),
    /// Key 13.
    LeaveGroup(ErrorCode),
    /// Key 14.
    SyncGroup(Box<SyncGroupResponse>),
    /// Key 22.
    InitProducerId(InitProducerIdResponse),
    /// Key 23: per partition.
    OffsetForLeaderEpoch(Vec<OffsetForLeaderEpochPartitionResponse>),
    /// Key 24: per partition.
    AddPartitionsToTxn(Vec<(TopicPartition, ErrorCode)>),
    /// Key 25.
    AddOffsetsToTxn(ErrorCode),
    /// Key 26.
    EndTxn(EndTxnResponse),
    /// Key 27.
    WriteTxnMarkers(WrittenMarkers),
    /// Key 28: per partition.
    TxnOffsetCommit(Vec<(TopicPartition, ErrorCode)>),
    /// Key 43.
    ElectLeaders(ErrorCode),
    /// Key 56.
    AlterPartition(Box<AlterPartitionResponse>),
    /// Key 62.
    BrokerRegistration(BrokerRegistrationResponse),
    /// Key 63.
    BrokerHeartbeat(BrokerHeartbeatResponse),
    /// Key 67.
    AllocateProducerIds(AllocateProducerIdsResponse),
    /// Records of the metadata log.
    FetchMetadata(FetchMetadataResponse),
}

impl Response {
    /// The API that it answers. A fetch response does not know who asked: the kernel keeps that.
    #[must_use]
    pub fn api_key(&self) -> ApiKey {
        match self {
            Response::Produce(_) => ApiKey::Produce,
            Response::Fetch(fetch) if fetch.to_replica => ApiKey::ReplicaFetch,
            Response::Fetch(_) => ApiKey::Fetch,
            Response::ListOffsets(_) => ApiKey::ListOffsets,
            Response::Metadata(_) => ApiKey::Metadata,
            Response::OffsetCommit(_) => ApiKey::OffsetCommit,
            Response::OffsetFetch(_) => ApiKey::OffsetFetch,
            Response::FindCoordinator(_) => ApiKey::FindCoordinator,
            Response::JoinGroup(_) => ApiKey::JoinGroup,
            Response::Heartbeat(_) => ApiKey::Heartbeat,
            Response::LeaveGroup(_) => ApiKey::LeaveGroup,
            Response::SyncGroup(_) => ApiKey::SyncGroup,
            Response::InitProducerId(_) => ApiKey::InitProducerId,
            Response::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Response::AddPartitionsToTxn(_) => ApiKey::AddPartitionsToTxn,
            Response::AddOffsetsToTxn(_) => ApiKey::AddOffsetsToTxn,
            Response::EndTxn(_) => ApiKey::EndTxn,
            Response::WriteTxnMarkers(_) => ApiKey::WriteTxnMarkers,
            Response::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
            Response::ElectLeaders(_) => ApiKey::ElectLeaders,
            Response::AlterPartition(_) => ApiKey::AlterPartition,
            Response::BrokerRegistration(_) => ApiKey::BrokerRegistration,
            Response::BrokerHeartbeat(_) => ApiKey::BrokerHeartbeat,
            Response::AllocateProducerIds(_) => ApiKey::AllocateProducerIds,
            Response::FetchMetadata(_) => ApiKey::FetchMetadata,
        }
    }
}
