//! A plan under other settings: what it does there, and what is not there.

use std::borrow::Cow;

use oncesim_spec::{Coordinated, FaultAction, FaultPlan, PlannedFault, Scenario, Setting, Trigger};

use crate::cast::cast;

/// The plan in the world of a scenario with these settings, without the faults that name what is not
/// there. The first `scripted` faults are the scenario's: they are in every world.
pub(super) fn settled<'a>(
    plan: &'a FaultPlan,
    scripted: usize,
    world: &Scenario,
    settings: &[Setting],
) -> Cow<'a, FaultPlan> {
    if plan.settings == settings {
        return Cow::Borrowed(plan);
    }
    let places = Places::of(world);
    let here = |(at, fault): (usize, &PlannedFault)| at < scripted || places.has(fault);
    let faults = plan.faults.iter().enumerate().filter(|it| here(*it));
    let faults = faults.map(|(_, fault)| fault.clone()).collect();
    Cow::Owned(FaultPlan { faults, settings: settings.to_vec() })
}

/// Whom and what a drawn fault can hit, by name or by role.
struct Places<'a> {
    actors: Vec<String>,
    world: &'a Scenario,
}

impl Places<'_> {
    fn of(world: &Scenario) -> Places<'_> {
        let actors = cast(world, &[]).into_iter().map(|member| member.name).collect();
        Places { actors, world }
    }

    fn actor(&self, name: &String) -> bool {
        let led = name.strip_prefix("leader of ");
        let group = name.strip_prefix("coordinator of ");
        let id = name.strip_prefix("transaction coordinator of ");
        self.actors.contains(name)
            || led.is_some_and(|partition| self.partition(partition))
            || group.is_some_and(|group| self.world.groups.iter().any(|it| it == group))
            || id.is_some_and(|id| self.world.transactional_ids.iter().any(|it| it == id))
    }

    fn partition(&self, name: &str) -> bool {
        self.world.topics.iter().any(|topic| {
            let number = name.strip_prefix(&topic.name).and_then(|rest| rest.strip_prefix('-'));
            let number = number.and_then(|number| number.parse::<u64>().ok());
            number.is_some_and(|number| number < u64::from(topic.config.partitions))
        })
    }

    fn has(&self, fault: &PlannedFault) -> bool {
        let message = match &fault.trigger {
            Trigger::At(_) => true,
            Trigger::Sent { pattern, .. }
            | Trigger::Delivered { pattern, .. }
            | Trigger::OnMessage { pattern, .. } => {
                pattern.from.iter().chain(&pattern.to).all(|name| self.actor(name))
            }
        };
        let actors = fault.action.actors().into_iter().all(|name| self.actor(name));
        message && actors && self.has_subject(&fault.action)
    }

    /// Whether the partition, the group or the transactional id of a fault is there.
    fn has_subject(&self, action: &FaultAction) -> bool {
        match action {
            FaultAction::LeaderChange { partition, .. }
            | FaultAction::UncleanElection { partition } => self.partition(partition),
            FaultAction::CoordinatorMove { of: Coordinated::Group(name) } => {
                self.world.groups.contains(name)
            }
            FaultAction::CoordinatorMove { of: Coordinated::Transaction(id) } => {
                self.world.transactional_ids.contains(id)
            }
            _ => true,
        }
    }
}
