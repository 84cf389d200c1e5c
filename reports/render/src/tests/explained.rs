//! Explanations: the report, its table of futures, the comment of a counterexample.

use super::*;
use crate::explain::turns;

fn link(at: u64, actor: &str, text: &str, (witness, fault): (bool, bool)) -> LinkView {
    LinkView {
        time: Instant(at),
        actor: actor.to_owned(),
        peer: None,
        event: Some(0),
        step: 0,
        text: text.to_owned(),
        witness,
        fault,
        left_out: (2, 1),
    }
}

fn point(at: u64, after: bool, without: u64, kept: u64) -> CurveView {
    CurveView {
        at: Instant(at),
        after,
        event: "b1: appends orders-0@7 (r7)".to_owned(),
        link: usize::from(at > 2_100_000),
        without: (without, 32),
        kept: (kept, 32),
    }
}

pub(super) fn explanation() -> ExplanationView {
    let fault = "crash b1 for 2s".to_owned();
    let at = Instant(2_500_000);
    ExplanationView {
        scenario: "scenarios/corpus/a.toml".to_owned(),
        title: "A".to_owned(),
        seed: 42,
        id: "dup-retry+lost-write".to_owned(),
        anomaly: "lost-write".to_owned(),
        judgement: Judgement::Violated,
        story: vec![
            vec!["What is stored should stay stored.".to_owned(), "Here r7 is gone.".to_owned()],
            vec!["b1 died before anybody had a copy of it.".to_owned()],
        ],
        chain: vec![
            link(2_000_000, "b1", "appends orders-0@7 (r7)", (true, false)),
            link(2_500_000, "fault", &fault, (false, true)),
        ],
        faults: vec![NecessityView {
            description: fault.clone(),
            struck: Some(at),
            known: true,
            necessary: true,
            for_this_one: false,
            either: false,
            without: "Without it nothing goes wrong.".to_owned(),
        }],
        without_any: None,
        unavoidable: Some(UnavoidableView {
            at,
            event: format!("fault: {fault}"),
            link: 1,
            before: (0, 32),
            after: (32, 32),
        }),
        sealed: None,
        moment: Some("From then on nothing that was still open could have saved it.".to_owned()),
        curve: vec![
            point(2_000_000, false, 0, 9),
            point(2_000_000, true, 0, 32),
            point(2_100_000, false, 0, 32),
            point(2_200_000, false, 0, 32),
            point(2_500_000, true, 32, 32),
            point(2_900_000, false, 32, 32),
        ],
        changes: vec![ChangeView {
            what: "acks=all for shop".to_owned(),
            because: "The leader then waits.".to_owned(),
            set: vec!["producers.shop.config.acks=all".to_owned()],
            failed: 0,
            seeds: 32,
            failed_before: 31,
            same_faults: None,
            instead: vec!["dup-retry".to_owned()],
            note: Some("an acknowledgement then waits".to_owned()),
        }],
        changes_over: "1 change tried, over 32 seeds:".to_owned(),
        runs: 700,
        wall: std::time::Duration::from_millis(650),
        ended: None,
        commands: vec![("oncesim replay a.toml".to_owned(), "the same run again".to_owned())],
    }
}

#[test]
fn an_explanation_reads_from_its_story_to_its_commands() {
    insta::assert_snapshot!("explain_text", explain_text(&explanation(), false));
    insta::assert_snapshot!("explain_json", explain_json(&explanation()));
}

#[test]
fn a_curve_keeps_its_ends_and_what_turns() {
    let curve = explanation().curve;
    let at = |points| turns(points).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(at(&curve), [0, 1, 3, 4, 5]);
    assert_eq!(at(&curve[..1]), [0]);
    assert!(turns(&[]).is_empty());
    let events = |points| turns(points).into_iter().map(|(_, event)| event).collect::<Vec<_>>();
    assert_eq!(events(&curve[..2]), ["b1: appends orders-0@7 (r7)", ""], "said once");
}

#[test]
fn the_comment_of_a_counterexample_tells_its_story() {
    let told = explanation();
    let whole = shrink_story(&shrunk(), Some(&told)).join("\n");
    let early = ShrinkView { ended: Some("400 runs were used up".to_owned()), ..shrunk() };
    let early = shrink_story(&early, Some(&told)).join("\n");
    insta::assert_snapshot!("shrink_story", format!("{whole}\n\n{early}"));
}
