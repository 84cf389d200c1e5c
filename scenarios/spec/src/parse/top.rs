//! The document: title, claim or expectation, limits, and the order in which sections are read.

use std::path::Path;
use std::sync::Arc;

use oncesim_kafka::mutation::{Mutation, Mutations};
use oncesim_semantics::{Claim, Guarantee, Ordering};

use super::vary::Varied;
use super::{application, cluster, fault};
use crate::anomaly;
use crate::counterexample::{Replay, same_language};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, nearest};
use crate::id;
use crate::names::Names;
use crate::node::{Table, Value};
use crate::property::Inlined;
use crate::scenario::{Expectation, Limits, Scenario};
use crate::section::{Section, wrong_type};

const GUARANTEES: &[(&str, Guarantee)] = &[
    ("at-most-once", Guarantee::AtMostOnce),
    ("at-least-once", Guarantee::AtLeastOnce),
    ("exactly-once", Guarantee::ExactlyOnce),
];

const ORDERINGS: &[(&str, Ordering)] =
    &[("per-partition", Ordering::PerPartition), ("per-key", Ordering::PerKey)];

/// What a document says.
pub(super) struct Document {
    pub(super) scenario: Scenario,
    pub(super) replay: Option<Replay>,
    pub(super) inlined: Vec<Inlined>,
    /// Which values each seed draws.
    pub(super) vary: Vec<Varied>,
}

/// Everything in a document; `None` only after an error has been reported.
pub(super) fn document(
    path: &str,
    root: &Table,
    base_dir: Option<&Path>,
    out: &mut Diagnostics,
) -> Option<Document> {
    let top_place = Place::default();
    let mut top = Section::new(root, "the scenario", top_place);
    let replay = replay(&mut top, out);
    let title = top.required_text("title", "\"What this pipeline promises\"", out);
    let (claim, expect) = promise(&mut top, out);
    let mut names = Names::default();
    let mut inlined = Vec::new();
    let mut read = application::Reading { base_dir, inlined: &mut inlined };
    let cluster = cluster::cluster(&mut top, &mut names, &mut read, out);
    let mut topics = cluster::topics(&mut top, &cluster, &mut names, out);
    let drafts = application::drafts(&mut top, &mut names, &mut read, out);
    cluster::offsets_topic(&mut topics, &cluster, &names, out);
    cluster::transaction_topic(&mut topics, &cluster, &names, out);
    if claim.is_some() {
        drafts.doubts(out);
    }
    let applications = application::build(drafts, &cluster.config, &names, &mut read, out);
    application::doubts(&applications, claim.as_ref(), &names, out);
    let network = cluster::network(&mut top, &names, out);
    let fault::Drawn { swarm, walk, vary } = fault::faults(&mut top, &names, out);
    let scripted = fault::scripted(&mut top, &names, out);
    let limits = limits(&mut top, out);
    let mutations = mutation(&mut top, out);
    top.finish(out);
    let scenario = Scenario {
        path: path.to_owned(),
        title: title?.0.to_owned(),
        claim,
        expect,
        brokers: names.brokers,
        broker_config: cluster.config,
        topics,
        producers: applications.producers,
        consumers: applications.consumers,
        processors: applications.processors,
        systems: applications.external.systems,
        sinks: applications.external.sinks,
        services: applications.external.services,
        relays: applications.external.relays,
        transactional_ids: names.transactional_ids,
        groups: names.groups,
        network,
        swarm,
        scripted,
        walk,
        variants: Vec::new(),
        drawn_itself: true,
        limits,
        mutations,
        source: Arc::from(""),
    };
    Some(Document { scenario, replay, inlined, vary })
}

fn promise(top: &mut Section<'_>, out: &mut Diagnostics) -> (Option<Claim>, Option<Expectation>) {
    let (claim, expect) = (top.get("claim"), top.get("expect"));
    match (claim, expect) {
        (None, None) => out.push(
            Diagnostic::error(id::NO_CLAIM, "the scenario states neither a claim nor a pitfall")
                .at(top.place)
                .help(
                    "add `[claim]` with `log = \"at-least-once\"` (or at-most-once, exactly-once)",
                )
                .help("or `[expect]` with `anomaly = \"lost-write\"`"),
        ),
        (Some(claim), Some(expect)) => out.push(
            Diagnostic::error(id::CONFLICT, "a scenario has a claim or an expectation, not both")
                .at(expect.key_place)
                .also(claim.key_place, "claimed here")
                .help("split it into two files, one sentence each"),
        ),
        _ => {}
    }
    let claim = claim.and_then(|entry| {
        let section = Section::of(entry, "[claim]", out)?;
        Some(read_claim(section, entry.key_place, out))
    });
    let expect = expect.and_then(|entry| {
        let section = Section::of(entry, "[expect]", out)?;
        read_expect(section, out)
    });
    (claim, expect)
}

fn read_claim(mut section: Section<'_>, place: Place, out: &mut Diagnostics) -> Claim {
    let before = out.len();
    section.get("log");
    let claim = Claim {
        log: section.word("log", GUARANTEES, out),
        processing: section.word("processing", GUARANTEES, out),
        effect: section.word("effect", GUARANTEES, out),
        ordering: section.word("ordering", ORDERINGS, out),
    };
    section.finish(out);
    if claim == Claim::default() && out.len() == before {
        out.push(
            Diagnostic::error(id::NO_CLAIM, "an empty claim promises nothing")
                .at(place)
                .help("add `log = \"at-least-once\"` (or at-most-once, exactly-once)"),
        );
    }
    claim
}

fn read_expect(mut section: Section<'_>, out: &mut Diagnostics) -> Option<Expectation> {
    let anomaly = section.required_text("anomaly", "\"lost-write\"", out);
    let within = section.integer("within", (1, 10_000_000), out).unwrap_or(500);
    section.finish(out);
    let (anomaly, place) = anomaly?;
    if !anomaly::known(anomaly) {
        let item =
            Diagnostic::error(id::UNKNOWN_ANOMALY, format!("no checker reports `{anomaly}`"))
                .at(place);
        out.push(match nearest(anomaly, anomaly::ids()) {
            Some(near) => item.help(format!("did you mean \"{near}\"?")),
            None => item.help("`oncesim anomalies` lists them"),
        });
    }
    Some(Expectation { anomaly: anomaly.to_owned(), within: within.unsigned_abs() })
}

fn limits(top: &mut Section<'_>, out: &mut Diagnostics) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = top.get("limits").and_then(|e| Section::of(e, "[limits]", out)) else {
        return limits;
    };
    if let Some(events) = section.integer("events", (1, i64::MAX), out) {
        limits.events = events.unsigned_abs();
    }
    limits.liveness = section.duration("liveness", out).unwrap_or(limits.liveness);
    limits.duration = section.duration("duration", out).unwrap_or(limits.duration);
    section.finish(out);
    limits
}

fn mutation(top: &mut Section<'_>, out: &mut Diagnostics) -> Mutations {
    let Some(mut section) = top.get("mutation").and_then(|e| Section::of(e, "[mutation]", out))
    else {
        return Mutations::NONE;
    };
    let plant = section.required_text("plant", "\"repl.truncate-to-hw\"", out);
    section.finish(out);
    let Some((plant, place)) = plant else { return Mutations::NONE };
    if let Some(mutation) = Mutation::ALL.iter().find(|mutation| mutation.id() == plant) {
        return Mutations::only(*mutation);
    }
    let item =
        Diagnostic::error(id::UNKNOWN_MUTATION, format!("there is no planted bug `{plant}`"))
            .at(place);
    let ids = Mutation::ALL.iter().map(|mutation| mutation.id());
    out.push(match nearest(plant, ids.clone()) {
        Some(near) => item.help(format!("did you mean \"{near}\"?")),
        None => item.help(format!("one of: {}", ids.collect::<Vec<_>>().join(", "))),
    });
    Mutations::NONE
}

fn replay(top: &mut Section<'_>, out: &mut Diagnostics) -> Option<Replay> {
    let entry = top.get("replay")?;
    let mut section = Section::of(entry, "[replay]", out)?;
    let version = section.required_text("version", "\"0.1.0\"", out);
    let seed = seed(&mut section, out);
    let mut word = |key| section.text(key, out).map(|(text, _)| text.to_owned());
    let (digest, scenario, fingerprint) = (word("digest"), word("scenario"), word("fingerprint"));
    section.finish(out);
    let (version, place) = version?;
    if !same_language(version) {
        let ours = env!("CARGO_PKG_VERSION");
        out.push(
            Diagnostic::error(
                id::OTHER_VERSION,
                format!("this counterexample was written by oncesim {version}, this is {ours}"),
            )
            .at(place)
            .help("its seed and plan mean another run here: replay it with that version")
            .help("or delete `[replay]` to keep its faults as a scenario"),
        );
    }
    Some(Replay {
        version: version.to_owned(),
        seed: seed?,
        digest: digest.unwrap_or_default(),
        scenario: scenario.unwrap_or_default(),
        fingerprint: fingerprint.unwrap_or_default(),
    })
}

/// TOML integers end at 2^63: larger seeds are strings.
fn seed(section: &mut Section<'_>, out: &mut Diagnostics) -> Option<u64> {
    let Some(entry) = section.get("seed") else {
        section.missing("seed", "42", out);
        return None;
    };
    match &entry.node.value {
        Value::Integer(Ok(n)) if *n >= 0 => Some(n.unsigned_abs()),
        Value::Integer(_) => {
            out.push(
                Diagnostic::error(id::OUT_OF_RANGE, "a seed is from 0 to 18446744073709551615")
                    .at(entry.node.place)
                    .help("write a seed above 9223372036854775807 as a string"),
            );
            None
        }
        Value::String(text) if text.parse::<u64>().is_ok() => text.parse().ok(),
        _ => {
            wrong_type(&entry.node, "seed", "an integer", out);
            None
        }
    }
}
