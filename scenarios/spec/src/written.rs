//! Fault plans in a file: each fault as scenarios write it, and the settings of the plan's world.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml_edit::DocumentMut;

use crate::counterexample::without_faults;
use crate::diagnostic::Diagnostics;
use crate::fault::{FaultPlan, PlannedFault, Setting};
use crate::parse::parse;
use crate::print::fault_to_toml;
use crate::scenario::Scenario;

/// A plan as text. [`read_plans`] reads the same plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WrittenPlan {
    /// Values of the scenario that are others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Its faults: `crash = { actor = "b1", at = "2s" }`.
    pub faults: Vec<String>,
}

impl From<&FaultPlan> for WrittenPlan {
    fn from(plan: &FaultPlan) -> WrittenPlan {
        let faults = plan.faults.iter().map(fault_to_toml).collect();
        WrittenPlan { settings: plan.settings.clone(), faults }
    }
}

/// Reads plans of a scenario: whatever they name is there.
///
/// # Errors
/// What is wrong with one of them, a fragment.
pub fn read_plans(scenario: &Scenario, plans: &[WrittenPlan]) -> Result<Vec<FaultPlan>, String> {
    // A scenario is long and a fault is short: it is read once for all plans with the same settings.
    let mut worlds: BTreeMap<&[Setting], Vec<usize>> = BTreeMap::new();
    for (at, plan) in plans.iter().enumerate() {
        worlds.entry(&plan.settings).or_default().push(at);
    }
    let mut read = vec![FaultPlan::default(); plans.len()];
    for (settings, members) in worlds {
        let lines = members.iter().flat_map(|at| &plans[*at].faults);
        let mut faults = faults(scenario, settings, lines)?.into_iter();
        for at in members {
            let mine = faults.by_ref().take(plans[at].faults.len()).collect();
            read[at] = FaultPlan { faults: mine, settings: settings.to_vec() };
        }
    }
    Ok(read)
}

/// As many faults as there are lines, in one of the worlds of a scenario.
fn faults<'a>(
    scenario: &Scenario,
    settings: &[Setting],
    lines: impl Iterator<Item = &'a String>,
) -> Result<Vec<PlannedFault>, String> {
    let variant = scenario.variants.iter().find(|variant| variant.settings == settings);
    let source = match variant {
        Some(variant) => &variant.scenario.source,
        None if settings.is_empty() => &scenario.source,
        None => return Err(format!("a plan sets `{}` otherwise", settings[0].path)),
    };
    let document: DocumentMut =
        source.parse().expect("the text of a scenario that was read is TOML");
    let mut text = without_faults(document);
    let mut count = 0;
    for line in lines {
        text.extend(["[[fault]]\n", line, "\n"]);
        count += 1;
    }
    let faults = parse(&scenario.path, &text, None).map_err(|complaints| first(&complaints))?;
    let faults = faults.scenario.scripted;
    if faults.len() == count { Ok(faults) } else { Err("a line is not one fault".to_owned()) }
}

fn first(complaints: &Diagnostics) -> String {
    complaints.items().first().map_or_else(String::new, |item| item.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
title = "Values that seeds draw"
claim = { log = "at-least-once" }
cluster = { brokers = 3 }
topics.orders = { partitions = 2 }
producers.shop = { to = "orders", records = 20 }

[faults]
swarm = { kinds = ["crash"], count = 4 }
vary = { "producers.shop.instances" = [1, 2] }
"#;

    fn scenario() -> Scenario {
        parse("varied.toml", TEXT, None).unwrap_or_else(|d| panic!("{}", d.render(false))).scenario
    }

    fn plan(instances: &str, faults: &[&str]) -> WrittenPlan {
        let settings = vec![Setting {
            path: "producers.shop.instances".to_owned(),
            value: instances.to_owned(),
        }];
        WrittenPlan { settings, faults: faults.iter().map(|it| (*it).to_owned()).collect() }
    }

    #[test]
    fn plans_are_read_as_they_were_written_each_in_its_world() {
        let plans = [
            plan("2", &["crash = { actor = \"shop-1\", at = \"1.000001ms\" }"]),
            plan("1", &["pause = { actor = \"shop\", for = \"2s\", at = \"0s\" }"]),
            plan("1", &[]),
            plan(
                "2",
                &[
                    "drop = { response = \"Produce\", to = \"shop-0\", nth = 3 }",
                    "crash = { actor = \"b3\", for = \"3ns\", at = \"5s\" }",
                ],
            ),
        ];
        let read = read_plans(&scenario(), &plans).expect("they fit");
        let again: Vec<WrittenPlan> = read.iter().map(WrittenPlan::from).collect();
        assert_eq!(again, plans);
        assert_eq!(read_plans(&scenario(), &[]), Ok(Vec::new()));
    }

    #[test]
    fn a_plan_of_another_scenario_is_refused() {
        let crash = "crash = { actor = \"shop-1\", at = \"1s\" }";
        for (wrong, cause) in [
            (plan("1", &[crash]), "shop-1"),
            (plan("3", &[]), "producers.shop.instances"),
            (plan("2", &[""]), "empty"),
            (plan("2", &["crash = "]), ""),
            (plan("2", &[&format!("{crash}\n[[fault]]\n{crash}")]), "not one fault"),
        ] {
            let refused = read_plans(&scenario(), std::slice::from_ref(&wrong)).expect_err("no");
            assert!(refused.contains(cause), "{wrong:?}: {refused}");
        }
    }
}
