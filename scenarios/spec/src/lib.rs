//! What to run, as data: TOML in, a typed scenario or spanned diagnostics out; fault plans; the
//! schema.

mod anomaly;
mod counterexample;
mod diagnostic;
mod discover;
mod edit;
mod external;
mod fault;
mod id;
mod kafka;
mod matrix;
mod names;
mod node;
mod parse;
mod print;
mod property;
mod quoted;
mod scenario;
mod schema;
mod section;
mod set;
mod template;
mod unit;
mod written;

pub use counterexample::{Counterexample, Replay, write_counterexample};
pub use diagnostic::{Diagnostic, DiagnosticLevel, Diagnostics, Place, SourceText};
pub use discover::discover;
pub use edit::{settings, with_story, without, without_settings};
pub use external::{
    Announce, ApiSpec, DatabaseSpec, DedupPlacement, DedupSpec, IdempotencyKey, OnUnknown,
    PositionStore, RelayKind, RelayMarking, RelaySpec, ServiceSpec, SinkKind, SinkOffsets,
    SinkSpec, SinkTransaction, SqlSink, SystemSpec, SystemSpecKind,
};
pub use fault::{
    Coordinated, DiskFault, FaultAction, FaultKind, FaultPlan, MessageApi, MessagePattern,
    PlannedFault, Setting, SwarmSpec, SystemTrouble, Trigger,
};
pub use matrix::{
    MatrixAdvice, MatrixCheck, MatrixColumn, MatrixRow, MatrixSection, MatrixSpec, UnknownName,
};
pub use parse::{Loaded, load, load_with, parse, parse_with};
pub use print::fault_to_toml;
pub use scenario::{
    CommitStrategy, ConsumerGroupSpec, Expectation, LatencySpec, Limits, Mistake, NetworkSpec,
    ProcessorCommit, ProcessorSpec, ProducerSpec, RestartStrategy, Scenario, TopicSpec,
    TransactionalIdPattern, TransactionsSpec, Variant,
};
pub use schema::schema;
pub use template::{TEMPLATES, template};
pub use written::{WrittenPlan, read_plans};
