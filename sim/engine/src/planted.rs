//! Planted bugs of applications: a scenario with the mistake in it.
//!
//! A bug of a machine is planted in the machine. One of an application is another way of using
//! systems that works, so that it is planted in what the application is told to do.

use std::sync::Arc;

use oncesim_kafka::mutation::{Mutation, Mutations};
use oncesim_spec::{
    Announce, DedupPlacement, IdempotencyKey, PositionStore, ProcessorCommit, RelayKind, RelaySpec,
    Scenario, SinkKind, SqlSink, SystemSpecKind,
};
use oncesim_types::Duration;

/// What a dedup window and a key store are cut down to.
const SHORT_WINDOW: Duration = Duration::from_millis(500);

/// The scenario with the mistakes of its planted bugs, and how many places they changed.
pub(crate) fn plant(scenario: &Arc<Scenario>) -> (Arc<Scenario>, u64) {
    if scenario.mutations == Mutations::NONE {
        return (Arc::clone(scenario), 0);
    }
    let mut planted = Scenario::clone(scenario);
    let mut hits = 0;
    for mutation in Mutation::ALL.iter().filter(|it| scenario.mutations.has(**it)) {
        hits += in_sinks(&mut planted, *mutation)
            + in_relays(&mut planted, *mutation)
            + in_services(&mut planted, *mutation)
            + in_processors(&mut planted, *mutation)
            + in_statements(&mut planted, *mutation);
    }
    (Arc::new(planted), hits)
}

/// Puts `value` in a place; 1 if that was another one before.
fn put<T: PartialEq>(place: &mut T, value: T) -> u64 {
    let changed = *place != value;
    *place = value;
    u64::from(changed)
}

fn in_sinks(scenario: &mut Scenario, mutation: Mutation) -> u64 {
    let mut hits = 0;
    for sink in &mut scenario.sinks {
        hits += match &mut sink.kind {
            SinkKind::Sql(sql) => in_sql(sql, mutation),
            SinkKind::Api { key, .. } => match mutation {
                Mutation::AppKeyIsOffset => put(key, IdempotencyKey::ByOffset),
                Mutation::AppSideEffectInTransaction => put(key, IdempotencyKey::None),
                _ => 0,
            },
            SinkKind::TwoPhase => 0,
        };
    }
    if mutation == Mutation::AppDedupWindow {
        for system in &mut scenario.systems {
            if let SystemSpecKind::Api(api) = &mut system.kind {
                hits += put(&mut api.key_ttl, Some(SHORT_WINDOW));
            }
        }
    }
    hits
}

fn in_sql(sql: &mut SqlSink, mutation: Mutation) -> u64 {
    let placement = sql.dedup.as_mut();
    match mutation {
        Mutation::AppDedupNotAtomic => {
            placement.map_or(0, |dedup| put(&mut dedup.placement, DedupPlacement::AfterEffect))
        }
        Mutation::AppDedupFirst => {
            placement.map_or(0, |dedup| put(&mut dedup.placement, DedupPlacement::BeforeEffect))
        }
        Mutation::AppDedupWindow => {
            let evict = placement.and_then(|dedup| dedup.evict.as_mut());
            evict.map_or(0, |(_, window)| put(window, SHORT_WINDOW))
        }
        Mutation::AppOffsetsNotFenced => {
            sql.offsets.as_mut().map_or(0, |offsets| put(&mut offsets.fenced, false))
        }
        _ => 0,
    }
}

fn in_relays(scenario: &mut Scenario, mutation: Mutation) -> u64 {
    let mut hits: u64 = scenario.relays.iter_mut().map(|it| in_relay(it, mutation)).sum();
    if mutation == Mutation::AppOutboxIdGap {
        for relay in &mut scenario.relays {
            let system = &mut scenario.systems[usize::from(relay.database.0)];
            if let (RelayKind::Poll { select, .. }, SystemSpecKind::Database(database)) =
                (&relay.kind, &mut system.kind)
            {
                let select = &mut database.statements[usize::from(select.0)];
                let above = format!("SELECT * FROM ({}) WHERE sequence > :cursor", select.text);
                hits += put(&mut select.text, above.into());
                relay.position = PositionStore::Memory;
            }
        }
    }
    hits
}

fn in_relay(relay: &mut RelaySpec, mutation: Mutation) -> u64 {
    match (mutation, &mut relay.kind) {
        (Mutation::AppOutboxMarkEarly, RelayKind::Poll { mark: Some(mark), .. }) => {
            put(&mut mark.before_ack, true)
        }
        (Mutation::ConnectCommitBeforeInflight, _) => put(&mut relay.stores_before_ack, true),
        (Mutation::ConnectNoFence, _) => {
            relay.transactional_id.as_mut().map_or(0, |id| put(&mut id.per_restart, true))
        }
        _ => 0,
    }
}

/// Offsets are committed while outputs are still in the producer's buffer.
fn in_processors(scenario: &mut Scenario, mutation: Mutation) -> u64 {
    if mutation != Mutation::MirrorCommitBeforeAck {
        return 0;
    }
    let processors = scenario.processors.iter_mut().map(|processor| {
        processor.consumer.auto_commit = true;
        put(&mut processor.commit, ProcessorCommit::Auto)
    });
    processors.sum()
}

/// An effect's statement without what guards it.
fn in_statements(scenario: &mut Scenario, mutation: Mutation) -> u64 {
    if mutation != Mutation::AppUpsertNoVersion {
        return 0;
    }
    let mut hits = 0;
    for sink in &mut scenario.sinks {
        let system = &mut scenario.systems[usize::from(sink.system.0)].kind;
        let (SinkKind::Sql(sql), SystemSpecKind::Database(database)) = (&mut sink.kind, system)
        else {
            continue;
        };
        sql.overwrites = true;
        for effect in &sql.effect {
            let statement = &mut database.statements[usize::from(effect.0)];
            let bare = statement.text.split("WHERE").next().map(Arc::from);
            hits += bare.map_or(0, |bare| put(&mut statement.text, bare));
        }
    }
    hits
}

fn in_services(scenario: &mut Scenario, mutation: Mutation) -> u64 {
    let services = scenario.services.iter_mut().map(|service| match service.announce {
        Announce::Outbox(_) if mutation == Mutation::AppDualWrite => {
            put(&mut service.announce, Announce::DatabaseFirst)
        }
        _ => 0,
    });
    services.sum()
}
