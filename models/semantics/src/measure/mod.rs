//! What a run cost, in virtual time and in work: a pure function of its history.
//!
//! Nothing here judges. Times are the world's, never a skewed host's. What the auditor reads in the
//! final drain is not counted anywhere: it is no part of the workload. Throughput and work end with
//! the fault phase ([`WorldEvent::QuiesceBegin`]); latencies do not, because a record that becomes
//! visible only when everything has healed has waited that long.
//!
//! Simplification: an application that gives up a record and sends it again as another one (a
//! transaction that was aborted and is done over) begins anew, and so does its latency.

mod availability;
mod calls;
mod percentiles;
mod stable;
mod stages;
mod work;

#[cfg(test)]
mod tests;

use oncesim_history::{EventKind, History, WorldEvent};
use oncesim_types::{Duration, Instant};

pub use availability::{FaultMeasure, Outage, Service};
pub use calls::{CallKind, CallMeasure};
pub use percentiles::Percentiles;
pub use stable::StableMeasure;
pub use stages::{Stage, StageMeasure};
pub use work::{Copies, Work};

/// What one run cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    /// When the first record was given to `send()`; `None`: none was, and nothing is measured.
    pub began: Option<Instant>,
    /// When the workload ended: all faults had healed, the liveness phase began.
    pub ended: Instant,
    /// From the first `send()` to the last progress of any stage within the workload.
    pub makespan: Duration,
    /// How many records were given to `send()` by those that do not consume, each once.
    pub inputs: u64,
    /// From stage to stage, in the order of the pipeline.
    pub stages: Vec<StageMeasure>,
    /// Calls that applications wait for.
    pub calls: Vec<CallMeasure>,
    /// Of 1,000,000 parts of the makespan, how many the client that commits most spent in commits:
    /// what a busy application loses.
    pub blocked_ppm: u64,
    /// What each fault that struck kept from working.
    pub faults: Vec<FaultMeasure>,
    /// How long readers of committed data were held back, by partition.
    pub stable: Vec<StableMeasure>,
    /// What was done for it.
    pub work: Work,
}

impl Measures {
    /// Whether there is nothing to show: no record arrived anywhere.
    #[must_use]
    pub fn is_vacuous(&self) -> bool {
        self.last_stage().is_none()
    }

    /// The last stage that a record reached after `send()`, in the order of the pipeline.
    #[must_use]
    pub fn last_stage(&self) -> Option<&StageMeasure> {
        self.stages.iter().rev().find(|stage| !matches!(stage.stage, Stage::Sent(_)))
    }
}

/// Measures a history.
#[must_use]
pub fn measure(history: &History) -> Measures {
    let ended = workload_end(history);
    let stages = stages::Stages::of(history, ended);
    let makespan = stages.makespan();
    let (calls, blocked_ppm) = calls::calls(history, makespan);
    Measures {
        began: stages.began(),
        ended,
        makespan,
        inputs: stages.inputs(),
        calls,
        blocked_ppm,
        faults: availability::faults(history, ended),
        stable: stable::stable(history),
        work: work::work(history, ended),
        stages: stages.finish(),
    }
}

/// When the faults were over; the end of a history that does not say.
fn workload_end(history: &History) -> Instant {
    let quiesce = |kind: &EventKind| matches!(kind, EventKind::World(WorldEvent::QuiesceBegin));
    history.events.iter().find(|event| quiesce(&event.kind)).map_or(history.end, |event| event.time)
}
