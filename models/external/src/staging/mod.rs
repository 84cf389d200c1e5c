//! A sink with two phases: effects are prepared durably and become visible when they are committed.
//!
//! Mirrors the resource manager of XA (`xa_prepare`, `xa_commit`, `xa_rollback`, `xa_recover`), as
//! a client of Flink's `TwoPhaseCommitSinkFunction` needs it: a transaction has a name of its client's
//! choice, what is prepared survives crashes of both sides, and who recovers asks for what is
//! pending, commits what it had decided to commit and aborts the rest. Flink says that a commit may
//! be repeated and must succeed then; so it does here.
//!
//! | | unknown | prepared | committed | aborted |
//! |---|---|---|---|---|
//! | prepare | prepares | succeeds | succeeds | `UnknownTransaction` |
//! | commit | `UnknownTransaction` | commits | succeeds | `UnknownTransaction` |
//! | abort | remembers it as aborted | aborts | `UnknownTransaction` | succeeds |
//!
//! Aborting what is unknown is remembered, so that a `Prepare` that comes late (its sender died or
//! was deposed, the message was still on its way) does not leave effects pending that nobody knows
//! of.
//!
//! Aborting what is pending is not enough, for a deposed client may prepare more after it, which the
//! next one to recover could not tell from what was decided. So whoever asks for what is pending
//! claims the partition with a fencing token (as `initTransactions()` does with an epoch), and a
//! `Prepare` with a lower one is refused with [`SystemError::Fenced`]. So is a claim with a lower one:
//! a deposed client that recovers late would see what its successor has prepared, and drop it.
//!
//! What is prepared and not finished in time is aborted by the sink itself, as by a transaction
//! timeout (XA's heuristic rollback): the client that commits it later is told
//! [`SystemError::UnknownTransaction`] and has lost the effects.
//!
//! Simplifications:
//! - Names are remembered for ever. Sound: a run is short, and `Pending` names only what is prepared.
//! - A repeated `Prepare` is taken at its word: a name is unique among the attempts of all clients,
//!   so the second request is the first one again.
//! - A request is executed when it arrives, and its answer takes the service time. A crash in between
//!   loses the answer alone.
//! - Deadlocks are a database's; a two-phase sink knows none: it checks nothing that could conflict.

use std::collections::BTreeMap;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, EffectId, Instant, RowChange, SystemError,
    TopicPartition,
};

use crate::fault::Faults;
use crate::image::image;
use crate::machine::{Effect, Effects, Input, SystemFault, TimerKey};
use crate::message::{PendingTransaction, Prepare, Request, Response, StagedName};
use crate::note::Note;

#[cfg(test)]
mod tests;

/// The one timer: the next transaction to abort by itself.
const EXPIRY: TimerKey = TimerKey(0);

/// What a two-phase sink is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingConfig {
    /// How long it works on a request.
    pub service_time: Duration,
    /// How long it keeps what is prepared and not finished; `None`: for ever.
    pub prepared_timeout: Option<Duration>,
}

/// A two-phase sink.
#[derive(Debug)]
pub struct Staging {
    config: StagingConfig,
    faults: Faults,

    // ---- durable ----
    commits: u64,
    prepared: BTreeMap<StagedName, Waiting>,
    /// What has ended, and whether by a commit.
    finished: BTreeMap<StagedName, bool>,
    /// The highest token that a partition was claimed with.
    claims: BTreeMap<TopicPartition, i64>,
}

/// A transaction that waits for its second phase.
#[derive(Debug)]
struct Waiting {
    /// With the hash of each's payload.
    effects: Vec<(EffectId, u64)>,
    /// When it is aborted at the latest.
    expiry: Instant,
}

impl Staging {
    /// One where nothing is prepared.
    #[must_use]
    pub fn new(config: StagingConfig) -> Self {
        Staging {
            config,
            faults: Faults::default(),
            commits: 0,
            prepared: BTreeMap::new(),
            finished: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    pub(crate) fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Request { from, connection, correlation, body } => {
                self.abort_expired(now, effects);
                self.on_request(now, (from, connection, correlation), &body, effects);
                self.set_timer(now, effects);
            }
            Input::Start | Input::Timer(EXPIRY) => {
                self.abort_expired(now, effects);
                self.set_timer(now, effects);
            }
            Input::Timer(TimerKey(key)) => panic!("a two-phase sink has one timer, not {key}"),
            Input::Fault(fault, begins) => self.faults.set(fault, begins),
            // What is prepared belongs to no session.
            Input::ConnectionClosed { .. } => {}
        }
    }

    /// Everything that it knows is durable.
    pub(crate) fn crash(&mut self) {}

    fn on_request(
        &mut self,
        now: Instant,
        (to, connection, correlation): (ActorId, ConnectionId, CorrelationId),
        request: &Request,
        effects: &mut Effects,
    ) {
        let after = self.config.service_time + self.faults.delay();
        let noted = effects.0.len();
        let body = if self.faults.contains(SystemFault::Errors) {
            Response::Refused(SystemError::Unavailable)
        } else {
            self.execute(now, request, effects)
        };
        // Whatever happens to effects is noted.
        if effects.0.len() > noted && self.faults.contains(SystemFault::UnknownCommits) {
            effects.0.push(Effect::CloseConnection { connection });
        } else {
            effects.0.push(Effect::Reply { to, connection, correlation, after, body });
        }
    }

    fn execute(&mut self, now: Instant, request: &Request, effects: &mut Effects) -> Response {
        match request {
            Request::Prepare(prepare) => self.prepare(now, prepare, effects),
            Request::Finish { name, commit } => {
                if self.finish(*name, *commit, effects) {
                    Response::Finished
                } else {
                    Response::Refused(SystemError::UnknownTransaction)
                }
            }
            Request::Pending { partition, token } => {
                let claim = self.claims.entry(*partition).or_insert(*token);
                if *token < *claim {
                    return Response::Refused(SystemError::Fenced);
                }
                *claim = *token;
                Response::Pending(self.pending(*partition))
            }
            Request::Begin
            | Request::Execute(_)
            | Request::Commit
            | Request::Rollback
            | Request::Capture { .. }
            | Request::Snapshot { .. }
            | Request::Perform(_) => {
                panic!("a two-phase sink has no {}", request.operation().name())
            }
        }
    }

    fn prepare(&mut self, now: Instant, prepare: &Prepare, effects: &mut Effects) -> Response {
        let name = prepare.name;
        match self.finished.get(&name) {
            Some(true) => return Response::Prepared,
            Some(false) => return Response::Refused(SystemError::UnknownTransaction),
            None => {}
        }
        if let Some(waiting) = self.prepared.get(&name) {
            assert!(waiting.effects == prepare.effects, "a name of a two-phase sink is used once");
            return Response::Prepared;
        }
        if self.claims.get(&name.partition).is_some_and(|claim| prepare.token < *claim) {
            return Response::Refused(SystemError::Fenced);
        }
        let timeout = self.config.prepared_timeout;
        let expiry = timeout.map_or(Instant::NEVER, |timeout| now + timeout);
        self.prepared.insert(name, Waiting { effects: prepare.effects.clone(), expiry });
        let count = u32::try_from(prepare.effects.len()).expect("a transaction is small");
        effects.note(Note::Prepared { name, effects: count });
        Response::Prepared
    }

    /// The second phase; whether it succeeds.
    fn finish(&mut self, name: StagedName, commit: bool, effects: &mut Effects) -> bool {
        if let Some(committed) = self.finished.get(&name) {
            return *committed == commit;
        }
        let Some(waiting) = self.prepared.remove(&name) else {
            if !commit {
                self.finished.insert(name, false);
            }
            return !commit;
        };
        if commit {
            self.apply(waiting.effects, effects);
        }
        self.finished.insert(name, commit);
        effects.note(Note::Finished { name, commit });
        true
    }

    /// Effects become visible, by one commit.
    fn apply(&mut self, staged: Vec<(EffectId, u64)>, effects: &mut Effects) {
        self.commits += 1;
        let commit = self.commits;
        for (row, (effect, payload)) in (0_u64..).zip(staged) {
            let change = RowChange {
                row: image(&[commit, row]),
                before: 0,
                after: image(&[commit, row, payload]),
            };
            effects.note(Note::Applied {
                effect,
                commit,
                changes: vec![change],
                key: None,
                token: None,
                read_at: None,
            });
        }
    }

    /// What waits for its second phase, in the order of names.
    fn pending(&self, partition: TopicPartition) -> Vec<PendingTransaction> {
        let of_partition = self.prepared.keys().filter(|name| name.partition == partition);
        of_partition.map(|name| PendingTransaction { name: *name }).collect()
    }

    fn abort_expired(&mut self, now: Instant, effects: &mut Effects) {
        if self.config.prepared_timeout.is_none() {
            return;
        }
        let all = self.prepared.iter().map(|(name, waiting)| (waiting.expiry, *name));
        let mut expired: Vec<_> = all.filter(|(expiry, _)| *expiry <= now).collect();
        expired.sort_unstable();
        for (_, name) in expired {
            let aborted = self.finish(name, false, effects);
            assert!(aborted, "what is prepared can be aborted");
        }
    }

    fn set_timer(&self, now: Instant, effects: &mut Effects) {
        if self.config.prepared_timeout.is_none() {
            return;
        }
        let next = self.prepared.values().map(|waiting| waiting.expiry).min();
        effects.0.push(match next {
            Some(expiry) => Effect::SetTimer { key: EXPIRY, after: expiry.since(now) },
            None => Effect::CancelTimer(EXPIRY),
        });
    }
}
