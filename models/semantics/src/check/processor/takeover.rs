//! Outputs that count although another member had taken the input over: `zombie-output`.
//!
//! A member takes a partition over when it is told where to go on in it: by then no earlier
//! transaction on that input may still be open, and none may begin.

use std::collections::BTreeMap;

use oncesim_types::{ActorId, GroupId};

use super::{Emit, copies};
use crate::anomaly::Severity;
use crate::catalogue::processing::ZOMBIE_OUTPUT;
use crate::check::Context;
use crate::check::findings::{Findings, Proof, record_name, time_of};
use crate::check::index::NONE;
use crate::check::log::Ledger;
use crate::check::transaction::Transactions;

/// A member that owns a partition from now on.
#[derive(Debug, Clone, Copy)]
struct Tenure {
    actor: u16,
    generation: i32,
    assigned: u32,
    /// When it was told its position; `NONE` until then.
    began: u32,
}

/// Who took what over, by group and partition row.
#[derive(Debug, Default)]
pub(crate) struct Takeovers(BTreeMap<(u16, u32), Vec<Tenure>>);

impl Takeovers {
    /// A partition was assigned to a member.
    pub(crate) fn on_assigned(
        &mut self,
        group: GroupId,
        p: u32,
        actor: ActorId,
        generation: i32,
        position: u32,
    ) {
        let tenures = self.0.entry((group.0, p)).or_default();
        if tenures.last().is_none_or(|last| last.generation < generation) {
            tenures.push(Tenure { actor: actor.0, generation, assigned: position, began: NONE });
        }
    }

    /// A member was told where to go on.
    pub(crate) fn on_position(&mut self, group: GroupId, p: u32, actor: ActorId, position: u32) {
        if let Some(last) = self.0.get_mut(&(group.0, p)).and_then(|tenures| tenures.last_mut())
            && last.actor == actor.0
            && last.began == NONE
        {
            last.began = position;
        }
    }

    /// Reports outputs of members that had lost their partition, committed after the next had
    /// begun.
    pub(crate) fn check(
        &self,
        context: &Context<'_>,
        ledger: &Ledger,
        transactions: &Transactions,
        (group, emits): (GroupId, &[Emit]),
        findings: &mut Findings,
    ) {
        for emit in emits {
            let txn = transactions.of(emit.record);
            if txn == NONE || copies(ledger, emit.record) == 0 {
                continue;
            }
            let asked = transactions.rows[txn as usize].commit_asked;
            let (p, offset) = context.index.place(emit.slot);
            let Some(tenures) = self.0.get(&(group.0, p)) else { continue };
            let end = tenures.partition_point(|tenure| tenure.assigned < emit.position);
            let own = tenures[..end].iter().rposition(|tenure| tenure.actor == emit.actor);
            let Some(next) = own.and_then(|own| {
                tenures[own..].iter().find(|t| t.actor != emit.actor && t.began != NONE)
            }) else {
                continue;
            };
            if asked == NONE || asked < next.began {
                continue;
            }
            findings.add(&ZOMBIE_OUTPUT, Severity::Legal, || {
                let history = context.history;
                let id = context.index.record_id(emit.record);
                let at = context.index.partitions[p as usize];
                let sentence = format!(
                    "{} made {} from {} offset {offset} and committed it at {}, although {} had \
                     taken over at {}",
                    history.actor_name(ActorId(emit.actor)),
                    record_name(history, id),
                    history.partition_name(at),
                    time_of(history, asked),
                    history.actor_name(ActorId(next.actor)),
                    time_of(history, next.began),
                );
                Proof::new(history, sentence)
                    .record(id)
                    .at(at, &[offset])
                    .events(&[emit.position, next.assigned, next.began, asked])
                    .done()
            });
        }
    }
}
