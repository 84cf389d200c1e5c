//! A scenario: what runs, under which faults, and what it promises. Valid by construction: the
//! parser has refused everything that Kafka would refuse.

use std::collections::BTreeMap;
use std::sync::Arc;

use oncesim_kafka::config::{BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig};
use oncesim_kafka::mutation::Mutations;
use oncesim_semantics::Claim;
use oncesim_types::{Duration, GroupId, Ratio, SinkId, TopicId, TransactionalId, Transform};

use crate::external::{RelaySpec, ServiceSpec, SinkSpec, SystemSpec};
use crate::fault::{PlannedFault, Setting, SwarmSpec};

/// One scenario file, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where it came from, for reports: the path that the user gave.
    pub path: String,
    /// Its title.
    pub title: String,
    /// What it promises ...
    pub claim: Option<Claim>,
    /// ... or the pitfall that must be found. Exactly one of the two is given.
    pub expect: Option<Expectation>,
    /// How many brokers. They are the actors 1 to n; the controller is actor 0.
    pub brokers: u16,
    /// Configuration of brokers and controller.
    pub broker_config: BrokerConfig,
    /// Topics by [`TopicId`]; `__consumer_offsets` is the last, if a group exists.
    pub topics: Vec<TopicSpec>,
    /// Producers, in the order of their names.
    pub producers: Vec<ProducerSpec>,
    /// Consumer groups' members, in the order of their names.
    pub consumers: Vec<ConsumerGroupSpec>,
    /// Processors, in the order of their names: consume, transform, produce.
    pub processors: Vec<ProcessorSpec>,
    /// Systems outside of Kafka, by [`oncesim_types::SystemId`].
    pub systems: Vec<SystemSpec>,
    /// What applications do with them for each record, by [`SinkId`].
    pub sinks: Vec<SinkSpec>,
    /// Services, in the order of their names: business rows in a database, events in the log.
    pub services: Vec<ServiceSpec>,
    /// Relays, in the order of their names: what a database holds, into the log.
    pub relays: Vec<RelaySpec>,
    /// Names of groups by [`GroupId`].
    pub groups: Vec<String>,
    /// The transactional ids that are known before the run, by [`TransactionalId`].
    pub transactional_ids: Vec<String>,
    /// The network.
    pub network: NetworkSpec,
    /// Faults drawn per seed.
    pub swarm: Option<SwarmSpec>,
    /// Faults that strike in every run; or, in a walk, one of them in each.
    pub scripted: Vec<PlannedFault>,
    /// Whether each run takes one of the scripted faults: seed n the (n modulo their number)-th.
    pub walk: bool,
    /// Other worlds that seeds draw (`vary`, and networks).
    pub variants: Vec<Variant>,
    /// Whether this one is drawn as well, as one among the variants. If there are none it is.
    pub drawn_itself: bool,
    /// Bounds of a run.
    pub limits: Limits,
    /// Planted bugs.
    pub mutations: Mutations,
    /// The text that says all this, complete in itself: pasted properties and changed values are
    /// written out. Counterexamples start from it.
    pub source: Arc<str>,
}

/// A scenario with other values.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Which values are others.
    pub settings: Vec<Setting>,
    /// The scenario with them.
    pub scenario: Arc<Scenario>,
}

impl Scenario {
    /// The scenario with some settings: one of its variants, or itself.
    #[must_use]
    pub fn with<'a>(self: &'a Arc<Self>, settings: &[Setting]) -> &'a Arc<Scenario> {
        let variant = self.variants.iter().find(|variant| variant.settings == settings);
        variant.map_or(self, |variant| &variant.scenario)
    }

    /// The scenario without its planted bugs, in all of its worlds.
    #[must_use]
    pub fn without_bugs(&self) -> Scenario {
        let variant = |variant: &Variant| Variant {
            settings: variant.settings.clone(),
            scenario: Arc::new(variant.scenario.without_bugs()),
        };
        Scenario {
            mutations: Mutations::NONE,
            variants: self.variants.iter().map(variant).collect(),
            ..self.clone()
        }
    }
}

/// An anomaly that a scenario must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Its id, or sub-kind: `dup-retry`.
    pub anomaly: String,
    /// Within so many seeds.
    pub within: u64,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its effective configuration.
    pub config: TopicConfig,
}

/// A producer application: sends its records one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSpec {
    /// Its name; instances are `name-0`, `name-1`, ... when there are several.
    pub name: String,
    /// How many run at the same time.
    pub instances: u16,
    /// To which topic.
    pub to: TopicId,
    /// How many records each instance sends.
    pub records: u64,
    /// How many distinct keys; 0 sends records without a key.
    pub keys: u32,
    /// Time from one `send()` to the next.
    pub interval: Duration,
    /// Bytes per record.
    pub record_size: u32,
    /// Whether the application calls `send()` again for a record whose `send()` failed.
    pub resend_on_error: bool,
    /// Whether it waits for each acknowledgement before it sends the next record.
    pub synchronous: bool,
    /// What it does after a restart.
    pub restart: RestartStrategy,
    /// The chance that a record has no value: a deletion of its key.
    pub tombstones: Ratio,
    /// Whether it writes in transactions.
    pub transactions: Option<TransactionsSpec>,
    /// Configuration; the engine sets its `transactional_id`.
    pub config: ProducerConfig,
}

/// The transactions of a producer application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionsSpec {
    /// Its `transactional.id`.
    pub id: TransactionalIdPattern,
    /// How many of its records make up a transaction.
    pub size: u64,
    /// The chance that the application aborts a transaction although nothing went wrong.
    pub abort: Ratio,
    /// How long it waits between the last `send()` and the end of the transaction.
    pub hold: Duration,
    /// Every record takes its amount from `to` and gives it to this topic: a second record, in the
    /// same transaction.
    pub transfer_to: Option<TopicId>,
    /// What it does wrong.
    pub mistakes: Vec<Mistake>,
}

/// A `transactional.id` with places for what makes it unique: `billing-{instance}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionalIdPattern {
    /// As it was written.
    pub text: String,
    /// The ids of the instances (all the same without `{instance}`), or of the input partitions
    /// (the same for all instances), topic by topic. Those of later starts are made up while the run
    /// lasts.
    pub ids: Vec<TransactionalId>,
    /// `{restart}`: another id after each start (a mistake: nobody fences the one before).
    pub per_restart: bool,
    /// `{partition}`: one producer per input partition, as before KIP-447. The place is filled with
    /// `orders-0`.
    pub per_partition: bool,
}

/// What an application does wrong with its transactions, because real ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// `no-group-metadata`: offsets are sent without the consumer's group metadata.
    NoGroupMetadata,
    /// `abort-after-commit-timeout`: a commit that timed out is taken for a failure.
    AbortAfterCommitTimeout,
    /// `continue-after-fatal`: after a fatal error it goes on with a new producer of the same id.
    ContinueAfterFatal,
    /// `no-seek-after-abort`: it aborts and goes on with the next records.
    NoSeekAfterAbort,
}

/// The instances of a processor: consume, transform, produce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorSpec {
    /// Its name; instances are `name-0`, `name-1`, ... when there are several. The producer of each
    /// is an actor of its own, `name-0-producer`: one process, two clients; with an id per partition
    /// there are several, `name-0-producer-orders-0`.
    pub name: String,
    /// How many run at the same time.
    pub instances: u16,
    /// Its group.
    pub group: GroupId,
    /// The topics that it subscribes to.
    pub from: Vec<TopicId>,
    /// The topics that it writes to.
    pub to: Vec<TopicId>,
    /// What it makes of a record.
    pub transform: Transform,
    /// How long it works on one record.
    pub processing_time: Duration,
    /// What it does outside of Kafka for each record, while it processes it and before it commits.
    pub sink: Option<SinkId>,
    /// How it commits.
    pub commit: ProcessorCommit,
    /// How often it commits at most; zero commits after each poll.
    pub commit_interval: Duration,
    /// Records between two commits at most.
    pub batch: u64,
    /// Its `transactional.id`; `None` unless it commits by transaction.
    pub transactional_id: Option<TransactionalIdPattern>,
    /// What it does wrong.
    pub mistakes: Vec<Mistake>,
    /// Whether `group.instance.id` is set (one per instance).
    pub static_membership: bool,
    /// Configuration of its consumer.
    pub consumer: ConsumerConfig,
    /// Configuration of its producer; the engine sets its `transactional_id`.
    pub producer: ProducerConfig,
}

/// How a processor commits its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessorCommit {
    /// Outputs and offsets in one transaction.
    Transaction,
    /// `commitSync` before the records are processed.
    BeforeProcessing,
    /// `commitSync` after the outputs are acknowledged (`flush()`).
    AfterProcessing,
    /// `enable.auto.commit`.
    Auto,
}

/// What a producer application does when its process starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartStrategy {
    /// It goes on with the next record that it has never given to `send()`: what was in its buffer
    /// is gone.
    #[default]
    Continue,
    /// It sends again whatever it has not seen acknowledged, then goes on: the same records, from
    /// a new producer session.
    ResendUnacknowledged,
}

/// The instances of a consumer application: poll, process, commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSpec {
    /// Its name; instances are `name-0`, `name-1`, ... when there are several.
    pub name: String,
    /// How many run at the same time.
    pub instances: u16,
    /// Its group.
    pub group: GroupId,
    /// The topics that it subscribes to.
    pub from: Vec<TopicId>,
    /// When it commits.
    pub commit: CommitStrategy,
    /// How long it processes one record.
    pub processing_time: Duration,
    /// What it does outside of Kafka for each record.
    pub sink: Option<SinkId>,
    /// Whether `group.instance.id` is set (one per instance).
    pub static_membership: bool,
    /// Configuration; `config.instance` is set per instance by the engine when
    /// `static_membership`.
    pub config: ConsumerConfig,
}

/// When a consumer application commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStrategy {
    /// `enable.auto.commit`; records of a poll are processed before the next poll.
    Auto,
    /// `enable.auto.commit`, but records are handed to a worker and the next poll doesn't wait for
    /// it (a mistake worth modelling).
    AutoAsyncProcessing,
    /// `commitSync` right after each poll, before its records are processed.
    BeforeProcessing,
    /// `commitSync` after the records of a poll are processed, and on revocation.
    AfterProcessing,
    /// `commitAsync` after the records of a poll are processed; `commitSync` on revocation.
    AsyncAfterProcessing,
    /// `commitSync` after each record.
    PerRecord,
    /// Not in the group: the sink stores offsets with the effects, and partitions are resumed from
    /// there.
    InSink,
    /// As Kafka Connect's sink tasks: records are put, and their offsets committed
    /// (`commitAsync`) once per interval, and before partitions are given away.
    Connect {
        /// `offset.flush.interval.ms`
        interval: Duration,
    },
    /// The sink prepares; `commitSync` decides; the sink commits.
    TwoPhase,
}

/// The network of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Latency of every link without its own.
    pub latency: LatencySpec,
    /// Links with their own latency, by actor names, in either direction.
    pub links: BTreeMap<(String, String), LatencySpec>,
    /// Chance of each message to be lost together with its connection.
    pub loss: Ratio,
}

/// Latency: `min`, plus an exponential part so that the mean is `mean`, capped at `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySpec {
    /// The fastest.
    pub min: Duration,
    /// The mean.
    pub mean: Duration,
    /// The slowest.
    pub max: Duration,
}

/// Bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events of the kernel, before the run is called a livelock.
    pub events: u64,
    /// Virtual time after the last heal until everything must have settled.
    pub liveness: Duration,
    /// Virtual time of the fault phase, at most.
    pub duration: Duration,
}

impl Default for LatencySpec {
    fn default() -> Self {
        LatencySpec {
            min: Duration::from_micros(200),
            mean: Duration::from_millis(1),
            max: Duration::from_millis(40),
        }
    }
}

impl Default for NetworkSpec {
    fn default() -> Self {
        NetworkSpec { latency: LatencySpec::default(), links: BTreeMap::new(), loss: Ratio::ZERO }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            events: 20_000_000,
            liveness: Duration::from_secs(900),
            duration: Duration::from_secs(3_600),
        }
    }
}
