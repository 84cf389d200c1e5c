//! Producers that are told to be fenced for no reason: `spurious-fence`.
//!
//! The coordinator's notes say which session of a transactional id is the newest. Whoever has just
//! that one has no successor, and no transaction of it has timed out. A note of a later epoch may
//! follow, of a fence that was in the coordinator's log already; the next session may not be known
//! before it begins. So the verdict waits for either of them.

use std::collections::BTreeMap;

use oncesim_history::{Event, WorldEvent};
use oncesim_types::TransactionState;

use crate::anomaly::Severity;
use crate::catalogue::transaction::SPURIOUS_FENCE;
use crate::check::Context;
use crate::check::findings::{Findings, Proof};

/// A transactional id.
#[derive(Debug, Default)]
struct Standing {
    /// The newest session, and the note of it.
    newest: Option<((i64, i16), u32)>,
    /// Whoever has it was told to be fenced: the note, and the failure.
    told: Option<[u32; 2]>,
}

/// What is known of each transactional id.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    ids: BTreeMap<u16, Standing>,
}

impl Fences {
    /// A coordinator noted a state.
    pub(crate) fn on_state(
        &mut self,
        context: &Context<'_>,
        findings: &mut Findings,
        position: u32,
        world: &WorldEvent,
    ) {
        let WorldEvent::TransactionState {
            transactional_id, producer_id, producer_epoch, to, ..
        } = world
        else {
            return;
        };
        let id = transactional_id.0;
        let standing = self.ids.entry(id).or_default();
        let session = (producer_id.0, producer_epoch.0);
        let before = standing.newest.replace((session, position)).map(|newest| newest.0);
        let is_new_session = *to == TransactionState::Empty;
        if is_new_session {
            if let Some(told) = standing.told.take() {
                report(context, findings, id, told);
            }
        } else if before != Some(session) {
            standing.told = None;
        }
    }

    /// The end of a transaction failed: its producer is fenced.
    pub(crate) fn on_fenced(&mut self, position: u32, id: u16, producer: (i64, i16)) {
        let Some(standing) = self.ids.get_mut(&id) else { return };
        if let Some((newest, noted)) = standing.newest
            && newest == producer
        {
            standing.told = Some([noted, position]);
        }
    }

    /// The run is over.
    pub(crate) fn finish(&self, context: &Context<'_>, findings: &mut Findings) {
        for (id, standing) in &self.ids {
            if let Some(told) = standing.told {
                report(context, findings, *id, told);
            }
        }
    }
}

fn report(context: &Context<'_>, findings: &mut Findings, id: u16, told: [u32; 2]) {
    findings.add(&SPURIOUS_FENCE, Severity::Always, || {
        let history = context.history;
        let name = history.transactional_ids.get(usize::from(id)).map_or("?", String::as_str);
        let event: &Event = &history.events[told[1] as usize];
        let sentence = format!(
            "{} was told at {} that it is fenced, and nobody had a newer session as {name}",
            history.actor_name(event.actor),
            event.time,
        );
        Proof::new(history, sentence).events(&told).done()
    });
}
