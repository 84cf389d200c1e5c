//! What to run, as data: TOML in, a typed scenario or spanned diagnostics out; fault plans; the
//! schema.

mod fault;
mod scenario;

pub use fault::{
    DiskFault, FaultAction, FaultKind, FaultPlan, MessagePattern, PlannedFault, SwarmSpec, Trigger,
};
pub use scenario::{
    CommitStrategy, ConsumerGroupSpec, Expectation, LatencySpec, Limits, NetworkSpec, ProducerSpec,
    Scenario, TopicSpec,
};
