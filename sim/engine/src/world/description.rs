//! What a run prints about its world: the cluster and who takes part.

use oncesim_spec::{
    Announce, CommitStrategy, PositionStore, ProcessorCommit, ProcessorSpec, RelayKind,
    RelayMarking, RelaySpec, ServiceSpec, SystemSpec, SystemSpecKind,
};
use oncesim_types::{SinkId, SystemId, TopicId, Transform};

use super::World;

impl World {
    /// The world in a few lines.
    pub(super) fn describe(&self) -> Vec<String> {
        let scenario = &self.scenario;
        let mut lines = vec![format!(
            "{}, link latency {} to {} (mean {})",
            counted(u64::from(scenario.brokers), "broker"),
            scenario.network.latency.min,
            scenario.network.latency.max,
            scenario.network.latency.mean
        )];
        for topic in scenario.topics.iter().filter(|topic| !topic.config.is_internal()) {
            lines.push(format!(
                "topic {}: {}, replication factor {}, min.insync.replicas {}",
                topic.name,
                counted(u64::from(topic.config.partitions), "partition"),
                topic.config.replication_factor,
                topic.config.min_insync_replicas
            ));
        }
        for spec in &scenario.producers {
            lines.push(format!(
                "{} {}: {}{}, acks={}, idempotence {}",
                several(spec.instances, "producer"),
                spec.name,
                counted(spec.records, "record"),
                if spec.instances == 1 { "" } else { " each" },
                match spec.config.acks {
                    oncesim_kafka::message::Acks::None => "0",
                    oncesim_kafka::message::Acks::Leader => "1",
                    oncesim_kafka::message::Acks::All => "all",
                },
                if spec.config.idempotence { "on" } else { "off" }
            ));
            if let Some(transactions) = &spec.transactions {
                let line = lines.last_mut().expect("it was pushed just now");
                line.push_str(&format!(
                    ", transactions of {} as {}",
                    counted(transactions.size, "record"),
                    transactions.id.text
                ));
            }
        }
        for spec in &scenario.consumers {
            lines.push(format!(
                "{} {}: group {}, commit {}{}",
                several(spec.instances, "consumer"),
                spec.name,
                scenario.groups[usize::from(spec.group.0)],
                commit_name(spec.commit),
                self.describe_sink(spec.sink)
            ));
        }
        lines.extend(scenario.processors.iter().map(|spec| self.describe_processor(spec)));
        lines.extend(scenario.services.iter().map(|spec| self.describe_service(spec)));
        lines.extend(scenario.relays.iter().map(|spec| self.describe_relay(spec)));
        lines.extend(scenario.systems.iter().map(describe_system));
        let drawn = self.plan.settings.iter();
        lines.extend(drawn.map(|it| format!("drawn for this seed: {} = {}", it.path, it.value)));
        lines
    }

    fn describe_processor(&self, spec: &ProcessorSpec) -> String {
        let names = |topics: &[TopicId]| {
            let name = |topic: &TopicId| self.scenario.topics[usize::from(topic.0)].name.as_str();
            topics.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        let transform = match spec.transform {
            Transform::Map => "map",
            Transform::FanOut { .. } => "fan-out",
            Transform::Filter { .. } => "filter",
            Transform::Aggregate { .. } => "aggregate",
        };
        let commit = match spec.commit {
            ProcessorCommit::Transaction => "transaction",
            ProcessorCommit::BeforeProcessing => "before-processing",
            ProcessorCommit::AfterProcessing => "after-processing",
            ProcessorCommit::Auto => "auto",
        };
        let id = spec.transactional_id.as_ref();
        format!(
            "{} {}: {} to {}, {transform}, commit {commit}{}{}",
            several(spec.instances, "processor"),
            spec.name,
            names(&spec.from),
            names(&spec.to),
            id.map_or_else(String::new, |id| format!(" as {}", id.text)),
            self.describe_sink(spec.sink)
        )
    }

    fn describe_sink(&self, sink: Option<SinkId>) -> String {
        let sink = sink.map(|id| &self.scenario.sinks[usize::from(id.0)]);
        sink.map_or_else(String::new, |sink| format!(", sink {}", sink.name))
    }

    fn describe_service(&self, spec: &ServiceSpec) -> String {
        let announce = match spec.announce {
            Announce::Outbox(_) => "outbox",
            Announce::DatabaseFirst => "database-first",
            Announce::LogFirst => "log-first",
            Announce::InsideTransaction => "inside-transaction",
        };
        format!(
            "{} {}: {}{} in {}, announced in {} by {announce}",
            several(spec.instances, "service"),
            spec.name,
            counted(spec.records, "operation"),
            if spec.instances == 1 { "" } else { " each" },
            self.system_name(spec.database),
            self.topic_name(spec.to)
        )
    }

    fn describe_relay(&self, spec: &RelaySpec) -> String {
        let how = match &spec.kind {
            RelayKind::Capture { table, .. } => format!("captures {table}"),
            RelayKind::Poll { mark: Some(RelayMarking { before_ack, .. }), .. } => {
                let when = if *before_ack { "before-ack" } else { "after-ack" };
                format!("polls every {}, marks {when}", spec.interval)
            }
            RelayKind::Poll { mark: None, .. } => format!("polls every {}", spec.interval),
        };
        let position = match spec.position {
            PositionStore::None => String::new(),
            PositionStore::Memory => ", position in memory".to_owned(),
            PositionStore::Database { .. } => ", position in the database".to_owned(),
            PositionStore::Topic { topic, .. } => {
                format!(", position in {}", self.topic_name(topic))
            }
        };
        let id = spec.transactional_id.as_ref();
        format!(
            "{} {}: {} to {}, {how}{position}{}",
            several(spec.instances, "relay"),
            spec.name,
            self.system_name(spec.database),
            self.topic_name(spec.to),
            id.map_or_else(String::new, |id| format!(" as {}", id.text))
        )
    }

    fn system_name(&self, system: SystemId) -> &str {
        &self.scenario.systems[usize::from(system.0)].name
    }

    fn topic_name(&self, topic: TopicId) -> &str {
        &self.scenario.topics[usize::from(topic.0)].name
    }
}

fn describe_system(spec: &SystemSpec) -> String {
    let what = match &spec.kind {
        SystemSpecKind::Database(database) => {
            format!(
                "database {}: {}",
                spec.name,
                counted(database.statements.len() as u64, "statement")
            )
        }
        SystemSpecKind::Api(api) => format!(
            "API {}: {}",
            spec.name,
            api.key_ttl.map_or_else(
                || "idempotency keys for ever".to_owned(),
                |ttl| format!("idempotency keys for {ttl}")
            )
        ),
        SystemSpecKind::Staging { prepared_timeout } => format!(
            "two-phase sink {}: {}",
            spec.name,
            prepared_timeout.map_or_else(
                || "prepared for ever".to_owned(),
                |timeout| format!("prepared for {timeout}")
            )
        ),
    };
    format!("{what}, service time {}, clients wait {}", spec.service_time, spec.client_timeout)
}

/// A commit strategy as scenarios name it.
fn commit_name(commit: CommitStrategy) -> &'static str {
    match commit {
        CommitStrategy::Auto => "auto",
        CommitStrategy::AutoAsyncProcessing => "auto-async",
        CommitStrategy::BeforeProcessing => "before-processing",
        CommitStrategy::AfterProcessing => "after-processing",
        CommitStrategy::AsyncAfterProcessing => "async-after-processing",
        CommitStrategy::PerRecord => "per-record",
        CommitStrategy::InSink => "in-sink",
        CommitStrategy::Connect { .. } => "connect",
        CommitStrategy::TwoPhase => "two-phase",
    }
}

/// `1 broker`, `3 brokers`.
fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `producer`, `3 producers`.
fn several(n: u16, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{n} {what}s") }
}
