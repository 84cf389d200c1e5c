//! Who may still write: `pid-epoch-collision`, `epoch-regress`, `zombie-write-after-fence` and
//! `zombie-commit`.

use std::collections::BTreeMap;

use oncesim_history::{Event, Outcome, WorldEvent};
use oncesim_types::CallId;

use super::atomicity::about;
use super::{Fate, Transactions};
use crate::anomaly::Severity;
use crate::catalogue::transaction::{
    EPOCH_REGRESS, PID_EPOCH_COLLISION, ZOMBIE_COMMIT, ZOMBIE_WRITE_AFTER_FENCE,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};
use crate::check::index::NONE;
use crate::check::log::Ledger;

/// The beginning of a session: it fences every earlier one of its transactional id.
#[derive(Debug, Clone, Copy)]
struct Fence {
    position: u32,
    process: (u16, u32),
    producer: (i64, i16),
}

/// A call of `initTransactions()`.
#[derive(Debug, Clone, Copy)]
struct Init {
    process: (u16, u32),
    call: CallId,
    id: u16,
    invoked: u32,
}

/// When which producer id and epoch were told, and to which process.
type Told = (u32, i64, i16, (u16, u32));

/// The sessions of all producers.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Whose each session is, and since when.
    owners: BTreeMap<(i64, i16), ((u16, u32), u32)>,
    /// Calls that have not ended; one per process.
    open: BTreeMap<u16, Init>,
    /// By transactional id, ascending by position.
    fences: Vec<Vec<Fence>>,
    /// By transactional id: when the highest epoch of the newest producer id was told.
    told: Vec<Vec<Told>>,
    /// By actor: the id of its process.
    ids: BTreeMap<(u16, u32), u16>,
    /// By transactional id: the coordinator epoch of the newest state, and of the last one told.
    coordinators: BTreeMap<u16, (i32, i32)>,
}

impl Sessions {
    /// A producer has a session.
    pub(crate) fn on_session(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        producer: (i64, i16),
    ) {
        let process = (event.actor.0, event.incarnation);
        if let Some(id) = self.ids.get(&process) {
            let told = &mut self.told[usize::from(*id)];
            let before = told.last().copied();
            if let Some((since, pid, epoch, whose)) = before
                && whose == process
                && pid == producer.0
                && producer.1 < epoch
            {
                let name = context.history.transactional_ids.get(usize::from(*id));
                let name = name.map_or("?", String::as_str);
                findings.add(&EPOCH_REGRESS, Severity::Always, || {
                    let sentence = format!(
                        "{name} was told to go on with producer id {pid} and epoch {} at {}, after \
                         epoch {epoch} at {}",
                        producer.1,
                        event.time,
                        time_of(context.history, since),
                    );
                    Proof::new(context.history, sentence).events(&[since, position]).done()
                });
            }
            if told.last().is_none_or(|last| last.1 != producer.0 || last.2 < producer.1) {
                told.push((position, producer.0, producer.1, process));
            }
        }
        if producer.0 < 0 {
            return;
        }
        let (owner, since) = *self.owners.entry(producer).or_insert((process, position));
        if owner != process {
            findings.add(&PID_EPOCH_COLLISION, Severity::Always, || {
                let history = context.history;
                let sentence = format!(
                    "{} and {} both have producer id {} with epoch {}, since {} and {}",
                    history.actor_name(oncesim_types::ActorId(owner.0)),
                    history.actor_name(event.actor),
                    producer.0,
                    producer.1,
                    time_of(history, since),
                    event.time,
                );
                Proof::new(history, sentence).events(&[since, position]).done()
            });
        }
    }

    /// `initTransactions()` is called.
    pub(crate) fn on_init(&mut self, position: u32, event: &Event, call: CallId, id: u16) {
        let process = (event.actor.0, event.incarnation);
        self.open.insert(event.actor.0, Init { process, call, id, invoked: position });
        self.ids.insert(process, id);
        if self.told.len() <= usize::from(id) {
            self.told.resize_with(usize::from(id) + 1, Vec::new);
            self.fences.resize_with(usize::from(id) + 1, Vec::new);
        }
    }

    /// `initTransactions()` ended.
    pub(crate) fn on_init_end(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        (call, outcome, producer): (CallId, Outcome, (i64, i16)),
    ) {
        let process = (event.actor.0, event.incarnation);
        let init = self.open.get(&event.actor.0).copied();
        let Some(init) = init.filter(|init| init.call == call && init.process == process) else {
            super::super::meta::unpaired(context, findings, position, "initTransactions()");
            return;
        };
        self.open.remove(&event.actor.0);
        if outcome != Outcome::Ok {
            return;
        }
        let id = usize::from(init.id);
        self.fences[id].push(Fence { position, process, producer });
        let before = self.told[id].partition_point(|told| told.0 < init.invoked);
        // A process may have been told before its call has ended: when it had timed out.
        if let Some((since, pid, epoch, whose)) =
            before.checked_sub(1).map(|last| self.told[id][last])
            && producer.0 == pid
            && (producer.1 < epoch || producer.1 == epoch && whose != process)
        {
            findings.add(&EPOCH_REGRESS, Severity::Always, || {
                let history = context.history;
                let name = history.transactional_ids.get(id).map_or("?", String::as_str);
                let sentence = format!(
                    "{name} was given producer id {pid} with epoch {} at {}, after epoch {epoch} \
                     at {}",
                    producer.1,
                    event.time,
                    time_of(history, since),
                );
                Proof::new(history, sentence).events(&[since, init.invoked, position]).done()
            });
        }
    }

    /// A transactional id has another state at a coordinator.
    pub(crate) fn on_state(&mut self, event: &WorldEvent) {
        if let WorldEvent::TransactionState { transactional_id, coordinator_epoch, .. } = event {
            let (newest, last) = self.coordinators.entry(transactional_id.0).or_insert((-1, -1));
            *newest = (*newest).max(coordinator_epoch.0);
            *last = coordinator_epoch.0;
        }
    }

    /// A coordinator accepted the end of a transaction.
    pub(crate) fn on_end_applied(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &WorldEvent,
    ) {
        let WorldEvent::EndTxnApplied { transactional_id, producer_epoch, .. } = event else {
            return;
        };
        let Some(fence) = self.fences.get(usize::from(transactional_id.0)).and_then(|f| f.last())
        else {
            return;
        };
        // A coordinator that was deposed learns late that what it wrote in its time is durable: its
        // successor has loaded that.
        let deposed =
            self.coordinators.get(&transactional_id.0).is_some_and(|(newest, last)| last < newest);
        if producer_epoch.0 < fence.producer.1 && !deposed {
            let (since, newer) = (fence.position, fence.producer.1);
            findings.add(&ZOMBIE_COMMIT, Severity::Always, || {
                let history = context.history;
                let id = usize::from(transactional_id.0);
                let name = history.transactional_ids.get(id).map_or("?", String::as_str);
                let sentence = format!(
                    "EndTxn of {name} with epoch {producer_epoch} was accepted at {}, after \
                     epoch {newer} had begun at {}",
                    time_of(history, position),
                    time_of(history, since),
                );
                Proof::new(history, sentence).events(&[since, position]).done()
            });
        }
    }

    /// The session that fenced an epoch of a producer id, if one did.
    pub(crate) fn fenced(&self, producer: (i64, i16)) -> Option<u32> {
        let process = self.owners.get(&producer)?.0;
        let id = usize::from(*self.ids.get(&process)?);
        let fence = self.fences.get(id)?.last()?;
        (fence.producer.0 == producer.0
            && fence.producer.1 > producer.1
            && fence.process != process)
            .then_some(fence.position)
    }

    /// When a transaction's session was fenced by another process.
    fn fence_of(&self, txn: &super::Txn) -> u32 {
        let Some(fences) = self.fences.get(usize::from(txn.id)) else { return NONE };
        let after = fences.partition_point(|fence| fence.position < txn.began);
        let process = (txn.actor, txn.incarnation);
        let newer = |fence: &&Fence| {
            fence.process != process
                && (fence.producer.0 != txn.producer.0 || fence.producer.1 > txn.producer.1)
        };
        fences[after..].iter().find(newer).map_or(NONE, |fence| fence.position)
    }
}

/// Reports what fenced producers got through.
pub(crate) fn check(
    context: &Context<'_>,
    transactions: &Transactions,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    let mut fences: Vec<u32> = vec![NONE; transactions.rows.len()];
    let mut any = false;
    for (row, txn) in transactions.rows.iter().enumerate() {
        fences[row] = transactions.sessions.fence_of(txn);
        any |= fences[row] != NONE && txn.fate == Fate::Committed;
        let asked = txn.commit_asked;
        if txn.commit_ok != NONE && asked != NONE && asked > fences[row] {
            findings.add(&ZOMBIE_COMMIT, Severity::Always, || {
                let row = u32::try_from(row).expect("fewer than 2^32 transactions");
                let fence = fences[row as usize];
                let when = time_of(context.history, fence);
                let what = format!("was committed although its session had been fenced at {when}");
                about(context, transactions, row, &what, &[fence])
            });
        }
    }
    if !any {
        return;
    }
    for (record, row) in (0u32..).zip(&ledger.records) {
        let txn = transactions.of(record);
        if txn == NONE || row.places == 0 || row.invoked <= fences[txn as usize] {
            continue;
        }
        let fence = fences[txn as usize];
        findings.add(&ZOMBIE_WRITE_AFTER_FENCE, Severity::Always, || {
            let id = context.index.record_id(record);
            let name = context.history.record_name(id);
            let what = format!(
                "has {name}, which was sent at {} and counts although the session had been fenced \
                 at {}",
                time_of(context.history, row.invoked),
                time_of(context.history, fence),
            );
            about(context, transactions, txn, &what, &[fence, row.invoked])
        });
    }
}
