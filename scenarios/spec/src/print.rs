//! Plans as text: what this prints, the parser reads as the same plan.

use std::fmt::Write as _;

use crate::fault::{
    Coordinated, DiskFault, FaultAction, MessagePattern, PlannedFault, SystemTrouble, Trigger,
};
use crate::parse::API_ANY;
use crate::unit::{print_duration, print_signed};

/// One fault as scenarios write it, without its header: `crash = { actor = "b1", at = "2s" }`.
#[must_use]
pub fn fault_to_toml(fault: &PlannedFault) -> String {
    let mut fields = Fields::default();
    let kind = action(&fault.action, &mut fields);
    trigger(&fault.trigger, &mut fields);
    format!("{kind} = {}", fields.table())
}

/// Faults as `[[fault]]` tables.
pub(crate) fn faults(faults: &[PlannedFault]) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        let _ = write!(text, "\n[[fault]]\n{}\n", fault_to_toml(fault));
        text
    })
}

pub(crate) fn quote(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// The fields of an inline table.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn raw(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.push(format!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, quote(value));
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
        self.raw(key, format!("[{}]", quoted.join(", ")));
    }

    fn duration(&mut self, key: &str, value: oncesim_types::Duration) {
        self.text(key, &print_duration(value));
    }

    fn table(&self) -> String {
        format!("{{ {} }}", self.0.join(", "))
    }
}

fn action(action: &FaultAction, fields: &mut Fields) -> &'static str {
    match action {
        FaultAction::Drop => "drop",
        FaultAction::Delay(by) => {
            fields.duration("by", *by);
            "delay"
        }
        FaultAction::Duplicate(by) => {
            fields.duration("by", *by);
            "duplicate"
        }
        FaultAction::Crash { actor, power, down } => {
            fields.text("actor", actor);
            if let Some(down) = down {
                fields.duration("for", *down);
            }
            if *power { "power-failure" } else { "crash" }
        }
        FaultAction::Pause { actor, application_only, duration } => {
            fields.text("actor", actor);
            fields.duration("for", *duration);
            if *application_only { "application-pause" } else { "pause" }
        }
        FaultAction::Partition { from, to, one_way, duration } => {
            fields.texts("from", from);
            if !to.is_empty() {
                fields.texts("to", to);
            }
            if *one_way {
                fields.raw("one-way", true);
            }
            fields.duration("for", *duration);
            "partition"
        }
        FaultAction::Clog { from, to, extra, duration } => {
            fields.text("from", from);
            fields.text("to", to);
            fields.duration("by", *extra);
            fields.duration("for", *duration);
            "clog"
        }
        FaultAction::LeaderChange { partition, to } => {
            fields.text("partition", partition);
            if let Some(to) = to {
                fields.text("to", to);
            }
            "leader-change"
        }
        FaultAction::UncleanElection { partition } => {
            fields.text("partition", partition);
            "unclean-election"
        }
        FaultAction::CoordinatorMove { of } => {
            match of {
                Coordinated::Group(group) => fields.text("group", group),
                Coordinated::Transaction(id) => fields.text("transaction", id),
            }
            "coordinator-move"
        }
        FaultAction::Rebalance { actor } => {
            fields.text("actor", actor);
            "rebalance"
        }
        FaultAction::ControllerFailover { duration } => {
            fields.duration("for", *duration);
            "controller-failover"
        }
        FaultAction::ClockJump { actor, by_ns } => {
            fields.text("actor", actor);
            fields.text("by", &print_signed(*by_ns));
            "clock-jump"
        }
        FaultAction::ClockSkew { actor, ppm, duration } => {
            fields.text("actor", actor);
            fields.raw("ppm", ppm);
            fields.duration("for", *duration);
            "clock-skew"
        }
        FaultAction::System { actor, trouble, duration } => {
            fields.text("actor", actor);
            fields.duration("for", *duration);
            self::trouble(*trouble, fields)
        }
        FaultAction::Disk { actor, fault, duration } => {
            fields.text("actor", actor);
            fields.duration("for", *duration);
            disk(*fault)
        }
    }
}

fn disk(fault: DiskFault) -> &'static str {
    match fault {
        DiskFault::Full => "disk-full",
        DiskFault::LostFlush => "lost-flush",
    }
}

fn trouble(trouble: SystemTrouble, fields: &mut Fields) -> &'static str {
    match trouble {
        SystemTrouble::Errors => "sink-errors",
        SystemTrouble::Deadlocks => "deadlock",
        SystemTrouble::Slow(extra) => {
            fields.duration("extra", extra);
            "slow-sink"
        }
        SystemTrouble::UnknownCommits => "unknown-commit",
    }
}

fn trigger(trigger: &Trigger, fields: &mut Fields) {
    match trigger {
        Trigger::At(at) => fields.duration("at", oncesim_types::Duration::from_nanos(at.0)),
        Trigger::Sent { pattern, nth, delay } => after("sent", pattern, *nth, *delay, fields),
        Trigger::Delivered { pattern, nth, delay } => {
            after("delivered", pattern, *nth, *delay, fields);
        }
        Trigger::OnMessage { pattern, nth } => {
            let (key, api) = message(pattern);
            fields.text(key, api);
            ends(pattern, *nth, fields);
        }
    }
}

fn after(
    key: &str,
    pattern: &MessagePattern,
    nth: u32,
    delay: oncesim_types::Duration,
    outer: &mut Fields,
) {
    let mut fields = Fields::default();
    match message(pattern) {
        ("request", api) => fields.text(key, api),
        (kind, api) => fields.raw(key, format!("{{ {kind} = {} }}", quote(api))),
    }
    ends(pattern, nth, &mut fields);
    if delay > oncesim_types::Duration::ZERO {
        fields.duration("delay", delay);
    }
    outer.raw("after", fields.table());
}

fn message(pattern: &MessagePattern) -> (&'static str, &'static str) {
    let key = match pattern.response {
        Some(false) => "request",
        Some(true) => "response",
        None => "message",
    };
    (key, pattern.api.map_or(API_ANY, crate::fault::MessageApi::name))
}

fn ends(pattern: &MessagePattern, nth: u32, fields: &mut Fields) {
    if let Some(from) = &pattern.from {
        fields.text("from", from);
    }
    if let Some(to) = &pattern.to {
        fields.text("to", to);
    }
    fields.raw("nth", nth);
}
