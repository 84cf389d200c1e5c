//! Reads a history: which points it reached.
//!
//! What most events are (appends, high watermarks, fetches) costs a look at their kind.

use std::collections::BTreeMap;

use oncesim_history::{
    AskOutcome, ClientKind, EventKind, ExternalEvent, History, Outcome, SpanIndex, WorldEvent,
};
use oncesim_spec::FaultKind;
use oncesim_types::{
    ActorId, CallId, ErrorCode, GroupId, Instant, Operation, ProducerId, StatementRole,
    TopicPartition, TransactionResult, TransactionState, TransactionalId,
};

use super::point::{
    Call, Consumer, Group, Partition, Point, Producer, Situation, Step, System, Transaction,
};

/// What is remembered of a run while it is read.
pub(super) struct Reader<'a> {
    history: &'a History,
    /// The kinds of the plan's faults, by index.
    kinds: &'a [Option<FaultKind>],
    reached: &'a mut dyn FnMut(Point, Instant),
    now: Instant,
    transactions: BTreeMap<TransactionalId, TransactionState>,
    rebalancing: BTreeMap<GroupId, bool>,
    replicas: BTreeMap<TopicPartition, Replicas>,
    sessions: BTreeMap<(ActorId, u32), ProducerId>,
    ending: BTreeMap<ActorId, TransactionResult>,
    asked: BTreeMap<(ActorId, CallId), Operation>,
    async_commits: BTreeMap<(ActorId, CallId), bool>,
    loaded: Vec<TopicPartition>,
    registered: Vec<ActorId>,
    /// Faults that last.
    lasting: Vec<u32>,
    /// Faults after which no step has come yet.
    waiting: Vec<FaultKind>,
}

/// Who replicates a partition.
#[derive(Clone, Copy)]
struct Replicas {
    leader: Option<ActorId>,
    in_sync: u32,
    all: u32,
    led_before: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        history: &'a History,
        kinds: &'a [Option<FaultKind>],
        reached: &'a mut dyn FnMut(Point, Instant),
    ) -> Self {
        Reader {
            history,
            kinds,
            reached,
            now: Instant::ZERO,
            transactions: BTreeMap::new(),
            rebalancing: BTreeMap::new(),
            replicas: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ending: BTreeMap::new(),
            asked: BTreeMap::new(),
            async_commits: BTreeMap::new(),
            loaded: Vec::new(),
            registered: Vec::new(),
            lasting: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn read(mut self) {
        for event in &self.history.events {
            let who = (event.actor, event.incarnation);
            self.now = event.time;
            match &event.kind {
                EventKind::World(kind) => self.world(who, kind),
                EventKind::Client(kind) => self.client(who, kind),
                EventKind::External(kind) => self.external(event.actor, kind),
            }
        }
        self.step(Step::NothingMore);
    }

    fn reach(&mut self, point: Point) {
        (self.reached)(point, self.now);
    }

    /// A step of the protocol: what comes after the faults that wait for one.
    fn step(&mut self, step: Step) {
        while let Some(kind) = self.waiting.pop() {
            self.reach(Point::Then(kind, step));
        }
    }

    fn world(&mut self, (actor, _): (ActorId, u32), event: &WorldEvent) {
        match event {
            WorldEvent::Fault { index } => self.fault(*index),
            WorldEvent::Healed { index } => self.lasting.retain(|it| it != index),
            WorldEvent::TransactionState { .. }
            | WorldEvent::TransactionTimedOut { .. }
            | WorldEvent::Marker { .. }
            | WorldEvent::MarkerRejected { .. }
            | WorldEvent::CoordinatorLoaded { .. } => self.transaction(event),
            WorldEvent::Append { transactional: true, leader: true, .. } => {
                self.reach(Point::Producer(Producer::Transactional));
            }
            WorldEvent::BecameLeader { .. }
            | WorldEvent::BecameFollower { .. }
            | WorldEvent::PartitionChanged { .. }
            | WorldEvent::BrokerFenced { .. }
            | WorldEvent::BrokerRegistered { .. }
            | WorldEvent::Truncate { .. }
            | WorldEvent::DiskLoss { .. } => self.replication(event),
            WorldEvent::Rebalance { .. }
            | WorldEvent::Generation { .. }
            | WorldEvent::MemberRemoved { .. }
            | WorldEvent::OffsetAccepted { .. }
            | WorldEvent::OffsetRejected { .. }
            | WorldEvent::OffsetPending { .. }
            | WorldEvent::OffsetResolved { .. } => self.group(event),
            WorldEvent::ProducerStateRejected { error, .. } => {
                self.reach(Point::BatchRefused(*error));
                self.step(Step::BatchRefused);
            }
            WorldEvent::Retry { attempt, error, .. } => {
                let often = *attempt > 2;
                let times = if often { Producer::RetriedOften } else { Producer::RetriedOnce };
                self.reach(Point::Producer(times));
                self.reach(Point::Retry(*error));
                self.step(Step::Retry);
            }
            WorldEvent::Crashed { .. } => {
                self.ending.remove(&actor);
            }
            _ => {}
        }
    }

    fn fault(&mut self, index: u32) {
        let Some(Some(kind)) = self.kinds.get(index as usize).copied() else { return };
        let mut quiet = true;
        let holds = [
            (Situation::OpenTransaction, self.any_transaction(&[TransactionState::Ongoing])),
            (
                Situation::EndingTransaction,
                self.any_transaction(&[
                    TransactionState::PrepareCommit,
                    TransactionState::PrepareAbort,
                ]),
            ),
            (Situation::Rebalancing, self.rebalancing.values().any(|it| *it)),
            (Situation::Shrunk, self.replicas.values().any(|it| it.in_sync < it.all)),
            (Situation::Leaderless, self.replicas.values().any(|it| it.leader.is_none())),
            (Situation::AnotherFault, !self.lasting.is_empty()),
        ];
        for (situation, _) in holds.into_iter().filter(|(_, holds)| *holds) {
            quiet = false;
            self.reach(Point::Struck(kind, situation));
        }
        if quiet {
            self.reach(Point::Struck(kind, Situation::Quiet));
        }
        self.lasting.push(index);
        self.waiting.push(kind);
    }

    fn any_transaction(&self, states: &[TransactionState]) -> bool {
        self.transactions.values().any(|state| states.contains(state))
    }

    fn transaction(&mut self, event: &WorldEvent) {
        match event {
            WorldEvent::TransactionState { transactional_id, from, to, .. } => {
                self.transactions.insert(*transactional_id, *to);
                self.reach(Point::TransactionEdge(*from, *to));
                match to {
                    TransactionState::Ongoing if from != to => self.step(Step::TransactionBegins),
                    TransactionState::PrepareCommit => self.step(Step::CommitDecided),
                    TransactionState::PrepareAbort => self.step(Step::AbortDecided),
                    TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                        self.step(Step::TransactionComplete);
                    }
                    _ => {}
                }
            }
            WorldEvent::TransactionTimedOut { .. } => {
                self.reach(Point::Transaction(Transaction::TimedOut));
            }
            WorldEvent::Marker { leader: true, result, .. } => {
                self.reach(Point::Producer(match result {
                    TransactionResult::Commit => Producer::CommitMarker,
                    TransactionResult::Abort => Producer::AbortMarker,
                }));
            }
            WorldEvent::MarkerRejected { error, .. } => {
                self.reach(Point::MarkerRefused(*error));
            }
            WorldEvent::CoordinatorLoaded { partition, .. } => {
                let again = self.loaded.contains(partition);
                self.loaded.push(*partition);
                let name = self.history.partition_name(*partition);
                let of_transactions = name.starts_with("__transaction_state");
                self.reach(match (of_transactions, again) {
                    (true, false) => Point::Transaction(Transaction::Loaded),
                    (true, true) => Point::Transaction(Transaction::LoadedAgain),
                    (false, false) => Point::Group(Group::Loaded),
                    (false, true) => Point::Group(Group::LoadedAgain),
                });
            }
            _ => {}
        }
    }

    fn replication(&mut self, event: &WorldEvent) {
        let reached = match event {
            WorldEvent::BecameLeader { partition, .. } => {
                self.step(Step::Leader);
                match self.replicas.get_mut(partition) {
                    Some(replicas) if !replicas.led_before => {
                        replicas.led_before = true;
                        Partition::FirstLeader
                    }
                    Some(_) => Partition::LaterLeader,
                    None => Partition::FirstLeader,
                }
            }
            WorldEvent::BecameFollower { leader: Some(_), .. } => Partition::Follower,
            WorldEvent::BrokerFenced { fenced: true, .. } => {
                self.step(Step::Fenced);
                Partition::Fenced
            }
            WorldEvent::BrokerFenced { fenced: false, .. } => Partition::Unfenced,
            WorldEvent::BrokerRegistered { broker, .. } => {
                if !self.registered.contains(broker) {
                    self.registered.push(*broker);
                    return;
                }
                Partition::Restarted
            }
            WorldEvent::Truncate { .. } => {
                self.step(Step::Truncated);
                Partition::Truncated
            }
            WorldEvent::DiskLoss { .. } => Partition::DiskLoss,
            WorldEvent::PartitionChanged { partition, leader, isr, elr, unclean, .. } => {
                return self.partition(*partition, *leader, (*isr, *elr), *unclean);
            }
            _ => return,
        };
        self.reach(Point::Partition(reached));
    }

    fn partition(
        &mut self,
        partition: TopicPartition,
        leader: Option<ActorId>,
        (isr, elr): (SpanIndex, SpanIndex),
        unclean: bool,
    ) {
        let new = Replicas { leader, in_sync: isr.len, all: isr.len, led_before: false };
        let before = self.replicas.get(&partition).copied().unwrap_or(new);
        let all = before.all.max(isr.len);
        let now = Replicas { leader, in_sync: isr.len, all, led_before: before.led_before };
        self.replicas.insert(partition, now);
        let mut reach = |holds: bool, it: Partition| {
            if holds {
                (self.reached)(Point::Partition(it), self.now);
            }
        };
        reach(leader.is_none() && before.leader.is_some(), Partition::Leaderless);
        reach(leader.is_some() && before.leader.is_none(), Partition::Elected);
        let moved = leader.is_some() && before.leader.is_some() && leader != before.leader;
        reach(moved, Partition::Moved);
        reach(isr.len < before.in_sync, Partition::Shrunk);
        reach(isr.len > before.in_sync, Partition::Grown);
        reach(elr.len > 0, Partition::Eligible);
        reach(unclean, Partition::Unclean);
        if leader.is_none() && before.leader.is_some() {
            self.step(Step::Leaderless);
        } else if isr.len < before.in_sync {
            self.step(Step::Shrunk);
        } else if isr.len > before.in_sync {
            self.step(Step::Grown);
        }
    }

    fn group(&mut self, event: &WorldEvent) {
        let reached = match event {
            WorldEvent::Rebalance { group, reason } => {
                self.rebalancing.insert(*group, true);
                self.step(Step::Rebalance);
                return self.reach(Point::Rebalance(reason));
            }
            WorldEvent::Generation { group, cooperative, .. } => {
                self.rebalancing.insert(*group, false);
                self.step(Step::Generation);
                if *cooperative { Group::Cooperative } else { Group::Eager }
            }
            WorldEvent::MemberRemoved { expired, .. } => {
                self.step(Step::MemberRemoved);
                if *expired { Group::MemberExpired } else { Group::MemberLeft }
            }
            WorldEvent::OffsetRejected { error, .. } => {
                self.step(Step::CommitRefused);
                return self.reach(Point::CommitRefused(*error));
            }
            WorldEvent::OffsetAccepted { .. } => Group::Committed,
            WorldEvent::OffsetPending { .. } => Group::Pending,
            WorldEvent::OffsetResolved { result: TransactionResult::Commit, .. } => {
                Group::PendingCommitted
            }
            WorldEvent::OffsetResolved { .. } => Group::PendingAborted,
            _ => return,
        };
        self.reach(Point::Group(reached));
    }

    fn client(&mut self, who: (ActorId, u32), kind: &ClientKind) {
        let actor = who.0;
        match kind {
            ClientKind::SendEnd { outcome, .. } => self.ended(Call::Send, *outcome),
            ClientKind::InitTransactionsEnd { outcome, .. } => {
                self.ended(Call::InitTransactions, *outcome);
            }
            ClientKind::SendOffsetsEnd { outcome, .. } => self.ended(Call::SendOffsets, *outcome),
            ClientKind::EndTransaction { result, .. } => {
                self.ending.insert(actor, *result);
            }
            ClientKind::TransactionEnd { outcome, .. } => {
                let call = match self.ending.remove(&actor) {
                    Some(TransactionResult::Abort) => Call::AbortTransaction,
                    _ => Call::CommitTransaction,
                };
                self.ended(call, *outcome);
            }
            ClientKind::CommitInvoke { call, sync, .. } => {
                self.async_commits.insert((actor, *call), *sync);
            }
            ClientKind::CommitEnd { call, outcome } => {
                let sync = self.async_commits.remove(&(actor, *call)).unwrap_or(true);
                if *outcome == Outcome::Ok {
                    let it = if sync { Consumer::CommitSync } else { Consumer::CommitAsync };
                    self.reach(Point::Consumer(it));
                }
                self.ended(Call::Commit, *outcome);
            }
            ClientKind::ProducerSession { producer_id, .. } => {
                let before = self.sessions.insert(who, *producer_id);
                self.reach(Point::Producer(match before {
                    None => Producer::Session,
                    Some(id) if id == *producer_id => Producer::Bumped,
                    Some(_) => Producer::AnotherId,
                }));
                self.step(Step::SessionBegins);
            }
            ClientKind::Assigned { added, owned, .. } => {
                self.reach(Point::Consumer(match (added.len, owned.len) {
                    (0, _) => Consumer::AssignedNothing,
                    (added, owned) if added < owned => Consumer::AssignedLess,
                    _ => Consumer::AssignedSome,
                }));
            }
            ClientKind::Revoked { .. } => self.reach(Point::Consumer(Consumer::Revoked)),
            ClientKind::Lost { .. } => {
                self.reach(Point::Consumer(Consumer::Lost));
                self.step(Step::Lost);
            }
            ClientKind::PositionReset { reason, .. } => self.reach(Point::Position(*reason)),
            ClientKind::PollEnd { .. } => self.reach(Point::Consumer(Consumer::Polled)),
            ClientKind::StateRestored { .. } => {
                self.reach(Point::Consumer(Consumer::Restored));
            }
            _ => {}
        }
    }

    /// A call of a client ended.
    fn ended(&mut self, call: Call, outcome: Outcome) {
        let (error, unknown): (ErrorCode, bool) = match outcome {
            Outcome::Ok => return,
            Outcome::Fail(error) => (error, false),
            Outcome::Info(error) => (error, true),
        };
        self.reach(Point::Failed(call, error, unknown));
        self.step(Step::CallFailed);
    }

    fn external(&mut self, actor: ActorId, event: &ExternalEvent) {
        let reached = match event {
            ExternalEvent::Asked { call, operation, .. } => {
                self.asked.insert((actor, *call), *operation);
                return;
            }
            ExternalEvent::Answered { call, outcome, .. } => {
                let operation = self.asked.remove(&(actor, *call));
                let (Some(operation), AskOutcome::Refused(error) | AskOutcome::Unknown(error)) =
                    (operation, outcome)
                else {
                    return;
                };
                self.reach(Point::Asked(operation, *error));
                return self.step(Step::CallFailed);
            }
            ExternalEvent::EffectDone { skipped: true, .. } => System::Skipped,
            ExternalEvent::IntentEnded { outcome: AskOutcome::Refused(_), .. } => {
                System::IntentFailed
            }
            ExternalEvent::IntentEnded { outcome: AskOutcome::Unknown(_), .. } => {
                System::IntentUnknown
            }
            ExternalEvent::RelayStarted { snapshot: true, .. } => System::RelaySnapshot,
            ExternalEvent::RelayStarted { position: 0.., .. } => System::RelayRestarted,
            ExternalEvent::Applied { changes, .. } if changes.len == 0 => System::ChangedNothing,
            ExternalEvent::Applied { .. } => System::Applied,
            ExternalEvent::Replayed { same_payload, .. } => {
                self.step(Step::Replayed);
                if *same_payload { System::ReplayedSame } else { System::ReplayedOther }
            }
            ExternalEvent::KeyEvicted { .. } => System::KeyEvicted,
            ExternalEvent::Committed { role: StatementRole::DedupMark, changed: 0, .. } => {
                self.step(Step::Replayed);
                System::MarkFound
            }
            ExternalEvent::DedupEvicted { .. } => System::MarksEvicted,
            ExternalEvent::OffsetStored { accepted: true, .. } => System::OffsetStored,
            ExternalEvent::OffsetStored { accepted: false, .. } => System::FenceHeld,
            ExternalEvent::OffsetServed { .. } => System::OffsetServed,
            ExternalEvent::RolledBack { .. } => {
                self.step(Step::RolledBack);
                System::RolledBack
            }
            ExternalEvent::Prepared { .. } => System::Prepared,
            ExternalEvent::Finished { commit: true, .. } => System::FinishedCommit,
            ExternalEvent::Finished { commit: false, .. } => System::FinishedDrop,
            _ => return,
        };
        self.reach(Point::System(reached));
    }
}
