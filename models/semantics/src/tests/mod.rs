//! Small histories, and what they prove.

mod effect_exhaustive;
mod effect_rows;
mod effects;
mod exhaustive;
mod gates;
mod imported;
mod log;
mod metamorphic;
mod noise;
mod outbox_rows;
mod processing;
mod prop;
mod replication_rows;
mod rows;
mod transactions;

use oncesim_history::History;
use oncesim_types::{TopicId, TopicPartition};

use crate::{Anomaly, Guarantee, Holds, Level, Verdict};

/// Partition `n` of the first topic.
const fn orders(n: u16) -> TopicPartition {
    TopicPartition::new(TopicId(0), n)
}

/// The anomaly with this id.
#[track_caller]
fn found<'v>(verdict: &'v Verdict, id: &str) -> &'v Anomaly {
    verdict.anomalies.iter().find(|a| a.id() == id).unwrap_or_else(|| {
        panic!("{id} is found; only {:?} are", ids(verdict));
    })
}

/// The ids of everything that was found.
fn ids(verdict: &Verdict) -> Vec<&'static str> {
    verdict.anomalies.iter().map(Anomaly::id).collect()
}

/// The guarantees of a level as a word of three letters: held, violated or unknown.
fn cells(verdict: &Verdict, level: Level) -> String {
    Guarantee::ALL
        .iter()
        .map(|guarantee| match verdict.guarantees.get(level, *guarantee) {
            Holds::Holds => 'h',
            Holds::Violated => 'v',
            Holds::Unknown => 'u',
        })
        .collect()
}

fn check(history: &History) -> Verdict {
    let verdict = crate::check(history);
    for anomaly in &verdict.anomalies {
        let witness = &anomaly.witness;
        assert!(!witness.sentence.is_empty(), "{}", anomaly.id());
        assert!(witness.events.is_sorted(), "{}", anomaly.id());
        assert!(witness.events.iter().all(|e| (*e as usize) < history.events.len()));
    }
    verdict
}
