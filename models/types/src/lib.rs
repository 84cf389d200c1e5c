//! The words every floor shares: ids, offsets, epochs, time, ratios and Kafka's error codes.

mod epoch;
mod error_code;
mod external;
mod id;
pub mod lineage;
mod offset;
mod ratio;
mod time;
mod transaction;

pub use epoch::{BrokerEpoch, GenerationId, LeaderEpoch, PartitionEpoch, ProducerEpoch};
pub use error_code::ErrorCode;
pub use external::{EffectId, Operation, Prepared, RowChange, StatementRole, SystemError};
pub use id::{
    ActorId, CallId, ConnectionId, CorrelationId, GroupId, GroupInstanceId, MemberId, ProducerId,
    RecordId, SinkId, StatementId, SystemId, TopicId, TopicPartition, TransactionNumber,
    TransactionalId,
};
pub use lineage::Transform;
pub use offset::{Offset, Sequence};
pub use ratio::Ratio;
pub use time::{Duration, Instant};
pub use transaction::{TransactionResult, TransactionState};
