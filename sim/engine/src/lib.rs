//! The deterministic simulator: kernel, virtual network, disk and clock, faults, recording,
//! campaigns and replay.

#[cfg(not(madsim))]
compile_error!(
    "oncesim runs on madsim's simulator, which exists only under `--cfg madsim`: build from a \
     checkout (its .cargo/config.toml sets it) and without a RUSTFLAGS variable, which replaces it"
);

pub use oncesim_external as external;
pub use oncesim_history as history;
pub use oncesim_kafka as kafka;
pub use oncesim_semantics as semantics;
pub use oncesim_spec as spec;
pub use oncesim_types as types;

#[cfg(madsim)]
mod address;
#[cfg(madsim)]
mod app;
#[cfg(madsim)]
pub mod bench;
#[cfg(madsim)]
mod campaign;
#[cfg(madsim)]
mod cast;
#[cfg(madsim)]
mod clock;
#[cfg(madsim)]
mod coverage;
#[cfg(madsim)]
mod digest;
#[cfg(madsim)]
pub mod draw;
#[cfg(madsim)]
mod explain;
#[cfg(madsim)]
mod explore;
#[cfg(madsim)]
mod host;
#[cfg(madsim)]
mod hosted;
#[cfg(madsim)]
mod mail;
#[cfg(madsim)]
mod matrix;
#[cfg(madsim)]
mod network;
#[cfg(madsim)]
mod outcome;
#[cfg(madsim)]
mod planted;
#[cfg(madsim)]
pub mod queue;
#[cfg(madsim)]
mod recorder;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod search;
#[cfg(madsim)]
mod shrink;
#[cfg(madsim)]
mod sighting;
#[cfg(madsim)]
mod timers;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
pub use campaign::{
    Campaign, CampaignOptions, CampaignReport, ClaimCount, ClaimSum, DigestSum, Distinct, Failure,
    FaultCount, Found, Nondeterminism, One, Part, Progress, ScenarioFacts, Seeds, SilentKind,
    Standing, Sum, bound_95, fingerprint,
};
#[cfg(madsim)]
pub use coverage::{AreaCoverage, Coverage};
#[cfg(madsim)]
pub use explain::{
    Change, Changes, CurvePoint, Edit, ExplainOptions, Explanation, LeftOut, Link, LinkWhat,
    Necessities, Necessity, Sealed, Seen, Share, Sources, Subject, Unavoidable, Unexplained,
    explain, explainable, tell,
};
#[cfg(madsim)]
pub use explore::{
    DepthReport, Exploration, ExploreOptions, ExploreProgress, ExploreReport, default_kinds,
};
#[cfg(madsim)]
pub use hosted::{HostedProducer, HostedTask, TaskFuture, run_hosted, sleep};
#[cfg(madsim)]
pub use matrix::{Cell, CellReport, Cheapest, MatrixOptions, Promise, Tally, run_cells};
#[cfg(madsim)]
pub use outcome::{Digest, FaultReport, Fork, Judgement, Outcome, RunEnd, RunOptions, judge};
#[cfg(madsim)]
pub use run::run;
#[cfg(madsim)]
pub use search::swarm::plan;
#[cfg(madsim)]
pub use search::{Feedback, Hunt, Memory, Proposal, Strategy, StrategyKind, WrittenRun, hunt};
#[cfg(madsim)]
pub use shrink::{
    DoesNotFail, ShrinkEnd, ShrinkOptions, ShrinkProgress, Shrunk, Size, failure, shrink,
};
#[cfg(madsim)]
pub use sighting::{Act, Moment, Sighting};
