//! Logical addresses: "the 3rd Produce response from b1 to shop", as triggers count messages.

use std::collections::HashMap;

use oncesim_spec::{MessagePattern, Scenario};
use oncesim_types::ActorId;

use crate::cast::{Part, cast, is_instance};
use crate::sighting::{Moment, Sighting};

/// Who takes part, as far as addresses go.
pub(crate) struct Addresses {
    ends: Vec<End>,
}

struct End {
    /// The first actor of its process.
    process: usize,
    /// How faults name that process, if they do.
    name: Option<String>,
    /// What it sends counts for triggers that name one of these.
    meant_by: Vec<usize>,
}

impl Addresses {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let cast = cast(scenario, &[]);
        let process = |index: usize| process_of(cast[index].part).unwrap_or(index);
        let ends = (0..cast.len()).map(|index| {
            let first = &cast[process(index)];
            let means = |other: &usize| {
                let reference = &cast[*other].name;
                is_instance(&cast[index].name, reference) || is_instance(&first.name, reference)
            };
            let named = first.part.class().is_some() || matches!(first.part, Part::Controller);
            End {
                process: process(index),
                name: named.then(|| first.name.clone()),
                meant_by: (0..cast.len()).filter(means).collect(),
            }
        });
        Addresses { ends: ends.collect() }
    }

    /// The address of each sighting of a run; `None` for a message of nobody whom faults name.
    pub(crate) fn of(&self, sightings: &[Sighting]) -> Vec<Option<(MessagePattern, u32)>> {
        let mut counts = HashMap::new();
        sightings.iter().map(|sighting| self.address(&mut counts, sighting)).collect()
    }

    /// The first actor of an actor's process.
    pub(crate) fn process(&self, actor: ActorId) -> usize {
        self.end(actor).process
    }

    /// Whether faults can name the process of an actor.
    pub(crate) fn is_named(&self, actor: ActorId) -> bool {
        self.end(actor).name.is_some()
    }

    fn end(&self, actor: ActorId) -> &End {
        &self.ends[usize::from(actor.0)]
    }

    fn address(
        &self,
        counts: &mut HashMap<(Moment, &'static str, bool, usize, usize), u32>,
        sighting: &Sighting,
    ) -> Option<(MessagePattern, u32)> {
        let Sighting { moment, from, to, api, response, .. } = *sighting;
        let (from, to) = (self.end(from), self.end(to));
        for &sender in &from.meant_by {
            for &receiver in &to.meant_by {
                *counts.entry((moment, api.name(), response, sender, receiver)).or_default() += 1;
            }
        }
        let nth = counts.get(&(moment, api.name(), response, from.process, to.process)).copied()?;
        let pattern = MessagePattern {
            response: Some(response),
            api: Some(api),
            from: Some(from.name.clone()?),
            to: Some(to.name.clone()?),
        };
        Some((pattern, nth))
    }
}

fn process_of(part: Part<'_>) -> Option<usize> {
    match part {
        Part::ProcessorProducer(_, process, _)
        | Part::ProcessorRestore(_, process)
        | Part::RelayRestore(_, process) => Some(usize::from(process.0)),
        _ => None,
    }
}
