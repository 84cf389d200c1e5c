//! Stories of one sink, told request by request.

use oncesim_external::{ApiRequest, Datum, Execute, Rows};
use oncesim_kafka::log::batch::Record;
use oncesim_spec::{
    DedupPlacement, DedupSpec, IdempotencyKey, OnUnknown, SinkKind, SinkOffsets, SinkTransaction,
};
use oncesim_types::{
    Duration, LeaderEpoch, Offset, RecordId, SinkId, StatementId, StatementRole, SystemError,
    SystemId, TopicId, TopicPartition,
};

use super::*;

const SHOP: ActorId = ActorId(4);
const PAUSE: Duration = Duration::from_millis(100);

const CHECK: StatementId = StatementId(10);
const MARK: StatementId = StatementId(11);
const EVICT: StatementId = StatementId(12);

fn sql() -> SqlSink {
    SqlSink {
        effect: vec![StatementId(0)],
        tombstone: None,
        read: None,
        transaction: SinkTransaction::PerRecord,
        dedup: None,
        offsets: None,
        absorbs: false,
        overwrites: false,
    }
}

fn dedup(placement: DedupPlacement) -> Option<DedupSpec> {
    Some(DedupSpec { check: Some(CHECK), mark: MARK, placement, evict: None, inbox: false })
}

const OFFSETS: Option<SinkOffsets> =
    Some(SinkOffsets { read: StatementId(20), write: StatementId(21), fenced: true });

/// A record at `offset` of partition 0, the `offset`-th of its producer.
fn delivery(offset: i64) -> Delivery {
    let polled = PolledRecord {
        partition: TopicPartition::new(TopicId(0), 0),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        record: Record {
            id: RecordId::new(SHOP, offset.cast_unsigned()),
            key: Some(7),
            value: Some(offset),
            size: 10,
            timestamp: Instant::ZERO,
        },
    };
    Delivery { polled, token: 5 }
}

/// A sink whose system is the test.
struct Stage {
    sink: Sink,
    now: Instant,
    calls: u64,
    out: Vec<AppEffect>,
    asked: CallId,
    progress: Progress,
}

impl Stage {
    fn new(kind: SinkKind) -> Self {
        Stage::with(kind, OnUnknown::Retry)
    }

    fn sql(sql: SqlSink) -> Self {
        Stage::new(SinkKind::Sql(sql))
    }

    fn with(kind: SinkKind, on_unknown: OnUnknown) -> Self {
        let spec = SinkSpec {
            name: "ledger".to_owned(),
            id: SinkId(0),
            system: SystemId(0),
            kind,
            retry_after: PAUSE,
            retries: 2,
            on_unknown,
        };
        Stage {
            sink: Sink::new(Arc::new(spec), Identities::default(), ActorId(9)),
            now: Instant::ZERO,
            calls: 0,
            out: Vec::new(),
            asked: CallId(0),
            progress: Progress::Done,
        }
    }

    fn put(mut self, offsets: &[i64]) -> Self {
        self.give(offsets, Again::Part);
        self
    }

    fn give(&mut self, offsets: &[i64], again: Again) {
        let batch = offsets.iter().map(|offset| delivery(*offset)).collect();
        let mut turn = Turn { now: self.now, calls: &mut self.calls, out: &mut self.out };
        self.progress = self.sink.put(batch, again, &mut turn);
    }

    /// What it asks, in short.
    fn request(&mut self) -> Request {
        let at = self.out.iter().position(|it| matches!(it, AppEffect::Ask { .. }));
        let at = at.unwrap_or_else(|| panic!("asks something, not {:?}", self.out));
        let AppEffect::Ask { call, body, .. } = self.out.remove(at) else { unreachable!() };
        self.asked = call;
        body
    }

    #[track_caller]
    fn asks(&mut self, expected: &str) -> &mut Self {
        let asked = describe(&self.request());
        assert_eq!(asked, expected);
        self
    }

    fn answer(&mut self, answer: Answer) -> &mut Self {
        let mut turn = Turn { now: self.now, calls: &mut self.calls, out: &mut self.out };
        self.progress = self.sink.answered(self.asked, answer, &mut turn);
        self
    }

    fn fails(&mut self, error: SystemError) -> &mut Self {
        self.answer(Err(error))
    }

    /// The answer that lets everything go on.
    fn ok(&mut self) -> &mut Self {
        self.answer(Ok(changed(1)))
    }

    #[track_caller]
    fn all_ok(&mut self, expected: &[&str]) -> &mut Self {
        for it in expected {
            self.asks(it).ok();
        }
        self
    }

    /// The pause before the next attempt passes.
    #[track_caller]
    fn pauses(&mut self) -> &mut Self {
        assert_eq!(self.progress, Progress::UnderWay);
        assert!(matches!(self.out.pop(), Some(AppEffect::Wake(PAUSE))));
        assert!(self.out.is_empty(), "{:?}", self.out);
        self.now += PAUSE;
        let mut turn = Turn { now: self.now, calls: &mut self.calls, out: &mut self.out };
        self.progress = self.sink.wake(&mut turn);
        self
    }

    /// It ends, and takes these effects for done: offset and step, and whether it skipped them.
    #[track_caller]
    fn ends(&mut self, progress: Progress, expected: &[(u64, u16, bool)]) {
        assert_eq!(self.progress, progress);
        let done = self.out.drain(..).map(|it| match it {
            AppEffect::EffectDone { effect, skipped } => {
                (effect.record.ordinal(), effect.step, skipped)
            }
            other => panic!("{other:?} is not expected at the end"),
        });
        assert_eq!(done.collect::<Vec<_>>(), expected);
    }
}

fn changed(changed: u64) -> Response {
    Response::Executed { changed, rows: Rows::default() }
}

fn found(value: i64) -> Answer {
    let rows = Rows { columns: vec!["it".to_owned()], rows: vec![vec![Datum::Integer(value)]] };
    Ok(Response::Executed { changed: 0, rows })
}

fn describe(request: &Request) -> String {
    match request {
        Request::Execute(it) => {
            let Execute { role, record, parameters, .. } = it.as_ref();
            let record = record.map_or(99, RecordId::ordinal);
            match role {
                StatementRole::Effect => format!("effect {record}.{}", it.statement.0),
                StatementRole::Read => format!("read {record}"),
                StatementRole::DedupCheck => format!("check {record}"),
                StatementRole::DedupMark => format!("mark {record}"),
                StatementRole::DedupEvict => format!("evict {}", parameters.horizon),
                StatementRole::OffsetWrite => format!("offset {}", parameters.next),
                other => format!("{other:?}"),
            }
        }
        Request::Perform(ApiRequest { effect, .. }) => {
            format!("perform {}", effect.record.ordinal())
        }
        other => other.operation().name().to_lowercase(),
    }
}

#[test]
fn a_record_is_a_transaction() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    stage.all_ok(&["begin", "effect 3.0", "commit"]).ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn all_steps_of_all_records_of_a_poll_are_one_transaction_with_the_last_offset() {
    let (effect, offsets) = (vec![StatementId(0), StatementId(1)], OFFSETS);
    let transaction = SinkTransaction::PerPoll;
    let mut stage = Stage::sql(SqlSink { effect, offsets, transaction, ..sql() }).put(&[3, 4]);
    let requests =
        ["begin", "effect 3.0", "effect 3.1", "effect 4.0", "effect 4.1", "offset 5", "commit"];
    let done = [(3, 0, false), (3, 1, false), (4, 0, false), (4, 1, false)];
    stage.all_ok(&requests).ends(Progress::Done, &done);
}

#[test]
fn without_a_transaction_each_statement_stands_for_itself() {
    let effect = vec![StatementId(0), StatementId(1)];
    let transaction = SinkTransaction::None;
    let mut stage = Stage::sql(SqlSink { effect, transaction, ..sql() }).put(&[3]);
    stage.asks("effect 3.0").ok().asks("effect 3.1").fails(SystemError::Timeout).pauses();
    stage.asks("effect 3.1").ok().ends(Progress::Done, &[(3, 0, false), (3, 1, false)]);
}

#[test]
fn a_record_without_a_value_deletes_or_asks_for_nothing() {
    for (tombstone, expected) in [(Some(StatementId(2)), 1), (None, 0)] {
        let mut stage = Stage::sql(SqlSink { tombstone, ..sql() });
        let mut it = delivery(3);
        it.polled.record.value = None;
        let mut turn = Turn { now: stage.now, calls: &mut stage.calls, out: &mut stage.out };
        stage.progress = stage.sink.put(vec![it], Again::Part, &mut turn);
        if expected == 0 {
            stage.ends(Progress::Done, &[]);
        } else {
            let requests = ["begin", "effect 3.2", "commit"];
            stage.all_ok(&requests).ends(Progress::Done, &[(3, 0, false)]);
        }
    }
}

#[test]
fn a_refusal_is_rolled_back_and_the_transaction_done_again_after_a_pause() {
    let mut stage = Stage::sql(SqlSink { read: Some(StatementId(5)), ..sql() }).put(&[3]);
    stage.asks("read 3").answer(found(7)).asks("begin").ok();
    stage.asks("effect 3.0").fails(SystemError::Deadlock).asks("rollback").ok().pauses();
    stage.asks("read 3").answer(found(8)).asks("begin").ok();
    let Request::Execute(it) = stage.request() else { panic!("the effect") };
    assert_eq!((it.parameters.read, it.parameters.attempt), (Some(8), 2));
    stage.ok().asks("commit").ok().ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn a_connection_whose_rollback_fails_is_thrown_away() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    stage.asks("begin").ok().asks("effect 3.0").fails(SystemError::Unavailable).asks("rollback");
    stage.fails(SystemError::Unavailable);
    assert!(matches!(stage.out.remove(0), AppEffect::HangUp(SystemId(0))));
    stage.pauses().asks("begin");
}

#[test]
fn who_fails_too_often_ends_itself() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    for _ in 0..2 {
        stage.asks("begin").fails(SystemError::Unavailable).pauses();
    }
    stage.asks("begin").fails(SystemError::Unavailable).ends(Progress::Failed, &[]);
}

#[test]
fn an_unknown_commit_is_done_again_or_taken_for_done() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    stage.all_ok(&["begin", "effect 3.0"]).asks("commit").fails(SystemError::ConnectionLost);
    stage.pauses().all_ok(&["begin", "effect 3.0", "commit"]);
    stage.ends(Progress::Done, &[(3, 0, false)]);

    let mut stage = Stage::with(SinkKind::Sql(sql()), OnUnknown::AssumeDone).put(&[3]);
    stage.asks("begin").ok().asks("effect 3.0").fails(SystemError::Timeout);
    stage.pauses().all_ok(&["begin", "effect 3.0"]).asks("commit").fails(SystemError::Timeout);
    stage.ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn a_record_that_was_seen_is_skipped() {
    let mut stage =
        Stage::sql(SqlSink { dedup: dedup(DedupPlacement::SameTransaction), ..sql() }).put(&[3]);
    stage.asks("begin").ok().asks("check 3").answer(found(1)).asks("commit").ok();
    stage.ends(Progress::Done, &[(3, 0, true)]);
}

#[test]
fn a_mark_that_exists_tells_that_a_record_was_seen() {
    let dedup = dedup(DedupPlacement::SameTransaction).map(|it| DedupSpec { check: None, ..it });
    let mut stage = Stage::sql(SqlSink { dedup, ..sql() }).put(&[3]);
    stage.asks("begin").ok().asks("mark 3").answer(Ok(changed(0))).asks("commit").ok();
    stage.ends(Progress::Done, &[(3, 0, true)]);

    // A constraint costs the transaction; the other records of the poll are done again.
    let transaction = SinkTransaction::PerPoll;
    let mut stage = Stage::sql(SqlSink { dedup, transaction, ..sql() }).put(&[3, 4]);
    stage.all_ok(&["begin", "mark 3", "effect 3.0"]).asks("mark 4");
    stage.fails(SystemError::Constraint).asks("rollback").ok();
    stage.all_ok(&["begin", "mark 3", "effect 3.0", "commit"]);
    stage.ends(Progress::Done, &[(3, 0, false), (4, 0, true)]);

    // Alone in its transaction it needs no other.
    let mut stage = Stage::sql(SqlSink { dedup, ..sql() }).put(&[3]);
    stage.asks("begin").ok().asks("mark 3").fails(SystemError::Constraint).asks("rollback").ok();
    stage.ends(Progress::Done, &[(3, 0, true)]);
}

#[test]
fn marks_outside_of_the_transaction_come_before_or_after_it() {
    let mut stage =
        Stage::sql(SqlSink { dedup: dedup(DedupPlacement::BeforeEffect), ..sql() }).put(&[3]);
    stage.all_ok(&["check 3", "mark 3", "begin", "effect 3.0"]);
    // What is marked is not looked up again by the same process.
    stage.asks("commit").fails(SystemError::Deadlock).asks("rollback").ok().pauses();
    let rest = ["begin", "effect 3.0", "commit"];
    stage.all_ok(&rest).ends(Progress::Done, &[(3, 0, false)]);

    let dedup = dedup(DedupPlacement::AfterEffect);
    let mut stage = Stage::sql(SqlSink { dedup, ..sql() }).put(&[3]);
    stage.all_ok(&["check 3", "begin", "effect 3.0", "commit"]);
    // Somebody else was quicker: both effects are there.
    stage.asks("mark 3").fails(SystemError::Constraint).ends(Progress::Done, &[(3, 0, false)]);

    let mut stage = Stage::sql(SqlSink { dedup, ..sql() }).put(&[3]);
    stage.asks("check 3").answer(found(1)).ends(Progress::Done, &[(3, 0, true)]);
}

#[test]
fn old_marks_are_forgotten_before_each_check() {
    let window = Duration::from_secs(10);
    let dedup = dedup(DedupPlacement::SameTransaction)
        .map(|it| DedupSpec { evict: Some((EVICT, window)), ..it });
    let mut stage = Stage::sql(SqlSink { dedup, ..sql() });
    stage.now = Instant::ZERO + Duration::from_secs(25);
    let mut stage = stage.put(&[3]);
    stage.all_ok(&["begin", "evict 15000", "check 3", "mark 3", "effect 3.0", "commit"]);
    stage.ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn a_fence_that_holds_rolls_back_and_gives_up() {
    let mut stage = Stage::sql(SqlSink { offsets: OFFSETS, ..sql() }).put(&[3]);
    stage.all_ok(&["begin", "effect 3.0"]).asks("offset 4").answer(Ok(changed(0)));
    stage.asks("rollback").ok().ends(Progress::Fenced, &[]);

    let offsets = OFFSETS.map(|it| SinkOffsets { fenced: false, ..it });
    let mut stage = Stage::sql(SqlSink { offsets, ..sql() }).put(&[3]);
    stage.all_ok(&["begin", "effect 3.0"]).asks("offset 4").answer(Ok(changed(0)));
    stage.asks("commit").ok().ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn after_an_unknown_commit_the_stored_offset_tells() {
    let mut stage = Stage::sql(SqlSink { offsets: OFFSETS, ..sql() });
    stage.give(&[3], Again::FromStored);
    // What was not committed is not in doubt.
    stage.asks("begin").ok().asks("effect 3.0").fails(SystemError::Timeout).pauses();
    stage.all_ok(&["begin", "effect 3.0", "offset 4"]).asks("commit");
    stage.fails(SystemError::Timeout).pauses().ends(Progress::Unsure, &[]);
}

#[test]
fn a_batch_of_connect_is_put_again_from_its_beginning() {
    let mut stage = Stage::sql(sql());
    stage.give(&[3, 4], Again::Batch);
    stage.all_ok(&["begin", "effect 3.0", "commit", "begin"]);
    stage.asks("effect 4.0").fails(SystemError::Timeout).pauses();
    stage.all_ok(&["begin", "effect 3.0", "commit", "begin", "effect 4.0", "commit"]);
    stage.ends(Progress::Done, &[(3, 0, false), (4, 0, false)]);
}

#[test]
fn a_wake_up_that_comes_too_early_changes_nothing() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    stage.asks("begin").fails(SystemError::Unavailable);
    stage.out.clear();
    stage.now += Duration::from_millis(40);
    let mut turn = Turn { now: stage.now, calls: &mut stage.calls, out: &mut stage.out };
    assert_eq!(stage.sink.wake(&mut turn), Progress::UnderWay);
    assert!(matches!(stage.out[..], [AppEffect::Wake(Duration(60_000_000))]));
}

#[test]
fn an_answer_to_an_earlier_request_changes_nothing() {
    let mut stage = Stage::sql(sql()).put(&[3]);
    stage.asks("begin").ok().asks("effect 3.0");
    stage.asked = CallId(1);
    stage.fails(SystemError::Timeout);
    assert_eq!(stage.progress, Progress::UnderWay);
    assert!(stage.out.is_empty());
}

fn api(key: IdempotencyKey) -> SinkKind {
    SinkKind::Api { key, token: true }
}

fn performed(replayed: bool) -> Answer {
    Ok(Response::Performed { result: 1, replayed })
}

#[test]
fn a_request_keeps_its_key_unless_it_is_made_per_attempt() {
    for (kind, same) in [
        (IdempotencyKey::PerRecord, true),
        (IdempotencyKey::ByOffset, true),
        (IdempotencyKey::PerAttempt, false),
    ] {
        let mut stage = Stage::new(api(kind)).put(&[3]);
        let Request::Perform(first) = stage.request() else { panic!("a request to the API") };
        assert_eq!(first.token, Some(5));
        stage.fails(SystemError::Timeout).pauses();
        let Request::Perform(second) = stage.request() else { panic!("a request to the API") };
        assert_eq!(first.key == second.key, same, "{kind:?}");
        stage.answer(performed(same)).ends(Progress::Done, &[(3, 0, same)]);
    }
}

#[test]
fn what_an_api_answers_decides() {
    let mut stage = Stage::new(api(IdempotencyKey::ByKey)).put(&[3]);
    stage.asks("perform 3").fails(SystemError::InProgress).pauses().asks("perform 3");
    // 422: no retry can mend it.
    stage.fails(SystemError::KeyReused).ends(Progress::Done, &[(3, 0, true)]);

    let mut stage = Stage::new(api(IdempotencyKey::None)).put(&[3]);
    assert!(matches!(stage.request(), Request::Perform(ApiRequest { key: None, .. })));
    stage.fails(SystemError::Fenced).ends(Progress::Fenced, &[]);

    let mut stage = Stage::with(api(IdempotencyKey::PerRecord), OnUnknown::AssumeDone).put(&[3]);
    stage.asks("perform 3").fails(SystemError::ConnectionLost);
    stage.ends(Progress::Done, &[(3, 0, false)]);
}

#[test]
fn what_is_prepared_up_to_the_committed_offset_was_decided() {
    let mut stage = Stage::new(SinkKind::TwoPhase);
    let (name, request) = stage.sink.prepare(&[delivery(3), delivery(4)]).expect("a batch");
    let (other, _) = stage.sink.prepare(&[delivery(3), delivery(4)]).expect("a batch");
    assert_eq!((name.first, name.next), (Offset(3), Offset(5)));
    assert_ne!(name.attempt, other.attempt);
    let committed = |offset| match Sink::decide(name, offset) {
        Request::Finish { commit, .. } => commit,
        _ => panic!("the second phase"),
    };
    assert!(committed(Some(Offset(5))) && committed(Some(Offset(9))));
    assert!(!committed(Some(Offset(4))) && !committed(None));

    let mut turn = Turn { now: stage.now, calls: &mut stage.calls, out: &mut stage.out };
    stage.progress = stage.sink.ask(vec![request, Sink::decide(name, Some(name.next))], &mut turn);
    stage.asks("prepare").fails(SystemError::Timeout).pauses();
    stage.asks("prepare").answer(Ok(Response::Prepared)).asks("finish");
    stage.fails(SystemError::UnknownTransaction).ends(Progress::Done, &[]);
    let refused = Response::Refused(SystemError::UnknownTransaction);
    assert_eq!(stage.sink.responses(), [Response::Prepared, refused]);
}

#[test]
fn a_stored_offset_is_asked_for_by_partition() {
    let mut stage = Stage::sql(SqlSink { offsets: OFFSETS, ..sql() });
    let partition = TopicPartition::new(TopicId(0), 2);
    let request = stage.sink.offset_read(partition, 5).expect("a sink with offsets");
    let mut turn = Turn { now: stage.now, calls: &mut stage.calls, out: &mut stage.out };
    stage.progress = stage.sink.ask(vec![request], &mut turn);
    stage.asks("OffsetRead").fails(SystemError::Unavailable).pauses();
    stage.asks("OffsetRead").answer(found(44)).ends(Progress::Done, &[]);
    assert!(matches!(&stage.sink.responses()[..], [Response::Executed { .. }]));
}
