//! Faults as data. Random search produces a [`FaultPlan`], the engine executes one, and shrink,
//! replay and explain edit the same type.

use oncesim_kafka::message::ApiKey;
use oncesim_types::{Duration, Instant, Operation};
use serde::{Deserialize, Serialize};

/// Everything that goes wrong in one run, in the order of the scenario file, then as drawn; and the
/// settings that were drawn for its world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan {
    /// The faults.
    pub faults: Vec<PlannedFault>,
    /// Values of the scenario that are others in this run.
    pub settings: Vec<Setting>,
}

impl From<Vec<PlannedFault>> for FaultPlan {
    /// Faults in the scenario's own world.
    fn from(faults: Vec<PlannedFault>) -> Self {
        FaultPlan { faults, settings: Vec::new() }
    }
}

/// A value of a scenario that is another one in a run, as `--set` would change it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// The dotted path: `network.latency.mean`.
    pub path: String,
    /// The value, as in TOML; bare words are strings.
    pub value: String,
}

/// One fault: when, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFault {
    /// When it strikes.
    pub trigger: Trigger,
    /// What happens. Actors are named as in the scenario, or by role: `controller`, `leader of
    /// orders-0`, `coordinator of billing`, `transaction coordinator of billing-0`, resolved when
    /// the fault strikes.
    pub action: FaultAction,
}

/// When a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// At a moment of virtual time.
    At(Instant),
    /// When the `nth` (from 1) message that matches is sent, `delay` later.
    Sent {
        /// Which messages count.
        pattern: MessagePattern,
        /// Which of them.
        nth: u32,
        /// After how long.
        delay: Duration,
    },
    /// When the `nth` (from 1) message that matches is delivered, `delay` later.
    Delivered {
        /// Which messages count.
        pattern: MessagePattern,
        /// Which of them.
        nth: u32,
        /// After how long.
        delay: Duration,
    },
    /// On the `nth` (from 1) matching message itself: for faults of one message.
    OnMessage {
        /// Which messages count.
        pattern: MessagePattern,
        /// Which of them.
        nth: u32,
    },
}

/// A set of messages, by logical address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePattern {
    /// Whether requests or responses; `None` for both.
    pub response: Option<bool>,
    /// What is asked or answered; `None` for all.
    pub api: Option<MessageApi>,
    /// The sender, by name or role; `None` for all.
    pub from: Option<String>,
    /// The receiver, by name or role; `None` for all.
    pub to: Option<String>,
}

/// What a message asks for, or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageApi {
    /// Something of Kafka.
    Kafka(ApiKey),
    /// Something of a system outside of Kafka.
    System(Operation),
}

impl MessageApi {
    /// Its name in scenarios.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MessageApi::Kafka(api) => api.name(),
            MessageApi::System(operation) => operation.name(),
        }
    }
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// The message is lost with its connection: both ends learn of the reset.
    Drop,
    /// The message arrives, and everything after it waits this much longer (its connection keeps
    /// order; other connections overtake).
    Delay(Duration),
    /// The request arrives a second time, this much later (as from a retrying proxy). Its second
    /// response goes nowhere.
    Duplicate(Duration),
    /// A process dies and starts again after `down`; `None`: with the heal at the end.
    Crash {
        /// Whom.
        actor: String,
        /// Whether power fails: what was not flushed is lost from a drawn point on.
        power: bool,
        /// For how long it is down.
        down: Option<Duration>,
    },
    /// A process stands still; messages and timers wait, then come.
    Pause {
        /// Whom.
        actor: String,
        /// Only the application's thread; the client's heartbeats go on.
        application_only: bool,
        /// For how long.
        duration: Duration,
    },
    /// No message passes between the two sets (or only from the first to the second, if one-way);
    /// what is sent waits until the heal.
    Partition {
        /// One side.
        from: Vec<String>,
        /// The other; empty: everybody else.
        to: Vec<String>,
        /// Only messages from `from` to `to` are held.
        one_way: bool,
        /// For how long.
        duration: Duration,
    },
    /// One link is slow: every message on it takes this much longer.
    Clog {
        /// One end.
        from: String,
        /// The other.
        to: String,
        /// How much longer.
        extra: Duration,
        /// For how long.
        duration: Duration,
    },
    /// The controller moves leadership of a partition (`orders-0`) to another in-sync replica.
    LeaderChange {
        /// Which partition.
        partition: String,
        /// To whom; `None`: another in-sync replica.
        to: Option<String>,
    },
    /// A replica outside of the in-sync set is made leader.
    UncleanElection {
        /// Which partition.
        partition: String,
    },
    /// A coordinator moves to another broker.
    CoordinatorMove {
        /// Whose coordinator.
        of: Coordinated,
    },
    /// A consumer leaves its group and joins again.
    Rebalance {
        /// Which consumer instance.
        actor: String,
    },
    /// The active controller fails over: it is gone for this long, its log stays.
    ControllerFailover {
        /// For how long.
        duration: Duration,
    },
    /// A host's clock jumps by `by` nanoseconds (negative: back).
    ClockJump {
        /// Whose.
        actor: String,
        /// How far.
        by_ns: i64,
    },
    /// A host's clock runs `ppm` millionths too fast (negative: too slow).
    ClockSkew {
        /// Whose.
        actor: String,
        /// How fast.
        ppm: i64,
        /// For how long.
        duration: Duration,
    },
    /// A broker's disk misbehaves.
    Disk {
        /// Whose.
        actor: String,
        /// How.
        fault: DiskFault,
        /// For how long.
        duration: Duration,
    },
    /// A system outside of Kafka is in trouble.
    System {
        /// Which.
        actor: String,
        /// How.
        trouble: SystemTrouble,
        /// For how long.
        duration: Duration,
    },
}

/// What goes wrong with a system outside of Kafka by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemTrouble {
    /// `sink-errors`: every request is refused; nothing is done.
    Errors,
    /// `deadlock`: transactions with writes are rolled back when they want to commit.
    Deadlocks,
    /// `slow-sink`: every reply comes so much later.
    Slow(Duration),
    /// `unknown-commit`: what changes something is executed, and its reply is lost with the
    /// connection.
    UnknownCommits,
}

/// What a coordinator coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coordinated {
    /// A group, by its name: the leader of its partition of `__consumer_offsets`. As a role:
    /// `coordinator of billing`.
    Group(String),
    /// A `transactional.id`, as it is at the first start of its application: the leader of its
    /// partition of `__transaction_state`. As a role: `transaction coordinator of billing-0`.
    Transaction(String),
}

impl FaultAction {
    /// The actors that it names, by name or by role; whom it strikes comes first.
    #[must_use]
    pub fn actors(&self) -> Vec<&String> {
        match self {
            FaultAction::Crash { actor, .. }
            | FaultAction::Pause { actor, .. }
            | FaultAction::Rebalance { actor }
            | FaultAction::ClockJump { actor, .. }
            | FaultAction::ClockSkew { actor, .. }
            | FaultAction::System { actor, .. }
            | FaultAction::Disk { actor, .. } => vec![actor],
            FaultAction::Partition { from, to, .. } => from.iter().chain(to).collect(),
            FaultAction::Clog { from, to, .. } => vec![from, to],
            FaultAction::LeaderChange { to, .. } => to.iter().collect(),
            FaultAction::Drop
            | FaultAction::Delay(_)
            | FaultAction::Duplicate(_)
            | FaultAction::UncleanElection { .. }
            | FaultAction::CoordinatorMove { .. }
            | FaultAction::ControllerFailover { .. } => Vec::new(),
        }
    }
}

/// What goes wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// No room.
    Full,
    /// A flush is acknowledged and not done: a later power failure loses it.
    LostFlush,
}

/// A kind of fault, as `swarm.kinds` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// `crash`
    Crash,
    /// `power-failure`
    PowerFailure,
    /// `pause`
    Pause,
    /// `application-pause`
    ApplicationPause,
    /// `partition`
    Partition,
    /// `one-way-partition`
    OneWayPartition,
    /// `clog`
    Clog,
    /// `request-loss`
    RequestLoss,
    /// `ack-loss`
    AckLoss,
    /// `duplicate`
    Duplicate,
    /// `delay`
    Delay,
    /// `leader-change`
    LeaderChange,
    /// `unclean-election`
    UncleanElection,
    /// `coordinator-move`
    CoordinatorMove,
    /// `rebalance`
    Rebalance,
    /// `controller-failover`
    ControllerFailover,
    /// `clock-jump`
    ClockJump,
    /// `clock-skew`
    ClockSkew,
    /// `disk-full`
    DiskFull,
    /// `lost-flush`
    LostFlush,
    /// `sink-errors`
    SinkErrors,
    /// `deadlock`
    Deadlock,
    /// `slow-sink`
    SlowSink,
    /// `unknown-commit`
    UnknownCommit,
}

impl FaultKind {
    /// All of them.
    pub const ALL: &'static [FaultKind] = &[
        FaultKind::Crash,
        FaultKind::PowerFailure,
        FaultKind::Pause,
        FaultKind::ApplicationPause,
        FaultKind::Partition,
        FaultKind::OneWayPartition,
        FaultKind::Clog,
        FaultKind::RequestLoss,
        FaultKind::AckLoss,
        FaultKind::Duplicate,
        FaultKind::Delay,
        FaultKind::LeaderChange,
        FaultKind::UncleanElection,
        FaultKind::CoordinatorMove,
        FaultKind::Rebalance,
        FaultKind::ControllerFailover,
        FaultKind::ClockJump,
        FaultKind::ClockSkew,
        FaultKind::DiskFull,
        FaultKind::LostFlush,
        FaultKind::SinkErrors,
        FaultKind::Deadlock,
        FaultKind::SlowSink,
        FaultKind::UnknownCommit,
    ];

    /// Its name in scenarios.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Crash => "crash",
            FaultKind::PowerFailure => "power-failure",
            FaultKind::Pause => "pause",
            FaultKind::ApplicationPause => "application-pause",
            FaultKind::Partition => "partition",
            FaultKind::OneWayPartition => "one-way-partition",
            FaultKind::Clog => "clog",
            FaultKind::RequestLoss => "request-loss",
            FaultKind::AckLoss => "ack-loss",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Delay => "delay",
            FaultKind::LeaderChange => "leader-change",
            FaultKind::UncleanElection => "unclean-election",
            FaultKind::CoordinatorMove => "coordinator-move",
            FaultKind::Rebalance => "rebalance",
            FaultKind::ControllerFailover => "controller-failover",
            FaultKind::ClockJump => "clock-jump",
            FaultKind::ClockSkew => "clock-skew",
            FaultKind::DiskFull => "disk-full",
            FaultKind::LostFlush => "lost-flush",
            FaultKind::SinkErrors => "sink-errors",
            FaultKind::Deadlock => "deadlock",
            FaultKind::SlowSink => "slow-sink",
            FaultKind::UnknownCommit => "unknown-commit",
        }
    }
}

/// Faults that are drawn per seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmSpec {
    /// From which kinds; each seed draws a subset.
    pub kinds: Vec<FaultKind>,
    /// How many at most.
    pub count: u32,
    /// On whom: names or prefixes (`b1`, `brokers`, `shop`); empty: anybody that the kind fits.
    pub targets: Vec<String>,
    /// Until when they strike; `None`: while the workload lasts.
    pub until: Option<Duration>,
}
