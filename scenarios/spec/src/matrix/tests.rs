use std::path::Path;

use oncesim_semantics::{Guarantee, Level};

use super::{MatrixSpec, read};

const SMALL: &str = r#"
title = "Small"

[columns.calm]
[columns.crash]
title = "somebody dies"
kinds = ["crash"]
count = 2
targets = ["brokers"]

[sections.b]
level = "log"
scenario = "log.toml"
rows.zero = { set = ["producers.shop.config.acks=0"] }
rows.all = { title = "acks=all" }

[sections.a]
level = "processing"
columns = ["crash"]
rows.other = { scenario = "sub/other.toml" }

[advice.loss]
says = "acks=all loses nothing"
checks.all = { guarantee = "at-least-once" }
checks.other = { guarantee = "ordering", level = "effect" }
"#;

fn small() -> MatrixSpec {
    read::definition("m.toml", SMALL, Path::new("folder")).unwrap()
}

#[test]
fn a_definition_keeps_its_order_and_inherits_from_its_sections() {
    let spec = small();
    let ids: Vec<&str> = spec.sections.iter().map(|section| section.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    let rows = &spec.sections[0].rows;
    assert_eq!((rows[0].id.as_str(), rows[0].title.as_str()), ("zero", "zero"));
    assert_eq!(rows[0].sets, [("producers.shop.config.acks".to_owned(), "0".to_owned())]);
    assert_eq!(rows[1].scenario, Path::new("folder/log.toml"));
    assert_eq!(spec.sections[1].rows[0].scenario, Path::new("folder/sub/other.toml"));
    assert_eq!(
        (&spec.sections[0].columns[..], &spec.sections[1].columns[..]),
        (&[0, 1][..], &[1][..])
    );
    assert_eq!(spec.seeds, read::SEEDS);
    let [first, second] = &spec.advice[0].checks[..] else { panic!("two checks") };
    assert_eq!((first.row, first.level), ((0, 1), Level::Log));
    assert_eq!(first.guarantee, Some(Guarantee::AtLeastOnce));
    assert_eq!(first.columns, [0, 1]);
    assert_eq!((second.row, second.level, second.guarantee), ((1, 0), Level::Effect, None));
}

#[test]
fn everything_that_is_wrong_is_said_at_its_place() {
    let text = r#"
[columns.crash]
kinds = ["crush"]
counts = 3
[sections.log]
level = "logs"
without = ["pause"]
rows.a = { set = ["nothing"] }
[sections.more]
level = "log"
rows.a = { scenario = "x.toml" }
[advice.x]
says = "x"
checks.b = {}
"#;
    let all = read::definition("m.toml", text, Path::new("")).unwrap_err().render(false);
    for what in [
        "the matrix has no `title`",
        "did you mean \"crash\"?",
        "unknown key `counts`",
        "did you mean \"log\"?",
        "there is no column `pause`",
        "[rows.a] has no `scenario`",
        "`nothing` does not say what to change",
        "two rows are `a`",
        "there is no row `b`",
        "[checks.b] has no `guarantee`",
    ] {
        assert!(all.contains(what), "{what}\n{all}");
    }
}

#[test]
fn rows_and_columns_are_chosen_by_name() {
    let mut spec = small();
    spec.select(&["b".to_owned()], &["crash".to_owned()]).unwrap();
    assert_eq!((spec.columns.len(), spec.sections.len()), (1, 1));
    assert_eq!((&spec.sections[0].columns[..], spec.sections[0].rows.len()), (&[0][..], 2));
    assert!(spec.advice.is_empty(), "half a matrix decides nothing");
    let mut spec = small();
    spec.select(&["other".to_owned()], &[]).unwrap();
    assert_eq!(spec.sections[0].id, "a");
    let mut spec = small();
    spec.select(&["other".to_owned()], &["calm".to_owned()]).unwrap();
    assert!(spec.sections.is_empty(), "it has no such column");
    let unknown = small().select(&["al".to_owned()], &[]).unwrap_err();
    assert_eq!((unknown.what, unknown.help.as_str()), ("row", "did you mean `all`?"));
    assert_eq!(small().select(&[], &["rain".to_owned()]).unwrap_err().what, "column");
}

#[test]
fn a_column_takes_away_the_faults_of_the_scenario() {
    let text = r#"
title = "T"
claim = { log = "at-least-once" }
topics.sales = { partitions = 1 }
producers.shop = { to = "sales" }
faults.swarm = { kinds = ["pause"] }
[[fault]]
crash = { actor = "b1", at = "1s" }
"#;
    let base = crate::parse("t.toml", text, None).unwrap().scenario;
    let spec = small();
    let calm = spec.columns[0].edits(&base);
    let own = |path: &str, value: &str| (path.to_owned(), value.to_owned());
    assert_eq!(calm, [own("fault", "[]"), own("faults", "{}")]);
    let crash = spec.columns[1].edits(&base);
    assert_eq!(crash[1], own("faults", r#"{swarm={kinds=["crash"],count=2,targets=["brokers"]}}"#));
    for edits in [calm, crash] {
        let scenario = crate::parse_with("t.toml", text, None, &edits).unwrap().scenario;
        assert!(scenario.scripted.is_empty());
        assert_eq!(scenario.swarm.map(|it| it.count), edits[1].1.contains("crash").then_some(2));
    }
    for column in read::standard() {
        let edits = column.edits(&base);
        let done = crate::parse_with("t.toml", text, None, &edits);
        assert!(done.is_ok(), "{}: {}", column.id, done.unwrap_err().render(false));
        let shown = format!("{edits:?}");
        assert!(!shown.contains("{topic}"), "{shown}");
    }
}

#[test]
fn what_the_repository_defines_can_be_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../matrix/guarantees.toml");
    let spec = MatrixSpec::load(&path).map_err(|all| all.render(false)).unwrap();
    assert!(spec.sections.len() > 3);
    assert!(MatrixSpec::is_definition(&std::fs::read_to_string(path).unwrap()));
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../matrix/log.toml");
    assert!(!MatrixSpec::is_definition(&std::fs::read_to_string(log).unwrap()));
}

#[test]
fn the_example_of_the_documentation_is_a_definition() {
    let page = include_str!("../../../../docs/matrix.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let spec = read::definition("docs/matrix.md", example.unwrap(), Path::new(""));
    let spec = spec.map_err(|all| all.render(false)).unwrap();
    assert_eq!((spec.columns.len(), spec.sections[0].columns.len(), spec.advice.len()), (3, 2, 1));
}
