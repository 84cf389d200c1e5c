//! The trace of a run: its steps with what caused each, and lines for people.
//!
//! A step is one event of the kernel: a message arrives, a timer goes off, a flush is done. What a
//! step does (messages sent, timers set, events recorded) happens in it. Lamport's happened-before
//! relation (CACM 1978) is therefore in the steps alone: a step comes after its cause, and after the
//! earlier steps of the same process.
//!
//! A trace is kept when it is asked for, and changes nothing: not the digest, not the run.

use oncesim_types::{
    ActorId, GroupId, Instant, ProducerId, RecordId, TopicPartition, TransactionalId,
};

/// A step, by its position in [`Trace::steps`].
pub type StepId = u32;

/// What a run did, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// The steps, in order. The first is the beginning of the world.
    pub steps: Vec<Step>,
    /// Lines for people, in order.
    pub lines: Vec<TraceLine>,
    /// By [`ActorId`], the actor whose process it is part of: itself, unless it is one of the
    /// clients of a processor.
    pub processes: Vec<ActorId>,
}

impl Trace {
    /// The actor whose process an actor is part of.
    #[must_use]
    pub fn process_of(&self, actor: ActorId) -> ActorId {
        self.processes.get(usize::from(actor.0)).copied().unwrap_or(actor)
    }

    /// The step in which an event of the history was recorded.
    #[must_use]
    pub fn step_of(&self, event: u32) -> Option<StepId> {
        let after = self.steps.partition_point(|step| step.events <= event);
        u32::try_from(after.checked_sub(1)?).ok()
    }
}

/// One step of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub time: Instant,
    /// Whose step; the controller's for what concerns the world.
    pub actor: ActorId,
    /// Which process of that actor.
    pub incarnation: u32,
    /// What made it happen.
    pub via: Via,
    /// The step that sent the message, set the timer, began the flush. None for what nobody in the
    /// world caused: the beginning, a fault at a moment of its own.
    pub cause: Option<StepId>,
    /// How many events the history had when it began: those that it recorded follow.
    pub events: u32,
}

/// What makes a step happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The world begins.
    Beginning,
    /// A message arrives.
    Message,
    /// A timer of a client or a server goes off.
    Timer,
    /// An application wakes up.
    Wake,
    /// A flush is done.
    Disk,
    /// A connection has ended.
    Connection,
    /// A process starts.
    Start,
    /// A fault strikes or ends.
    Fault,
    /// The world looks after itself: its phases, hosted tasks.
    World,
}

/// One line of the trace, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// When.
    pub time: Instant,
    /// Whose event: the sender of a message.
    pub actor: ActorId,
    /// The other end of a message.
    pub peer: Option<ActorId>,
    /// The last event of the history before it.
    pub event: Option<u32>,
    /// The step that it belongs to.
    pub step: StepId,
    /// Of a message: when, and in which step it was sent.
    pub sent: Option<(Instant, StepId)>,
    /// What it is.
    pub kind: LineKind,
    /// What it is about.
    pub about: About,
    /// In words, without actor and time.
    pub text: String,
}

/// What a line of the trace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A message arrives.
    Arrived,
    /// A message is lost with its connection.
    Lost,
    /// A message arrives, and nobody reads it.
    Unheard,
    /// A message is sent that will arrive twice.
    Repeated,
    /// An end of a connection learns that it is gone, or gives it up.
    ConnectionGone,
    /// A process starts.
    Started,
    /// A process crashes.
    Crashed {
        /// Its host has lost power.
        power: bool,
    },
    /// A process stands still.
    Paused {
        /// Only its application does.
        application: bool,
    },
    /// It goes on.
    Resumed {
        /// Only its application had stood still.
        application: bool,
    },
    /// A fault of the plan strikes.
    Fault(u32),
    /// A fault of the plan ends.
    Healed(u32),
    /// The world enters another phase.
    Phase,
    /// What keeps the world from coming to rest.
    Stuck,
    /// What a process does inside.
    Note,
}

/// What a line is about, as far as its own words say; an answer is also about what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// Partitions.
    pub partitions: Vec<TopicPartition>,
    /// Transactional ids.
    pub transactional_ids: Vec<TransactionalId>,
    /// Groups.
    pub groups: Vec<GroupId>,
    /// Records that travel, or whose journey is answered for.
    pub records: Vec<RecordId>,
    /// Producers, by the id that brokers gave them.
    pub producers: Vec<ProducerId>,
}
