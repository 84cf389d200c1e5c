//! Exports for other viewers: Chrome traces and ShiViz logs.

use std::collections::{BTreeMap, BTreeSet};

use oncesim_history::trace::{LineKind, Step, Trace, TraceLine, Via};
use oncesim_history::{ClientKind, EventKind, History, SpanIndex, TopicInfo, WorldEvent};
use oncesim_types::{
    ActorId, CallId, GenerationId, GroupId, Instant, LeaderEpoch, Offset, ProducerEpoch,
    ProducerId, TopicId, TopicPartition, TransactionNumber, TransactionResult, TransactionState,
    TransactionalId,
};
use proptest::prelude::*;
use serde_json::Value;

use super::trace::{actors, event, line};
use crate::causality::Causality;
use crate::*;

const ORDERS: TopicPartition = TopicPartition::new(TopicId(0), 0);

fn step(us: u64, actor: u16, via: Via, cause: Option<u32>, events: u32) -> Step {
    let (time, actor) = (Instant(us * 1_000), ActorId(actor));
    Step { time, actor, incarnation: 0, via, cause, events }
}

fn history() -> History {
    let world = |us: u64, actor: u16, kind: WorldEvent| event(us, actor, EventKind::World(kind));
    let client = |us: u64, kind: ClientKind| event(us, 1, EventKind::Client(kind));
    let state = |from: TransactionState, to: TransactionState| WorldEvent::TransactionState {
        transactional_id: TransactionalId(0),
        producer_id: ProducerId(1_000),
        producer_epoch: ProducerEpoch(0),
        from,
        to,
        number: TransactionNumber(1),
        partitions: SpanIndex::default(),
        coordinator_epoch: LeaderEpoch(0),
        coordinator: ORDERS,
    };
    let generation = WorldEvent::Generation {
        group: GroupId(0),
        generation: GenerationId(1),
        assignment: SpanIndex::default(),
        cooperative: false,
        coordinator_epoch: LeaderEpoch(0),
    };
    let leads = WorldEvent::BecameLeader {
        partition: ORDERS,
        leader_epoch: LeaderEpoch(0),
        log_end: Offset(0),
    };
    let watermark = WorldEvent::HighWatermark {
        partition: ORDERS,
        high_watermark: Offset(1),
        leader: true,
        isr: 1,
        min_isr: 1,
    };
    let stable = WorldEvent::LastStableOffset { partition: ORDERS, last_stable_offset: Offset(0) };
    let ends = ClientKind::EndTransaction {
        call: CallId(1),
        number: TransactionNumber(1),
        result: TransactionResult::Commit,
    };
    use TransactionState::{Empty, Ongoing};
    History {
        actors: actors(&["shop", "shop-producer", "b1", "controller"]),
        topics: vec![TopicInfo {
            name: "orders".to_owned(),
            partitions: 1,
            internal: false,
            unclean_election: false,
        }],
        groups: vec![oncesim_history::GroupInfo {
            name: "shop".to_owned(),
            topics: vec![TopicId(0)],
            from_earliest: true,
            processor: None,
        }],
        transactional_ids: vec!["checkout".to_owned()],
        events: vec![
            world(0, 2, leads),
            world(0, 2, generation),
            client(100, ClientKind::TransactionBegin { number: TransactionNumber(1) }),
            world(1_100, 2, state(Empty, Ongoing)),
            world(1_100, 2, watermark),
            world(1_100, 2, stable),
            client(2_200, ends),
            world(9_000, 2, WorldEvent::Crashed { power: true }),
        ],
        end: Instant(20_000_000),
        ..History::default()
    }
}

/// A processor sends through its producer, the broker answers and loses power before the end.
fn recording() -> Recording {
    use LineKind::{Arrived, Crashed, Fault, Note, Started, Unheard};
    let steps = vec![
        step(0, 3, Via::Beginning, None, 0),
        step(0, 2, Via::Start, Some(0), 0),
        step(100, 0, Via::Wake, Some(0), 2),
        step(1_100, 2, Via::Message, Some(2), 3),
        step(2_200, 1, Via::Message, Some(3), 6),
        step(2_500, 2, Via::Disk, Some(3), 7),
        step(9_000, 3, Via::Fault, None, 7),
        step(9_500, 2, Via::Message, Some(4), 8),
        step(12_000, 1, Via::Timer, Some(4), 8),
    ];
    let sent = |us: u64, step: u32| Some((Instant(us * 1_000), step));
    let lines = vec![
        TraceLine { step: 1, ..line(0, 2, None, Started, "starts") },
        TraceLine {
            event: Some(2),
            step: 3,
            sent: sent(100, 2),
            ..line(1_100, 1, Some(2), Arrived, "Produce p0 1 records seq 0")
        },
        TraceLine {
            event: Some(2),
            step: 3,
            ..line(1_100, 2, None, Note, "appends 0..0 at orders-0 (epoch 0)")
        },
        TraceLine {
            event: Some(5),
            step: 4,
            sent: sent(1_100, 3),
            ..line(2_200, 2, Some(1), Arrived, "Produce answered: p0 at 0")
        },
        TraceLine {
            event: Some(6),
            step: 6,
            ..line(9_000, 3, None, Fault(0), "FAULT: b1 loses power")
        },
        TraceLine {
            event: Some(7),
            step: 6,
            ..line(9_000, 2, None, Crashed { power: true }, "loses power")
        },
        TraceLine {
            event: Some(7),
            step: 7,
            sent: sent(2_200, 4),
            ..line(
                9_500,
                1,
                Some(2),
                Unheard,
                "EndTxn checkout (epoch 0): COMMIT  (arrives at nobody)",
            )
        },
        TraceLine {
            event: Some(7),
            step: 8,
            ..line(12_000, 1, None, Note, "retries orders-0 (attempt 2) after {\"all\"}\nof it")
        },
    ];
    let processes = [0, 0, 2, 3].map(ActorId).to_vec();
    Recording { history: history(), trace: Trace { steps, lines, processes } }
}

#[test]
fn a_shiviz_log_has_a_clock_per_event() {
    insta::assert_snapshot!("shiviz", shiviz_log(&recording()));
}

#[test]
fn a_chrome_trace_has_slices_flows_and_counters() {
    insta::assert_snapshot!("perfetto", perfetto_json(&recording(), "a.toml, seed 1"));
}

#[test]
fn an_empty_run_is_a_valid_file() {
    let nothing = Recording::default();
    let trace: Value = serde_json::from_str(&perfetto_json(&nothing, "\"x\"")).expect("JSON");
    assert_eq!(trace["traceEvents"], Value::Array(Vec::new()));
    assert_eq!(shiviz_log(&nothing).lines().count(), 2, "how to read it, and nothing to read");
}

/// What the format demands of a Chrome trace.
fn check_chrome_trace(text: &str) -> Result<(), TestCaseError> {
    let trace: Value =
        serde_json::from_str(text).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let entries = trace["traceEvents"].as_array().cloned().unwrap_or_default();
    let mut flows: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    let mut slices: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    let mut threads: BTreeMap<u64, u64> = BTreeMap::new();
    let mut named: BTreeSet<u64> = BTreeSet::new();
    let mut last = 0.0;
    for entry in &entries {
        let ph = entry["ph"].as_str().unwrap_or_default();
        let ts = entry["ts"].as_f64().unwrap_or(-1.0);
        let (pid, tid) = (entry["pid"].as_u64(), entry["tid"].as_u64());
        let (Some(pid @ 1..), Some(tid @ 1..)) = (pid, tid) else {
            return Err(TestCaseError::fail(format!("pid and tid: {entry}")));
        };
        prop_assert!(entry["name"].is_string() && ts >= 0.0, "{}", entry);
        prop_assert_eq!(*threads.entry(tid).or_insert(pid), pid, "a thread has one process");
        if ph != "M" {
            prop_assert!(ts >= last, "in the order of time: {}", entry);
            last = ts;
            prop_assert!(named.contains(&tid), "a thread has a name: {}", entry);
        }
        match ph {
            "X" => {
                let dur = entry["dur"].as_f64().unwrap_or(-1.0);
                prop_assert!(dur >= 0.0, "{}", entry);
                slices.entry((pid, tid)).or_default().push((ts, ts + dur));
            }
            "i" => prop_assert!(
                ["t", "p", "g"].contains(&entry["s"].as_str().unwrap_or("")),
                "{}",
                entry
            ),
            "C" => prop_assert!(entry["args"]["offset"].is_i64(), "{}", entry),
            "s" | "f" => {
                let id = entry["id"].as_u64().unwrap_or(0);
                let around = slices.get(&(pid, tid)).and_then(|all| all.last());
                let bound = around.is_some_and(|(from, to)| *from <= ts && ts < *to);
                prop_assert!(bound, "a flow stands in a slice: {}", entry);
                flows.entry(id).or_default().push((ph.to_owned(), ts));
            }
            "M" if entry["name"] == "thread_name" => {
                named.insert(tid);
            }
            "M" => {}
            other => return Err(TestCaseError::fail(format!("phase {other}: {entry}"))),
        }
    }
    for (id, ends) in flows {
        prop_assert_eq!(ends.len(), 2, "flow {} begins and ends: {:?}", id, ends);
        prop_assert!(ends[0].0 == "s" && ends[1].0 == "f", "flow {}: {:?}", id, ends);
        prop_assert!(ends[0].1 <= ends[1].1, "flow {} goes forward: {:?}", id, ends);
    }
    for (thread, slices) in slices {
        for pair in slices.windows(2) {
            // What ends with rounding at the next begin does not overlap.
            prop_assert!(pair[0].1 <= pair[1].0 + 1e-6, "thread {:?} overlaps: {:?}", thread, pair);
        }
    }
    Ok(())
}

/// What ShiViz demands of a log: the clock of a host counts its events, and what it knows grows.
fn check_shiviz(text: &str) -> Result<usize, TestCaseError> {
    let mut known: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let lines: Vec<&str> = text.lines().collect();
    prop_assert_eq!(lines[0], r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})");
    prop_assert_eq!(lines[1], "");
    prop_assert_eq!(lines.len() % 2, 0);
    for pair in lines[2..].chunks(2) {
        let (host, clock) = pair[1].split_once(' ').unwrap_or_default();
        prop_assert!(!pair[0].is_empty() && !host.is_empty(), "{:?}", pair);
        let clock: BTreeMap<String, u64> =
            serde_json::from_str(clock).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let before = known.remove(host).unwrap_or_default();
        let own = before.get(host).copied().unwrap_or(0);
        prop_assert_eq!(clock.get(host).copied(), Some(own + 1), "{:?}", pair);
        for (other, count) in &before {
            prop_assert!(clock.get(other) >= Some(count), "{:?} knew {} of {}", pair, count, other);
        }
        for (other, count) in &clock {
            let there = if other == host { own + 1 } else { known_own(&known, other) };
            prop_assert!(*count <= there, "{:?} knows what {} has not done", pair, other);
        }
        known.insert(host.to_owned(), clock);
    }
    Ok((lines.len() - 2) / 2)
}

fn known_own(known: &BTreeMap<String, BTreeMap<String, u64>>, host: &str) -> u64 {
    known.get(host).and_then(|clock| clock.get(host)).copied().unwrap_or(0)
}

#[test]
fn both_files_are_what_their_readers_demand() {
    let recording = recording();
    check_chrome_trace(&perfetto_json(&recording, "x")).expect("a Chrome trace");
    assert_eq!(check_shiviz(&shiviz_log(&recording)).expect("a ShiViz log"), 8);
}

const ACTORS: u16 = 6;

/// Any run: steps of any actor with any earlier cause, and messages between them.
fn any_recording() -> impl Strategy<Value = Recording> {
    let via = prop_oneof![
        4 => Just(Via::Message),
        2 => Just(Via::Timer),
        1 => Just(Via::Wake),
        1 => Just(Via::Fault),
        1 => Just(Via::World),
    ];
    let step = (0..ACTORS, via, 0_u32..1_000, 0_u64..3, 0..ACTORS, 0_u8..8);
    (proptest::collection::vec(step, 1..60), proptest::bool::ANY).prop_map(|(drawn, shared)| {
        let mut steps = vec![step_at(0, 5, Via::Beginning, None)];
        let mut lines = Vec::new();
        let mut now = 0;
        for (index, (actor, via, cause, later, other, kind)) in (1..).zip(drawn) {
            now += later;
            let cause = cause % index;
            let from = steps[cause as usize].time;
            steps.push(step_at(
                now,
                actor,
                via,
                (cause > 0 || via == Via::Message).then_some(cause),
            ));
            let at = |who: u16, peer: Option<u16>, kind: LineKind| TraceLine {
                step: index,
                ..line(now, who, peer, kind, "it happens")
            };
            let sent = Some((from, cause));
            match (via, kind) {
                (Via::Message, 0) => {
                    lines.push(TraceLine { sent, ..at(other, Some(actor), LineKind::Unheard) })
                }
                (Via::Message, _) => {
                    lines.push(TraceLine { sent, ..at(other, Some(actor), LineKind::Arrived) })
                }
                (Via::Fault, 0..4) => {
                    lines.push(at(5, None, LineKind::Fault(0)));
                    lines.push(at(other, None, LineKind::Crashed { power: false }));
                }
                (_, 0..3) => lines.push(at(actor, None, LineKind::Note)),
                (_, 3) => lines.push(at(other, None, LineKind::Paused { application: false })),
                _ => {}
            }
        }
        let names = ["a", "a-producer", "b", "c d", "é", "controller"];
        let history = History { actors: actors(&names), ..History::default() };
        let processes = if shared { [0, 0, 2, 3, 4, 5].map(ActorId).to_vec() } else { Vec::new() };
        Recording { history, trace: Trace { steps, lines, processes } }
    })
}

fn step_at(us: u64, actor: u16, via: Via, cause: Option<u32>) -> Step {
    step(us, actor, via, cause, 0)
}

/// What comes before a moment, by the edges alone.
fn past(causality: &Causality<'_>, of: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![of];
    while let Some(next) = open.pop() {
        let moment = &causality.moments[next];
        let earlier = (0..next).rev().find(|&i| causality.moments[i].host == moment.host);
        for before in moment.after.iter().copied().chain(earlier) {
            if found.insert(before) {
                open.push(before);
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn clocks_say_what_happened_before(recording in any_recording()) {
        let causality = Causality::of(&recording, []);
        let told: Vec<usize> = (0..causality.moments.len())
            .filter(|&i| !causality.moments[i].told.is_empty())
            .collect();
        for &b in &told {
            let past = past(&causality, b);
            for &a in told.iter().filter(|&&a| a != b) {
                let (x, y) = (&causality.moments[a].clock, &causality.moments[b].clock);
                let less = x != y && x.iter().zip(y).all(|(x, y)| x <= y);
                prop_assert_eq!(less, past.contains(&a), "{} before {}: {:?} {:?}", a, b, x, y);
            }
        }
    }

    #[test]
    fn a_cause_comes_before_its_step(recording in any_recording()) {
        let causality = Causality::of(&recording, []);
        for (i, moment) in causality.moments.iter().enumerate() {
            for &before in &moment.after {
                prop_assert!(before < i, "the relation goes forward");
            }
            // The first moment of a step is the step's own.
            let own = causality.moments[..i].iter().all(|earlier| earlier.step != moment.step);
            let lines = recording.trace.lines.iter();
            let unheard = lines.into_iter().any(|line| {
                line.step == moment.step && line.kind == LineKind::Unheard
            });
            let step = &recording.trace.steps[moment.step as usize];
            let world = causality.hosts[moment.host].is_none();
            if let Some(cause) = step.cause.filter(|_| own && !world) {
                let mut from = moment.after.iter().map(|&at| causality.moments[at].step);
                prop_assert_eq!(from.any(|step| step == cause), !unheard, "step {}", moment.step);
            }
        }
    }

    #[test]
    fn any_run_is_a_file_that_its_reader_takes(recording in any_recording()) {
        check_chrome_trace(&perfetto_json(&recording, "any"))?;
        check_shiviz(&shiviz_log(&recording))?;
    }
}
