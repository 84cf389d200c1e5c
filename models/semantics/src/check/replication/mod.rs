//! Table E: replicas against each other, seen from inside.
//!
//! Each replica keeps the batches of its log. What the first replica shows below its high watermark
//! is the committed log; every other replica is compared with it once, when its own high watermark
//! passes. Replicas keep batch boundaries, so that batches are compared by position.

use oncesim_history::{SpanIndex, WorldEvent};
use oncesim_types::{
    ActorId, Offset, ProducerEpoch, ProducerId, TopicPartition, TransactionResult,
};

use super::Context;
use super::findings::{Findings, Proof, record_name};
use super::log::Ledger;
use crate::anomaly::{AnomalyClass, Severity, Witness};
use crate::catalogue::consumer::READ_BEYOND_HW;
use crate::catalogue::replication::{
    CANDIDATE_INCOMPLETE, COMMITTED_LOST_GLOBALLY, HW_REGRESS, LEADER_INCOMPLETE,
    LEADER_NOT_IN_ISR, LOG_DIVERGENCE, MINISR_VIOLATION, TWO_LEADERS_SAME_EPOCH,
    UNCLEAN_REPLICA_IN_ISR,
};

#[derive(Debug, Clone, Copy)]
struct Batch {
    base: i64,
    len: u32,
    leader_epoch: i32,
    records: SpanIndex,
    /// The end of a transaction, instead of records.
    marker: Option<(ProducerId, ProducerEpoch, TransactionResult)>,
    position: u32,
}

impl Batch {
    fn end(&self) -> i64 {
        self.base + i64::from(self.len)
    }
}

#[derive(Debug)]
struct Replica {
    broker: ActorId,
    log: Vec<Batch>,
    /// How many batches were compared with the committed log.
    compared: usize,
    /// Its high watermark since it began to lead; -1 while it does not.
    leading: i64,
}

#[derive(Debug, Default)]
struct Partition {
    replicas: Vec<Replica>,
    committed: Vec<Batch>,
    /// The highest high watermark of any leader, and its event.
    high_watermark: (i64, u32),
    /// Who led with which epoch, and the event, ascending by epoch.
    leaders: Vec<(i32, ActorId, u32)>,
    /// What the controller said last: leader, in-sync replicas, event; and the most there ever were.
    state: Option<(Option<ActorId>, u32, u32)>,
    most_in_sync: u32,
    /// The controller's in-sync replicas.
    in_sync: SpanIndex,
    /// The controller's newest leader epoch.
    elected: i32,
}

/// A broker as the controller knows it, and whether its process runs.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    fenced: bool,
    /// Died, and has not registered again.
    gone: bool,
}

/// Partition rows, each with the event of the controller's last word on it.
pub(crate) type LastWords = Vec<(u32, u32)>;

/// All partitions.
#[derive(Debug)]
pub(crate) struct Replication {
    partitions: Vec<Partition>,
    /// By actor.
    brokers: Vec<Standing>,
    /// How often a broker began to lead.
    pub(crate) leaderships: u64,
}

impl Replication {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let mut partitions = Vec::new();
        partitions.resize_with(context.index.partitions.len(), Partition::default);
        let brokers = vec![Standing::default(); context.history.actors.len()];
        Replication { partitions, brokers, leaderships: 0 }
    }

    /// The highest high watermark of a partition's leaders, and its event.
    pub(crate) fn high_watermark(&self, row: u32) -> (i64, u32) {
        self.partitions[row as usize].high_watermark
    }

    /// Something happened to a replica on broker `actor`.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        actor: ActorId,
        position: u32,
        event: &WorldEvent,
    ) {
        let partition = &mut self.partitions[row as usize];
        match event {
            WorldEvent::Append { base_offset, records, len, leader_epoch, .. } => {
                let batch = Batch {
                    base: base_offset.0,
                    len: *len,
                    leader_epoch: leader_epoch.0,
                    records: *records,
                    marker: None,
                    position,
                };
                let replica = partition.replica(actor);
                replica.cut(batch.base);
                replica.log.push(batch);
            }
            WorldEvent::Marker {
                offset,
                producer_id,
                producer_epoch,
                result,
                leader_epoch,
                ..
            } => {
                let batch = Batch {
                    base: offset.0,
                    len: 1,
                    leader_epoch: leader_epoch.0,
                    records: SpanIndex::default(),
                    marker: Some((*producer_id, *producer_epoch, *result)),
                    position,
                };
                let replica = partition.replica(actor);
                replica.cut(batch.base);
                replica.log.push(batch);
            }
            WorldEvent::Truncate { to, .. } => partition.replica(actor).cut(to.0),
            WorldEvent::DiskLoss { to, .. } => {
                let replica = partition.replica(actor);
                replica.cut(to.0);
                replica.leading = -1;
            }
            WorldEvent::HighWatermark { high_watermark, leader, isr, min_isr, .. } => {
                let hw = high_watermark.0;
                if *leader {
                    let advanced = hw > partition.high_watermark.0;
                    if advanced && isr < min_isr {
                        let what = format!("moved its high watermark to {hw}");
                        few(context, findings, row, position, &what, *isr, *min_isr);
                    }
                    partition.regress(context, findings, row, actor, hw, position);
                    if advanced {
                        partition.high_watermark = (hw, position);
                        let brokers = &self.brokers;
                        partition.candidates(context, findings, row, brokers, actor, position);
                    }
                }
                partition.compare(context, findings, row, actor, hw, position);
            }
            WorldEvent::AckedAll { next_offset, isr, min_isr, .. } if isr < min_isr => {
                let what = format!("acknowledged up to offset {next_offset} with acks=all");
                few(context, findings, row, position, &what, *isr, *min_isr);
            }
            WorldEvent::BecameLeader { leader_epoch, log_end, .. } => {
                self.leaderships += 1;
                partition.leads(context, findings, row, actor, leader_epoch.0, position);
                // A broker that was away may lead by an epoch that is over: nobody follows it.
                let newest = partition.leaders.last().map_or(-1, |leader| leader.0);
                if leader_epoch.0 >= partition.elected.max(newest) {
                    partition.incomplete(context, findings, row, log_end.0, position);
                }
            }
            WorldEvent::BecameFollower { .. } => partition.replica(actor).leading = -1,
            WorldEvent::PartitionChanged { leader, isr, leader_epoch, unclean, .. } => {
                if !unclean {
                    partition.admits(context, findings, row, &self.brokers, *isr, position);
                }
                let members = context.history.actor_list(*isr);
                if let Some(leader) = leader.filter(|leader| !members.contains(leader)) {
                    findings.add(&LEADER_NOT_IN_ISR, Severity::Always, || {
                        let name = context.history.actor_name(leader);
                        let text = format!("made {name} the leader, which is not in sync,");
                        witness(context, row, position, &text, &[], &[])
                    });
                }
                partition.in_sync = *isr;
                partition.elected = leader_epoch.0;
                partition.state = Some((*leader, isr.len, position));
                partition.most_in_sync = partition.most_in_sync.max(isr.len);
            }
            _ => {}
        }
    }

    /// The controller registered, fenced or unfenced a broker.
    pub(crate) fn on_broker(&mut self, event: &WorldEvent) {
        match event {
            WorldEvent::BrokerRegistered { broker, .. } => {
                if let Some(standing) = self.brokers.get_mut(usize::from(broker.0)) {
                    standing.gone = false;
                }
            }
            WorldEvent::BrokerFenced { broker, fenced } => {
                if let Some(standing) = self.brokers.get_mut(usize::from(broker.0)) {
                    standing.fenced = *fenced;
                }
            }
            _ => {}
        }
    }

    /// A broker's process ended: whatever its next process leads, it leads anew.
    pub(crate) fn on_crash(&mut self, actor: ActorId) {
        if let Some(standing) = self.brokers.get_mut(usize::from(actor.0)) {
            standing.gone = true;
        }
        for partition in &mut self.partitions {
            for replica in partition.replicas.iter_mut().filter(|r| r.broker == actor) {
                replica.leading = -1;
            }
        }
    }

    /// Partition rows whose leader is missing, and whose in-sync set has not come back, with the
    /// controller's last word on them.
    pub(crate) fn at_rest(&self) -> (LastWords, LastWords) {
        let (mut headless, mut short) = (Vec::new(), Vec::new());
        for (row, partition) in (0u32..).zip(&self.partitions) {
            match partition.state {
                Some((None, _, position)) => headless.push((row, position)),
                Some((Some(_), isr, position)) if isr < partition.most_in_sync => {
                    short.push((row, position));
                }
                _ => {}
            }
        }
        (headless, short)
    }

    /// Reports acknowledged durable records that no replica has.
    pub(crate) fn check(&self, context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
        let lost = |(record, row): &(u32, &super::log::RecordRow)| {
            row.is_acked() && row.places == 0 && Ledger::promise(context, *record).durable
        };
        let lost: Vec<(u32, &super::log::RecordRow)> =
            (0u32..).zip(&ledger.records).filter(lost).collect();
        if lost.is_empty() || self.partitions.iter().all(|p| p.replicas.is_empty()) {
            return;
        }
        let mut somewhere = vec![false; ledger.records.len()];
        let replicas = self.partitions.iter().flat_map(|partition| &partition.replicas);
        for batch in replicas.flat_map(|replica| &replica.log) {
            for record in context.history.appended(batch.records) {
                if let Some(record) = context.index.record(*record) {
                    somewhere[record as usize] = true;
                }
            }
        }
        for (record, row) in lost {
            if somewhere[record as usize] {
                continue;
            }
            let partition = super::log::known(row.partition);
            findings.add(
                &COMMITTED_LOST_GLOBALLY,
                context.setting.storage_severity(partition),
                || {
                    let id = context.index.record_id(record);
                    let name = record_name(context.history, id);
                    let when = super::findings::time_of(context.history, row.acked);
                    let sentence = format!(
                        "{name} was acknowledged as durable at {when}, and no replica has it when \
                         the run ends"
                    );
                    Proof::new(context.history, sentence)
                        .record(id)
                        .events(&[row.invoked, row.acked])
                        .done()
                },
            );
        }
    }
}

impl Replica {
    fn cut(&mut self, to: i64) {
        while self.log.pop_if(|batch| batch.end() > to).is_some() {}
        self.compared = self.compared.min(self.log.len());
    }
}

impl Partition {
    fn replica(&mut self, broker: ActorId) -> &mut Replica {
        let at = match self.replicas.iter().position(|replica| replica.broker == broker) {
            Some(at) => at,
            None => {
                self.replicas.push(Replica { broker, log: Vec::new(), compared: 0, leading: -1 });
                self.replicas.len() - 1
            }
        };
        &mut self.replicas[at]
    }

    fn regress(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        actor: ActorId,
        hw: i64,
        position: u32,
    ) {
        let replica = self.replica(actor);
        let before = std::mem::replace(&mut replica.leading, hw);
        if hw < before {
            findings.add(&HW_REGRESS, Severity::Always, || {
                let text = format!("moved its high watermark back from {before} to {hw}");
                witness(context, row, position, &text, &[before, hw], &[])
            });
        }
    }

    /// Compares what the replica newly shows below its high watermark.
    fn compare(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        actor: ActorId,
        hw: i64,
        position: u32,
    ) {
        let Some(replica) = self.replicas.iter_mut().find(|r| r.broker == actor) else { return };
        while let Some(batch) = replica.log.get(replica.compared).filter(|b| b.end() <= hw) {
            match self.committed.get(replica.compared) {
                None => self.committed.push(*batch),
                Some(known) if !same(context, known, batch) => {
                    let severity = context.setting.storage_severity(Some(row));
                    let events = [known.position, batch.position];
                    findings.add(&LOG_DIVERGENCE, severity, || {
                        let text = format!(
                            "holds another batch at offset {} than {} has committed, below its \
                             high watermark {hw}",
                            batch.base,
                            context
                                .history
                                .actor_name(context.history.events[known.position as usize].actor),
                        );
                        witness(context, row, position, &text, &[batch.base], &events)
                    });
                }
                Some(_) => {}
            }
            replica.compared += 1;
        }
    }

    fn leads(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        actor: ActorId,
        epoch: i32,
        position: u32,
    ) {
        self.replica(actor).leading = -1;
        match self.leaders.binary_search_by_key(&epoch, |leader| leader.0) {
            Err(at) => self.leaders.insert(at, (epoch, actor, position)),
            Ok(at) => {
                let (_, other, began) = self.leaders[at];
                if other != actor {
                    findings.add(&TWO_LEADERS_SAME_EPOCH, Severity::Always, || {
                        let text = format!(
                            "began to lead with leader epoch {epoch}, with which {} leads",
                            context.history.actor_name(other)
                        );
                        witness(context, row, position, &text, &[], &[began])
                    });
                }
            }
        }
    }

    /// Who joins the in-sync set must be alive for the controller, and, unless it has died since,
    /// have everything that is committed.
    fn admits(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        brokers: &[Standing],
        isr: SpanIndex,
        position: u32,
    ) {
        let Some((_, _, before)) = self.state else { return };
        let (hw, moved) = self.high_watermark;
        let history = context.history;
        for &joins in history.actor_list(isr) {
            let standing = brokers.get(usize::from(joins.0)).copied().unwrap_or_default();
            if history.actor_list(self.in_sync).contains(&joins)
                || (standing.gone && !standing.fenced)
            {
                continue;
            }
            let end = self.replica(joins).log.last().map_or(0, Batch::end);
            let name = history.actor_name(joins);
            let (why, events): (String, &[u32]) = if standing.fenced {
                (format!("although {name} is fenced"), &[before])
            } else if end < hw {
                (format!("whose log ends at {end}, below high watermark {hw}"), &[before, moved])
            } else {
                continue;
            };
            let severity = context.setting.storage_severity(Some(row));
            findings.add(&UNCLEAN_REPLICA_IN_ISR, severity, || {
                let text = format!("took {name} into the in-sync set, {why},");
                witness(context, row, position, &text, &[end], events)
            });
        }
    }

    /// Whoever may be elected next has everything that is committed: its process runs, and the
    /// leader is the controller's.
    fn candidates(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        brokers: &[Standing],
        leader: ActorId,
        position: u32,
    ) {
        let Some((Some(named), _, changed)) = self.state else { return };
        let (hw, _) = self.high_watermark;
        if named != leader {
            return;
        }
        let history = context.history;
        for &member in history.actor_list(self.in_sync).iter().filter(|member| **member != leader) {
            let standing = brokers.get(usize::from(member.0)).copied().unwrap_or_default();
            let end = self.replica(member).log.last().map_or(0, Batch::end);
            if end >= hw || standing.gone || standing.fenced {
                continue;
            }
            let severity = context.setting.storage_severity(Some(row));
            findings.add(&CANDIDATE_INCOMPLETE, severity, || {
                let name = history.actor_name(member);
                let text = format!(
                    "moved its high watermark to {hw} while the log of {name}, which is in sync, \
                     ends at {end},"
                );
                witness(context, row, position, &text, &[end, hw], &[changed])
            });
        }
    }

    /// A leader whose log ends below the high watermark; what it lacks is no longer committed.
    fn incomplete(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        row: u32,
        log_end: i64,
        position: u32,
    ) {
        let (hw, moved) = self.high_watermark;
        if log_end >= hw {
            return;
        }
        let severity = context.setting.storage_severity(Some(row));
        findings.add(&LEADER_INCOMPLETE, severity, || {
            let text = format!("began to lead with log end {log_end}, below high watermark {hw}");
            witness(context, row, position, &text, &[log_end, hw], &[moved])
        });
        self.high_watermark = (log_end, position);
        while self.committed.pop_if(|batch| batch.end() > log_end).is_some() {}
        for replica in &mut self.replicas {
            replica.compared = replica.compared.min(self.committed.len());
        }
    }
}

fn same(context: &Context<'_>, a: &Batch, b: &Batch) -> bool {
    (a.base, a.len, a.leader_epoch, a.marker) == (b.base, b.len, b.leader_epoch, b.marker)
        && context.history.appended(a.records) == context.history.appended(b.records)
}

fn few(
    context: &Context<'_>,
    findings: &mut Findings,
    row: u32,
    position: u32,
    what: &str,
    isr: u8,
    min_isr: u8,
) {
    let class: &'static AnomalyClass = &MINISR_VIOLATION;
    findings.add(class, Severity::Always, || {
        let text = format!("{what} with {isr} in-sync replicas, below {min_isr}");
        witness(context, row, position, &text, &[], &[])
    });
}

/// `b1 (orders-0) <text> at 1.000000s`, proved by the event and others.
fn witness(
    context: &Context<'_>,
    row: u32,
    position: u32,
    text: &str,
    offsets: &[i64],
    others: &[u32],
) -> Witness {
    let history = context.history;
    let event = &history.events[position as usize];
    let at = context.index.partitions[row as usize];
    let sentence = format!(
        "{} ({}) {text} at {}",
        history.actor_name(event.actor),
        history.partition_name(at),
        event.time,
    );
    Proof::new(history, sentence).at(at, offsets).events(&[position]).events(others).done()
}

/// A fetch was served beyond the high watermark.
pub(crate) fn beyond(
    context: &Context<'_>,
    findings: &mut Findings,
    position: u32,
    partition: TopicPartition,
    (from, to, high_watermark): (Offset, Offset, Offset),
) {
    if from >= to {
        return;
    }
    let Some(row) = context.index.partition(partition) else { return };
    findings.add(&READ_BEYOND_HW, Severity::Always, || {
        let text = format!(
            "served offsets {from} to {} to a consumer, with high watermark {high_watermark}",
            to + -1
        );
        witness(context, row, position, &text, &[from.0, to.0 - 1], &[])
    });
}
