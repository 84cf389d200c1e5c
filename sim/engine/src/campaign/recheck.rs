//! The determinism gate: some seeds run twice, and the two runs have to be one.
//!
//! The second run has a thread of its own and comes after another seed, so that nothing which the
//! first one left behind (a cache, a thread-local, an address) is the same. Both keep their history:
//! a run that differs once may never do so again, and what it did is the only evidence there is.

use std::sync::Arc;

use oncesim_history::History;
use oncesim_spec::Scenario;
use serde::{Deserialize, Serialize};

use super::One;
use crate::draw::{Draws, Purpose};
use crate::outcome::{Outcome, RunEnd, RunOptions};

/// Two runs of one seed that are not the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Nondeterminism {
    /// The seed.
    pub seed: u64,
    /// The digest of each run.
    pub digests: [String; 2],
    /// The first event in which their histories differ, by its number; `None`: they agree, and only
    /// messages or steps differ.
    pub event: Option<u64>,
    /// What each run has there.
    pub sides: [String; 2],
    /// The files in which the two histories were kept.
    pub files: Option<[String; 2]>,
    /// The histories of the two runs.
    #[serde(skip)]
    pub histories: Option<Box<[History; 2]>>,
}

impl PartialEq for Nondeterminism {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.seed, it.digests.clone(), it.event, it.sides.clone());
        key(self) == key(other)
    }
}

/// Whether a seed is among those that run twice: always the first of a campaign, and `percent` of
/// the others. A function of the seed alone, so that shards choose the same as the whole.
pub(super) fn is_due(seed: u64, first: u64, percent: u8) -> bool {
    let draw = || Draws::new(seed, Purpose::Recheck, 0, 0).below_inclusive(99);
    percent > 0 && (seed == first || draw() < u64::from(percent))
}

/// Runs `first` again, on a thread of its own; tells how the two differ, if they do.
pub(super) fn again(
    scenario: &Arc<Scenario>,
    options: &RunOptions,
    first: &mut Outcome,
    one: &One<'_>,
) -> Option<Nondeterminism> {
    let second = std::thread::scope(|scope| {
        let thread = scope.spawn(|| one(scenario, options));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let kept = first.history.take();
    if second.digest == first.digest && same_end(&first.end, &second.end) {
        return None;
    }
    Some(compare(scenario, options, (first, kept), second, one))
}

/// Two bugs at the same place are the same end, even if their messages hold addresses.
fn same_end(first: &RunEnd, second: &RunEnd) -> bool {
    matches!((first, second), (RunEnd::Panicked(_), RunEnd::Panicked(_))) || first == second
}

fn compare(
    scenario: &Arc<Scenario>,
    options: &RunOptions,
    (first, kept): (&Outcome, Option<History>),
    second: Outcome,
    one: &One<'_>,
) -> Nondeterminism {
    let digests = [first.digest.to_string(), second.digest.to_string()];
    let found = |event, sides, histories| Nondeterminism {
        seed: first.seed,
        digests: digests.clone(),
        event,
        sides,
        files: None,
        histories,
    };
    let (Some(one_history), Some(other)) = (kept, second.history) else {
        return found(None, [in_words(&first.end), in_words(&second.end)], None);
    };
    let event = first_difference(&one_history, &other);
    let sides = match event {
        Some(event) => [&one_history, &other].map(|history| side(history, event)),
        None => steps(scenario, options, one),
    };
    let event = event.map(|event| event as u64);
    found(event, sides, Some(Box::new([one_history, other])))
}

fn in_words(end: &RunEnd) -> String {
    match end {
        RunEnd::Settled => "the run settles".to_owned(),
        RunEnd::NotSettled => "the run does not settle".to_owned(),
        RunEnd::BudgetExhausted => "the run uses up its budget of events".to_owned(),
        RunEnd::Panicked(message) => format!("the run panics: {message}"),
    }
}

/// The first event that is not the same in both.
fn first_difference(one: &History, other: &History) -> Option<usize> {
    let same = one.events.iter().zip(&other.events).take_while(|(a, b)| a == b).count();
    (same < one.events.len().max(other.events.len())).then_some(same)
}

/// An event as the engine knows it; whoever can tell it better has the histories.
fn side(history: &History, event: usize) -> String {
    history.events.get(event).map_or_else(
        || "the history has ended".to_owned(),
        |event| {
            let actor = history.actors.get(usize::from(event.actor.0));
            let actor = actor.map_or_else(|| event.actor.to_string(), |actor| actor.name.clone());
            format!("{} {actor}: {:?}", event.time, event.kind)
        },
    )
}

/// What clients saw is the same: two more runs may show which message differs.
fn steps(scenario: &Arc<Scenario>, options: &RunOptions, one: &One<'_>) -> [String; 2] {
    let options = RunOptions { keep_history: false, keep_trace: true, ..options.clone() };
    let [first, second] = [(); 2].map(|()| one(scenario, &options));
    if first.digest == second.digest {
        let calm = "the histories agree, and two further runs agree with each other".to_owned();
        return [calm.clone(), calm];
    }
    let lines = first.trace.lines.iter().zip(&second.trace.lines);
    let same = lines.take_while(|(a, b)| (a.time, &a.text) == (b.time, &b.text)).count();
    [first, second].map(|run| {
        let line = run.trace.lines.get(same);
        line.map_or_else(
            || "the trace has ended".to_owned(),
            |line| {
                let name = run.actor_names.get(usize::from(line.actor.0)).cloned();
                format!("{} {}: {}", line.time, name.unwrap_or_default(), line.text)
            },
        )
    })
}
