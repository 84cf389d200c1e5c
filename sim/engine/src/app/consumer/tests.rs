//! Stories of one consumer application, whose client and sink are the test.

use std::sync::Arc;

use oncesim_external::{Datum, PendingTransaction, Request, Response, Rows, StagedName};
use oncesim_kafka::config::ConsumerConfig;
use oncesim_kafka::consumer::RebalanceCallback;
use oncesim_kafka::log::batch::Record;
use oncesim_spec::{
    IdempotencyKey, OnUnknown, SinkKind, SinkOffsets, SinkSpec, SinkTransaction, SqlSink,
};
use oncesim_types::{
    ActorId, GenerationId, GroupId, MemberId, RecordId, SinkId, StatementId, StatementRole,
    SystemError, SystemId, TopicId,
};

use super::super::sink::Identities;
use super::*;

const SHOP: ActorId = ActorId(4);
const PAUSE: Duration = Duration::from_millis(100);
const P0: TopicPartition = TopicPartition::new(TopicId(0), 0);
const P1: TopicPartition = TopicPartition::new(TopicId(0), 1);

fn sql(transaction: SinkTransaction, offsets: bool) -> SinkKind {
    let offsets = offsets.then_some(SinkOffsets {
        read: StatementId(20),
        write: StatementId(21),
        fenced: true,
    });
    SinkKind::Sql(SqlSink {
        effect: vec![StatementId(0)],
        tombstone: None,
        read: None,
        transaction,
        dedup: None,
        offsets,
        absorbs: false,
        overwrites: false,
    })
}

const API: SinkKind = SinkKind::Api { key: IdempotencyKey::PerRecord, token: true };

fn polled(partition: TopicPartition, offset: i64) -> PolledRecord {
    let n = offset.cast_unsigned() + 100 * u64::from(partition.partition);
    PolledRecord {
        partition,
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        record: Record {
            id: RecordId::new(SHOP, n),
            key: Some(7),
            value: Some(offset),
            size: 10,
            timestamp: Instant::ZERO,
        },
    }
}

struct Stage {
    app: ConsumerApp,
    now: Instant,
    out: Vec<AppEffect>,
    call: CallId,
    ask: CallId,
}

impl Stage {
    /// In its first `poll()`.
    fn new(commit: CommitStrategy, processing_time: Duration, kind: SinkKind) -> Self {
        let sink = SinkSpec {
            name: "ledger".to_owned(),
            id: SinkId(0),
            system: SystemId(0),
            kind,
            retry_after: PAUSE,
            retries: 1,
            on_unknown: OnUnknown::Retry,
        };
        let spec = ConsumerGroupSpec {
            name: "mailer".to_owned(),
            instances: 1,
            group: GroupId(0),
            from: vec![TopicId(0)],
            commit,
            processing_time,
            sink: Some(SinkId(0)),
            static_membership: false,
            config: ConsumerConfig::default(),
        };
        let sink = Sink::new(Arc::new(sink), Identities::default(), ActorId(9));
        let mut stage = Stage {
            app: ConsumerApp::new(spec, Some(sink)),
            now: Instant::ZERO,
            out: Vec::new(),
            call: CallId(0),
            ask: CallId(0),
        };
        stage.app.start(stage.now, 1, &mut stage.out);
        stage.sees(&["subscribe"]).done().sees(&["poll"]);
        stage
    }

    /// What the application wants, in order.
    #[track_caller]
    fn sees(&mut self, expected: &[&str]) -> &mut Self {
        let effects: Vec<_> = self.out.drain(..).collect();
        let seen: Vec<_> = effects.iter().map(describe).collect();
        assert_eq!(seen, expected);
        for effect in effects {
            match effect {
                AppEffect::Call { call, .. } => self.call = call,
                AppEffect::Ask { call, .. } => self.ask = call,
                _ => {}
            }
        }
        self
    }

    fn completes(&mut self, end: ConsumerCompletion) -> &mut Self {
        self.app.completed(self.now, self.call, end, &mut self.out);
        self
    }

    fn done(&mut self) -> &mut Self {
        self.completes(ConsumerCompletion::Done)
    }

    fn polls(&mut self, records: &[(TopicPartition, i64)]) -> &mut Self {
        let records = records.iter().map(|(partition, offset)| polled(*partition, *offset));
        self.completes(ConsumerCompletion::Polled(records.collect()))
    }

    fn commits(&mut self, offsets: &[(TopicPartition, i64)], error: ErrorCode) -> &mut Self {
        self.commits_perhaps(offsets, error, false)
    }

    fn commits_perhaps(
        &mut self,
        offsets: &[(TopicPartition, i64)],
        error: ErrorCode,
        maybe_committed: bool,
    ) -> &mut Self {
        let offsets = offsets.iter().map(|(at, next)| (*at, Offset(*next))).collect();
        self.completes(ConsumerCompletion::Committed { offsets, error, maybe_committed })
    }

    fn has_committed(&mut self, offset: Option<i64>) -> &mut Self {
        self.completes(ConsumerCompletion::Offsets(Ok(vec![(P0, offset.map(Offset))])))
    }

    fn answers(&mut self, answer: Answer) -> &mut Self {
        self.app.answered(self.now, self.ask, answer, &mut self.out);
        self
    }

    fn ok(&mut self) -> &mut Self {
        self.answers(Ok(Response::Executed { changed: 1, rows: Rows::default() }))
    }

    fn passes(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.app.wake(self.now, &mut self.out);
        self
    }

    fn assigned(&mut self, generation: i32, added: &[TopicPartition]) -> &mut Self {
        let callback = RebalanceCallback::Assigned {
            member: MemberId(1),
            generation: GenerationId(generation),
            added: added.to_vec(),
            owned: added.to_vec(),
        };
        self.app.callback(self.now, &callback, &mut self.out);
        self
    }
}

fn describe(effect: &AppEffect) -> String {
    match effect {
        AppEffect::Call { body: Call::Consumer(call), .. } => match call {
            ConsumerCall::Subscribe(_) => "subscribe".to_owned(),
            ConsumerCall::Poll => "poll".to_owned(),
            ConsumerCall::PollTimeout => "poll times out".to_owned(),
            ConsumerCall::Close => "close".to_owned(),
            ConsumerCall::CallbackDone => "callback done".to_owned(),
            ConsumerCall::CommitSync(Some(it)) => format!("commit sync {}", it[0].1),
            ConsumerCall::CommitAsync(Some(it)) => format!("commit async {}", it[0].1),
            ConsumerCall::Seek(at, offset) => format!("seek {} {offset}", at.partition),
            ConsumerCall::Committed(it) => format!("committed {}", it.len()),
            other => format!("{other:?}"),
        },
        AppEffect::Ask { body: Request::Execute(it), .. } => match it.role {
            StatementRole::Effect => format!("effect {}", it.parameters.offset),
            StatementRole::OffsetWrite => {
                format!("offset {} by {}", it.parameters.next, it.parameters.token)
            }
            role => format!("{role:?}"),
        },
        AppEffect::Ask { body: Request::Perform(it), .. } => {
            format!("perform {} by {:?}", it.effect.record.ordinal(), it.token)
        }
        AppEffect::Ask { body: Request::Prepare(it), .. } => {
            format!("prepare {} to {}", it.name.first, it.name.next)
        }
        AppEffect::Ask { body: Request::Finish { name, commit }, .. } => {
            format!("finish {} {commit}", name.first)
        }
        AppEffect::Ask { body, .. } => body.operation().name().to_lowercase(),
        AppEffect::Wake(after) => format!("wake {}", after.as_millis()),
        AppEffect::Processed { offset, .. } => format!("processed {offset}"),
        AppEffect::EffectDone { effect, skipped: false } => {
            format!("done {}", effect.record.ordinal())
        }
        AppEffect::EffectDone { effect, .. } => format!("done {} before", effect.record.ordinal()),
        AppEffect::CallbackReturned => "returned".to_owned(),
        AppEffect::Restart => "restart".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_record_is_processed_when_its_effect_is_there() {
    let (commit, time) = (CommitStrategy::AfterProcessing, Duration::from_millis(5));
    let mut stage = Stage::new(commit, time, sql(SinkTransaction::PerRecord, false));
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["wake 5"]).passes(time).sees(&["begin"]);
    stage.ok().sees(&["effect 3"]).ok().sees(&["commit"]);
    stage.ok().sees(&["done 3", "processed 3", "wake 5"]).passes(time).sees(&["begin"]);
    stage.ok().sees(&["effect 4"]).ok().sees(&["commit"]);
    stage.ok().sees(&["done 4", "processed 4", "commit sync 5"]);
    stage.commits(&[(P0, 5)], ErrorCode::None).sees(&["poll"]);
    assert!(stage.app.is_idle());
}

#[test]
fn the_records_of_a_poll_go_into_one_transaction() {
    let (commit, time) = (CommitStrategy::AsyncAfterProcessing, Duration::from_millis(5));
    let mut stage = Stage::new(commit, time, sql(SinkTransaction::PerPoll, false));
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["wake 5"]).passes(time).sees(&["wake 5"]);
    stage.passes(time).sees(&["begin"]).ok().sees(&["effect 3"]).ok().sees(&["effect 4"]);
    stage.ok().sees(&["commit"]).ok();
    let poll = ["commit async 5", "wake 100", "poll"];
    stage.sees(&[&["done 3", "done 4", "processed 3", "processed 4"][..], &poll].concat());
}

#[test]
fn each_record_is_committed_after_its_effect() {
    let mut stage = Stage::new(CommitStrategy::PerRecord, Duration::ZERO, API);
    stage.assigned(6, &[P0]).sees(&["returned", "callback done"]);
    let performed = || Ok(Response::Performed { result: 1, replayed: false });
    stage.call = CallId(2);
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["perform 3 by Some(6)"]).answers(performed());
    stage.sees(&["done 3", "processed 3", "commit sync 4"]);
    stage.commits(&[(P0, 4)], ErrorCode::None).sees(&["perform 4 by Some(6)"]);
    stage.answers(performed()).sees(&["done 4", "processed 4", "commit sync 5"]);
    stage.commits(&[(P0, 5)], ErrorCode::None).sees(&["poll"]);
}

#[test]
fn an_application_whose_sink_fails_too_often_ends_itself() {
    let mut stage = Stage::new(CommitStrategy::AfterProcessing, Duration::ZERO, API);
    stage.polls(&[(P0, 3)]).sees(&["perform 3 by Some(-1)"]);
    stage.answers(Err(SystemError::Unavailable)).sees(&["wake 100"]).passes(PAUSE);
    stage.sees(&["perform 3 by Some(-1)"]).answers(Err(SystemError::Timeout)).sees(&["restart"]);
}

#[test]
fn a_fenced_application_gives_up_what_it_has_and_rejoins() {
    let mut stage = Stage::new(CommitStrategy::AfterProcessing, Duration::ZERO, API);
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["perform 3 by Some(-1)"]);
    stage.answers(Err(SystemError::Fenced)).sees(&["close"]).done().sees(&["restart"]);
}

#[test]
fn a_worker_asks_while_the_thread_polls() {
    let mut stage = Stage::new(CommitStrategy::AutoAsyncProcessing, Duration::ZERO, API);
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["wake 0", "poll"]).passes(Duration::ZERO);
    stage.sees(&["perform 3 by Some(-1)"]).polls(&[(P0, 5)]).sees(&["poll"]);
    stage.answers(Err(SystemError::InProgress)).sees(&["wake 100"]).passes(PAUSE);
    stage.sees(&["perform 3 by Some(-1)"]);
    stage.answers(Ok(Response::Performed { result: 1, replayed: false }));
    stage.sees(&["done 3", "processed 3", "wake 0"]);
}

#[test]
fn with_offsets_in_the_sink_reading_begins_where_the_sink_says() {
    let mut stage =
        Stage::new(CommitStrategy::InSink, Duration::ZERO, sql(SinkTransaction::PerRecord, true));
    let poll = stage.call;
    stage.assigned(6, &[P0, P1]).sees(&["OffsetRead"]);
    let stored = vec![vec![Datum::Integer(44)]];
    let rows = Rows { columns: vec!["next".to_owned()], rows: stored };
    stage.answers(Ok(Response::Executed { changed: 0, rows })).sees(&["OffsetRead"]);
    // Nothing is stored for the other one: the reset policy decides.
    stage.answers(Err(SystemError::Timeout)).sees(&["wake 100"]).passes(PAUSE);
    let nothing = Response::Executed { changed: 0, rows: Rows::default() };
    stage.sees(&["OffsetRead"]).answers(Ok(nothing));
    stage.sees(&["seek 0 44", "returned", "callback done"]);

    stage.call = poll;
    stage.polls(&[(P0, 44)]).sees(&["begin"]).ok().sees(&["effect 44"]).ok();
    stage.sees(&["offset 45 by 6"]).ok().sees(&["commit"]).ok();
    stage.sees(&["done 44", "processed 44", "poll"]);
    assert!(stage.app.is_idle(), "nothing is committed to the group");

    // Somebody else owns the partition now, and says so with a higher token.
    stage.polls(&[(P0, 45), (P0, 46)]).sees(&["begin"]).ok().sees(&["effect 45"]).ok();
    stage.sees(&["offset 46 by 6"]);
    stage.answers(Ok(Response::Executed { changed: 0, rows: Rows::default() }));
    stage.sees(&["rollback"]).ok().sees(&["close"]).done().sees(&["restart"]);
}

#[test]
fn after_an_unknown_commit_reading_goes_on_where_the_sink_says() {
    for (stored, seen) in [
        (Some(4), &["done 3 before", "processed 3", "seek 0 4", "poll"][..]),
        (Some(3), &["seek 0 3", "poll"][..]),
        (None, &["seek 0 3", "poll"][..]),
    ] {
        let sink = sql(SinkTransaction::PerRecord, true);
        let mut stage = Stage::new(CommitStrategy::InSink, Duration::ZERO, sink);
        stage.polls(&[(P0, 3), (P0, 4)]).sees(&["begin"]).ok().sees(&["effect 3"]).ok();
        stage.sees(&["offset 4 by -1"]).ok().sees(&["commit"]);
        stage.answers(Err(SystemError::ConnectionLost)).sees(&["wake 100"]).passes(PAUSE);
        let rows = stored.map(|next| vec![Datum::Integer(next)]).into_iter().collect();
        let rows = Rows { columns: vec!["next".to_owned()], rows };
        stage.sees(&["OffsetRead"]).answers(Ok(Response::Executed { changed: 0, rows }));
        stage.sees(seen);
        assert!(stage.app.is_idle());
    }
}

#[test]
fn connect_commits_what_was_put_once_per_interval() {
    let commit = CommitStrategy::Connect { interval: Duration::from_secs(1) };
    let mut stage = Stage::new(commit, Duration::ZERO, sql(SinkTransaction::PerRecord, false));
    stage.polls(&[(P0, 3), (P0, 4)]).sees(&["begin"]).ok().sees(&["effect 3"]).ok();
    stage.sees(&["commit"]).ok().sees(&["begin"]).ok().sees(&["effect 4"]);
    // The whole batch again.
    stage.answers(Err(SystemError::Timeout)).sees(&["wake 100"]).passes(PAUSE);
    stage.sees(&["begin"]).ok().sees(&["effect 3"]).ok().sees(&["commit"]).ok();
    stage.sees(&["begin"]).ok().sees(&["effect 4"]).ok().sees(&["commit"]).ok();
    stage.sees(&["done 3", "done 4", "processed 3", "processed 4", "wake 900", "poll"]);
    assert!(!stage.app.is_idle());
    let poll = stage.call;
    stage.passes(Duration::from_millis(900)).sees(&["wake 1", "poll times out"]);
    stage.call = poll;
    stage.polls(&[]).sees(&["commit async 5", "wake 1000", "poll"]);
    stage.call = CallId(stage.call.0 - 1);
    stage.commits(&[(P0, 5)], ErrorCode::None);
    assert!(stage.app.is_idle());
}

#[test]
fn connect_commits_before_it_gives_partitions_away() {
    let commit = CommitStrategy::Connect { interval: Duration::from_secs(60) };
    let performed = || Ok(Response::Performed { result: 1, replayed: false });
    let mut stage = Stage::new(commit, Duration::ZERO, API);
    stage.polls(&[(P0, 3)]).sees(&["perform 3 by Some(-1)"]).answers(performed());
    stage.sees(&["done 3", "processed 3", "wake 60000", "poll"]);
    let revoked = RebalanceCallback::Revoked { partitions: vec![P0] };
    stage.app.callback(stage.now, &revoked, &mut stage.out);
    stage.sees(&["commit sync 4"]).commits(&[(P0, 4)], ErrorCode::None);
    stage.sees(&["returned", "callback done"]);

    // A task that ends, too: here because it cannot put any more.
    let mut stage = Stage::new(commit, Duration::ZERO, API);
    stage.polls(&[(P0, 3)]).sees(&["perform 3 by Some(-1)"]).answers(performed());
    stage.sees(&["done 3", "processed 3", "wake 60000", "poll"]).polls(&[(P0, 4)]);
    stage.sees(&["perform 4 by Some(-1)"]).answers(Err(SystemError::Unavailable));
    stage.sees(&["wake 100"]).passes(PAUSE).sees(&["perform 4 by Some(-1)"]);
    stage.answers(Err(SystemError::Unavailable)).sees(&["commit sync 4"]);
    stage.commits(&[(P0, 4)], ErrorCode::None).sees(&["close"]).done().sees(&["restart"]);
}

#[test]
fn the_committed_offset_decides_about_what_is_prepared() {
    let mut stage = Stage::new(CommitStrategy::TwoPhase, Duration::ZERO, SinkKind::TwoPhase);
    stage.polls(&[(P0, 3), (P1, 8), (P0, 4)]).sees(&["prepare 3 to 5"]);
    stage.answers(Ok(Response::Prepared)).sees(&["commit sync 5"]);
    stage.commits(&[(P0, 5)], ErrorCode::None).sees(&["finish 3 true"]);
    stage.answers(Ok(Response::Finished));
    stage.sees(&["done 3", "done 4", "processed 3", "processed 4", "prepare 8 to 9"]);
    // The group refuses: the records are dropped, and read again if the partition is still its own.
    stage.answers(Ok(Response::Prepared)).sees(&["commit sync 9"]);
    stage.commits(&[(P1, 9)], ErrorCode::RebalanceInProgress).sees(&["finish 8 false"]);
    stage.answers(Ok(Response::Finished)).sees(&["seek 1 8", "poll"]);
    assert!(stage.app.is_idle());
}

#[test]
fn an_unknown_decision_is_made_again_or_learned() {
    let outcomes = [(Some(4), "true"), (Some(3), "false"), (None, "false")];
    // That the second attempt was refused says nothing of the first.
    for ((committed, decision), maybe) in
        outcomes.into_iter().flat_map(|it| [(it, true), (it, false)])
    {
        let mut stage = Stage::new(CommitStrategy::TwoPhase, Duration::ZERO, SinkKind::TwoPhase);
        stage.polls(&[(P0, 3)]).sees(&["prepare 3 to 4"]);
        stage.answers(Ok(Response::Prepared)).sees(&["commit sync 4"]);
        stage.commits_perhaps(&[(P0, 4)], ErrorCode::RequestTimedOut, true);
        stage.sees(&["commit sync 4"]);
        stage.commits_perhaps(&[(P0, 4)], ErrorCode::IllegalGeneration, maybe);
        stage.sees(&["committed 1"]);
        stage.completes(ConsumerCompletion::Offsets(Err(ErrorCode::RequestTimedOut)));
        stage.sees(&["committed 1"]).has_committed(committed);
        stage.sees(&[&format!("finish 3 {decision}")]);
    }
}

#[test]
fn who_takes_over_ends_what_is_prepared_before_it_reads() {
    let mut stage = Stage::new(CommitStrategy::TwoPhase, Duration::ZERO, SinkKind::TwoPhase);
    stage.assigned(6, &[P0]).sees(&["committed 1"]).has_committed(Some(5)).sees(&["pending"]);
    let name = |first, next| StagedName {
        partition: P0,
        first: Offset(first),
        next: Offset(next),
        attempt: 1,
    };
    let pending = [name(3, 5), name(5, 7)].map(|name| PendingTransaction { name });
    stage.answers(Ok(Response::Pending(pending.to_vec()))).sees(&["finish 3 true"]);
    stage.answers(Ok(Response::Finished)).sees(&["finish 5 false"]);
    stage.answers(Ok(Response::Finished)).sees(&["returned", "callback done"]);
}

#[test]
fn what_the_sink_has_forgotten_is_given_up() {
    let mut stage = Stage::new(CommitStrategy::TwoPhase, Duration::ZERO, SinkKind::TwoPhase);
    stage.polls(&[(P0, 3)]).sees(&["prepare 3 to 4"]).answers(Ok(Response::Prepared));
    stage.sees(&["commit sync 4"]).commits(&[(P0, 4)], ErrorCode::None).sees(&["finish 3 true"]);
    stage.answers(Err(SystemError::UnknownTransaction)).sees(&[
        "done 3 before",
        "processed 3",
        "poll",
    ]);
}
