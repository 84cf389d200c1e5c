//! Tables: what each request leads to in each state.

use ErrorCode::{
    ConcurrentTransactions as Concurrent, InvalidProducerIdMapping as WrongId,
    InvalidTxnState as Invalid, ProducerFenced as Fenced,
};
use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

use super::*;

const STATES: [TransactionState; 6] =
    [Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort];

/// The id in one state and nothing under way: a planted bug keeps `PREPARE_*` from being resumed.
fn resting(state: TransactionState, epoch: i16, version: TransactionVersion) -> World {
    let mutations = Mutations::only(Mutation::CoordinatorNoResumePrepare);
    World::with(version, mutations, log_of(state, epoch, version))
}

/// The id while its transaction is being ended, its leaders silent.
fn ending(state: TransactionState, epoch: i16, version: TransactionVersion) -> World {
    let mut world = World::with(version, Mutations::NONE, Vec::new());
    world.leaders = Leaders::Silent;
    world.log = log_of(state, epoch, version);
    world.fail_over();
    world
}

#[test]
fn end_txn_of_generation_1() {
    let none = Ok((ProducerId::NONE, ProducerEpoch::NONE));
    // For an abort and for a commit.
    let expected = [
        (Empty, Err(Invalid), Err(Invalid)),
        (Ongoing, none, none),
        (PrepareCommit, Err(Invalid), Err(Concurrent)),
        (PrepareAbort, Err(Concurrent), Err(Invalid)),
        (CompleteCommit, Err(Invalid), none),
        (CompleteAbort, none, Err(Invalid)),
    ];
    for (state, abort, commit) in expected {
        for (result, expected) in [(Abort, abort), (Commit, commit)] {
            let mut world = resting(state, 5, V1);
            let got = world.end(session(500, 5), 1, V1, result);
            assert_eq!(got, expected, "{result:?} in {state:?}");
            for (stale, error) in [((500, 4), Fenced), ((500, 6), Fenced), ((501, 5), WrongId)] {
                let got = resting(state, 5, V1).end(session(stale.0, stale.1), 1, V1, result);
                assert_eq!(got, Err(error), "{result:?} in {state:?} of {stale:?}");
            }
        }
    }
    for state in [PrepareCommit, PrepareAbort] {
        for result in [Abort, Commit] {
            let got = ending(state, 5, V1).end(session(500, 5), 1, V1, result);
            assert_eq!(got, Err(Concurrent), "{result:?} while {state:?} is under way");
        }
    }
}

#[test]
fn end_txn_of_generation_2() {
    let (same, bumped) = (Ok(session(500, 5)), Ok(session(500, 6)));
    let (retry, current) = (session(500, 4), session(500, 5));
    // Abort and commit as a retry (the epoch before), abort and commit with the current epoch.
    let expected = [
        (Empty, [Err(Fenced), Err(Fenced), bumped, Err(Invalid)]),
        (Ongoing, [Err(Fenced), Err(Fenced), bumped, bumped]),
        (PrepareCommit, [Err(Invalid), Err(Concurrent), Err(Fenced), Err(Fenced)]),
        (PrepareAbort, [Err(Concurrent), Err(Invalid), Err(Fenced), Err(Fenced)]),
        (CompleteCommit, [Err(Invalid), same, bumped, Err(Invalid)]),
        (CompleteAbort, [same, Err(Invalid), bumped, Err(Invalid)]),
    ];
    for (state, expected) in expected {
        let requests = [(retry, Abort), (retry, Commit), (current, Abort), (current, Commit)];
        for ((of, result), expected) in requests.into_iter().zip(expected) {
            let got = resting(state, 5, V2).end(of, 1, V2, result);
            assert_eq!(got, expected, "{result:?} of {of:?} in {state:?}");
        }
        for (stale, error) in [((500, 3), Fenced), ((500, 6), Fenced), ((501, 5), WrongId)] {
            let got = resting(state, 5, V2).end(session(stale.0, stale.1), 1, V2, Commit);
            assert_eq!(got, Err(error), "in {state:?} of {stale:?}");
        }
    }
    for state in [PrepareCommit, PrepareAbort] {
        for of in [retry, current, session(501, 0)] {
            // Pending comes first: it may be the next session, which the client knows already.
            let got = ending(state, 5, V2).end(of, 1, V2, Commit);
            assert_eq!(got, Err(Concurrent), "of {of:?} while {state:?} is under way");
        }
    }
}

#[test]
fn init_producer_id() {
    for state in STATES {
        let rests = matches!(state, Empty | CompleteCommit | CompleteAbort);
        let is_preparing = matches!(state, PrepareCommit | PrepareAbort);
        let otherwise = |ok| if rests { ok } else { Err(Concurrent) };
        let fenced = if is_preparing { Err(Concurrent) } else { otherwise(Err(Fenced)) };
        for (current, expected) in [
            (None, otherwise(Ok(session(500, 6)))),
            (Some(session(500, 5)), otherwise(Ok(session(500, 6)))),
            // The epoch is looked at only where nothing is open.
            (Some(session(500, 4)), fenced),
            (Some(session(500, 7)), fenced),
            (Some(session(400, 5)), Err(Fenced)),
            (Some(session(600, 5)), Err(Fenced)),
        ] {
            let got = resting(state, 5, V2).init(current);
            assert_eq!(got, expected, "{current:?} in {state:?}");
        }
    }
    for state in [PrepareCommit, PrepareAbort] {
        assert_eq!(ending(state, 5, V2).init(Some(session(600, 1))), Err(Concurrent));
    }
}

#[test]
fn init_producer_id_checks_the_timeout() {
    let mut world = World::new(V2);
    for (ms, ok) in [(0, false), (1, true), (900_000, true), (900_001, false)] {
        let id = world.send(Request::InitProducerId(InitProducerIdRequest {
            transactional_id: Some(ID),
            transaction_timeout: Duration::from_millis(ms),
            current: None,
        }));
        let got = world.initialized(id).unwrap();
        assert_eq!(got.is_ok(), ok, "{ms} ms");
        assert!(ok || got == Err(ErrorCode::InvalidTransactionTimeout));
    }
}

#[test]
fn partitions_are_added_and_verified() {
    for state in STATES {
        let is_preparing = matches!(state, PrepareCommit | PrepareAbort);
        let mut world = resting(state, 5, V1);
        let known = match state {
            Ongoing => ErrorCode::None,
            _ if is_preparing => Concurrent,
            _ => ErrorCode::TransactionAbortable,
        };
        assert_eq!(world.verify(session(500, 5), X), known, "{state:?}");
        assert_eq!(world.verify(session(500, 4), X), Fenced);
        assert_eq!(world.verify(session(501, 5), X), WrongId);
        for (of, expected) in [
            ((501, 5), WrongId),
            ((500, 4), Fenced),
            ((500, 5), if is_preparing { Concurrent } else { ErrorCode::None }),
        ] {
            let got = world.add(session(of.0, of.1), 2, V1, X);
            assert_eq!(got, expected, "{of:?} in {state:?}");
        }
        if !is_preparing {
            assert_eq!(world.state(), Some(Ongoing));
            assert_eq!(world.verify(session(500, 5), X), ErrorCode::None);
        }
    }
    let mut unknown = World::new(V1);
    assert_eq!(unknown.add(session(500, 5), 1, V1, X), WrongId);
    assert_eq!(unknown.end(session(500, 5), 1, V1, Commit), Err(WrongId));
    // A pending change comes first, but verification does not look at it.
    let mut world = resting(Ongoing, 5, V1);
    world.mode = Log::Stuck;
    world.send(add(session(500, 5), 1, V1, TopicPartition::new(TopicId(0), 2), false));
    assert_eq!(world.add(session(501, 5), 1, V1, X), Concurrent);
    assert_eq!(world.verify(session(500, 5), X), ErrorCode::None);
}
