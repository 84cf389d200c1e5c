//! Jumps in a consumer's stream: `poll-skip`, `int-poll-skip` and `resume-skip`, once it is known
//! whether the log holds anything in between, and `next-pointer-conflict`, if another reader got
//! something there.

use oncesim_history::{ClientKind, EventKind, PolledRecord};
use oncesim_types::{ActorId, TopicPartition};

use crate::anomaly::AnomalyClass;
use crate::catalogue::consumer::{INT_POLL_SKIP, NEXT_POINTER_CONFLICT, POLL_SKIP};
use crate::catalogue::group::COMMIT_BEYOND_POSITION;
use crate::catalogue::transaction::LATE_COMMIT;
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name};
use crate::check::index::NONE;
use crate::check::log::{Ledger, NOT_COMMITTED, POLLED_COMMITTED, POLLED_UNCOMMITTED};
use crate::check::transaction::Transactions;

/// A jump over the offsets `from .. to` of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) class: &'static AnomalyClass,
    /// Partition row.
    pub(crate) p: u32,
    pub(crate) from: i64,
    /// The offset that was delivered.
    pub(crate) to: i64,
    /// What came before: a poll or an assignment, or nothing.
    pub(crate) since: u32,
    /// The poll that delivered it.
    pub(crate) position: u32,
}

/// All jumps.
#[derive(Debug, Default)]
pub(crate) struct Gaps(Vec<Gap>);

impl Gaps {
    /// Remembers a jump.
    pub(crate) fn add(&mut self, gap: Gap) {
        self.0.push(gap);
    }

    /// Reports jumps over records. The next record after each offset is found once, so that many
    /// long jumps cost no more than the log.
    pub(crate) fn check(
        &self,
        context: &Context<'_>,
        ledger: &Ledger,
        transactions: &Transactions,
        findings: &mut Findings,
    ) {
        if self.0.is_empty() {
            return;
        }
        // For everybody, and for readers at read_committed: nobody owes them what was aborted.
        let mut next = [vec![NONE; ledger.slots.len()], vec![NONE; ledger.slots.len()]];
        for p in 0..context.index.partitions.len() {
            let p = u32::try_from(p).expect("partition rows are 32 bits");
            let mut following = [NONE; 2];
            for slot in context.index.slots(p).rev() {
                if ledger.in_log(context, p, slot) != NONE {
                    following[0] = slot;
                    if ledger.slots[slot as usize].flags & NOT_COMMITTED == 0 {
                        following[1] = slot;
                    }
                }
                next[0][slot as usize] = following[0];
                next[1][slot as usize] = following[1];
            }
        }
        self.conflicts(context, ledger, findings);
        for gap in &self.0 {
            let first = context.index.slot_from(gap.p, gap.from);
            if !context.index.slots(gap.p).contains(&first) {
                continue;
            }
            let reader = context.history.events[gap.position as usize].actor;
            let committed = context.setting.reads_committed(reader);
            let skipped = next[usize::from(committed)][first as usize];
            if skipped == NONE || context.index.offset(gap.p, skipped) >= gap.to {
                continue;
            }
            let severity = context.setting.storage_severity(Some(gap.p));
            let record = ledger.in_log(context, gap.p, skipped);
            let class = match transactions.owner(record, skipped) {
                NONE => gap.class,
                // Nobody at read_committed passes a transaction that is not decided.
                txn if committed
                    && transactions.rows[txn as usize].commit_ok > gap.position
                    && !std::ptr::eq(gap.class, &COMMIT_BEYOND_POSITION) =>
                {
                    &LATE_COMMIT
                }
                _ => gap.class,
            };
            findings.add(class, severity, || {
                let history = context.history;
                let partition = context.index.partitions[gap.p as usize];
                let missed = context.index.offset(gap.p, skipped);
                let record = context.index.record_id(ledger.in_log(context, gap.p, skipped));
                let event = &history.events[gap.position as usize];
                let did = match gap.class.id {
                    "commit-beyond-position" => "committed",
                    _ => "got",
                };
                let sentence = format!(
                    "{} {did} {} offset {} at {} and passed over {} at offset {missed}",
                    history.actor_name(event.actor),
                    history.partition_name(partition),
                    gap.to,
                    event.time,
                    record_name(history, record),
                );
                Proof::new(history, sentence)
                    .record(record)
                    .at(partition, &[missed, gap.to])
                    .events(&[gap.since, gap.position])
                    .done()
            });
        }
    }

    /// Reports jumps over an offset at which another reader of the same isolation level was given a
    /// record, whatever the log holds at the end.
    fn conflicts(&self, context: &Context<'_>, ledger: &Ledger, findings: &mut Findings) {
        let mut next = [vec![NONE; ledger.slots.len()], vec![NONE; ledger.slots.len()]];
        for p in 0..context.index.partitions.len() {
            let p = u32::try_from(p).expect("partition rows are 32 bits");
            let mut following = [NONE; 2];
            for slot in context.index.slots(p).rev() {
                for (level, flag) in [POLLED_UNCOMMITTED, POLLED_COMMITTED].into_iter().enumerate()
                {
                    if ledger.slots[slot as usize].flags & flag != 0 {
                        following[level] = slot;
                    }
                    next[level][slot as usize] = following[level];
                }
            }
        }
        for gap in &self.0 {
            let first = context.index.slot_from(gap.p, gap.from);
            let between =
                [&POLL_SKIP, &INT_POLL_SKIP].into_iter().any(|c| std::ptr::eq(c, gap.class));
            if !between || gap.since == NONE || !context.index.slots(gap.p).contains(&first) {
                continue;
            }
            let event = &context.history.events[gap.position as usize];
            let committed = context.setting.reads_committed(event.actor);
            let other = next[usize::from(committed)][first as usize];
            if other == NONE || context.index.offset(gap.p, other) >= gap.to {
                continue;
            }
            let severity = context.setting.storage_severity(Some(gap.p));
            findings.add(&NEXT_POINTER_CONFLICT, severity, || {
                let history = context.history;
                let partition = context.index.partitions[gap.p as usize];
                let missed = context.index.offset(gap.p, other);
                let given = given(context, partition, missed, committed);
                let who = given.map_or(ActorId(u16::MAX), |at| history.events[at as usize].actor);
                let sentence = format!(
                    "after {} offset {} {} got offset {} at {}, and {} got offset {missed}",
                    history.partition_name(partition),
                    gap.from - 1,
                    history.actor_name(event.actor),
                    gap.to,
                    event.time,
                    history.actor_name(who),
                );
                Proof::new(history, sentence)
                    .at(partition, &[missed, gap.to])
                    .events(&[given.unwrap_or(NONE), gap.since, gap.position])
                    .done()
            });
        }
    }
}

/// The first poll at this isolation level that returned an offset. For the one witness only.
fn given(
    context: &Context<'_>,
    partition: TopicPartition,
    offset: i64,
    committed: bool,
) -> Option<u32> {
    let history = context.history;
    (0u32..).zip(&history.events).find_map(|(position, event)| {
        let EventKind::Client(ClientKind::PollEnd { records, .. }) = &event.kind else {
            return None;
        };
        let reads = context.setting.reads_committed(event.actor) == committed
            && !context.setting.is_auditor(event.actor);
        let has = |r: &PolledRecord| r.partition == partition && r.offset.0 == offset;
        (reads && history.polled(*records).iter().any(has)).then_some(position)
    })
}
