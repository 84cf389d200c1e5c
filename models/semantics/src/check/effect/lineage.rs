//! What a record is about: the logical record, whatever made copies of it.
//!
//! A record is identified by its source and the chain of outputs that led to it. A record that is
//! in the log twice is one; so are two records that a processor made of one input as the same
//! output, which is what a processor without transactions does after a crash.

use std::collections::BTreeMap;

use oncesim_history::{ActorRole, Event, Output};
use oncesim_types::RecordId;

use crate::check::Context;
use crate::check::index::NONE;

/// Logical records, by record row.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// The first record with the same identity; empty until a processor makes something, and
    /// [`NONE`] for what no processor made.
    roots: Vec<u32>,
    /// The first record that is this output of this logical input, by group.
    outputs: BTreeMap<(u32, u16, Output), u32>,
}

impl Lineage {
    /// A processor made a record. Its input was made before.
    pub(crate) fn on_emitted(
        &mut self,
        context: &Context<'_>,
        event: &Event,
        (record, input): (RecordId, RecordId),
        output: Output,
    ) {
        let role = context.history.actors.get(usize::from(event.actor.0)).map(|a| &a.role);
        let group = match role {
            Some(ActorRole::Consumer(group)) => group.0,
            _ => u16::MAX,
        };
        let [record, input] =
            [record, input].map(|r| context.index.record(r).expect("the index has every record"));
        if self.roots.is_empty() {
            self.roots.resize(context.index.records_len, NONE);
        }
        let made = (self.of(input), group, output);
        self.roots[record as usize] = *self.outputs.entry(made).or_insert(record);
    }

    /// The logical record: the row of the first record with the same identity.
    pub(crate) fn of(&self, record: u32) -> u32 {
        match self.roots.get(record as usize) {
            Some(root) if *root != NONE => *root,
            _ => record,
        }
    }
}
