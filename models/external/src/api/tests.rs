//! What clients are told, and what the log of an API says of it.

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, EffectId, Instant, RecordId, SinkId,
    SystemError,
};

use super::{Api, ApiConfig};
use crate::machine::{Effect, Effects, Input, SystemFault};
use crate::message::{ApiRequest, Request, Response};
use crate::note::Note;

const MS: Duration = Duration::from_millis(1);
const CONNECTION: ConnectionId = ConnectionId(9);

/// An API whose clock a test moves.
struct World {
    api: Api,
    now: Instant,
    effects: Effects,
}

/// One that works 10 ms on a request and remembers keys for 100 ms.
fn world(change: impl FnOnce(&mut ApiConfig)) -> World {
    let mut config = ApiConfig {
        service_time: MS * 10,
        key_ttl: Some(MS * 100),
        rejects_other_payload: true,
        checks_token: true,
    };
    change(&mut config);
    World { api: Api::new(config), now: Instant::ZERO, effects: Effects::default() }
}

fn effect(record: u64) -> EffectId {
    EffectId { record: RecordId::new(ActorId(3), record), sink: SinkId(0), step: 0 }
}

/// A request for the effect of record `record`, whose payload is its number.
fn request(record: u64, key: Option<u64>) -> ApiRequest {
    ApiRequest { effect: effect(record), key, payload: record, token: None }
}

impl World {
    fn wait(&mut self, milliseconds: u64) {
        self.now += MS * milliseconds;
    }

    fn fault(&mut self, fault: SystemFault, begins: bool) {
        self.api.step(self.now, Input::Fault(fault, begins), &mut self.effects);
    }

    /// What came of it: the answer and how long it took, or `None` for a broken connection.
    fn answer(&mut self, request: ApiRequest) -> Option<(Response, Duration)> {
        let (from, correlation) = (ActorId(7), CorrelationId(5));
        let body = Request::Perform(request);
        let input = Input::Request { from, connection: CONNECTION, correlation, body };
        self.api.step(self.now, input, &mut self.effects);
        match self.effects.0.pop().expect("a request has an end") {
            Effect::Reply { to, connection, correlation: of, after, body } => {
                assert_eq!((to, connection, of), (from, CONNECTION, correlation));
                Some((body, after))
            }
            Effect::CloseConnection { connection } => {
                assert_eq!(connection, CONNECTION);
                None
            }
            other => panic!("a request ends with a reply: {other:?}"),
        }
    }

    fn ask(&mut self, request: ApiRequest) -> Response {
        self.answer(request).expect("the connection holds").0
    }

    fn notes(&mut self) -> Vec<Note> {
        let note = |effect| match effect {
            Effect::Note(note) => note,
            other => panic!("an API does nothing else on its own: {other:?}"),
        };
        std::mem::take(&mut self.effects.0).into_iter().map(note).collect()
    }

    /// The effects that took place since the last look, by their records.
    fn applied(&mut self) -> Vec<u64> {
        let applied = |note| match note {
            Note::Applied { effect, .. } => Some(effect.record.ordinal()),
            _ => None,
        };
        self.notes().into_iter().filter_map(applied).collect()
    }
}

const fn performed(result: u64, replayed: bool) -> Response {
    Response::Performed { result, replayed }
}

const fn refused(error: SystemError) -> Response {
    Response::Refused(error)
}

#[test]
fn a_retry_with_its_key_is_given_the_kept_answer() {
    let mut t = world(|_| {});
    assert_eq!(t.answer(request(1, Some(77))), Some((performed(1, false), MS * 10)));
    let notes = t.notes();
    let [Note::Applied { effect: applied, commit: 1, changes, key: Some(77), token, read_at }] =
        &notes[..]
    else {
        panic!("{notes:?}")
    };
    assert_eq!((*applied, *token, *read_at), (effect(1), None, None));
    assert_eq!((changes.len(), changes[0].before), (1, 0));
    assert_ne!(changes[0].after, 0);

    t.wait(10);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
    let replay =
        Note::Replayed { effect: effect(1), original: effect(1), key: 77, same_payload: true };
    assert_eq!(t.notes(), [replay]);
}

#[test]
fn without_a_key_every_request_is_executed() {
    let mut t = world(|_| {});
    assert_eq!(t.ask(request(1, None)), performed(1, false));
    assert_eq!(t.ask(request(1, None)), performed(2, false));
    let rows: Vec<u64> = t
        .notes()
        .iter()
        .map(|note| match note {
            Note::Applied { changes, .. } => changes[0].row,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_ne!(rows[0], rows[1], "two receipts are two rows");
}

#[test]
fn a_key_with_another_payload_is_refused_or_drops_the_second_effect() {
    for rejects in [true, false] {
        let mut t = world(|config| config.rejects_other_payload = rejects);
        t.ask(request(1, Some(77)));
        t.wait(10);
        t.notes();
        let answer = t.ask(request(2, Some(77)));
        if rejects {
            assert_eq!(answer, refused(SystemError::KeyReused));
            assert_eq!(t.notes(), []);
        } else {
            assert_eq!(answer, performed(1, true));
            let (effect, original) = (effect(2), effect(1));
            let replay = Note::Replayed { effect, original, key: 77, same_payload: false };
            assert_eq!(t.notes(), [replay]);
        }
    }
}

#[test]
fn another_effect_with_the_same_payload_is_taken_for_a_retry() {
    let mut t = world(|_| {});
    t.ask(request(1, Some(77)));
    t.wait(10);
    t.notes();
    assert_eq!(t.ask(ApiRequest { payload: 1, ..request(2, Some(77)) }), performed(1, true));
    let (effect, original) = (effect(2), effect(1));
    assert_eq!(t.notes(), [Note::Replayed { effect, original, key: 77, same_payload: true }]);
}

#[test]
fn while_a_request_is_worked_on_its_key_conflicts() {
    let mut t = world(|_| {});
    t.ask(request(1, Some(77)));
    t.wait(9);
    assert_eq!(t.ask(request(1, Some(77))), refused(SystemError::InProgress));
    // That it is another payload is said even then.
    assert_eq!(t.ask(request(2, Some(77))), refused(SystemError::KeyReused));
    assert_eq!(t.ask(request(3, Some(78))), performed(2, false));
    t.wait(1);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
    assert_eq!(t.applied(), [1, 3]);
}

#[test]
fn a_slow_api_is_under_way_for_longer() {
    let mut t = world(|_| {});
    t.fault(SystemFault::Slow(MS * 50), true);
    assert_eq!(t.answer(request(1, Some(77))), Some((performed(1, false), MS * 60)));
    t.fault(SystemFault::Slow(MS * 50), false);
    t.wait(59);
    assert_eq!(t.answer(request(1, Some(77))), Some((refused(SystemError::InProgress), MS * 10)));
    t.wait(1);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
}

/// The effect and its key are one; only the answer is lost with the process.
#[test]
fn a_crash_during_the_work_loses_neither_effect_nor_key() {
    let mut t = world(|_| {});
    t.ask(request(1, Some(77)));
    t.wait(1);
    t.api.crash();
    t.api.step(t.now, Input::Start, &mut t.effects);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true), "nobody works on it any more");
    assert_eq!(t.ask(request(2, Some(78))), performed(2, false), "receipts go on");
    assert_eq!(t.applied(), [1, 2]);
}

#[test]
fn a_key_is_forgotten_at_the_first_request_after_its_time() {
    for (milliseconds, forgotten) in [(109, false), (110, true), (500, true)] {
        let mut t = world(|_| {});
        t.ask(request(1, Some(77)));
        t.notes();
        t.wait(milliseconds);
        // Whoever asks: the log says so before it says what the request did.
        t.ask(request(2, Some(78)));
        let evicted = Note::KeyEvicted { key: 77, effect: effect(1) };
        let notes = t.notes();
        assert_eq!(notes[0] == evicted, forgotten, "after {milliseconds} ms: {notes:?}");
        assert_eq!(notes.len(), 1 + usize::from(forgotten));
    }
}

#[test]
fn a_kept_answer_does_not_prolong_its_key() {
    let mut t = world(|_| {});
    t.ask(request(1, Some(77)));
    t.wait(100);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
    t.wait(10);
    assert_eq!(t.ask(request(1, Some(77))), performed(2, false));
    assert_eq!(t.applied(), [1, 1]);
}

#[test]
fn a_key_without_time_to_live_is_kept_for_ever() {
    let mut t = world(|config| config.key_ttl = None);
    t.ask(request(1, Some(77)));
    t.now = Instant::NEVER;
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
}

#[test]
fn a_lower_token_than_the_highest_is_fenced() {
    for checks in [true, false] {
        let mut t = world(|config| config.checks_token = checks);
        let with =
            |record, token| ApiRequest { token: Some(token), ..request(record, Some(record)) };
        assert_eq!(t.ask(with(1, 4)), performed(1, false));
        assert_eq!(t.ask(with(2, 6)), performed(2, false));
        let zombie = if checks { refused(SystemError::Fenced) } else { performed(3, false) };
        assert_eq!(t.ask(with(3, 5)), zombie);
        t.api.crash();
        t.wait(20);
        // Not even what it has done itself is told to a zombie.
        let zombie = if checks { refused(SystemError::Fenced) } else { performed(1, true) };
        assert_eq!(t.ask(with(1, 4)), zombie);
        assert_eq!(t.ask(request(1, Some(1))), performed(1, true), "no token, no fence");
        assert_eq!(t.applied(), if checks { vec![1, 2] } else { vec![1, 2, 3] });
    }
}

#[test]
fn an_api_in_error_does_nothing_and_keeps_nothing() {
    let mut t = world(|_| {});
    t.fault(SystemFault::Errors, true);
    let first = ApiRequest { token: Some(9), ..request(1, Some(77)) };
    assert_eq!(t.ask(first), refused(SystemError::Unavailable));
    t.api.crash();
    assert_eq!(t.ask(first), refused(SystemError::Unavailable), "a crash ends no fault");
    t.fault(SystemFault::Errors, false);
    assert_eq!(t.applied(), []);
    assert_eq!(t.ask(ApiRequest { token: Some(1), ..first }), performed(1, false));
}

#[test]
fn with_unknown_commits_the_effect_takes_place_and_nobody_is_told() {
    let mut t = world(|_| {});
    t.fault(SystemFault::UnknownCommits, true);
    assert_eq!(t.answer(request(1, Some(77))), None);
    // What changes nothing is answered: the retry learns what happened.
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
    assert_eq!(t.ask(request(2, Some(77))), refused(SystemError::KeyReused));
    assert_eq!(t.answer(request(1, None)), None);
    assert_eq!(t.answer(request(1, None)), None);
    assert_eq!(t.applied(), [1, 1, 1], "without a key the retry doubles");
}

#[test]
fn deadlocks_and_lost_connections_are_nothing_to_an_api() {
    let mut t = world(|_| {});
    t.fault(SystemFault::Deadlocks, true);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, false));
    let closed = Input::ConnectionClosed { connection: CONNECTION };
    t.api.step(t.now, closed, &mut t.effects);
    t.wait(10);
    assert_eq!(t.ask(request(1, Some(77))), performed(1, true));
    assert_eq!(t.applied(), [1]);
}
