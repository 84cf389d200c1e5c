//! How long applications wait for the calls that make progress count.

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, EventKind, History, Outcome, WorldEvent};
use oncesim_types::{
    ActorId, CallId, Duration, Instant, TransactionResult, TransactionState, TransactionalId,
};

use super::percentiles::Percentiles;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// `initTransactions()`.
    InitTransactions,
    /// `sendOffsetsToTransaction()`.
    SendOffsets,
    /// `commitTransaction()`: what is buffered is sent, `EndTxn` is answered.
    CommitTransaction,
    /// Nobody waits for it, except the next transaction: from the coordinator's decision to commit
    /// until every marker is written and that is in its log.
    Markers,
    /// `commitSync()`.
    CommitSync,
    /// `commitAsync()`, or an automatic commit: nobody waits.
    CommitAsync,
}

impl CallKind {
    /// Whether an application stands still for it.
    #[must_use]
    pub const fn blocks(self) -> bool {
        !matches!(self, CallKind::Markers | CallKind::CommitAsync)
    }

    /// Whether it is part of every commit.
    const fn commits(self) -> bool {
        matches!(self, CallKind::SendOffsets | CallKind::CommitTransaction | CallKind::CommitSync)
    }
}

/// One kind of call, measured: those that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallMeasure {
    /// Which.
    pub kind: CallKind,
    /// How long it took, repetitions after a timeout included.
    pub latency: Percentiles,
    /// Of 1,000,000 parts of the workload, how many the applications that commit spent in it, on
    /// average; 0 for what nobody waits for and for what is not part of every commit.
    pub blocked_ppm: u64,
}

#[derive(Debug, Default)]
struct Calls {
    began: BTreeMap<(ActorId, u32, CallId), (CallKind, Instant)>,
    /// When the end of the transaction under way was asked for first.
    ending: BTreeMap<(ActorId, u32), Instant>,
    decided: BTreeMap<TransactionalId, Instant>,
    durations: BTreeMap<CallKind, Vec<Duration>>,
    /// What each client spent in the calls that are part of every commit.
    spent: BTreeMap<(CallKind, ActorId), Duration>,
}

pub(super) fn calls(history: &History, makespan: Duration) -> (Vec<CallMeasure>, u64) {
    let mut calls = Calls::default();
    for event in &history.events {
        match &event.kind {
            EventKind::Client(kind) => {
                calls.client((event.actor, event.incarnation), event.time, kind);
            }
            EventKind::World(kind) => calls.world(event.time, kind),
            EventKind::External(_) => {}
        }
    }
    let measured = calls.durations.iter().map(|(kind, durations)| {
        let spent = calls.spent.iter().filter(|((of, _), _)| of == kind).map(|(_, spent)| *spent);
        let clients = spent.clone().count() as u64;
        let spent = spent.fold(Duration::ZERO, |sum, spent| sum + spent);
        CallMeasure {
            kind: *kind,
            latency: Percentiles::of(durations),
            blocked_ppm: ppm(spent, makespan * clients),
        }
    });
    let mut clients: BTreeMap<ActorId, Duration> = BTreeMap::new();
    for ((_, actor), spent) in &calls.spent {
        let all = clients.entry(*actor).or_default();
        *all = *all + *spent;
    }
    let most = clients.values().max().map_or(0, |spent| ppm(*spent, makespan));
    (measured.collect(), most)
}

/// Parts of a million.
fn ppm(part: Duration, whole: Duration) -> u64 {
    let parts = (u128::from(part.0) * 1_000_000).checked_div(u128::from(whole.0)).unwrap_or(0);
    u64::try_from(parts).unwrap_or(u64::MAX).min(1_000_000)
}

impl Calls {
    fn begin(
        &mut self,
        (actor, incarnation): (ActorId, u32),
        call: CallId,
        it: CallKind,
        at: Instant,
    ) {
        self.began.insert((actor, incarnation, call), (it, at));
    }

    fn client(&mut self, who: (ActorId, u32), now: Instant, kind: &ClientKind) {
        match kind {
            ClientKind::InitTransactions { call, .. } => {
                self.begin(who, *call, CallKind::InitTransactions, now);
            }
            ClientKind::SendOffsets { call, .. } => {
                self.begin(who, *call, CallKind::SendOffsets, now);
            }
            ClientKind::TransactionBegin { .. } => {
                self.ending.remove(&who);
            }
            ClientKind::EndTransaction { call, result: TransactionResult::Commit, .. } => {
                let since = *self.ending.entry(who).or_insert(now);
                self.begin(who, *call, CallKind::CommitTransaction, since);
            }
            ClientKind::CommitInvoke { call, sync, .. } => {
                let kind = if *sync { CallKind::CommitSync } else { CallKind::CommitAsync };
                self.begin(who, *call, kind, now);
            }
            ClientKind::InitTransactionsEnd { call, outcome }
            | ClientKind::SendOffsetsEnd { call, outcome }
            | ClientKind::TransactionEnd { call, outcome }
            | ClientKind::CommitEnd { call, outcome } => {
                let began = self.began.remove(&(who.0, who.1, *call));
                if let (Some((kind, since)), Outcome::Ok) = (began, outcome) {
                    self.durations.entry(kind).or_default().push(now.since(since));
                    if kind.commits() {
                        let spent = self.spent.entry((kind, who.0)).or_default();
                        *spent = *spent + now.since(since);
                    }
                }
            }
            _ => {}
        }
    }

    fn world(&mut self, now: Instant, event: &WorldEvent) {
        match event {
            WorldEvent::EndTxnApplied {
                transactional_id,
                result: TransactionResult::Commit,
                ..
            } => {
                self.decided.entry(*transactional_id).or_insert(now);
            }
            WorldEvent::TransactionState {
                transactional_id,
                to: TransactionState::CompleteCommit,
                ..
            } => {
                if let Some(since) = self.decided.remove(transactional_id) {
                    let durations = self.durations.entry(CallKind::Markers).or_default();
                    durations.push(now.since(since));
                }
            }
            _ => {}
        }
    }
}
