//! What becomes of requests to systems.

use std::sync::Arc;

use oncesim_external::{ApiRequest, Execute, Parameters, Request};
use oncesim_history::{AskOutcome, EventKind, ExternalEvent};
use oncesim_spec::{
    ApiSpec, DatabaseSpec, FaultAction, FaultPlan, MessageApi, MessagePattern, PlannedFault,
    Scenario, SystemSpec, SystemSpecKind, SystemTrouble, Trigger,
};
use oncesim_types::{
    ActorId, CallId, Duration, EffectId, Instant, Operation, RecordId, SinkId, StatementId,
    StatementRole, SystemError, SystemId,
};

use crate::world::{Turn, World};

const SCENARIO: &str = r#"
title = "A client of a system"

[claim]
log = "exactly-once"

[cluster]
brokers = 1
config.min.insync.replicas = 1

[topics]
orders = { partitions = 1, replication-factor = 1 }

[producers.shop]
to = "orders"
records = 1000
interval = "100ms"
"#;

const CLIENT: ActorId = ActorId(2);
const PAYMENTS: SystemId = SystemId(0);
const LEDGER: SystemId = SystemId(1);

fn scenario() -> Scenario {
    let loaded = oncesim_spec::parse("systems.toml", SCENARIO, None);
    let mut scenario = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario;
    let system = |name: &str, kind| SystemSpec {
        name: name.to_owned(),
        kind,
        service_time: Duration::from_millis(1),
        client_timeout: Duration::from_secs(2),
    };
    let api = ApiSpec { key_ttl: None, rejects_other_payload: true, checks_token: false };
    let insert = oncesim_external::sql::StatementText {
        text: Arc::from("INSERT INTO entries(id) VALUES (:id)"),
        role: StatementRole::Effect,
    };
    let database = DatabaseSpec {
        schema: Arc::from("CREATE TABLE entries(id INTEGER PRIMARY KEY)"),
        statements: vec![insert],
        captured: Vec::new(),
        lock_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
    };
    scenario.systems = vec![
        system("payments", SystemSpecKind::Api(api)),
        system("ledger", SystemSpecKind::Database(database)),
    ];
    scenario
}

fn world(faults: Vec<PlannedFault>) -> World {
    let mut world = World::new(&Arc::new(scenario()), 7, FaultPlan::from(faults), false, &[]);
    run_for(&mut world, Duration::from_millis(200));
    world
}

fn run_for(world: &mut World, span: Duration) {
    let until = world.now + span;
    while matches!(world.turn(), Turn::Next(now) if now < until) {}
}

fn effect(n: u64) -> EffectId {
    EffectId { record: RecordId::new(CLIENT, n), sink: SinkId(0), step: 0 }
}

fn perform(world: &mut World, call: u64, key: u64) {
    let effect = effect(key);
    let request = ApiRequest { effect, key: Some(key), payload: key, token: None };
    world.ask(CLIENT, (PAYMENTS, CallId(call)), Some(effect), Request::Perform(request));
}

fn sql(world: &mut World, call: u64, body: Request) {
    world.ask(CLIENT, (LEDGER, CallId(call)), None, body);
}

fn insert(id: u64) -> Request {
    let execute = Execute {
        statement: StatementId(0),
        role: StatementRole::Effect,
        effect: Some(effect(id)),
        record: Some(RecordId::new(CLIENT, id)),
        parameters: Parameters { id: id.cast_signed(), ..Parameters::default() },
    };
    Request::Execute(Box::new(execute))
}

fn events(world: &World) -> impl Iterator<Item = &ExternalEvent> {
    world.recorder.history.events.iter().filter_map(|event| match &event.kind {
        EventKind::External(event) => Some(event),
        _ => None,
    })
}

/// The requests that ended, in order.
fn answered(world: &World) -> Vec<(u64, AskOutcome)> {
    let ended = events(world).filter_map(|event| match event {
        ExternalEvent::Answered { call, outcome, .. } => Some((call.0, *outcome)),
        _ => None,
    });
    ended.collect()
}

fn applied(world: &World) -> Vec<u64> {
    let applied = events(world).filter_map(|event| match event {
        ExternalEvent::Applied { effect, .. } => Some(effect.record.ordinal()),
        _ => None,
    });
    applied.collect()
}

fn at(moment: u64, action: FaultAction) -> PlannedFault {
    PlannedFault { trigger: Trigger::At(Instant(moment * 1_000_000)), action }
}

const LOST: AskOutcome = AskOutcome::Unknown(SystemError::ConnectionLost);
const TIMEOUT: AskOutcome = AskOutcome::Unknown(SystemError::Timeout);

#[test]
fn requests_are_answered_in_their_order() {
    let mut world = world(Vec::new());
    for n in 1..=20 {
        perform(&mut world, n, n);
    }
    run_for(&mut world, Duration::from_millis(200));
    let all: Vec<_> = (1..=20).map(|n| (n, AskOutcome::Ok)).collect();
    assert_eq!(answered(&world), all);
    assert_eq!(applied(&world), (1..=20).collect::<Vec<_>>());
    assert!(world.actor(CLIENT).asks.is_empty());
}

#[test]
fn a_reply_that_is_quick_again_waits_for_the_slow_ones_before_it() {
    let slow = SystemTrouble::Slow(Duration::from_millis(500));
    let actor = "payments".to_owned();
    let duration = Duration::from_millis(100);
    let mut world = world(vec![at(210, FaultAction::System { actor, trouble: slow, duration })]);
    run_for(&mut world, Duration::from_millis(30));
    perform(&mut world, 1, 1);
    run_for(&mut world, Duration::from_millis(150));
    perform(&mut world, 2, 2);
    run_for(&mut world, Duration::from_millis(200));
    assert_eq!(answered(&world), [], "both have been done, and nobody knows");
    assert_eq!(applied(&world), [1, 2]);
    run_for(&mut world, Duration::from_millis(400));
    assert_eq!(answered(&world), [(1, AskOutcome::Ok), (2, AskOutcome::Ok)]);
}

#[test]
fn a_client_gives_up_on_all_that_it_has_asked_on_the_connection() {
    let from = vec!["payments".to_owned()];
    let duration = Duration::from_secs(5);
    // Requests come through, answers do not.
    let cut = FaultAction::Partition { from, to: Vec::new(), one_way: true, duration };
    let mut world = world(vec![at(210, cut)]);
    run_for(&mut world, Duration::from_millis(30));
    perform(&mut world, 1, 1);
    run_for(&mut world, Duration::from_secs(1));
    perform(&mut world, 2, 2);
    run_for(&mut world, Duration::from_millis(900));
    assert_eq!(answered(&world), []);
    run_for(&mut world, Duration::from_millis(200));
    assert_eq!(answered(&world), [(1, TIMEOUT), (2, TIMEOUT)]);
    assert_eq!(applied(&world), [1, 2], "unknown is not undone");
    // The late answers are for nobody; a new connection works.
    run_for(&mut world, Duration::from_secs(4));
    perform(&mut world, 3, 1);
    run_for(&mut world, Duration::from_millis(200));
    assert_eq!(answered(&world), [(1, TIMEOUT), (2, TIMEOUT), (3, AskOutcome::Ok)]);
    assert_eq!(applied(&world), [1, 2], "the key was known");
}

#[test]
fn a_lost_answer_is_addressed_by_what_was_asked() {
    let pattern = MessagePattern {
        response: Some(true),
        api: Some(MessageApi::System(Operation::Commit)),
        from: Some("systems".to_owned()),
        to: Some("shop".to_owned()),
    };
    let trigger = Trigger::OnMessage { pattern, nth: 2 };
    let mut world = world(vec![PlannedFault { trigger, action: FaultAction::Drop }]);
    for transaction in 0..2 {
        let requests = [Request::Begin, insert(transaction), Request::Commit];
        for (call, request) in (transaction * 3 + 1..).zip(requests) {
            sql(&mut world, call, request);
            run_for(&mut world, Duration::from_millis(200));
        }
    }
    let mut expected: Vec<_> = (1..=5).map(|call| (call, AskOutcome::Ok)).collect();
    expected.push((6, LOST));
    assert_eq!(answered(&world), expected);
    assert_eq!(applied(&world), [0, 1]);
}

#[test]
fn a_client_that_crashes_or_hangs_up_leaves_nothing_open() {
    for crashes in [true, false] {
        let mut world = world(Vec::new());
        sql(&mut world, 1, Request::Begin);
        sql(&mut world, 2, insert(1));
        run_for(&mut world, Duration::from_millis(100));
        sql(&mut world, 3, Request::Commit);
        if crashes {
            world.crash(CLIENT, false);
        } else {
            world.hang_up(CLIENT, LEDGER);
        }
        run_for(&mut world, Duration::from_millis(200));
        let told = answered(&world).into_iter().find(|(call, _)| *call == 3);
        // Who is dead is told nothing.
        assert_eq!(told, if crashes { None } else { Some((3, LOST)) });
        let open = world.unsettled(true);
        assert!(!format!("{open:?}").contains("ledger"), "{open:?}");
    }
}

#[test]
fn what_a_system_had_not_committed_is_gone_with_its_process() {
    let actor = "ledger".to_owned();
    let down = Some(Duration::from_millis(500));
    let crash = FaultAction::Crash { actor, power: false, down };
    let mut world = world(vec![at(400, crash)]);
    sql(&mut world, 1, Request::Begin);
    sql(&mut world, 2, insert(1));
    run_for(&mut world, Duration::from_millis(150));
    assert!(format!("{:?}", world.unsettled(true)).contains("ledger: a transaction is open"));
    run_for(&mut world, Duration::from_millis(100));
    // It is down: the connection is refused.
    sql(&mut world, 3, insert(2));
    run_for(&mut world, Duration::from_millis(500));
    sql(&mut world, 4, insert(1));
    run_for(&mut world, Duration::from_millis(100));
    assert_eq!(answered(&world)[2..], [(3, LOST), (4, AskOutcome::Ok)]);
    assert_eq!(applied(&world), [1]);
}

#[test]
fn a_transaction_does_not_go_on_elsewhere() {
    let actor = "ledger".to_owned();
    let down = Some(Duration::from_millis(10));
    let crash = FaultAction::Crash { actor, power: false, down };
    let mut world = world(vec![at(400, crash)]);
    sql(&mut world, 1, Request::Begin);
    sql(&mut world, 2, insert(1));
    run_for(&mut world, Duration::from_millis(400));
    // The connection broke while nobody waited for anything.
    sql(&mut world, 3, insert(2));
    run_for(&mut world, Duration::from_millis(100));
    assert_eq!(answered(&world)[2..], [(3, LOST)]);
    assert!(applied(&world).is_empty(), "not a transaction of its own");
    for (call, request) in (4..).zip([Request::Begin, insert(1), Request::Commit, insert(2)]) {
        sql(&mut world, call, request);
    }
    run_for(&mut world, Duration::from_millis(100));
    let done: Vec<_> = (4..=7).map(|call| (call, AskOutcome::Ok)).collect();
    assert_eq!(answered(&world)[3..], done);
    assert_eq!(applied(&world), [1, 2]);
}

#[test]
fn an_answer_waits_for_a_client_that_stands_still() {
    let actor = "shop".to_owned();
    let duration = Duration::from_secs(3);
    let pause = FaultAction::Pause { actor, application_only: false, duration };
    let mut world = world(vec![at(201, pause)]);
    perform(&mut world, 1, 1);
    run_for(&mut world, Duration::from_secs(2) + Duration::from_millis(500));
    assert_eq!(answered(&world), [], "nobody looks at the clock");
    run_for(&mut world, Duration::from_secs(1));
    assert_eq!(answered(&world), [(1, AskOutcome::Ok)], "it had come before the timeout");
}

#[test]
fn a_session_ends_after_all_that_was_sent_on_it() {
    let pattern = MessagePattern {
        response: Some(false),
        api: Some(MessageApi::System(Operation::Execute)),
        ..MessagePattern::default()
    };
    let trigger = Trigger::OnMessage { pattern, nth: 1 };
    let delay = FaultAction::Delay(Duration::from_secs(5));
    let cut = FaultAction::Partition {
        from: vec!["shop".to_owned()],
        to: vec!["ledger".to_owned()],
        one_way: false,
        duration: Duration::from_secs(5),
    };
    let delayed = PlannedFault { trigger, action: delay };
    for (fault, between) in [(delayed, 50), (at(230, cut), 50)] {
        let mut world = world(vec![fault]);
        sql(&mut world, 1, Request::Begin);
        run_for(&mut world, Duration::from_millis(between));
        sql(&mut world, 2, insert(1));
        run_for(&mut world, Duration::from_secs(8));
        assert_eq!(answered(&world), [(1, AskOutcome::Ok), (2, TIMEOUT)]);
        // It came late into the transaction that it was meant for, which nobody commits.
        assert!(applied(&world).is_empty());
        assert!(!format!("{:?}", world.unsettled(true)).contains("ledger"));
    }
}
