//! Anchors: a fault that strikes at a moment strikes after a message instead.
//!
//! A moment means something in one run only: a slower link, one more client, another version, and it
//! lies between other steps. "200 us after b1 has the 3rd Produce request of shop" goes with what
//! the failure needs. A fault whose moment cannot be tied to a message keeps it.

use std::sync::Arc;

use oncesim_kafka::message::ApiKey;
use oncesim_spec::{MessageApi, Scenario, Trigger};
use oncesim_types::{Duration, Instant};

use super::Shrinker;
use super::numbers::names;
use crate::address::Addresses;
use crate::outcome::RunOptions;
use crate::run::run;
use crate::sighting::{Moment, Sighting};

/// So many messages before the moment are tried.
const TRIED: usize = 4;

impl Shrinker<'_> {
    /// Ties the faults that strike at a moment to messages. Whether any was.
    pub(super) fn anchor(&mut self) -> bool {
        let mut anchored = false;
        for fault in 0..self.current.0.scripted.len() {
            let Trigger::At(at) = self.current.0.scripted[fault].trigger else { continue };
            if self.ended.is_some() {
                break;
            }
            let candidates = candidates(&self.current.0, self.trial.seed, fault, at);
            self.runs += 1;
            anchored |= self.take_first(&candidates).is_some();
        }
        anchored
    }
}

/// The scenario with the fault after a message before its moment: what says most first.
fn candidates(
    scenario: &Arc<Scenario>,
    seed: u64,
    fault: usize,
    at: Instant,
) -> Vec<Arc<Scenario>> {
    let options = RunOptions { seed, keep_trace: true, ..RunOptions::default() };
    let outcome = run(scenario, &options);
    let addresses = Addresses::new(scenario).of(&outcome.sightings);
    let named: Vec<String> =
        names(&mut scenario.scripted[fault].clone()).into_iter().map(|name| name.clone()).collect();
    // A role is whoever has it: nobody's name.
    let concerns = |sighting: &Sighting| {
        [sighting.from, sighting.to].iter().any(|actor| {
            let name = outcome.actor_names.get(usize::from(actor.0));
            name.is_some_and(|name| named.contains(name))
        })
    };
    let before = outcome.sightings.partition_point(|sighting| sighting.time < at);
    let mut known: Vec<(bool, bool, usize)> = (0..before)
        .filter(|index| addresses[*index].is_some())
        .map(|index| {
            let sighting = &outcome.sightings[index];
            (is_work(sighting), concerns(sighting), index)
        })
        .collect();
    known.sort_unstable();
    let mut out = Vec::new();
    for (.., index) in known.into_iter().rev().take(TRIED) {
        let sighting = &outcome.sightings[index];
        let (pattern, nth) = addresses[index].clone().expect("it was asked for");
        let exact = at.since(sighting.time);
        for delay in [Duration::ZERO, exact] {
            let pattern = pattern.clone();
            let trigger = match sighting.moment {
                Moment::Sent => Trigger::Sent { pattern, nth, delay },
                Moment::Delivered => Trigger::Delivered { pattern, nth, delay },
            };
            let mut tied = Scenario::clone(scenario);
            tied.scripted[fault].trigger = trigger;
            out.push(Arc::new(tied));
        }
    }
    out
}

/// Whether a message is there because of the workload, not because time passes.
fn is_work(sighting: &Sighting) -> bool {
    match sighting.api {
        MessageApi::System(_) => true,
        MessageApi::Kafka(api) => matches!(
            api,
            ApiKey::Produce
                | ApiKey::OffsetCommit
                | ApiKey::TxnOffsetCommit
                | ApiKey::InitProducerId
                | ApiKey::AddPartitionsToTxn
                | ApiKey::AddOffsetsToTxn
                | ApiKey::EndTxn
                | ApiKey::WriteTxnMarkers
                | ApiKey::JoinGroup
                | ApiKey::SyncGroup
        ),
    }
}
