//! The checkers: one pass over the events fills dense tables, and sweeps over the tables decide what
//! only the end of a history can tell.
//!
//! Each folder holds the rows of one table of the catalogue. Rows that are wrong at once are reported
//! while the events pass; rows that depend on the final log, or on outcomes that are not known yet,
//! wait for the end.

mod consumer;
mod effect;
mod findings;
mod group;
mod index;
mod judge;
mod liveness;
mod log;
mod meta;
mod processing;
mod processor;
mod replication;
mod setting;
mod transaction;

use oncesim_history::{ClientKind, Event, EventKind, History, Outcome, WorldEvent};

use crate::catalogue;
use crate::verdict::Verdict;
use findings::{Findings, Proof};
use index::Index;
pub(crate) use judge::{breaks, breaks_order};
use setting::Setting;

use crate::anomaly::Severity;

/// What every checker may look at.
pub(crate) struct Context<'h> {
    history: &'h History,
    index: Index,
    setting: Setting,
}

/// Judges a history.
pub(crate) fn run(history: &History) -> Verdict {
    if let Err(position) = index::spans_are_valid(history) {
        return malformed(history, position);
    }
    let index = Index::build(history);
    let setting = Setting::of(history, &index);
    let context = Context { history, index, setting };
    let mut pass = Pass::new(&context);
    for (position, event) in (0u32..).zip(&history.events) {
        pass.event(&context, position, event);
    }
    pass.finish(&context)
}

/// The state of one pass.
struct Pass {
    ledger: log::Ledger,
    leader_logs: log::leader_log::LeaderLogs,
    replication: replication::Replication,
    readers: consumer::Readers,
    commits: group::commits::Commits,
    ownership: group::ownership::Ownership,
    processing: processing::Processing,
    transactions: transaction::Transactions,
    processors: processor::Processors,
    effects: effect::Effects,
    form: meta::Form,
    findings: Findings,
}

impl Pass {
    fn new(context: &Context<'_>) -> Self {
        let mut findings = Findings::default();
        for class in context.setting.reported.iter().filter_map(|id| catalogue::find(id)) {
            findings.leave_to_engine(class);
        }
        Pass {
            ledger: log::Ledger::new(context),
            leader_logs: log::leader_log::LeaderLogs::new(context),
            replication: replication::Replication::new(context),
            readers: consumer::Readers::default(),
            commits: group::commits::Commits::default(),
            ownership: group::ownership::Ownership::default(),
            processing: processing::Processing::new(context),
            transactions: transaction::Transactions::default(),
            processors: processor::Processors::default(),
            effects: effect::Effects::new(context),
            form: meta::Form::default(),
            findings,
        }
    }

    fn event(&mut self, context: &Context<'_>, position: u32, event: &Event) {
        self.form.on_event(context, &mut self.findings, position, event);
        match &event.kind {
            EventKind::Client(kind) => match kind {
                ClientKind::SendInvoke { .. }
                | ClientKind::SendEnd { .. }
                | ClientKind::PollEnd { .. }
                | ClientKind::Processed { .. } => self.data(context, position, event, kind),
                _ => self.group(context, position, event, kind),
            },
            EventKind::World(world) => self.world(context, position, event, world),
            EventKind::External(external) => {
                self.effects.on_event(context, position, event, external);
            }
        }
    }

    /// Records on their way.
    fn data(&mut self, context: &Context<'_>, position: u32, event: &Event, kind: &ClientKind) {
        let findings = &mut self.findings;
        match kind {
            ClientKind::SendInvoke { call, partition, record, key, payload, .. } => {
                self.ledger.on_send(context, position, *partition, *record, *key, *payload);
                self.transactions.on_send(context, &self.ledger, event, *call, *record);
            }
            ClientKind::SendEnd { call, record, partition, outcome, offset } => {
                let end =
                    log::SendEnd { partition: *partition, outcome: *outcome, offset: *offset };
                self.ledger.on_send_end(context, findings, position, *record, end);
                if *outcome == Outcome::Ok {
                    let place = partition.zip(*offset);
                    self.transactions.on_acked(context, (event.actor, *call), *record, place);
                }
            }
            ClientKind::PollEnd { group, records } => {
                let auditor = context.setting.is_auditor(event.actor);
                let committed = context.setting.reads_committed(event.actor);
                let records = context.history.polled(*records);
                consumer::leader_epochs(context, findings, position, records);
                for polled in records {
                    let reader = (auditor, committed);
                    self.ledger.on_polled(context, findings, position, reader, polled);
                    let reader = (event, committed);
                    self.transactions.on_polled(context, findings, position, reader, polled);
                    if auditor {
                        continue;
                    }
                    self.effects.resumes.on_polled(context, position, event, polled);
                    let beside = (&mut self.commits, &self.ledger);
                    self.readers.on_polled(context, findings, beside, position, *group, polled);
                    if let Some(group) = group {
                        self.processing.on_delivered(context, findings, position, *group, polled);
                    }
                }
            }
            ClientKind::Processed { group, partition, offset, record } => {
                self.processing.on_processed(context, *group, *partition, *offset, *record);
            }
            _ => {}
        }
    }

    /// Groups, positions and commits.
    fn group(&mut self, context: &Context<'_>, position: u32, event: &Event, kind: &ClientKind) {
        let findings = &mut self.findings;
        self.transactions.on_client(context, findings, position, event, kind);
        self.commits.on_transaction(context, position, event, kind);
        match kind {
            ClientKind::Emitted { record, input, partition, offset, output } => {
                self.effects.on_emitted(context, position, event, kind);
                let (lineage, place) = ((*record, *input), (*partition, *offset));
                let processors = &mut self.processors;
                let slot = processors.on_emitted(context, position, event, lineage, place, *output);
                if let Some(slot) = slot {
                    let isolation = &mut self.transactions.isolation;
                    isolation.on_emitted(context, *record, *input, slot, event.actor.0);
                }
            }
            ClientKind::StateRestored { changelog, to, keys, fingerprint } => {
                if let Some(p) = context.index.partition(*changelog) {
                    let (to, keys, fingerprint) = (to.0, *keys, *fingerprint);
                    let restore = processor::state::Restore { p, to, keys, fingerprint, position };
                    self.processors.restores.push(restore);
                }
            }
            ClientKind::Subscribe { group } => self.processing.on_member(*group),
            ClientKind::Assigned { group, member, generation, added, owned } => {
                self.processing.on_member(*group);
                let commits = &mut self.commits;
                self.readers.on_assigned(context, commits, position, *group, (*added, *owned));
                let assigned = group::ownership::Assigned {
                    group: *group,
                    member: *member,
                    generation: generation.0,
                    added: *added,
                    owned: *owned,
                };
                self.ownership.on_assigned(context, findings, position, assigned);
                if is_processor(context, *group) {
                    for p in context.history.partitions(*added) {
                        let Some(p) = context.index.partition(*p) else { continue };
                        let takeovers = &mut self.processors.takeovers;
                        takeovers.on_assigned(*group, p, event.actor, generation.0, position);
                    }
                }
            }
            ClientKind::Revoked { group, partitions } | ClientKind::Lost { group, partitions } => {
                self.readers.on_revoked(context, position, *partitions);
                self.effects.resumes.on_revoked(context, event.actor, *partitions);
                self.ownership.on_revoked(context, event.actor, *group, *partitions);
            }
            ClientKind::PositionReset { group, partition, to, reason } => {
                if let Some(group) = group {
                    self.processing.on_position(context, *group, *partition, *to, *reason);
                    if let Some(p) = context.index.partition(*partition) {
                        let takeovers = &mut self.processors.takeovers;
                        takeovers.on_position(*group, p, event.actor, position);
                    }
                }
                let resumes = &mut self.effects.resumes;
                resumes.on_position(context, position, event, *partition, (*to, *reason));
                let (commits, set) = (&mut self.commits, (*to, *reason));
                self.readers
                    .on_position(context, findings, commits, position, *group, *partition, set);
            }
            ClientKind::CommitInvoke { call, group, offsets, sync } => {
                let processing = &self.processing;
                let readers = &mut self.readers;
                let foreign =
                    readers.on_commit(context, findings, processing, position, *group, *offsets);
                self.commits.on_invoke(context, position, *call, *group, *offsets, *sync);
                self.commits.on_foreign(event.actor, foreign);
            }
            ClientKind::CommitEnd { call, outcome } => {
                let paired = self.commits.on_end(context, findings, position, *call, *outcome);
                if !paired {
                    meta::unpaired(context, findings, position, "a commit ends");
                }
            }
            ClientKind::Closed => self.ownership.on_gone(event.actor),
            _ => {}
        }
    }

    fn world(&mut self, context: &Context<'_>, position: u32, event: &Event, world: &WorldEvent) {
        let findings = &mut self.findings;
        self.transactions.on_world(context, findings, position, event, world);
        match world {
            WorldEvent::Crashed { .. } => {
                self.ownership.on_gone(event.actor);
                self.replication.on_crash(event.actor);
            }
            WorldEvent::Generation { .. } => {
                self.ownership.on_generation(context, findings, position, world);
            }
            WorldEvent::OffsetAccepted { .. } => {
                self.commits.on_accepted(context, findings, position, world);
            }
            WorldEvent::OffsetPending { .. } | WorldEvent::OffsetResolved { .. } => {
                self.commits.on_pending(context, findings, position, world);
            }
            WorldEvent::Served { partition, from, to, high_watermark, .. }
                if to > high_watermark =>
            {
                let served = (*from, *to, *high_watermark);
                replication::beyond(context, findings, position, *partition, served);
            }
            WorldEvent::BrokerRegistered { .. } | WorldEvent::BrokerFenced { .. } => {
                self.replication.on_broker(world);
            }
            WorldEvent::InvariantBroken { .. } | WorldEvent::Stuck { .. } => {
                liveness::reported(context, findings, position, world);
            }
            _ => {}
        }
        let Some(row) = index::world_partition(world).and_then(|p| context.index.partition(p))
        else {
            return;
        };
        match world {
            WorldEvent::Append { .. } => {
                self.leader_logs.on_append(context, findings, row, event.actor, position, world);
            }
            WorldEvent::Marker { .. } => {
                self.leader_logs.on_marker(context, findings, row, event.actor, position, world);
            }
            WorldEvent::Truncate { to, .. } | WorldEvent::DiskLoss { to, .. } => {
                self.leader_logs.on_cut(row, event.actor, to.0);
            }
            WorldEvent::BecameLeader { leader_epoch, log_end, .. } => {
                let (epoch, end) = (leader_epoch.0, log_end.0);
                self.leader_logs.on_leader(row, event.actor, epoch, end, position);
            }
            _ => {}
        }
        self.replication.on_event(context, findings, row, event.actor, position, world);
    }

    fn finish(mut self, context: &Context<'_>) -> Verdict {
        let (ledger, findings) = (&mut self.ledger, &mut self.findings);
        ledger.settle(context);
        let transactions = &mut self.transactions;
        let truth =
            transaction::markers::Truth::read(context, transactions, &self.leader_logs, findings);
        transactions.settle(context, ledger, &truth);
        transactions.check(context, ledger, &truth, findings);
        let excused = log::loss::check(context, ledger, &self.leader_logs, findings);
        log::duplicate::check(context, ledger, findings);
        log::integrity::check(context, ledger, findings);
        ledger.real_time.check(context, ledger, findings);
        let ordered_pairs = log::order::check(context, ledger, findings);
        self.leader_logs.check(context, ledger, findings);
        self.replication.check(context, ledger, findings);
        self.readers.gaps.check(context, ledger, &self.transactions, findings);
        self.processing.check(context, ledger, &mut self.commits, findings);
        let beside = (&self.transactions, &self.processing);
        self.processors.check(context, ledger, beside, &mut self.commits, findings);
        let beside = (&*ledger, &self.transactions, &self.processing);
        self.effects.check(context, beside, &mut self.commits, findings);
        self.ownership.check(context, findings);
        liveness::check(context, ledger, &self.replication, findings);
        liveness::commit_lag(context, ledger, &self.processing, &mut self.commits, findings);
        self.form.check(context, ledger, findings);
        let seen = [
            ("processed records", self.processing.outcomes),
            ("outputs of processors", self.processors.outputs),
            ("ordered pairs of sends", ordered_pairs),
            ("commits", self.commits.succeeded),
            ("committed transactions", self.transactions.commits),
            ("assignments", self.ownership.assignments),
            ("completed rebalances", self.ownership.generations),
            ("batches appended by leaders", self.leader_logs.appends),
            ("leaders that began", self.replication.leaderships),
            ("faults that struck", self.form.faults),
            ("processes that crashed", self.form.crashes),
        ];
        let seen: Vec<_> = seen.into_iter().chain(self.effects.witnesses(context)).collect();
        let processed = (&self.processing, &self.processors, &self.effects);
        judge::verdict(context, ledger, processed, &seen, self.findings, excused)
    }
}

/// Whether the members of a group are processors.
fn is_processor(context: &Context<'_>, group: oncesim_types::GroupId) -> bool {
    let info = context.history.groups.get(usize::from(group.0));
    info.is_some_and(|info| info.processor.is_some())
}

fn malformed(history: &History, position: u32) -> Verdict {
    let mut findings = Findings::default();
    findings.add(&catalogue::meta::HISTORY_MALFORMED, Severity::Always, || {
        let sentence = format!("event {position} refers to records that the history does not have");
        Proof::new(history, sentence).events(&[position]).done()
    });
    Verdict { anomalies: findings.into_sorted(), ..Verdict::default() }
}
