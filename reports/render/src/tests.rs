//! Golden reports of hand-made runs and campaigns, read as a person would read them.

use oncesim_semantics::{
    Anomaly, AnomalyClass, Claim, Guarantee, Holds, Level, Ordering, Severity, Verdict, Violates,
    Witness, WitnessCount,
};
use oncesim_types::{ActorId, Duration, Instant, Offset, RecordId, TopicId, TopicPartition};

use crate::*;
use trace::recording;

mod explained;
mod machines;
mod pages;
mod trace;
mod viewers;

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

fn lost_write() -> Anomaly {
    Anomaly {
        class: &LOST_WRITE,
        sub_kind: "",
        severity: Severity::Legal,
        count: 2,
        witness: Witness {
            sentence: "r7 of shop was acknowledged at orders-0@7 (0.002400s) and is gone"
                .to_owned(),
            events: vec![0, 1],
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
        recording: recording(),
        judgement: Judgement::Violated,
        note: None,
        command: "oncesim run scenarios/corpus/at-least-once/acks-1.toml --seed 42".to_owned(),
        why: Some(
            "oncesim explain scenarios/corpus/at-least-once/acks-1.toml --seed 42".to_owned(),
        ),
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
        faults_declared: ["crash", "pause", "clock-jump", "deadlock"].map(str::to_owned).to_vec(),
        coverage: vec![area("transaction coordinator", 9, 15), area("group", 4, 4)],
        growth: vec![(1, 7), (4, 12), (3_205, 13)],
        seeds_since_new: 6_795,
        claims: vec![claim("log exactly-once", 10_000, 0), claim("ordering per-key", 10_000, 0)],
        silent: vec![silent("clock-jump", 0, false), silent("deadlock", 3, false)],
        unseen: Vec::new(),
        rechecked: 511,
        nondeterminism: Vec::new(),
    }
}

fn area(name: &str, reached: u64, known: u64) -> AreaView {
    let missing = (reached..known).map(|n| format!("{name} edge {n}")).collect();
    AreaView { area: name.to_owned(), reached, known, missing }
}

fn claim(claim: &str, exercised: u64, broken: u64) -> ClaimView {
    ClaimView { claim: claim.to_owned(), exercised, broken, bound_95: 0.0042 }
}

fn silent(kind: &str, planned: u64, telling: bool) -> SilentView {
    SilentView { kind: kind.to_owned(), planned, telling }
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
        settings: vec!["network.loss".to_owned()],
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
        text.push_str(&shrink_story(&view, None).join("\n"));
        text.push_str("\n\n");
    }
    let campaign = CampaignView {
        failures: vec![FailureView { shrunk: Some(shrunk()), ..failing().failures[0].clone() }],
        ..failing()
    };
    text.push_str(&campaign_text(&campaign, false));
    insta::assert_snapshot!("shrink_text", text);
    assert!(shrink_story(&shrunk(), None).iter().all(|line| line.len() <= 98));
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
        missing: Vec::new(),
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
        nondeterminism: vec![NondeterminismView {
            seed: 64,
            digests: ["11aa", "22bb"].map(str::to_owned),
            event: Some(132),
            sides: ["0.100000s shop: sends shop #3", "0.100000s shop: sends shop #4"]
                .map(str::to_owned),
            histories: Some(
                ["reports/out/a-64-first-run.jsonl", "reports/out/a-64-second-run.jsonl"]
                    .map(str::to_owned),
            ),
            command: "oncesim run scenarios/corpus/a.toml --seed 64".to_owned(),
        }],
        claims: vec![claim("log exactly-once", 9_000, 31), claim("ordering per-key", 8_000, 0)],
        interrupted: true,
        bound_95: 0.0042,
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
    let silent = CampaignView {
        silent: vec![silent("clock-jump", 0, true), silent("deadlock", 31, true)],
        unseen: vec!["committed transactions".to_owned()],
        ..campaign(Judgement::Vacuous, None)
    };
    let mut campaigns = vec![campaign(Judgement::AsClaimed, None), failing(), found, missed];
    campaigns.push(silent);
    let mut text: String = campaigns.iter().map(|c| campaign_text(c, false)).collect();
    let wall = std::time::Duration::from_secs(32);
    let summary = SummaryView {
        regressions: Vec::new(),
        campaigns,
        skipped: vec!["b.toml".to_owned()],
        missing: Vec::new(),
        wall,
    };
    text.push_str(&summary_text(&summary, false));
    insta::assert_snapshot!("campaign_text", text);
    insta::assert_snapshot!("campaign_json", campaign_json(&summary));
}

#[test]
fn what_is_no_sample_gives_no_bound() {
    let claims = vec![ClaimView { bound_95: 1.0, ..claim("log exactly-once", 40, 0) }];
    let claims = [claims, vec![ClaimView { bound_95: 1.0, ..claim("ordering", 40, 3) }]].concat();
    for (broken, words) in [
        (0, "0 violations in 40 seeds, chosen by what others had shown: no bound follows"),
        (3, "3 of 40 seeds fail, chosen by what others had shown"),
        (40, "every one of 40 seeds fails"),
    ] {
        assert_eq!(bound_in_words(broken, 40, 1.0), words);
    }
    let text = campaign_text(
        &CampaignView { claims, bound_95: 1.0, ..campaign(Judgement::AsClaimed, None) },
        false,
    );
    assert!(
        text.contains("log exactly-once held in 40; ordering was broken by 3 of 40\n"),
        "{text}"
    );
    assert!(!text.contains("at most"), "{text}");
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
    SummaryView {
        regressions: kept(),
        campaigns,
        skipped: vec!["c.toml".to_owned()],
        missing: vec!["2/4".to_owned(), "4/4".to_owned()],
        wall,
    }
}

/// A regression in each state; the last one was kept for a pitfall that is gone.
fn kept() -> Vec<RegressionView> {
    use RegressionState::{Fails, FailsOtherwise, NoLongerFails};
    let one = |name: &str, state, now: Option<&str>, judgement| RegressionView {
        file: format!("scenarios/regressions/{name}, 100%.toml"),
        id: "lost-write".to_owned(),
        now: now.map(str::to_owned),
        state,
        judgement,
        sentence: now.map_or("", |_| "r7 of shop\r\n::error::is gone").to_owned(),
    };
    vec![
        one("again", Fails, Some("lost-write"), Judgement::Violated),
        one("otherwise", FailsOtherwise, Some("not-live"), Judgement::NotLive),
        one("gone", NoLongerFails, None, Judgement::AsClaimed),
        one("pitfall", Fails, Some("lost-write"), Judgement::AsClaimed),
        one("no-pitfall", NoLongerFails, None, Judgement::Vacuous),
    ]
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
