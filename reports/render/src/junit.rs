//! A campaign as JUnit XML: one test case per scenario, and one per regression.

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::campaign::missing_in_words;
use crate::model::{CampaignView, Judgement, RegressionView, SummaryView};
use crate::problem::{Problem, of_regression, problems, stem};

/// All campaigns of one command. `time` is wall time; a case that is not as claimed has a failure
/// (a bug of oncesim: an error) with the story of each distinct failure and how to replay it.
#[must_use]
pub fn junit_xml(summary: &SummaryView) -> String {
    let mut suite = TestSuite::new("oncesim fuzz");
    suite.set_time(summary.wall);
    for campaign in &summary.campaigns {
        suite.add_test_case(case(campaign));
    }
    for path in &summary.skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message("not run: the campaign was ended, or another shard runs it");
        suite.add_test_case(named(path, status));
    }
    if let Some(missing) = missing_in_words(summary) {
        suite.add_test_cases(summary.missing.iter().map(|shard| absent(shard, &missing)));
    }
    let mut report = Report::new("oncesim");
    report.set_time(summary.wall);
    if !summary.regressions.is_empty() {
        let mut replayed = TestSuite::new("oncesim regressions");
        replayed.add_test_cases(summary.regressions.iter().map(regression));
        report.add_test_suite(replayed);
    }
    report.add_test_suite(suite);
    let text = report.to_string().expect("a report holds valid XML text only");
    // The two characters that the library lets through and XML 1.0 forbids.
    let mut text = text.replace(['\u{fffe}', '\u{ffff}'], "");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A case as its readers group it: the folders are its class, the file is its name.
fn named(path: &str, status: TestCaseStatus) -> TestCase {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folders: Vec<&str> =
        folder.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let class = if folders.is_empty() { "oncesim".to_owned() } else { folders.join(".") };
    let mut case = TestCase::new(stem(path), status);
    case.set_classname(class);
    case.extra.insert("file".into(), path.into());
    case
}

/// A shard whose results are missing: a failure, since nothing is proved without them.
fn absent(shard: &str, missing: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(missing);
    status.set_type(Judgement::Vacuous.name());
    let mut case = TestCase::new(format!("shard {shard}"), status);
    case.set_classname("oncesim");
    case
}

fn regression(regression: &RegressionView) -> TestCase {
    let problems: Vec<Problem> = of_regression(regression).into_iter().collect();
    let mut case = named(&regression.file, status(&problems));
    for (name, value) in [
        ("recorded", regression.id.as_str()),
        ("state", regression.state.name()),
        ("outcome", regression.judgement.name()),
    ] {
        case.add_property(Property::new(name, value));
    }
    case
}

fn case(campaign: &CampaignView) -> TestCase {
    let mut case = named(&campaign.scenario, status(&problems(campaign)));
    case.set_time(campaign.wall);
    for (name, value) in [
        ("title", campaign.title.clone()),
        ("outcome", campaign.judgement.name().to_owned()),
        ("seeds", campaign.seeds.to_string()),
        ("first-seed", campaign.range.0.to_string()),
        ("last-seed", campaign.range.1.to_string()),
        ("bound-95", format!("{:.6}", campaign.bound_95)),
        ("virtual-ms", campaign.virtual_time.as_millis().to_string()),
        ("interrupted", campaign.interrupted.to_string()),
    ] {
        case.add_property(Property::new(name, value));
    }
    case
}

fn status(problems: &[Problem]) -> TestCaseStatus {
    let Some(worst) = problems.iter().max_by_key(|problem| problem.judgement) else {
        return TestCaseStatus::success();
    };
    let kind = match worst.judgement {
        Judgement::Bug => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let ids: Vec<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
    status.set_message(format!("{}: {}", ids.join(", "), worst.story[1]));
    status.set_type(worst.judgement.name());
    let told: Vec<String> = problems
        .iter()
        .map(|problem| {
            let lines = problem.story.iter().chain(&problem.replay);
            lines.map(String::as_str).collect::<Vec<_>>().join("\n")
        })
        .collect();
    status.set_description(told.join("\n\n"));
    status
}
