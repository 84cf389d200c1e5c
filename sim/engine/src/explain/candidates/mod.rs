//! What engineers change when a guarantee breaks, as edits of a scenario, by what it contains.
//!
//! The cost orders them: 1 is a property of a client, 2 one of a broker or a topic, 3 a change of an
//! application, 4 another design. What is there already is no candidate.

use oncesim_kafka::message::{Acks, IsolationLevel};
use oncesim_semantics::{Anomaly, Level};
use oncesim_spec::{CommitStrategy, Mistake, ProcessorCommit, ProcessorSpec, Scenario};

mod outside;

/// One change that may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// In words.
    pub(super) what: String,
    /// Why it works, in a sentence.
    pub(super) because: String,
    /// As `--set` takes it.
    pub(super) sets: Vec<String>,
    /// How far it goes.
    pub(super) cost: u8,
    /// What else is worth a word.
    pub(super) note: Option<&'static str>,
}

/// What may help against an anomaly, the nearest first.
pub(super) fn candidates(scenario: &Scenario, anomaly: &Anomaly) -> Vec<Candidate> {
    let mut table = Table(Vec::new());
    let level = anomaly.class.level;
    if level != Level::Effect {
        table.producers(scenario);
        table.cluster(scenario);
    }
    table.processors(scenario);
    table.consumers(scenario);
    table.sinks(scenario);
    table.services(scenario);
    table.relays(scenario);
    table.0.sort_by_key(|candidate| candidate.cost);
    table.0
}

const IN_SYNC: &str = "The leader then answers only when every in-sync replica has the record, so \
                       whoever leads next has it too.";
const SEQUENCED: &str = "Each batch then carries a producer id and a sequence number, by which a \
                         broker recognises what it has already and refuses what leaves a gap.";
const REPLICATED: &str =
    "The record then has copies on other brokers, which can lead without it being lost.";
const TWO_REPLICAS: &str = "An acknowledgement then means that two replicas have the record, so the \
                            death of one cannot take it away.";

struct Table(Vec<Candidate>);

/// A string, as TOML has it.
fn quoted(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Table {
    fn add(
        &mut self,
        cost: u8,
        what: impl Into<String>,
        because: impl Into<String>,
        sets: Vec<String>,
    ) {
        let (what, because) = (what.into(), because.into());
        self.0.push(Candidate { what, because, sets, cost, note: None });
    }

    fn with_note(
        &mut self,
        cost: u8,
        what: impl Into<String>,
        because: &'static str,
        sets: Vec<String>,
        note: &'static str,
    ) {
        let (what, because) = (what.into(), because.to_owned());
        self.0.push(Candidate { what, because, sets, cost, note: Some(note) });
    }

    fn producers(&mut self, scenario: &Scenario) {
        for producer in &scenario.producers {
            let name = &producer.name;
            let config = format!("producers.{name}.config");
            let all = format!("{config}.acks=all");
            let idempotence = format!("{config}.enable.idempotence=true");
            let in_flight = format!("{config}.max.in.flight.requests.per.connection");
            if producer.config.acks != Acks::All {
                self.with_note(
                    1,
                    format!("acks=all for {name}"),
                    IN_SYNC,
                    vec![all.clone(), format!("{config}.retries=2147483647")],
                    "an acknowledgement then waits for the in-sync replicas",
                );
            }
            if !producer.config.idempotence {
                let mut sets = vec![idempotence];
                if producer.config.acks != Acks::All {
                    sets.extend([all, format!("{config}.retries=2147483647")]);
                }
                let (all, because) = match sets.len() {
                    1 => ("", SEQUENCED.to_owned()),
                    _ => ("acks=all and ", format!("{IN_SYNC} {SEQUENCED}")),
                };
                self.add(1, format!("{all}enable.idempotence=true for {name}"), because, sets);
                self.add(
                    1,
                    format!("one request in flight for {name}"),
                    "A batch is then sent only when the one before it has its answer, so \
                     none can overtake another.",
                    vec![format!("{in_flight}=1")],
                );
                self.with_note(
                    1,
                    format!("no retries for {name}"),
                    "Nothing is then sent a second time.",
                    vec![format!("{config}.retries=0")],
                    "what is not acknowledged is then lost",
                );
            } else {
                self.add(
                    1,
                    format!("one request in flight for {name}"),
                    "A batch is then sent only when the one before it has its answer, so \
                     none can overtake another.",
                    vec![format!("{in_flight}=1")],
                );
            }
            if producer.restart == oncesim_spec::RestartStrategy::ResendUnacknowledged {
                self.with_note(
                    3,
                    format!("{name} goes on after a restart instead of sending again"),
                    "What may be in the log already is then not sent again.",
                    vec![format!("producers.{name}.on-restart=continue")],
                    "what was not acknowledged before the restart is then lost",
                );
            }
            if let Some(transactions) = &producer.transactions
                && !transactions.mistakes.is_empty()
            {
                let (what, because) = without_mistakes(name, &transactions.mistakes);
                let sets = vec![format!("producers.{name}.transactions.mistakes=[]")];
                self.add(3, what, because, sets);
            }
        }
    }

    fn cluster(&mut self, scenario: &Scenario) {
        if scenario.topics.iter().any(|topic| topic.config.min_insync_replicas < 2) {
            let min = "cluster.config.min.insync.replicas=2".to_owned();
            let note = "sends then fail while fewer than two replicas are in sync";
            let few: Vec<_> = scenario
                .topics
                .iter()
                .filter(|topic| !topic.config.is_internal() && topic.config.replication_factor < 3)
                .collect();
            if few.is_empty() {
                self.with_note(2, "min.insync.replicas=2", TWO_REPLICAS, vec![min.clone()], note);
                for producer in &scenario.producers {
                    if producer.config.acks != Acks::All {
                        self.with_note(
                            2,
                            format!("acks=all for {} with min.insync.replicas=2", producer.name),
                            TWO_REPLICAS,
                            vec![
                                format!("producers.{}.config.acks=all", producer.name),
                                format!("producers.{}.config.retries=2147483647", producer.name),
                                min.clone(),
                            ],
                            note,
                        );
                    }
                }
            } else if scenario.brokers >= 3 {
                let mut sets: Vec<String> = few
                    .iter()
                    .map(|topic| format!("topics.{}.replication-factor=3", topic.name))
                    .collect();
                self.add(2, "replication factor 3", REPLICATED, sets.clone());
                sets.push(min);
                let what = "replication factor 3 with min.insync.replicas=2";
                self.with_note(2, what, TWO_REPLICAS, sets, note);
            }
        } else if scenario.brokers >= 3
            && scenario.topics.iter().any(|topic| topic.config.min_insync_replicas == 2)
        {
            self.with_note(
                2,
                "min.insync.replicas=3",
                "An acknowledgement then means that three replicas have the record.",
                vec!["cluster.config.min.insync.replicas=3".to_owned()],
                "sends then fail while one replica is away",
            );
        }
        if scenario.topics.iter().any(|topic| topic.config.unclean_leader_election) {
            self.with_note(
                2,
                "unclean.leader.election.enable=false",
                "Only a replica from the in-sync set can then lead, and each of those \
                     has every acknowledged record.",
                vec!["cluster.config.unclean.leader.election.enable=false".to_owned()],
                "the partition then has no leader until a replica that knows everything is back",
            );
        }
        self.broker_config(scenario);
    }

    fn broker_config(&mut self, scenario: &Scenario) {
        if scenario.source.contains("transaction-version = 1") {
            self.add(
                2,
                "transaction version 2 (KIP-890)",
                "Every transaction then has a producer epoch of its own, so that brokers refuse what \
                 an earlier one left on its way.",
                vec!["cluster.transaction-version=2".to_owned()],
            );
        }
        for (written, setting, because) in [
            (
                "transaction.partition.verification.enable = false",
                "transaction.partition.verification.enable=true",
                "The leader then asks the coordinator before a transaction's first append, and \
                 refuses a batch whose transaction is not open.",
            ),
            (
                "producer.id.expiration.ms",
                "producer.id.expiration.ms=86400000",
                "A leader then knows a producer's last sequence numbers for a day, and recognises \
                 what it has already.",
            ),
        ] {
            if scenario.source.contains(written) {
                self.add(2, setting, because, vec![format!("cluster.config.{setting}")]);
            }
        }
    }

    fn consumers(&mut self, scenario: &Scenario) {
        for group in &scenario.consumers {
            let name = &group.name;
            let commit = |word: &str| format!("consumers.{name}.commit={word}");
            if group.config.isolation == IsolationLevel::ReadUncommitted {
                self.add(
                    1,
                    format!("isolation.level=read_committed for {name}"),
                    "It then reads no further than the last stable offset, and leaves out \
                     what was aborted.",
                    vec![format!("consumers.{name}.config.isolation.level=read_committed")],
                );
            }
            match group.commit {
                CommitStrategy::Auto
                | CommitStrategy::AutoAsyncProcessing
                | CommitStrategy::BeforeProcessing => self.with_note(
                    3,
                    format!("{name} commits after processing"),
                    "The offset then passes a record only when it is processed: after a \
                     crash the record is read again.",
                    vec![commit("after-processing")],
                    "records may then be processed twice",
                ),
                CommitStrategy::AfterProcessing | CommitStrategy::AsyncAfterProcessing => {
                    self.add(
                        3,
                        format!("{name} commits after each record"),
                        "The committed offset is then never more than one record behind the \
                     work.",
                        vec![commit("per-record")],
                    );
                    self.with_note(
                        3,
                        format!("{name} commits before processing"),
                        "The offset then passes a record before anybody works on it, so no \
                     successor gets it again.",
                        vec![commit("before-processing")],
                        "a crash may then lose records",
                    );
                }
                _ => {}
            }
            let config = format!("consumers.{name}.config");
            self.liveness(name, &config, &group.config);
        }
    }

    /// Timeouts after which a member is taken for dead.
    fn liveness(&mut self, name: &str, config: &str, of: &oncesim_kafka::config::ConsumerConfig) {
        if of.session_timeout.as_millis() < 45_000 {
            self.with_note(
                1,
                format!("session.timeout.ms=45000 for {name} (Kafka's default)"),
                "The coordinator then waits longer for a silent member before it gives \
                     its partitions away.",
                vec![format!("{config}.session.timeout.ms=45000")],
                "a dead member is then noticed later",
            );
        }
        if of.max_poll_interval.as_millis() < 300_000 {
            self.with_note(
                1,
                format!("max.poll.interval.ms=300000 for {name} (Kafka's default)"),
                "A client whose application is slow then stays in its group for longer, \
                     and keeps its partitions.",
                vec![format!("{config}.max.poll.interval.ms=300000")],
                "a member that hangs is then noticed later",
            );
        }
        if of.max_poll_records > 1 {
            self.with_note(
                1,
                format!("max.poll.records=1 for {name}"),
                "A member that loses its partitions then has one record in its hands at \
                     most.",
                vec![format!("{config}.max.poll.records=1")],
                "costs throughput",
            );
        }
    }

    fn processors(&mut self, scenario: &Scenario) {
        for processor in &scenario.processors {
            let name = &processor.name;
            let consumer = format!("processors.{name}.consumer");
            if processor.commit != ProcessorCommit::Transaction {
                self.add(
                    3,
                    format!("{name} commits outputs and offsets in one transaction"),
                    "Outputs and offsets are then committed together or aborted together.",
                    transactional(processor, &consumer),
                );
                if processor.commit != ProcessorCommit::AfterProcessing {
                    self.with_note(
                        3,
                        format!("{name} commits after its outputs are acknowledged"),
                        "The offset then passes a record only when its output is in the log.",
                        vec![format!("processors.{name}.commit=after-processing")],
                        "outputs may then be doubled",
                    );
                }
                if processor.commit != ProcessorCommit::BeforeProcessing {
                    self.with_note(
                        3,
                        format!("{name} commits before it produces"),
                        "The offset then passes a record before its output is sent, so no \
                     successor makes it again.",
                        vec![format!("processors.{name}.commit=before-processing")],
                        "a crash may then lose outputs",
                    );
                }
            }
            if !processor.mistakes.is_empty() {
                let (what, because) = without_mistakes(name, &processor.mistakes);
                self.add(3, what, because, vec![format!("processors.{name}.mistakes=[]")]);
            }
            if processor.transactional_id.as_ref().is_some_and(|it| it.per_restart) {
                let id =
                    format!("processors.{name}.producer.transactional.id=\"{name}-{{instance}}\"");
                self.add(
                    3,
                    format!("a transactional.id of {name} that survives restarts"),
                    "InitProducerId of the next process then fences the one before it, and \
                     ends the transaction that it left open.",
                    vec![id.clone()],
                );
                if !processor.mistakes.is_empty() {
                    let mistakes = format!("processors.{name}.mistakes=[]");
                    self.add(
                        3,
                        format!("a transactional.id of {name} that survives restarts, and group metadata"),
                    "InitProducerId of the next process then fences the one before it, and \
                     the coordinator refuses offsets of a member that it has replaced.",
                        vec![id, mistakes],
                    );
                }
            }
            if processor.consumer.isolation == IsolationLevel::ReadUncommitted {
                self.add(
                    1,
                    format!("isolation.level=read_committed for {name}"),
                    "It then reads no further than the last stable offset, and leaves out \
                     what was aborted.",
                    vec![format!("{consumer}.isolation.level=read_committed")],
                );
            }
            self.liveness(name, &consumer, &processor.consumer);
        }
    }
}

/// What makes a processor commit in transactions.
fn transactional(processor: &ProcessorSpec, consumer: &str) -> Vec<String> {
    let name = &processor.name;
    let mut sets = vec![
        format!("processors.{name}.commit=transaction"),
        format!("processors.{name}.producer.transactional.id=\"{name}-{{instance}}\""),
    ];
    if processor.consumer.isolation == IsolationLevel::ReadUncommitted {
        sets.push(format!("{consumer}.isolation.level=read_committed"));
    }
    sets
}

/// What an application does when it makes none of its mistakes, and why that helps.
fn without_mistakes(name: &str, mistakes: &[Mistake]) -> (String, &'static str) {
    let [mistake] = mistakes else {
        return (
            format!("{name} without any of its mistakes"),
            "It then keeps to the rules of transactional applications: group metadata with the offsets, \
             back to the committed position after an abort, a new process after a fatal error.",
        );
    };
    match mistake {
        Mistake::NoGroupMetadata => (
            format!("{name} sends its offsets with the group's metadata (KIP-447)"),
            "The offsets then carry a generation, and the coordinator refuses those of a member that \
             it has replaced.",
        ),
        Mistake::AbortAfterCommitTimeout => (
            format!("{name} retries a commit that timed out"),
            "The coordinator then answers how the transaction really ended.",
        ),
        Mistake::ContinueAfterFatal => (
            format!("{name} ends its process at a fatal error"),
            "A process that was fenced then does no more work, and its successor begins at the \
             committed offset.",
        ),
        Mistake::NoSeekAfterAbort => (
            format!("{name} seeks back after an abort"),
            "It then polls again what the abort has taken back, from the last committed offset on.",
        ),
    }
}
