//! Golden reports of hand-made runs and campaigns, read as a person would read them.

use oncesim_semantics::{
    Anomaly, AnomalyClass, Claim, Guarantee, Holds, Level, Ordering, Severity, Verdict, Violates,
    Witness, WitnessCount,
};
use oncesim_types::{ActorId, Duration, Instant, Offset, RecordId, TopicId, TopicPartition};

use crate::*;

static LOST_WRITE: AnomalyClass = AnomalyClass {
    id: "lost-write",
    level: Level::Log,
    violates: Violates {
        at_most_once: false,
        at_least_once: true,
        ordering: false,
        isolation: false,
        atomicity: false,
        integrity: false,
        liveness: false,
    },
    jepsen: Some("lost-write"),
    meaning: "A record was acknowledged and is not in the log that consumers read.",
    causes: "acks=1 and a leader that dies before its followers have fetched; an unclean election; \
             power failure of every replica before a flush.",
    fixes: "acks=all with min.insync.replicas=2 and three replicas; no unclean election.",
    example: "shop sends r7, b1 acknowledges, b1 dies, b2 leads without r7.",
};

fn trace() -> Vec<TraceView> {
    let line = |us: u64, actor: &str, peer: &str, event: Option<u32>, text: &str| TraceView {
        time: Instant(us * 1_000),
        actor: actor.to_owned(),
        peer: (!peer.is_empty()).then(|| peer.to_owned()),
        event,
        text: text.to_owned(),
    };
    let mut lines = vec![
        line(1_000, "shop", "b1", None, "Produce orders-0, 1 record"),
        line(1_900, "b1", "", Some(3), "append orders-0 at 7"),
        line(2_000, "b1", "shop", None, "Produce: no error, base offset 7"),
        line(2_400, "shop", "", Some(4), "send r7 acknowledged at orders-0@7"),
    ];
    lines.extend((0..20).map(|i| line(3_000 + i, "消費者", "b3", None, "Fetch")));
    lines.push(line(5_000, "b1", "", Some(9), "crashed"));
    lines.push(line(9_000_500, "b2", "", Some(12), "leads orders-0 in epoch 1, log end 7"));
    lines
}

fn lost_write() -> Anomaly {
    Anomaly {
        class: &LOST_WRITE,
        sub_kind: "",
        severity: Severity::Legal,
        count: 2,
        witness: Witness {
            sentence: "r7 of shop was acknowledged at orders-0@7 (0.002400s) and is gone"
                .to_owned(),
            events: vec![4, 12],
            record: Some(RecordId::new(ActorId(4), 7)),
            partition: Some(TopicPartition::new(TopicId(0), 0)),
            offsets: vec![Offset(7)],
            actors: vec![ActorId(1), ActorId(2)],
            time: Instant(9_000_500_000),
        },
    }
}

fn run() -> RunView {
    let mut verdict = Verdict::default();
    verdict.guarantees.set(Level::Log, Guarantee::AtMostOnce, Holds::Holds);
    verdict.guarantees.set(Level::Log, Guarantee::AtLeastOnce, Holds::Violated);
    verdict.guarantees.set(Level::Log, Guarantee::ExactlyOnce, Holds::Violated);
    verdict.guarantees.set(Level::Processing, Guarantee::AtLeastOnce, Holds::Holds);
    verdict.guarantees.ordering = Holds::Holds;
    verdict.anomalies.push(lost_write());
    verdict.witnesses = vec![
        WitnessCount { what: "acknowledged sends", count: 1_200 },
        WitnessCount { what: "rebalances", count: 0 },
    ];
    verdict.excused = 1;
    RunView {
        scenario: "scenarios/corpus/at-least-once/acks-1.toml".to_owned(),
        title: "acks=1 loses when the leader dies".to_owned(),
        claim: Some(Claim {
            log: Some(Guarantee::AtLeastOnce),
            processing: None,
            effect: None,
            ordering: Some(Ordering::PerPartition),
        }),
        expect: None,
        seed: 42,
        digest: "00112233445566778899aabbccddeeff".to_owned(),
        end: End::Settled,
        virtual_time: Duration::from_millis(12_345),
        wall: std::time::Duration::from_millis(18),
        events: 12_345,
        messages: 4_321,
        verdict,
        faults: vec![
            FaultView {
                description: "b1 crashes for 3s".to_owned(),
                kind: "crash".to_owned(),
                struck: Some(Instant(5_000_000)),
                scripted: false,
            },
            FaultView {
                description: "the 3rd Produce response to shop is lost".to_owned(),
                kind: "ack-loss".to_owned(),
                struck: None,
                scripted: true,
            },
        ],
        world: vec!["3 brokers, latency 200us to 40ms".to_owned()],
        trace: trace(),
        judgement: Judgement::Violated,
        note: None,
        command: "oncesim run scenarios/corpus/at-least-once/acks-1.toml --seed 42".to_owned(),
    }
}

fn campaign(judgement: Judgement, expect: Option<(String, u64)>) -> CampaignView {
    CampaignView {
        scenario: "scenarios/corpus/a.toml".to_owned(),
        title: "A".to_owned(),
        expect,
        seeds: 10_000,
        range: (0, 9_999),
        interrupted: false,
        wall: std::time::Duration::from_secs(8),
        virtual_time: Duration::from_secs(400_000),
        messages: 1_000_000,
        failures: Vec::new(),
        nondeterministic: Vec::new(),
        faults_struck: vec![("crash".to_owned(), 12_000), ("pause".to_owned(), 7)],
        witnesses: Vec::new(),
        vacuous: 0,
        judgement,
        bound_95: 0.000_299_5,
        faults_declared: Vec::new(),
        coverage: Vec::new(),
        growth: Vec::new(),
        seeds_since_new: 0,
    }
}

fn shrunk() -> ShrinkView {
    let size = |what: &str, before, after| (what.to_owned(), before, after);
    ShrinkView {
        id: "lost-write".to_owned(),
        judgement: Judgement::Violated,
        sentence:
            "shop #3 was acknowledged at 0.100000s for orders-0 offset 3, and the drain that \
                   began at 60.000000s did not find it"
                .to_owned(),
        scenario: "scenarios/corpus/a.toml".to_owned(),
        seed: 42,
        sizes: vec![
            size("faults", 14, 2),
            size("records", 1_500, 12),
            size("keys", 7, 7),
            size("brokers", 5, 3),
        ],
        removed: vec![("clog".to_owned(), 5), ("pause".to_owned(), 7)],
        runs: 117,
        wall: std::time::Duration::from_millis(812),
        ended: None,
    }
}

#[test]
fn a_shrink_says_what_went_and_what_it_took() {
    let ended = ShrinkView { ended: Some("400 runs were used up".to_owned()), ..shrunk() };
    let mut sizes = shrunk().sizes;
    sizes[0] = ("faults".to_owned(), 1, 1);
    let alone = ShrinkView { sizes, removed: Vec::new(), ..shrunk() };
    let mut text = String::new();
    for view in [shrunk(), ended, alone] {
        text.push_str(&shrink_text(&view, "reports/out/a-shrunk.toml", false));
        text.push_str(&shrink_story(&view).join("\n"));
        text.push_str("\n\n");
    }
    let campaign = CampaignView {
        failures: vec![FailureView { shrunk: Some(shrunk()), ..failing().failures[0].clone() }],
        ..failing()
    };
    text.push_str(&campaign_text(&campaign, false));
    insta::assert_snapshot!("shrink_text", text);
    assert!(shrink_story(&shrunk()).iter().all(|line| line.len() <= 98));
}

#[test]
fn regressions_say_what_they_do_today() {
    let one = |state, now: Option<&str>, judgement| RegressionView {
        file: "scenarios/regressions/a-lost-write-0.toml".to_owned(),
        id: "lost-write".to_owned(),
        now: now.map(str::to_owned),
        state,
        judgement,
        sentence: now.map_or("", |_| "r7 of shop is gone").to_owned(),
    };
    let regressions = vec![
        one(RegressionState::Fails, Some("lost-write"), Judgement::Violated),
        one(RegressionState::FailsOtherwise, Some("not-live"), Judgement::NotLive),
        one(RegressionState::NoLongerFails, None, Judgement::AsClaimed),
    ];
    assert_eq!(regressions_text(&[], false), "");
    insta::assert_snapshot!("regressions_text", regressions_text(&regressions, false));
    let failures = vec![FailureView { shrunk: Some(shrunk()), ..failing().failures[0].clone() }];
    let summary = SummaryView {
        regressions,
        campaigns: vec![CampaignView { failures, ..failing() }],
        skipped: Vec::new(),
        wall: std::time::Duration::ZERO,
    };
    assert_eq!(summary.worst(), Some(Judgement::Violated));
    insta::assert_snapshot!("regressions_json", campaign_json(&summary));
}

fn failing() -> CampaignView {
    CampaignView {
        failures: vec![FailureView {
            id: "lost-write".to_owned(),
            judgement: Judgement::Violated,
            seeds: (0..10).map(|i| i * 17).collect(),
            count: 31,
            sentence: "seed 0: r7 of shop is gone".to_owned(),
            counterexample: Some("reports/out/a-lost-write-0.toml".to_owned()),
            shrunk: None,
            found_after: (1, std::time::Duration::ZERO),
        }],
        nondeterministic: vec![64],
        interrupted: true,
        bound_95: 0.0042,
        faults_declared: Vec::new(),
        coverage: Vec::new(),
        growth: Vec::new(),
        seeds_since_new: 0,
        ..campaign(Judgement::Violated, None)
    }
}

#[test]
fn a_run_reads_from_world_to_command() {
    insta::assert_snapshot!("run_text", run_text(&run(), false));
}

#[test]
fn a_run_is_one_document() {
    insta::assert_snapshot!("run_json", run_json(&run()));
}

#[test]
fn colour_changes_no_word() {
    let styled = run_text(&run(), true);
    let plain = run_text(&run(), false);
    assert_ne!(styled, plain);
    assert_eq!(without_escapes(&styled), plain);
    for campaign in [failing(), campaign(Judgement::AsClaimed, None)] {
        let styled = campaign_text(&campaign, true);
        assert_eq!(without_escapes(&styled), campaign_text(&campaign, false));
    }
}

fn without_escapes(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    out
}

#[test]
fn campaigns_say_what_they_are_worth() {
    let found = CampaignView {
        seeds: 12,
        range: (0, 11),
        failures: vec![FailureView {
            judgement: Judgement::AsClaimed,
            count: 1,
            seeds: vec![11],
            ..failing().failures[0].clone()
        }],
        ..campaign(Judgement::AsClaimed, Some(("lost-write".to_owned(), 500)))
    };
    let missed = campaign(Judgement::Vacuous, Some(("dup-retry".to_owned(), 10_000)));
    let campaigns = vec![campaign(Judgement::AsClaimed, None), failing(), found, missed];
    let mut text: String = campaigns.iter().map(|c| campaign_text(c, false)).collect();
    let wall = std::time::Duration::from_secs(32);
    let summary = SummaryView {
        regressions: Vec::new(),
        campaigns,
        skipped: vec!["b.toml".to_owned()],
        wall,
    };
    text.push_str(&summary_text(&summary, false));
    insta::assert_snapshot!("campaign_text", text);
    insta::assert_snapshot!("campaign_json", campaign_json(&summary));
}

/// A campaign of each kind, with everything that a format has to escape.
fn awkward() -> SummaryView {
    let hostile = CampaignView {
        scenario: "scenarios/50% <odd>, name|s.toml".to_owned(),
        title: "A: *hostile* `title`, <b>100%</b> #1".to_owned(),
        failures: vec![FailureView {
            id: "panic: index ```\u{1b}[31m out".to_owned(),
            judgement: Judgement::Bug,
            seeds: vec![3],
            count: 1,
            sentence: "thread 'x' panicked:\r\n::error::]]> & \u{0}<nul>".to_owned(),
            counterexample: Some("out/odd-panic-3.toml".to_owned()),
            shrunk: None,
            found_after: (1, std::time::Duration::ZERO),
        }],
        ..campaign(Judgement::Bug, None)
    };
    let stuck = CampaignView {
        scenario: "b.toml".to_owned(),
        failures: vec![FailureView {
            id: "not-live".to_owned(),
            judgement: Judgement::NotLive,
            counterexample: None,
            shrunk: None,
            found_after: (1, std::time::Duration::ZERO),
            ..failing().failures[0].clone()
        }],
        ..campaign(Judgement::NotLive, None)
    };
    let missed = campaign(Judgement::Vacuous, Some(("dup-retry".to_owned(), 10_000)));
    let found = CampaignView {
        failures: vec![FailureView {
            judgement: Judgement::AsClaimed,
            ..failing().failures[0].clone()
        }],
        ..campaign(Judgement::AsClaimed, Some(("lost-write".to_owned(), 500)))
    };
    let campaigns =
        vec![campaign(Judgement::AsClaimed, None), failing(), hostile, stuck, missed, found];
    let wall = std::time::Duration::from_millis(32_125);
    SummaryView { regressions: Vec::new(), campaigns, skipped: vec!["c.toml".to_owned()], wall }
}

#[test]
fn every_format_for_machines_tells_the_same_story() {
    let summary = awkward();
    insta::assert_snapshot!("junit_xml", junit_xml(&summary));
    insta::assert_snapshot!("github_annotations", github_annotations(&summary));
    insta::assert_snapshot!("github_summary", github_summary(&summary));
    insta::assert_snapshot!("sarif_json", sarif_json(&summary, "0.1.0"));
}

#[test]
fn formats_for_machines_stay_well_formed() {
    let summary = awkward();
    let xml = junit_xml(&summary);
    let legal = |c: char| c == '\n' || c == '\t' || c >= ' ';
    assert!(xml.chars().all(legal), "no character that XML 1.0 forbids");
    assert_eq!(xml.matches("<testcase ").count(), 7);
    let annotations = github_annotations(&summary);
    assert_eq!(annotations.lines().count(), 4, "one line per failing scenario: {annotations}");
    assert!(annotations.lines().all(|line| line.starts_with("::error file=")));
    let sarif: serde_json::Value =
        serde_json::from_str(&sarif_json(&summary, "0.1.0")).expect("it is JSON");
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), 5);
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    }
    let nothing = SummaryView {
        regressions: Vec::new(),
        campaigns: Vec::new(),
        skipped: Vec::new(),
        wall: summary.wall,
    };
    assert!(github_annotations(&nothing).is_empty());
    assert!(sarif_json(&nothing, "0.1.0").contains("\"results\": []"));
    assert!(junit_xml(&nothing).contains("tests=\"0\""));
}

#[test]
fn a_judgement_without_an_anomaly_still_says_why() {
    let mut view = run();
    view.verdict = Verdict::default();
    view.judgement = Judgement::Vacuous;
    assert!(failure_line(&view).contains("declares never struck"));
    view.faults.clear();
    assert!(failure_line(&view).contains("nothing was delivered"));
    view.judgement = Judgement::Bug;
    view.end = End::Panicked("the invariant".to_owned());
    assert_eq!(failure_line(&view), "a bug of oncesim: the invariant");
    view.end = End::Settled;
    view.judgement = Judgement::AsClaimed;
    view.expect = Some(("lost-write".to_owned(), 10));
    assert!(failure_line(&view).contains("does not show lost-write"));
    view.verdict.anomalies.push(lost_write());
    assert_eq!(failure_line(&view), "as expected: this seed shows lost-write");
}

#[test]
fn an_excerpt_shows_every_witness_and_respects_its_limit() {
    let trace = trace();
    let all = excerpt(&trace, &[3, 4, 9, 12], 2, 14);
    for (i, line) in trace.iter().enumerate() {
        assert!(line.event.is_none() || all.contains(&i), "witness line {i} is missing");
    }
    for limit in 1..6 {
        assert!(excerpt(&trace, &[3, 4, 9, 12], 5, limit).len() <= limit);
    }
    assert!(excerpt(&trace, &[], 2, 14).is_empty());
}

#[test]
fn wide_names_stay_aligned() {
    let text = trace_text(&trace(), &[0, 4, 25], &[], "", false);
    let columns: Vec<usize> = text
        .lines()
        .filter(|line| !line.contains("..."))
        .map(|line| {
            use unicode_width::UnicodeWidthStr;
            let at = line.find("Produce").or(line.find("Fetch")).or(line.find("leads"));
            line[..at.expect("every line has its text")].width()
        })
        .collect();
    assert_eq!(columns.len(), 3);
    assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
}

#[test]
fn tables_align_and_count() {
    let mutant = |id: &str, found: Option<u64>, problem: Option<&str>| MutantView {
        id: id.to_owned(),
        imitates: "KIP-101: a follower truncates to its own high watermark".to_owned(),
        scenario: "scenarios/mutants/a.toml".to_owned(),
        anomaly: "lost-write".to_owned(),
        found,
        seeds: 18,
        hits: 40,
        others: vec!["log-divergence".to_owned()],
        problem: problem.map(str::to_owned),
        clean_seeds: 18,
    };
    let mutants = [
        mutant("repl.truncate-to-hw", Some(17), None),
        mutant("psm.x", None, None),
        mutant("gc.y", Some(3), Some("the clean model at seed 3: lost-write as well")),
    ];
    insta::assert_snapshot!("mutants_text", mutants_text(&mutants, false));
    insta::assert_snapshot!("mutants_json", mutants_json(&mutants));
    let lines = [
        BenchLine {
            what: "protocol messages, one core".to_owned(),
            measured: "1,200,000 messages/s (wall)".to_owned(),
            target: "1,000,000 messages/s".to_owned(),
            met: Some(true),
        },
        BenchLine {
            what: "second core".to_owned(),
            measured: "1.70 times one core".to_owned(),
            target: "1.9 times".to_owned(),
            met: Some(false),
        },
    ];
    insta::assert_snapshot!("bench_text", bench_text(&lines, false));
    let rows = [
        ListRow {
            path: "a.toml".to_owned(),
            title: "A".to_owned(),
            promise: "claims log exactly-once".to_owned(),
            valid: true,
        },
        ListRow {
            path: "longer.toml".to_owned(),
            title: String::new(),
            promise: "cannot run".to_owned(),
            valid: false,
        },
    ];
    insta::assert_snapshot!("list_text", list_text(&rows, false));
    insta::assert_snapshot!("anomaly_text", anomaly_text(&LOST_WRITE, false));
    insta::assert_snapshot!("anomalies_text", anomalies_text(&[&LOST_WRITE], false));
    insta::assert_snapshot!("anomalies_json", anomalies_json(&[&LOST_WRITE]));
}

#[test]
fn numbers_read_well() {
    for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(n), text);
    }
    for (share, text) in [
        (0.000_299_5, "0.030 %"),
        (0.000_3, "0.030 %"),
        (0.003, "0.30 %"),
        (0.0469, "4.7 %"),
        (0.5, "50.0 %"),
        (1.0, "100 %"),
    ] {
        assert_eq!(percent(share), text);
    }
    for (s, text) in [
        (0.000_02, "20 us"),
        (0.25, "250 ms"),
        (1.5, "1.50 s"),
        (600.0, "10.0 min"),
        (10_000.0, "2.8 h"),
        (1e6, "11.6 days"),
    ] {
        assert_eq!(seconds(s), text);
    }
}

#[test]
fn events_stand_where_they_happened() {
    use oncesim_history::{ActorInfo, ActorRole, Event, EventKind, History, WorldEvent};
    let event = |us: u64, kind: WorldEvent| Event {
        time: Instant(us * 1_000),
        actor: ActorId(0),
        incarnation: 0,
        kind: EventKind::World(kind),
    };
    let history = History {
        actors: vec![ActorInfo {
            name: "b1".to_owned(),
            role: ActorRole::Broker,
            read_committed: false,
        }],
        events: vec![
            event(1, WorldEvent::Started),
            event(2, WorldEvent::Paused),
            event(3, WorldEvent::Resumed),
            event(9, WorldEvent::Crashed { power: true }),
        ],
        ..History::default()
    };
    let line = |us: u64, event: Option<u32>| TraceView {
        time: Instant(us * 1_000),
        actor: "b1".to_owned(),
        peer: None,
        event,
        text: "line".to_owned(),
    };
    let trace = vec![line(1, Some(0)), line(2, None), line(4, Some(2)), line(5, Some(2))];
    let merged = with_events(trace, &history, &[3, 1, 1]);
    let told: Vec<(u64, &str)> =
        merged.iter().map(|line| (line.time.0 / 1_000, line.text.as_str())).collect();
    let expected = [
        (1, "line"),
        (2, "line"),
        (2, "stands still"),
        (4, "line"),
        (5, "line"),
        (9, "dies in a power failure"),
    ];
    assert_eq!(told, expected);
    let marked: Vec<Option<u32>> = merged.iter().map(|line| line.event).collect();
    assert_eq!(marked, [None, None, Some(1), None, None, Some(3)]);
}

/// A small run with every symbol.
fn lanes() -> Vec<TraceView> {
    let line = |us: u64, actor: &str, peer: &str, event: Option<u32>, text: &str| TraceView {
        time: Instant(us * 1_000),
        actor: actor.to_owned(),
        peer: (!peer.is_empty()).then(|| peer.to_owned()),
        event,
        text: text.to_owned(),
    };
    vec![
        line(0, "b1", "", None, "starts"),
        line(900, "shop", "", Some(2), "sends shop #0"),
        line(1_000, "shop", "b1", None, "Produce p0 1 records seq 0"),
        line(1_000, "b1", "", None, "appends 0..0 at orders-0 (epoch 0)"),
        line(1_900, "controller", "", None, "FAULT: pause b1 for 5s"),
        line(2_000, "b1", "", None, "is paused"),
        line(2_100, "b1", "shop", None, "Produce answered: p0 at 0  (lost with its connection)"),
        line(2_200, "b2", "b1", None, "ReplicaFetch"),
        line(5_000_000, "b1", "", None, "crashes"),
        line(5_000_100, "消費者", "b2", None, "Fetch"),
        line(5_000_200, "消費者", "", Some(9), "poll returns orders-0@0 (shop #0)"),
    ]
}

#[test]
fn a_trace_has_a_column_per_actor_and_a_legend() {
    let trace = lanes();
    let lens = Lens::default();
    let mut text = lanes_text(&trace, &lens, false);
    for (title, lens) in [
        ("48 columns", Lens { width: Some(48), ..lens.clone() }),
        ("one actor", Lens { actors: vec!["shop".to_owned()], ..lens.clone() }),
        ("one record", Lens { events_only: true, ..lens.clone() }),
        ("an event", Lens { around: Some(Around::Event(9)), ..lens.clone() }),
        ("a time", Lens { around: Some(Around::Time(Instant(2_050_000))), ..lens.clone() }),
        ("nobody", Lens { actors: vec!["nobody".to_owned()], ..lens.clone() }),
    ] {
        text.push_str(&format!("\n-- {title}\n{}", lanes_text(&trace, &lens, false)));
    }
    insta::assert_snapshot!("lanes_text", text);
    let styled = lanes_text(&trace, &lens, true);
    assert_eq!(without_escapes(&styled), lanes_text(&trace, &lens, false));
}

#[test]
fn a_moment_shows_some_lines_around_it_and_no_more() {
    let mut trace = Vec::new();
    for i in 0..200 {
        trace.push(TraceView { time: Instant(i), ..lanes()[3].clone() });
    }
    for (time, lines) in [(0, 21), (100, 41), (199, 21), (10_000, 20)] {
        let around = Some(Around::Time(Instant(time)));
        let text = lanes_text(&trace, &Lens { around, ..Lens::default() }, false);
        assert_eq!(text.matches("appends").count(), lines, "{time}");
    }
    for count in [1, 30, 80] {
        let actor = |i: usize| format!("a-long-name-of-an-actor-{i}");
        let trace: Vec<TraceView> =
            (0..count).map(|i| TraceView { actor: actor(i), ..lanes()[3].clone() }).collect();
        let text = lanes_text(&trace, &Lens { width: Some(10), ..Lens::default() }, false);
        assert_eq!(text.matches("appends").count(), count, "some of the text is always shown");
    }
}
