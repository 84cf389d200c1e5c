//! What a scenario says about systems outside of Kafka, as the world and its history need it.

use std::sync::Arc;

use oncesim_external::System;
use oncesim_external::api::{Api, ApiConfig};
use oncesim_external::sql::{Database, DatabaseConfig};
use oncesim_external::staging::{Staging, StagingConfig};
use oncesim_history::{
    ActorRole, AnnouncementInfo, Announcing, History, RelayInfo, RelayProgress, SinkInfo,
};
use oncesim_spec::{
    Announce, DatabaseSpec, IdempotencyKey, PositionStore, ProcessorCommit, RelayKind,
    RelayMarking, RelaySpec, Scenario, SinkKind, SinkSpec, SystemSpec, SystemSpecKind,
};
use oncesim_types::{ActorId, Duration, GroupId, SystemId};

use crate::cast::{Member, Part, actor_id, cast};
use crate::draw::{Draws, Purpose};

/// The actors of the systems, by [`SystemId`].
pub(super) fn systems(cast: &[Member<'_>]) -> Vec<ActorId> {
    let is_system = |member: &Member<'_>| matches!(member.role, ActorRole::System(_));
    let members = cast.iter().enumerate().filter(|(_, member)| is_system(member));
    members.map(|(index, _)| actor_id(index)).collect()
}

/// The services that write to a database.
pub(super) fn services(scenario: &Scenario, database: SystemId) -> Vec<ActorId> {
    let writes = |member: &Member<'_>| match member.part {
        Part::Service(spec) => spec.database == database,
        _ => false,
    };
    let members = cast(scenario, &[]).into_iter().enumerate();
    members.filter(|(_, member)| writes(member)).map(|(index, _)| actor_id(index)).collect()
}

/// A system before its first start.
pub(super) fn new_system(
    scenario: &Scenario,
    seed: u64,
    actor: ActorId,
    spec: &SystemSpec,
) -> System {
    let service_time = spec.service_time;
    match &spec.kind {
        SystemSpecKind::Database(DatabaseSpec {
            schema,
            statements,
            captured,
            lock_timeout,
            idle_timeout,
        }) => System::Database(Box::new(Database::new(DatabaseConfig {
            schema: Arc::clone(schema),
            statements: statements.clone(),
            captured: captured.clone(),
            service_time,
            lock_timeout: *lock_timeout,
            idle_timeout: *idle_timeout,
            topics: scenario.topics.iter().map(|topic| topic.name.clone()).collect(),
            seed: Draws::at(seed, Purpose::System, actor.0, 0, 0),
        }))),
        SystemSpecKind::Api(api) => System::Api(Box::new(Api::new(ApiConfig {
            service_time,
            key_ttl: api.key_ttl,
            rejects_other_payload: api.rejects_other_payload,
            checks_token: api.checks_token,
        }))),
        SystemSpecKind::Staging { prepared_timeout } => {
            let prepared_timeout = *prepared_timeout;
            let config = StagingConfig { service_time, prepared_timeout };
            System::Staging(Box::new(Staging::new(config)))
        }
    }
}

/// Tells the history who uses systems, and how.
pub(super) fn declare(scenario: &Scenario, cast: &[Member<'_>], history: &mut History) {
    let systems = systems(cast);
    let system = |id: SystemId| systems[usize::from(id.0)];
    let sinks = scenario.sinks.iter();
    history.sinks = sinks.map(|sink| sink_info(scenario, sink, system(sink.system))).collect();
    for (index, member) in cast.iter().enumerate() {
        let actor = actor_id(index);
        match member.part {
            Part::Service(spec) => history.announcements.push(AnnouncementInfo {
                service: actor,
                database: system(spec.database),
                to: spec.to,
                how: match spec.announce {
                    Announce::Outbox(_) => Announcing::Outbox,
                    Announce::DatabaseFirst => Announcing::DatabaseFirst,
                    Announce::LogFirst => Announcing::LogFirst,
                    Announce::InsideTransaction => Announcing::InsideTransaction,
                },
            }),
            Part::Relay(spec, _) => history.relays.push(RelayInfo {
                relay: actor,
                database: system(spec.database),
                to: spec.to,
                progress: progress(spec),
            }),
            _ => {}
        }
    }
}

fn progress(spec: &RelaySpec) -> RelayProgress {
    match spec.kind {
        RelayKind::Poll { mark: Some(RelayMarking { before_ack: true, .. }), .. } => {
            RelayProgress::MarkBeforeAck
        }
        // A cursor passes rows whether or not they are marked.
        RelayKind::Poll { mark: Some(_), .. } if spec.position == PositionStore::None => {
            RelayProgress::MarkAfterAck
        }
        RelayKind::Poll { .. } => RelayProgress::Cursor,
        RelayKind::Capture { .. } => RelayProgress::Capture,
    }
}

fn sink_info(scenario: &Scenario, sink: &SinkSpec, system: ActorId) -> SinkInfo {
    let SinkUser { group, before_commit } = user(scenario, sink);
    let mut info = SinkInfo {
        name: sink.name.clone(),
        system,
        group,
        steps: 1,
        absorbs: false,
        overwrites: false,
        dedups: false,
        inbox: false,
        window: None,
        stores_offsets: false,
        before_commit,
        // An API or a two-phase sink is told of a deletion as of anything else.
        tombstones: true,
    };
    match &sink.kind {
        SinkKind::Sql(sql) => {
            info.steps = u16::try_from(sql.effect.len()).unwrap_or(u16::MAX);
            info.absorbs = sql.absorbs;
            info.overwrites = sql.overwrites;
            info.dedups = sql.dedup.is_some();
            info.inbox = sql.dedup.is_some_and(|dedup| dedup.inbox);
            info.window = sql.dedup.and_then(|dedup| dedup.evict).map(|(_, window)| window);
            info.stores_offsets = sql.offsets.is_some();
            info.tombstones = sql.tombstone.is_some();
        }
        SinkKind::Api { key: IdempotencyKey::None, .. } | SinkKind::TwoPhase => {}
        SinkKind::Api { .. } => info.window = key_ttl(scenario, sink.system),
    }
    info
}

fn key_ttl(scenario: &Scenario, system: SystemId) -> Option<Duration> {
    match &scenario.systems[usize::from(system.0)].kind {
        SystemSpecKind::Api(api) => api.key_ttl,
        _ => None,
    }
}

/// Whose records ask for a sink's effects.
struct SinkUser {
    group: GroupId,
    /// Its transaction may abort afterwards.
    before_commit: bool,
}

fn user(scenario: &Scenario, sink: &SinkSpec) -> SinkUser {
    let consumers = scenario.consumers.iter().map(|spec| (spec.sink, spec.group, false));
    let processors = scenario
        .processors
        .iter()
        .map(|spec| (spec.sink, spec.group, spec.commit == ProcessorCommit::Transaction));
    let mut users = consumers.chain(processors);
    let user = users.find(|(used, ..)| *used == Some(sink.id));
    let (_, group, before_commit) = user.expect("a sink that nobody uses is refused");
    SinkUser { group, before_commit }
}
