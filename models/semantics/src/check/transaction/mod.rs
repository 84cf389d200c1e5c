//! Table C: transactions, from what their clients did and saw, and from what the log says.
//!
//! Every transaction has a row. Its outcome is what the client was told, else what readers at
//! `read_committed` saw of it, else what its markers say; a transaction whose commit was never asked
//! for is aborted. A record that is sent in several transactions has a copy in each.

pub(crate) mod atomicity;
pub(crate) mod coordinator;
pub(crate) mod fence;
pub(crate) mod isolation;
pub(crate) mod markers;
pub(crate) mod offsets;
pub(crate) mod session;

use std::collections::BTreeMap;

use oncesim_history::{ClientKind, Event, EventKind, Outcome, WorldEvent};
use oncesim_types::{ActorId, CallId, ErrorCode, RecordId, TransactionNumber, TransactionResult};

use super::Context;
use super::findings::{Findings, time_of};
use super::index::NONE;
use super::log::{DRAINED_COMMITTED, Ledger, NOT_COMMITTED, POLLED_COMMITTED, Standing};

/// How a transaction ended, as far as the history tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    Aborted,
    Unknown,
}

/// One transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Txn {
    pub(crate) actor: u16,
    pub(crate) incarnation: u32,
    pub(crate) number: TransactionNumber,
    /// The transactional id of its session; `u16::MAX` when not known.
    pub(crate) id: u16,
    pub(crate) producer: (i64, i16),
    pub(crate) began: u32,
    /// The first call of `commitTransaction()`.
    pub(crate) commit_asked: u32,
    pub(crate) commit_ok: u32,
    pub(crate) abort_ok: u32,
    /// A commit failed for good.
    pub(crate) commit_failed: bool,
    /// A commit ended without an answer: it may still take place.
    pub(crate) commit_unanswered: bool,
    /// The failure may hide that an earlier request has succeeded.
    pub(crate) fenced: bool,
    /// How many records it has, and how many of them the final read shows.
    pub(crate) sends: u32,
    pub(crate) visible: u32,
    /// One that it shows, and one that it does not.
    pub(crate) shown: u32,
    pub(crate) hidden: u32,
    /// A partition of its records was not drained at `read_committed`.
    pub(crate) undrained: bool,
    pub(crate) fate: Fate,
}

/// One `send()` of a record that was sent more than once.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    actor: u16,
    call: CallId,
    txn: u32,
    /// Where it was acknowledged, or found by its batch.
    slot: u32,
}

/// A process of a producer.
#[derive(Debug, Clone, Copy)]
struct Process {
    incarnation: u32,
    id: u16,
    producer: (i64, i16),
    /// The transaction that its sends belong to.
    open: u32,
    /// A call that ends a transaction: which call, which transaction, how.
    ending: Option<(CallId, u32, TransactionResult)>,
}

impl Process {
    const NEW: Process =
        Process { incarnation: 0, id: u16::MAX, producer: (-1, -1), open: NONE, ending: None };
}

/// All transactions.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pub(crate) rows: Vec<Txn>,
    /// By actor.
    processes: Vec<Process>,
    numbers: BTreeMap<(u16, u64), u32>,
    /// By record row: the transaction of its first `send()` in one; empty without transactions.
    of_record: Vec<u32>,
    /// Records that were sent again.
    resent: BTreeMap<u32, Vec<Attempt>>,
    pub(crate) isolation: isolation::Isolation,
    pub(crate) sessions: session::Sessions,
    fences: fence::Fences,
    pub(crate) coordinator: coordinator::Coordinator,
    pub(crate) offsets: offsets::Offsets,
    /// How many ended with a commit that their client saw.
    pub(crate) commits: u64,
}

impl Transactions {
    /// Whether nobody has begun one.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn process(&mut self, event: &Event) -> &mut Process {
        let actor = usize::from(event.actor.0);
        if self.processes.len() <= actor {
            self.processes.resize(actor + 1, Process::NEW);
        }
        let process = &mut self.processes[actor];
        if process.incarnation != event.incarnation {
            *process = Process { incarnation: event.incarnation, ..Process::NEW };
        }
        process
    }

    /// The transaction that the sends of an actor belong to now.
    pub(crate) fn open_of(&self, actor: u16) -> u32 {
        self.processes.get(usize::from(actor)).map_or(NONE, |process| process.open)
    }

    /// `send()` is called.
    pub(crate) fn on_send(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        event: &Event,
        call: CallId,
        record: RecordId,
    ) {
        if self.rows.is_empty() {
            return;
        }
        let Some(process) = self.processes.get(usize::from(event.actor.0)) else { return };
        let open = if process.incarnation == event.incarnation { process.open } else { NONE };
        let record = context.index.record(record).expect("the index has every record");
        if self.of_record.is_empty() {
            self.of_record.resize(context.index.records_len, NONE);
        }
        let row = &ledger.records[record as usize];
        if row.sends > 1 {
            let txn = self.of_record[record as usize];
            let first = Attempt { actor: u16::MAX, call: CallId(0), txn, slot: row.acked_slot };
            let attempts = self.resent.entry(record).or_insert_with(|| vec![first]);
            attempts.push(Attempt { actor: event.actor.0, call, txn: open, slot: NONE });
            if open == NONE {
                return;
            }
        } else if open != NONE {
            self.of_record[record as usize] = open;
        }
        if open != NONE {
            self.rows[open as usize].sends += 1;
        }
    }

    /// `send()` of a record that was sent again is acknowledged.
    pub(crate) fn on_acked(
        &mut self,
        context: &Context<'_>,
        (actor, call): (ActorId, CallId),
        record: RecordId,
        place: Option<(oncesim_types::TopicPartition, oncesim_types::Offset)>,
    ) {
        if self.resent.is_empty() {
            return;
        }
        let record = context.index.record(record).expect("the index has every record");
        let Some(attempts) = self.resent.get_mut(&record) else { return };
        let at = attempts
            .iter()
            .position(|attempt| (attempt.actor, attempt.call) == (actor.0, call))
            .unwrap_or(0);
        if let Some((partition, offset)) = place
            && let Some(p) = context.index.partition(partition)
            && let Some(slot) = context.index.slot(p, offset)
        {
            attempts[at].slot = slot;
        }
    }

    /// What a client does with transactions.
    pub(crate) fn on_client(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        kind: &ClientKind,
    ) {
        match kind {
            ClientKind::ProducerSession { producer_id, producer_epoch } => {
                let producer = (producer_id.0, producer_epoch.0);
                self.process(event).producer = producer;
                let open = self.process(event).open;
                if open != NONE && self.rows[open as usize].sends == 0 {
                    self.rows[open as usize].producer = producer;
                }
                self.sessions.on_session(context, findings, position, event, producer);
            }
            ClientKind::InitTransactions { call, transactional_id } => {
                let process = self.process(event);
                process.id = transactional_id.0;
                process.open = NONE;
                self.sessions.on_init(position, event, *call, transactional_id.0);
            }
            ClientKind::InitTransactionsEnd { call, outcome } => {
                let producer = self.process(event).producer;
                let told = (*call, *outcome, producer);
                self.sessions.on_init_end(context, findings, position, event, told);
            }
            ClientKind::TransactionBegin { number } => self.begin(position, event, *number),
            ClientKind::SendOffsets { number, group, offsets, .. } => {
                if let Some(txn) = self.numbers.get(&(event.actor.0, number.0)) {
                    self.offsets.on_sent(context, position, *txn, *group, *offsets);
                }
            }
            ClientKind::EndTransaction { call, number, result } => {
                let Some(txn) = self.numbers.get(&(event.actor.0, number.0)).copied() else {
                    return;
                };
                self.process(event).ending = Some((*call, txn, *result));
                let row = &mut self.rows[txn as usize];
                if *result == TransactionResult::Commit && row.commit_asked == NONE {
                    row.commit_asked = position;
                }
            }
            ClientKind::TransactionEnd { call, outcome } => {
                self.end(context, findings, position, event, *call, *outcome);
            }
            ClientKind::PositionReset { group: Some(group), partition, to, reason } => {
                self.offsets.on_position(context, position, *group, *partition, *to, *reason);
            }
            _ => {}
        }
    }

    fn begin(&mut self, position: u32, event: &Event, number: TransactionNumber) {
        let process = *self.process(event);
        let row = u32::try_from(self.rows.len()).expect("fewer than 2^32 transactions");
        self.rows.push(Txn {
            actor: event.actor.0,
            incarnation: event.incarnation,
            number,
            id: process.id,
            producer: process.producer,
            began: position,
            commit_asked: NONE,
            commit_ok: NONE,
            abort_ok: NONE,
            commit_failed: false,
            commit_unanswered: false,
            fenced: false,
            sends: 0,
            visible: 0,
            shown: NONE,
            hidden: NONE,
            undrained: false,
            fate: Fate::Unknown,
        });
        self.process(event).open = row;
        self.numbers.insert((event.actor.0, number.0), row);
    }

    fn end(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        call: CallId,
        outcome: Outcome,
    ) {
        let process = self.process(event);
        let Some((_, txn, result)) = process.ending.filter(|ending| ending.0 == call) else {
            super::meta::unpaired(context, findings, position, "the end of a transaction");
            return;
        };
        process.ending = None;
        if process.open == txn {
            process.open = NONE;
        }
        let (id, producer) = (process.id, process.producer);
        if outcome == Outcome::Fail(ErrorCode::ProducerFenced) {
            self.fences.on_fenced(position, id, producer);
        }
        let row = &mut self.rows[txn as usize];
        match (result, outcome) {
            (TransactionResult::Commit, Outcome::Ok) => {
                row.commit_ok = row.commit_ok.min(position);
                self.commits += 1;
            }
            (TransactionResult::Abort, Outcome::Ok) => row.abort_ok = row.abort_ok.min(position),
            (TransactionResult::Commit, Outcome::Fail(error)) => {
                row.commit_failed = true;
                row.fenced |= is_fencing(error);
            }
            (TransactionResult::Commit, Outcome::Info(_)) => row.commit_unanswered = true,
            _ => {}
        }
    }

    /// What a coordinator or a leader notes.
    pub(crate) fn on_world(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        world: &WorldEvent,
    ) {
        match world {
            WorldEvent::EndTxnApplied { .. } => {
                self.sessions.on_end_applied(context, findings, position, world);
                self.coordinator.on_event(context, findings, position, event, world);
            }
            WorldEvent::TransactionState { .. } => {
                self.fences.on_state(context, findings, position, world);
                self.sessions.on_state(world);
                self.coordinator.on_event(context, findings, position, event, world);
            }
            WorldEvent::LastStableOffset { .. }
            | WorldEvent::BecameLeader { .. }
            | WorldEvent::Served { .. } => {
                self.coordinator.on_event(context, findings, position, event, world);
            }
            WorldEvent::OffsetPending { .. } | WorldEvent::OffsetResolved { .. } => {
                self.offsets.on_note(context, findings, &self.sessions, position, world);
            }
            _ => {}
        }
    }

    /// The transaction whose copy of a record is at a slot; `NONE` if it has none, or nobody knows.
    pub(crate) fn owner(&self, record: u32, slot: u32) -> u32 {
        let Some(first) = self.of_record.get(record as usize).copied() else { return NONE };
        let Some(attempts) = self.resent.get(&record) else { return first };
        let at = attempts.iter().find(|attempt| attempt.slot == slot);
        let rest = || {
            let mut unplaced = attempts.iter().filter(|attempt| attempt.slot == NONE);
            let one = unplaced.next();
            if unplaced.next().is_some() { None } else { one }
        };
        at.or_else(rest).map_or(NONE, |attempt| attempt.txn)
    }

    /// The transaction of a record that was sent once.
    pub(crate) fn of(&self, record: u32) -> u32 {
        match self.of_record.get(record as usize) {
            Some(txn) if !self.resent.contains_key(&record) => *txn,
            _ => NONE,
        }
    }

    /// The transaction in which a record was sent, by the session of the batch that carries it.
    pub(crate) fn sent_by(&self, record: u32, producer: (i64, i16)) -> u32 {
        let Some(first) = self.of_record.get(record as usize).copied() else { return NONE };
        let Some(attempts) = self.resent.get(&record) else { return first };
        let mut same = attempts
            .iter()
            .map(|attempt| attempt.txn)
            .filter(|txn| *txn != NONE && self.rows[*txn as usize].producer == producer);
        let one = same.next().unwrap_or(NONE);
        if same.next().is_some() { NONE } else { one }
    }

    /// Decides how each transaction ended, and what that means for its records. Called once, after
    /// the last event.
    pub(crate) fn settle(
        &mut self,
        context: &Context<'_>,
        ledger: &mut Ledger,
        truth: &markers::Truth,
    ) {
        if self.is_empty() {
            ledger.counts.owed = ledger.counts.acked;
            return;
        }
        self.place(context);
        let mut seen = vec![false; self.rows.len()];
        for (slot, row) in (0u32..).zip(&ledger.slots) {
            for (record, bit) in [(row.polled, POLLED_COMMITTED), (row.drained, DRAINED_COMMITTED)]
            {
                if record != NONE && row.flags & bit != 0 {
                    let txn = self.owner(record, slot);
                    if txn != NONE {
                        seen[txn as usize] = true;
                    }
                }
            }
        }
        self.count_visible(context, ledger);
        for (txn, seen) in self.rows.iter_mut().zip(&seen) {
            txn.fate = Fate::Unknown;
            if txn.commit_ok != NONE {
                txn.fate = Fate::Committed;
            } else if txn.abort_ok != NONE
                || txn.commit_asked == NONE
                || txn.commit_failed && !(txn.fenced && context.setting.white_box)
            {
                txn.fate = Fate::Aborted;
            } else if *seen {
                txn.fate = Fate::Committed;
            }
        }
        for (row, txn) in (0u32..).zip(&mut self.rows) {
            if txn.fate != Fate::Unknown {
                continue;
            }
            txn.fate = match truth.of(row) {
                Some(TransactionResult::Commit) => Fate::Committed,
                Some(TransactionResult::Abort) => Fate::Aborted,
                None if txn.sends > 0 && !txn.undrained => Fate::Aborted,
                None => Fate::Unknown,
            };
        }
        self.mark(ledger);
    }

    /// Finds the copies of records that were sent again by the batches that carry them.
    fn place(&mut self, context: &Context<'_>) {
        if self.resent.is_empty() {
            return;
        }
        let index = &context.index;
        let mut found: Vec<(u32, u32, u32)> = Vec::new();
        for event in &context.history.events {
            let EventKind::World(WorldEvent::Append {
                partition,
                base_offset,
                records,
                producer_id,
                producer_epoch,
                leader: true,
                ..
            }) = &event.kind
            else {
                continue;
            };
            let Some(p) = index.partition(*partition) else { continue };
            for (offset, id) in (base_offset.0..).zip(context.history.appended(*records)) {
                let Some(record) = index.record(*id).filter(|r| self.resent.contains_key(r)) else {
                    continue;
                };
                let txn = self.sent_by(record, (producer_id.0, producer_epoch.0));
                if let Some(slot) = index.slot(p, oncesim_types::Offset(offset))
                    && txn != NONE
                {
                    found.push((record, txn, slot));
                }
            }
        }
        for (record, txn, slot) in found {
            let attempts = self.resent.get_mut(&record).into_iter().flatten();
            for attempt in attempts.filter(|a| a.txn == txn && a.slot == NONE) {
                attempt.slot = slot;
            }
        }
    }

    fn count_visible(&mut self, context: &Context<'_>, ledger: &Ledger) {
        let committed = |row: &super::log::RecordRow| {
            row.place == NONE || ledger.slots[row.place as usize].flags & DRAINED_COMMITTED != 0
        };
        for (record, first) in (0u32..).zip(&self.of_record) {
            let row = &ledger.records[record as usize];
            let mut count = |txn: u32, visible: bool| {
                let undrained = !ledger.is_drained(context, row) || !committed(row);
                let txn = &mut self.rows[txn as usize];
                txn.undrained |= undrained;
                if visible {
                    txn.visible += 1;
                    txn.shown = record;
                } else {
                    txn.hidden = record;
                }
            };
            match self.resent.get(&record) {
                None if *first != NONE => count(*first, row.places > 0),
                None => {}
                Some(attempts) => {
                    for attempt in attempts.iter().filter(|attempt| attempt.txn != NONE) {
                        let slot = attempt.slot;
                        // Without a place, a copy that is there may be that of another attempt: it
                        // says nothing about this transaction.
                        if slot != NONE || row.places == 0 {
                            let is_it = |it: u32| ledger.slots[it as usize].drained == record;
                            count(attempt.txn, slot != NONE && is_it(slot));
                        }
                    }
                }
            }
        }
    }

    /// Tells the ledger which records are owed, and which slots do not count.
    fn mark(&self, ledger: &mut Ledger) {
        let fate = |txn: u32| self.rows[txn as usize].fate;
        for (record, first) in (0u32..).zip(&self.of_record) {
            let standing = match self.resent.get(&record) {
                None if *first == NONE => continue,
                None if fate(*first) == Fate::Committed => Standing::Committed,
                None => Standing::NotCommitted,
                Some(attempts) => {
                    let txns: Vec<u32> = attempts.iter().map(|a| a.txn).collect();
                    if txns.contains(&NONE) {
                        continue;
                    }
                    if txns.iter().any(|txn| fate(*txn) == Fate::Committed) {
                        Standing::Committed
                    } else {
                        Standing::NotCommitted
                    }
                }
            };
            ledger.records[record as usize].standing = standing;
        }
        for slot in 0..ledger.slots.len() {
            let row = ledger.slots[slot];
            let record = if row.polled == NONE { row.drained } else { row.polled };
            if record == NONE {
                continue;
            }
            let txn = self.owner(record, u32::try_from(slot).expect("slots are 32 bits"));
            if txn != NONE && fate(txn) != Fate::Committed {
                ledger.slots[slot].flags |= NOT_COMMITTED;
            }
        }
        let owed = ledger.records.iter().filter(|row| row.is_owed()).count();
        ledger.counts.owed = owed as u64;
    }

    /// A transaction as people name it: `transaction 3 of billing-0 (begun at 2 s)`.
    pub(crate) fn name(&self, context: &Context<'_>, txn: u32) -> String {
        let row = &self.rows[txn as usize];
        let actor = context.history.actor_name(ActorId(row.actor));
        let when = time_of(context.history, row.began);
        format!("transaction {} of {actor} (begun at {when})", row.number.0 & 0xffff_ffff)
    }

    /// Reports what only the end can tell.
    pub(crate) fn check(
        &mut self,
        context: &Context<'_>,
        ledger: &Ledger,
        truth: &markers::Truth,
        findings: &mut Findings,
    ) {
        if context.setting.transfers {
            atomicity::conservation(context, self, ledger, findings);
        }
        if self.is_empty() {
            return;
        }
        isolation::check(context, self, ledger, findings);
        atomicity::check(context, self, ledger, truth, findings);
        self.offsets.check(context, self, findings);
        session::check(context, self, ledger, findings);
        self.fences.finish(context, findings);
    }

    /// The events that tell how a transaction went.
    pub(crate) fn story(&self, txn: u32) -> [u32; 4] {
        let row = &self.rows[txn as usize];
        [row.began, row.commit_asked, row.commit_ok, row.abort_ok]
    }
}

/// Errors that a client also gets when a request before had succeeded without an answer.
const fn is_fencing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::ProducerFenced
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::InvalidTxnState
            | ErrorCode::InvalidProducerIdMapping
            | ErrorCode::TransactionCoordinatorFenced
            | ErrorCode::UnknownProducerId
    )
}
