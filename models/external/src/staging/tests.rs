//! The table of names and phases, recovery told as stories, and any sequence of requests against a
//! reference that knows no time.

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, EffectId, Instant, Offset, RecordId, SinkId,
    SystemError, TopicId, TopicPartition,
};
use proptest::prelude::*;

use super::{EXPIRY, Staging, StagingConfig};
use crate::machine::{Effect, Effects, Input, SystemFault};
use crate::message::{PendingTransaction, Prepare, Request, Response, StagedName};
use crate::note::Note;

const MS: Duration = Duration::from_millis(1);
const CONNECTION: ConnectionId = ConnectionId(9);
const UNKNOWN: Response = Response::Refused(SystemError::UnknownTransaction);

/// A sink whose clock a test moves.
struct World {
    sink: Staging,
    now: Instant,
    timer: Option<Instant>,
    notes: Vec<Note>,
}

/// One that keeps what is prepared for so many milliseconds.
fn world(timeout: Option<u64>) -> World {
    let prepared_timeout = timeout.map(|milliseconds| MS * milliseconds);
    let sink = Staging::new(StagingConfig { service_time: MS * 2, prepared_timeout });
    World { sink, now: Instant::ZERO, timer: None, notes: Vec::new() }
}

const fn partition(index: u16) -> TopicPartition {
    TopicPartition { topic: TopicId(0), partition: index }
}

fn name(index: u16, first: i64, attempt: u64) -> StagedName {
    let (first, next) = (Offset(first), Offset(first + 2));
    StagedName { partition: partition(index), first, next, attempt }
}

fn effect(offset: i64) -> EffectId {
    let record = RecordId::new(ActorId(3), u64::try_from(offset).unwrap());
    EffectId { record, sink: SinkId(0), step: 0 }
}

/// The two effects that a name covers.
fn staged(name: StagedName) -> Vec<EffectId> {
    (name.first.0..name.next.0).map(effect).collect()
}

impl World {
    fn step(&mut self, input: Input) -> Option<(Response, Duration)> {
        let mut effects = Effects::default();
        self.sink.step(self.now, input, &mut effects);
        let mut answer = None;
        for effect in effects.0 {
            match effect {
                Effect::Note(note) => self.notes.push(note),
                Effect::Reply { after, body, .. } => answer = Some((body, after)),
                Effect::CloseConnection { connection } => assert_eq!(connection, CONNECTION),
                Effect::SetTimer { key, after } => {
                    assert_eq!(key, EXPIRY);
                    self.timer = Some(self.now + after);
                }
                Effect::CancelTimer(key) => {
                    assert_eq!(key, EXPIRY);
                    self.timer = None;
                }
            }
        }
        answer
    }

    fn answer(&mut self, body: Request) -> Option<(Response, Duration)> {
        let (from, correlation) = (ActorId(7), CorrelationId(5));
        self.step(Input::Request { from, connection: CONNECTION, correlation, body })
    }

    fn ask(&mut self, body: Request) -> Response {
        self.answer(body).expect("the connection holds").0
    }

    fn prepare(&mut self, name: StagedName) -> Response {
        self.ask(prepare(name))
    }

    fn finish(&mut self, name: StagedName, commit: bool) -> Response {
        self.ask(Request::Finish { name, commit })
    }

    fn pending(&mut self, index: u16) -> Vec<StagedName> {
        match self.ask(Request::Pending { partition: partition(index), token: 0 }) {
            Response::Pending(pending) => {
                pending.into_iter().map(|PendingTransaction { name }| name).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Time passes; the timer goes off when it is due.
    fn wait(&mut self, milliseconds: u64) {
        let until = self.now + MS * milliseconds;
        while let Some(due) = self.timer
            && due <= until
        {
            (self.now, self.timer) = (due, None);
            self.step(Input::Timer(EXPIRY));
        }
        self.now = until;
    }

    /// Timers die with the process.
    fn crash(&mut self) {
        self.sink.crash();
        self.timer = None;
    }

    /// What became visible, and by which commit.
    fn applied(&self) -> Vec<(u64, EffectId)> {
        let applied = |note: &Note| match note {
            Note::Applied { effect, commit, changes, .. } => {
                assert_eq!((changes.len(), changes[0].before), (1, 0));
                Some((*commit, *effect))
            }
            _ => None,
        };
        self.notes.iter().filter_map(applied).collect()
    }
}

fn prepare(name: StagedName) -> Request {
    prepare_with(name, 0)
}

fn prepare_with(name: StagedName, token: i64) -> Request {
    let payload = |effect: EffectId| (effect, effect.record.0 + 100);
    let effects = staged(name).into_iter().map(payload).collect();
    Request::Prepare(Box::new(Prepare { name, token, effects }))
}

#[test]
fn who_was_deposed_prepares_nothing_more() {
    let mut t = world(None);
    let (old, late, own) = (name(0, 0, 1), name(0, 0, 2), name(0, 0, 3));
    assert_eq!(t.ask(prepare_with(old, 1)), Response::Prepared);
    let claim = Request::Pending { partition: partition(0), token: 2 };
    let pending = vec![PendingTransaction { name: old }];
    assert_eq!(t.ask(claim), Response::Pending(pending));
    for crash in [false, true] {
        if crash {
            t.crash();
            t.step(Input::Start);
        }
        assert_eq!(t.ask(prepare_with(late, 1)), Response::Refused(SystemError::Fenced));
        assert_eq!(t.ask(prepare_with(old, 1)), Response::Prepared, "it was, before");
        let late = Request::Pending { partition: partition(0), token: 1 };
        assert_eq!(t.ask(late), Response::Refused(SystemError::Fenced), "nor does it recover");
    }
    assert_eq!(t.ask(prepare_with(own, 2)), Response::Prepared);
    let elsewhere = name(1, 0, 2);
    assert_eq!(t.ask(prepare_with(elsewhere, 1)), Response::Prepared);
}

#[test]
fn every_phase_in_every_state() {
    #[derive(Debug, Clone, Copy)]
    enum Ask {
        Prepare,
        Commit,
        Abort,
    }
    use Ask::{Abort, Commit, Prepare};
    let (prepared, finished) = (Response::Prepared, Response::Finished);
    let one = name(0, 0, 1);
    for (before, ask, answer, notes) in [
        (&[][..], Prepare, &prepared, 1),
        (&[], Commit, &UNKNOWN, 0),
        (&[], Abort, &finished, 0),
        (&[Prepare], Prepare, &prepared, 0),
        (&[Prepare], Commit, &finished, 3),
        (&[Prepare], Abort, &finished, 1),
        (&[Prepare, Commit], Prepare, &prepared, 0),
        (&[Prepare, Commit], Commit, &finished, 0),
        (&[Prepare, Commit], Abort, &UNKNOWN, 0),
        (&[Prepare, Abort], Prepare, &UNKNOWN, 0),
        (&[Prepare, Abort], Commit, &UNKNOWN, 0),
        (&[Prepare, Abort], Abort, &finished, 0),
        (&[Abort], Prepare, &UNKNOWN, 0),
        (&[Abort], Commit, &UNKNOWN, 0),
        (&[Abort], Abort, &finished, 0),
    ] {
        for crash in [false, true] {
            let mut t = world(None);
            let does = |ask, t: &mut World| match ask {
                Prepare => t.prepare(one),
                Commit => t.finish(one, true),
                Abort => t.finish(one, false),
            };
            for ask in before {
                does(*ask, &mut t);
            }
            t.notes.clear();
            if crash {
                t.crash();
                t.step(Input::Start);
            }
            assert_eq!(does(ask, &mut t), *answer, "{before:?}, then {ask:?}");
            assert_eq!(t.notes.len(), notes, "{before:?}, then {ask:?}: {:?}", t.notes);
        }
    }
}

#[test]
fn a_commit_applies_all_effects_at_once_and_then_says_so() {
    let mut t = world(None);
    let (first, second) = (name(0, 0, 1), name(0, 2, 2));
    assert_eq!(t.answer(prepare(first)), Some((Response::Prepared, MS * 2)));
    t.prepare(second);
    assert_eq!(t.applied(), [], "what is prepared is not visible");
    t.finish(second, true);
    t.finish(first, true);
    assert_eq!(t.applied(), [(1, effect(2)), (1, effect(3)), (2, effect(0)), (2, effect(1))]);
    assert_eq!(t.notes[0], Note::Prepared { name: first, effects: 2 });
    assert_eq!(t.notes[4], Note::Finished { name: second, commit: true });
    assert_eq!(t.notes[7], Note::Finished { name: first, commit: true });
}

#[test]
fn an_effect_that_two_names_bring_is_applied_twice() {
    let mut t = world(None);
    for attempt in [1, 2] {
        t.prepare(name(0, 0, attempt));
        t.finish(name(0, 0, attempt), true);
    }
    assert_eq!(t.applied(), [(1, effect(0)), (1, effect(1)), (2, effect(0)), (2, effect(1))]);
    let row = |note: &Note| match note {
        Note::Applied { changes, .. } => Some(changes[0].row),
        _ => None,
    };
    let mut rows: Vec<u64> = t.notes.iter().filter_map(row).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 4, "and adds rows both times");
}

/// The client prepared three transactions and committed offsets past the first; then it died. Who
/// takes over sees the decision in the offsets and brings it about.
#[test]
fn who_recovers_commits_what_was_decided_and_aborts_the_rest() {
    let mut t = world(Some(1_000));
    let names = [name(0, 4, 3), name(0, 0, 1), name(0, 2, 2)];
    for name in names {
        t.prepare(name);
    }
    t.prepare(name(1, 0, 9));
    t.crash();
    t.step(Input::Start);
    assert_eq!(t.pending(0), [names[1], names[2], names[0]], "by first offset");
    for pending in t.pending(0) {
        let decided = pending.next <= Offset(2);
        assert_eq!(t.finish(pending, decided), Response::Finished);
    }
    assert_eq!(t.applied(), [(1, effect(0)), (1, effect(1))]);
    assert_eq!(t.pending(0), []);
    assert_eq!(t.pending(1), [name(1, 0, 9)]);
    // The reply to a commit was lost: it is repeated, also after yet another crash.
    t.crash();
    assert_eq!(t.finish(names[1], true), Response::Finished);
    assert_eq!(t.applied().len(), 2);
}

/// The zombie's `Prepare` was on its way when its successor aborted all attempts that it knew of.
#[test]
fn a_late_prepare_of_an_aborted_name_leaves_nothing_behind() {
    let mut t = world(None);
    t.finish(name(0, 0, 1), false);
    t.crash();
    assert_eq!(t.prepare(name(0, 0, 1)), UNKNOWN);
    assert_eq!(t.pending(0), []);
    assert_eq!(t.finish(name(0, 0, 1), true), UNKNOWN);
    assert_eq!(t.notes, []);
}

#[test]
fn what_nobody_finishes_is_aborted_in_time() {
    let mut t = world(Some(100));
    let (first, second) = (name(0, 0, 1), name(0, 2, 2));
    t.prepare(first);
    t.wait(60);
    t.prepare(second);
    t.wait(39);
    assert_eq!(t.pending(0), [first, second]);
    t.notes.clear();
    t.wait(1);
    assert_eq!(t.notes, [Note::Finished { name: first, commit: false }]);
    assert_eq!(t.finish(first, true), UNKNOWN, "whoever had decided to commit has lost it");
    assert_eq!(t.finish(second, true), Response::Finished);
    assert_eq!(t.timer, None, "nothing is left to wait for");
}

#[test]
fn a_repeated_prepare_gains_no_time() {
    let mut t = world(Some(100));
    t.prepare(name(0, 0, 1));
    t.wait(99);
    assert_eq!(t.prepare(name(0, 0, 1)), Response::Prepared);
    t.wait(1);
    assert_eq!(t.pending(0), []);
}

#[test]
fn time_passes_while_the_process_is_down() {
    let mut t = world(Some(100));
    t.prepare(name(0, 0, 1));
    t.prepare(name(0, 2, 2));
    t.crash();
    t.wait(99);
    t.step(Input::Start);
    assert_eq!(t.pending(0).len(), 2);
    assert_eq!(t.timer, Some(Instant::ZERO + MS * 100));
    t.crash();
    t.wait(500);
    assert_eq!(t.notes.len(), 2, "who is down aborts nothing");
    t.step(Input::Start);
    assert_eq!(t.notes.len(), 4);
}

#[test]
fn faults_strike_as_they_say() {
    let mut t = world(None);
    t.step(Input::Fault(SystemFault::Errors, true));
    assert_eq!(t.prepare(name(0, 0, 1)), Response::Refused(SystemError::Unavailable));
    t.step(Input::Fault(SystemFault::Errors, false));
    assert_eq!(t.finish(name(0, 0, 1), true), UNKNOWN, "nothing was done");

    t.step(Input::Fault(SystemFault::Slow(MS * 30), true));
    t.step(Input::Fault(SystemFault::Deadlocks, true));
    assert_eq!(t.answer(prepare(name(0, 0, 1))), Some((Response::Prepared, MS * 32)));
    t.step(Input::Fault(SystemFault::Slow(MS * 30), false));

    t.step(Input::Fault(SystemFault::UnknownCommits, true));
    let commit = Request::Finish { name: name(0, 0, 1), commit: true };
    assert_eq!(t.answer(prepare(name(0, 2, 2))), None);
    assert_eq!(t.answer(commit.clone()), None);
    assert_eq!(t.pending(0), [name(0, 2, 2)], "it was prepared, and the other one committed");
    // What changes nothing is answered.
    assert_eq!(t.answer(commit), Some((Response::Finished, MS * 2)));
    assert_eq!(t.applied().len(), 2);
}

/// What became of a name, and nothing else: requests are the only events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Prepared,
    Committed,
    Aborted,
}

#[derive(Debug, Default)]
struct Reference {
    fates: BTreeMap<StagedName, Fate>,
    visible: Vec<EffectId>,
}

impl Reference {
    fn prepare(&mut self, name: StagedName) -> Response {
        if *self.fates.entry(name).or_insert(Fate::Prepared) == Fate::Aborted {
            return UNKNOWN;
        }
        Response::Prepared
    }

    fn finish(&mut self, name: StagedName, commit: bool) -> Response {
        let wanted = if commit { Fate::Committed } else { Fate::Aborted };
        let fate = self.fates.get(&name).copied();
        if fate == Some(wanted) {
            return Response::Finished;
        }
        if fate == Some(Fate::Prepared) || (fate.is_none() && !commit) {
            self.fates.insert(name, wanted);
            if commit {
                self.visible.extend(staged(name));
            }
            return Response::Finished;
        }
        UNKNOWN
    }

    fn pending(&self, index: u16) -> Vec<StagedName> {
        let pending = self.fates.iter().filter(|(_, fate)| **fate == Fate::Prepared);
        pending.map(|(name, _)| *name).filter(|name| name.partition == partition(index)).collect()
    }
}

/// One thing that happens to the sink.
#[derive(Debug, Clone, Copy)]
enum Event {
    Prepare(StagedName),
    Finish(StagedName, bool),
    Pending(u16),
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let a_name = (0_u16..2, 0_i64..3, 0_u64..2)
        .prop_map(|(partition, first, attempt)| name(partition, first * 2, attempt));
    prop_oneof![
        4 => a_name.clone().prop_map(Event::Prepare),
        4 => (a_name, any::<bool>()).prop_map(|(name, commit)| Event::Finish(name, commit)),
        2 => (0_u16..2).prop_map(Event::Pending),
        1 => Just(Event::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_requests_is_answered_as_the_reference_answers_it(
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut t = world(None);
        let mut reference = Reference::default();
        for event in events {
            match event {
                Event::Prepare(name) => prop_assert_eq!(t.prepare(name), reference.prepare(name)),
                Event::Finish(name, commit) => {
                    prop_assert_eq!(t.finish(name, commit), reference.finish(name, commit));
                }
                Event::Pending(index) => {
                    prop_assert_eq!(t.pending(index), reference.pending(index));
                }
                Event::Crash => {
                    t.crash();
                    t.step(Input::Start);
                }
            }
        }
        let visible: Vec<EffectId> = t.applied().into_iter().map(|(_, effect)| effect).collect();
        prop_assert_eq!(visible, reference.visible);
    }

    /// With a timeout: no name is both visible and aborted, nothing is applied twice under one
    /// name, commits are dense, and in the end nothing is pending.
    #[test]
    fn time_takes_what_is_prepared_and_nothing_else(
        events in prop::collection::vec((event(), 0_u64..60), 0..40),
    ) {
        let mut t = world(Some(100));
        for (event, milliseconds) in events {
            t.wait(milliseconds);
            match event {
                Event::Prepare(name) => drop(t.prepare(name)),
                Event::Finish(name, commit) => drop(t.finish(name, commit)),
                Event::Pending(index) => drop(t.pending(index)),
                Event::Crash => {
                    t.crash();
                    t.wait(milliseconds);
                    t.step(Input::Start);
                }
            }
        }
        t.wait(100);
        prop_assert!(t.pending(0).is_empty() && t.pending(1).is_empty());
        let mut ended = BTreeMap::new();
        let mut applied = 0;
        for note in &t.notes {
            match note {
                Note::Prepared { name, .. } => prop_assert_eq!(ended.insert(*name, None), None),
                Note::Finished { name, commit } => {
                    prop_assert_eq!(ended.insert(*name, Some(*commit)), Some(None));
                    applied += u64::from(*commit);
                }
                Note::Applied { commit, .. } => prop_assert_eq!(*commit, applied + 1),
                other => panic!("a two-phase sink does not note {other:?}"),
            }
        }
        prop_assert!(ended.values().all(Option::is_some));
    }
}
