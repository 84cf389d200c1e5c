//! Every placement of a fault, and what is said of it.

use crate::shell::Folder;

const SMALL: &str = "scenarios/corpus/small/an-idempotent-producer.toml";

#[test]
fn all_placements_of_a_small_world_prove_its_claim() {
    let folder = Folder::new();
    let done = folder.oncesim(&["explore", SMALL, "--jobs", "2"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    for part in ["as claimed  ", "No run of this world with up to 1 fault of these kinds breaks"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let json = |jobs| {
        let args = ["explore", SMALL, "--format", "json", "--jobs", jobs];
        let mut json = folder.oncesim(&args).json();
        json["wall_ms"] = 0.into();
        json
    };
    let one = json("1");
    assert_eq!(one, json("3"), "the same at any number of jobs");
    let depth = &one["depths"][0];
    assert_eq!(depth["placements"], depth["covered"]);
    assert_eq!(one["complete"], true);
}

#[test]
fn a_placement_that_breaks_the_claim_is_a_file_to_replay() {
    let folder = Folder::new();
    let plant = ["--set", "mutation.plant=psm.no-dup-cache", "--kinds", "ack-loss"];
    let done = folder.oncesim(&[&["explore", SMALL, "--faults", "3"][..], &plant].concat());
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    for part in [
        "1 fault is enough: 1 of 14 runs breaks the claim; more than 1 were not tried.",
        "lose the 1st Produce response from b1 to shop, and its connection",
    ] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let command = done.out.lines().find_map(|line| line.trim().strip_prefix("oncesim replay "));
    let replayed = folder.oncesim(&["replay", command.expect("it is printed")]);
    assert_eq!(replayed.code, 1, "{}", replayed.out);
    assert!(replayed.out.contains("this is the same run"), "{}", replayed.out);
}

/// No message goes by when a database starts: the fault strikes at a moment, exact to a nanosecond.
#[test]
fn a_placement_after_a_silent_step_is_a_file_to_replay() {
    let folder = Folder::new();
    let doubles = "scenarios/corpus/external/a-plain-insert-doubles-on-redelivery.toml";
    let few = ["--set", "producers.shop.records=10", "--kinds", "unknown-commit"];
    let done = folder.oncesim(&[&["explore", doubles][..], &few].concat());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let first = "let ledger lose the replies of its commits for 10s at 0.000007s";
    assert!(done.out.contains(first), "{}", done.out);
    let command = done.out.lines().find_map(|line| line.trim().strip_prefix("oncesim replay "));
    let path = command.expect("it is printed");
    let file = std::fs::read_to_string(folder.path(path)).expect("it is written");
    assert!(file.contains(r#"at = "7.001us""#), "{file}");
    let replayed = folder.oncesim(&["replay", path]);
    assert!(replayed.out.contains("this is the same run"), "{}", replayed.out);
}

#[test]
fn what_is_not_complete_claims_nothing() {
    let folder = Folder::new();
    let large = ["explore", "scenarios/corpus/exactly-once/orders-to-invoices.toml"];
    let refused = folder.oncesim(&[&large[..], &["--faults", "2"]].concat());
    assert_eq!(refused.code, 2, "{}", refused.out);
    for part in ["placements in this world", "--budget 5m"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    let part = folder.oncesim(&[&large[..], &["--budget", "300ms"]].concat());
    assert_eq!(part.code, 5, "{}{}", part.out, part.err);
    for line in ["unfinished  ", "Nothing is proved: 300 ms of wall time were used up"] {
        assert!(part.out.contains(line), "{line}: {}", part.out);
    }
    assert!(!part.out.contains("No run of this world"), "{}", part.out);
}

#[test]
fn kinds_that_are_not_there_are_named() {
    let folder = Folder::new();
    let done = folder.oncesim(&["explore", SMALL, "--kinds", "crash,crsh"]);
    assert_eq!(done.code, 2, "{}", done.out);
    assert!(done.err.contains("there is no kind of fault `crsh`"), "{}", done.err);
    assert!(done.err.contains("clog, request-loss"), "{}", done.err);
    assert!(done.out.is_empty(), "{}", done.out);
}

#[test]
fn slow_links_and_wrong_clocks_are_placed() {
    let folder = Folder::new();
    let done = folder.oncesim(&["explore", SMALL, "--kinds", "clock-skew,clog,clock-jump"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    for part in ["No run of this world with up to 1 fault", "kinds: clog, clock-jump, clock-skew"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
}
