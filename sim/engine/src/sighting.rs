//! What a run offers to faults: messages as triggers count them, sent and delivered, and the steps in
//! which processes act; both while faults may strike, in the order of the run. Kept with a trace.

use oncesim_history::trace::StepId;
use oncesim_spec::MessageApi;
use oncesim_types::{ActorId, Instant};

/// A message where a trigger can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// In which step of the run.
    pub step: StepId,
    /// When.
    pub time: Instant,
    /// Where on its way.
    pub moment: Moment,
    /// Who sends it.
    pub from: ActorId,
    /// To whom.
    pub to: ActorId,
    /// What it asks for or answers.
    pub api: MessageApi,
    /// Whether it answers.
    pub response: bool,
}

/// A process does something in a step: its machine or its application takes an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// In which step of the run.
    pub step: StepId,
    /// When.
    pub time: Instant,
    /// Which actor of the process.
    pub actor: ActorId,
}

/// Where on its way a message is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It is put on its link.
    Sent,
    /// Its receiver has it.
    Delivered,
}
