//! The deterministic simulator: kernel, virtual network, disk and clock, faults, recording,
//! campaigns and replay.

#[cfg(not(madsim))]
compile_error!(
    "oncesim runs on madsim's simulator, which exists only under `--cfg madsim`: build from a \
     checkout (its .cargo/config.toml sets it) and without a RUSTFLAGS variable, which replaces it"
);

pub use oncesim_history as history;
pub use oncesim_kafka as kafka;
pub use oncesim_semantics as semantics;
pub use oncesim_spec as spec;
pub use oncesim_types as types;

mod app;
pub mod bench;
mod campaign;
mod clock;
mod digest;
pub mod draw;
mod host;
mod hosted;
mod network;
mod outcome;
pub mod queue;
mod recorder;
mod run;
mod swarm;
mod timers;
mod world;

pub use campaign::{
    Campaign, CampaignOptions, CampaignReport, Failure, Progress, bound_95, fingerprint,
};
pub use hosted::{HostedProducer, HostedTask, TaskFuture, run_hosted, sleep};
pub use outcome::{Digest, FaultReport, Judgement, Outcome, RunEnd, RunOptions, TraceLine, judge};
pub use run::run;
pub use swarm::plan;
