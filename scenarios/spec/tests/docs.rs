//! Every example of the language reference is a scenario, and none of them is doubtful.

#[test]
fn every_example_of_the_reference_is_read_without_warnings() {
    let text = include_str!("../../../docs/scenarios.md");
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("split gives one part"))
        .collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for (number, example) in (1..).zip(examples) {
        let name = format!("example {number}");
        let loaded = oncesim_spec::parse(&name, example, None)
            .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    }
}

/// The reference names every kind of fault, every property of an application and every word.
#[test]
fn the_reference_is_complete() {
    let text = include_str!("../../../docs/scenarios.md");
    let schema = oncesim_spec::schema();
    let keys = |path: &[&str]| -> Vec<String> {
        let at = path.iter().fold(&schema, |at, key| &at[*key]);
        at["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let mut words = keys(&[]);
    words.extend(keys(&["properties", "fault", "items"]));
    words.extend(keys(&["properties", "faults", "properties", "swarm"]));
    words.extend(keys(&["properties", "limits"]));
    words.extend(keys(&["properties", "network"]));
    for side in ["producers", "consumers", "processors", "topics", "databases", "sinks"]
        .into_iter()
        .chain(["services", "relays"])
    {
        words.extend(keys(&["properties", side, "additionalProperties"]));
    }
    let producer = ["properties", "producers", "additionalProperties"];
    words.extend(keys(&[&producer[..], &["properties", "transactions"]].concat()));
    words.extend(oncesim_spec::FaultKind::ALL.iter().map(|kind| kind.name().to_owned()));
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "docs/scenarios.md does not speak of {missing:?}");
}
