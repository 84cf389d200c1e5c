//! What coordinators and leaders note: `illegal-txn-state`, `two-txn-coordinators`,
//! `delayed-endtxn`, `marker-mismatch` of decisions, `lso-regress` and `read-past-lso`.

use std::collections::BTreeMap;

use oncesim_history::{Event, SpanIndex, WorldEvent};
use oncesim_types::{ActorId, TopicPartition, TransactionNumber, TransactionState};

use crate::anomaly::{AnomalyClass, Severity};
use crate::catalogue::transaction::{
    DELAYED_ENDTXN, ILLEGAL_TXN_STATE, LSO_REGRESS, MARKER_MISMATCH, READ_PAST_LSO,
    TWO_TXN_COORDINATORS,
};
use crate::check::Context;
use crate::check::findings::{Findings, Proof, time_of};

/// The last that a coordinator said of a producer id.
#[derive(Debug, Clone, Copy)]
struct Standing {
    state: TransactionState,
    partitions: SpanIndex,
}

/// The decision on one transaction.
#[derive(Debug, Clone, Copy)]
struct Decision {
    state: TransactionState,
    position: u32,
}

/// A leader's last stable offset.
#[derive(Debug, Clone, Copy)]
struct Stable {
    leader: ActorId,
    offset: i64,
    position: u32,
}

/// The coordinators.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    /// By producer id.
    standing: BTreeMap<i64, Standing>,
    /// By transactional id, producer id and number: only of the newest transaction of each id.
    decisions: BTreeMap<(u16, i64), (i16, TransactionNumber, Decision)>,
    /// Who coordinates which partition in which epoch.
    brokers: BTreeMap<(u16, i32), (ActorId, u32)>,
    /// The newest epoch of each coordinator's partition.
    epochs: BTreeMap<u16, i32>,
    /// By partition row.
    stable: BTreeMap<u32, Stable>,
    /// Partitions of transactions that are still open at their coordinators.
    open: BTreeMap<i64, Vec<TopicPartition>>,
}

impl Coordinator {
    /// Whether a coordinator still has to end the transaction of a producer id in a partition.
    pub(crate) fn will_end(&self, producer: i64, at: TopicPartition) -> bool {
        let Some(standing) = self.standing.get(&producer) else { return false };
        let busy = matches!(
            standing.state,
            TransactionState::Ongoing
                | TransactionState::PrepareCommit
                | TransactionState::PrepareAbort
                | TransactionState::PrepareEpochFence
        );
        busy && self.open.get(&producer).is_some_and(|open| open.contains(&at))
    }

    /// A coordinator or a leader noted something.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        world: &WorldEvent,
    ) {
        let mut report = |class: &'static AnomalyClass, at, sentence: String, events: &[u32]| {
            findings.add(class, Severity::Always, || {
                let proof = Proof::new(context.history, sentence).events(events);
                match at {
                    Some((partition, offset)) => proof.at(partition, &[offset]).done(),
                    None => proof.done(),
                }
            });
        };
        let when = event.time;
        match world {
            WorldEvent::TransactionState { .. } => {
                self.state(context, findings, position, event, world);
            }
            WorldEvent::EndTxnApplied { transactional_id, issued, applied, result, .. }
                if issued != applied
                    && *issued != TransactionNumber::NONE
                    && *applied != TransactionNumber::NONE =>
            {
                let text = format!(
                    "{}: the {} of {issued} ended {applied} at {when}",
                    id_name(context, transactional_id.0),
                    result.name(),
                );
                report(&DELAYED_ENDTXN, None, text, &[position]);
            }
            WorldEvent::Served {
                partition,
                from,
                to,
                last_stable_offset,
                read_committed: true,
                ..
            } if to > last_stable_offset && to > from => {
                let name = context.history.partition_name(*partition);
                let text = format!(
                    "{} served {name} from {from} to {to} at read_committed at {when}, and its \
                     last stable offset was {last_stable_offset}",
                    context.history.actor_name(event.actor)
                );
                report(&READ_PAST_LSO, Some((*partition, to.0)), text, &[position]);
            }
            WorldEvent::BecameLeader { partition, .. } => {
                if let Some(p) = context.index.partition(*partition) {
                    self.stable.remove(&p);
                }
            }
            WorldEvent::LastStableOffset { partition, last_stable_offset } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let offset = last_stable_offset.0;
                let before =
                    self.stable.insert(p, Stable { leader: event.actor, offset, position });
                if let Some(before) =
                    before.filter(|b| b.leader == event.actor && b.offset > offset)
                {
                    let name = context.history.partition_name(*partition);
                    let text = format!(
                        "the last stable offset of {name} went from {} back to {offset} at {when}",
                        before.offset
                    );
                    let events = [before.position, position];
                    report(&LSO_REGRESS, Some((*partition, offset)), text, &events);
                }
            }
            _ => {}
        }
    }

    fn state(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        event: &Event,
        world: &WorldEvent,
    ) {
        let WorldEvent::TransactionState {
            transactional_id,
            producer_id,
            producer_epoch,
            from,
            to,
            number,
            partitions,
            coordinator_epoch,
            coordinator,
        } = world
        else {
            return;
        };
        let name = || id_name(context, transactional_id.0).to_owned();
        let place = coordinator.partition;
        let (broker, since) =
            *self.brokers.entry((place, coordinator_epoch.0)).or_insert((event.actor, position));
        if broker != event.actor {
            findings.add(&TWO_TXN_COORDINATORS, Severity::Always, || {
                let history = context.history;
                let text = format!(
                    "{} and {} both coordinate {} in epoch {coordinator_epoch}",
                    history.actor_name(broker),
                    history.actor_name(event.actor),
                    history.partition_name(*coordinator),
                );
                Proof::new(history, text).events(&[since, position]).done()
            });
        }
        // A coordinator that was deposed may learn late what became of its writes.
        let newest = self.epochs.entry(place).or_insert(coordinator_epoch.0);
        if coordinator_epoch.0 < *newest {
            return;
        }
        *newest = coordinator_epoch.0;
        if !may_follow(*from, *to) {
            findings.add(&ILLEGAL_TXN_STATE, Severity::Always, || {
                let text = format!(
                    "{} went from {} to {} at {}",
                    name(),
                    from.name(),
                    to.name(),
                    event.time
                );
                Proof::new(context.history, text).events(&[position]).done()
            });
        }
        let standing = Standing { state: *to, partitions: *partitions };
        self.standing.insert(producer_id.0, standing);
        let parts = context.history.partitions(standing.partitions);
        match to {
            TransactionState::Ongoing => {
                let open = self.open.entry(producer_id.0).or_default();
                open.clear();
                open.extend_from_slice(parts);
            }
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                self.decided(context, findings, position, world);
            }
            _ => {}
        }
        let _ = (producer_epoch, number);
    }

    /// A decision was logged; the one before may have been on the same transaction.
    fn decided(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        world: &WorldEvent,
    ) {
        let WorldEvent::TransactionState {
            transactional_id,
            producer_id,
            producer_epoch,
            to,
            number,
            from,
            ..
        } = world
        else {
            return;
        };
        let decision = Decision { state: *to, position };
        let key = (transactional_id.0, producer_id.0);
        let before = self.decisions.insert(key, (producer_epoch.0, *number, decision));
        let Some((epoch, earlier, first)) = before else { return };
        // An abort of nothing (transaction version 2) follows a transaction that is complete.
        let ongoing =
            matches!(from, TransactionState::Ongoing | TransactionState::PrepareEpochFence);
        if (epoch, earlier) != (producer_epoch.0, *number)
            || first.state == *to
            || !ongoing
            || *number == TransactionNumber::NONE
        {
            return;
        }
        findings.add(&MARKER_MISMATCH, Severity::Always, || {
            let history = context.history;
            let text = format!(
                "{} logged {} for {number} at {} and {} at {}",
                id_name(context, transactional_id.0),
                first.state.name(),
                time_of(history, first.position),
                to.name(),
                time_of(history, position),
            );
            Proof::new(history, text).events(&[first.position, position]).done()
        });
    }
}

fn id_name<'h>(context: &Context<'h>, id: u16) -> &'h str {
    context.history.transactional_ids.get(usize::from(id)).map_or("?", String::as_str)
}

/// Whether a state may follow another (`TransactionMetadata`): with transaction version 2 also an
/// abort of nothing.
pub(crate) const fn may_follow(from: TransactionState, to: TransactionState) -> bool {
    use TransactionState::{
        CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        PrepareEpochFence,
    };
    match to {
        Empty => matches!(from, Empty | CompleteCommit | CompleteAbort),
        Ongoing => matches!(from, Ongoing | Empty | CompleteCommit | CompleteAbort),
        PrepareCommit => matches!(from, Ongoing),
        PrepareAbort => {
            matches!(from, Ongoing | PrepareEpochFence | Empty | CompleteCommit | CompleteAbort)
        }
        CompleteCommit => matches!(from, PrepareCommit),
        CompleteAbort => matches!(from, PrepareAbort),
        Dead => matches!(from, Empty | CompleteAbort | CompleteCommit),
        PrepareEpochFence => matches!(from, Ongoing),
    }
}
