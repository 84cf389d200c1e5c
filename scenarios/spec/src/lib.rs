//! What to run, as data: TOML in, a typed scenario or spanned diagnostics out; fault plans; the
//! schema.

mod anomaly;
mod counterexample;
mod diagnostic;
mod fault;
mod id;
mod kafka;
mod names;
mod node;
mod parse;
mod property;
mod scenario;
mod section;
mod set;
mod unit;

pub use counterexample::Replay;
pub use diagnostic::{Diagnostic, DiagnosticLevel, Diagnostics, Place, SourceText};
pub use fault::{
    DiskFault, FaultAction, FaultKind, FaultPlan, MessagePattern, PlannedFault, SwarmSpec, Trigger,
};
pub use parse::{Loaded, load, load_with, parse, parse_with};
pub use scenario::{
    CommitStrategy, ConsumerGroupSpec, Expectation, LatencySpec, Limits, NetworkSpec, ProducerSpec,
    RestartStrategy, Scenario, TopicSpec,
};
