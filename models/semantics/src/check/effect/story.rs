//! The events that tell what became of an effect, for a proof.

use oncesim_history::{EventKind, ExternalEvent, WorldEvent};
use oncesim_types::{ActorId, EffectId, RecordId};

use super::Evidence;
use crate::check::Context;
use crate::check::index::NONE;

/// Events at the beginning, and at the end, of a long story that are told.
const TOLD: usize = 10;

/// What was asked for, answered, applied and marked, for a sink and a logical record; and who died
/// in between.
pub(crate) fn story(context: &Context<'_>, evidence: &Evidence<'_>, of: (u16, u32)) -> Vec<u32> {
    story_until(context, evidence, of, NONE)
}

/// The same, as far as an event.
pub(crate) fn story_until(
    context: &Context<'_>,
    evidence: &Evidence<'_>,
    (sink, root): (u16, u32),
    until: u32,
) -> Vec<u32> {
    let history = context.history;
    let asks = evidence.effects.log.asks.iter();
    let asks: Vec<_> =
        asks.filter(|a| a.of.sink == sink && evidence.root(a.of.record) == root).collect();
    let mut events: Vec<u32> = asks.iter().flat_map(|ask| [ask.position, ask.answered]).collect();
    let clients: Vec<ActorId> = asks.iter().map(|ask| ActorId(ask.actor)).collect();
    let first = events.iter().copied().min().unwrap_or(NONE);
    let same = |record: &RecordId| {
        context.index.record(*record).is_some_and(|record| evidence.root(record) == root)
    };
    let mine = |effect: &EffectId| effect.sink.0 == sink && same(&effect.record);
    let system = history.sinks.get(usize::from(sink)).map(|sink| sink.system);
    for (position, event) in (0u32..).zip(&history.events) {
        let told = match &event.kind {
            EventKind::External(
                ExternalEvent::EffectDone { effect, .. }
                | ExternalEvent::Applied { effect, .. }
                | ExternalEvent::Replayed { effect, .. }
                | ExternalEvent::KeyEvicted { effect },
            ) => mine(effect),
            EventKind::External(
                ExternalEvent::Committed { record: Some(record), .. }
                | ExternalEvent::RolledBack { record: Some(record) },
            ) => system == Some(event.actor) && same(record),
            EventKind::World(WorldEvent::Crashed { .. }) => {
                position > first && (clients.contains(&event.actor) || system == Some(event.actor))
            }
            _ => false,
        };
        if told {
            events.push(position);
        }
    }
    events.retain(|position| *position <= until && *position != NONE);
    events.sort_unstable();
    events.dedup();
    if events.len() > 2 * TOLD {
        events.drain(TOLD..events.len() - TOLD);
    }
    events
}
