//! Scenarios to start from.

/// Name, what it shows, text.
const TEXTS: &[(&str, &str, &str)] = &[
    (
        "at-least-once",
        "acks=all, processing before the commit: nothing is lost, some is processed twice",
        include_str!("template/at-least-once.toml"),
    ),
    (
        "exactly-once-log",
        "the idempotent producer: every record once, in order",
        include_str!("template/exactly-once-log.toml"),
    ),
    (
        "exactly-once",
        "consume, transform, produce in a transaction: every input has its output once",
        include_str!("template/exactly-once.toml"),
    ),
    (
        "sql-sink",
        "offsets in the transaction of a SQL database: every record has its effect once",
        include_str!("template/sql-sink.toml"),
    ),
    (
        "outbox",
        "a service with a transactional outbox, a relay, and an inbox: every order has its effect once",
        include_str!("template/outbox.toml"),
    ),
    (
        "at-most-once",
        "no acknowledgement, commit before processing: nothing twice, some is lost",
        include_str!("template/at-most-once.toml"),
    ),
    (
        "consumer-group",
        "several members share the partitions of a topic through crashes and rebalances",
        include_str!("template/consumer-group.toml"),
    ),
];

/// Names of the templates, each with what it shows.
pub const TEMPLATES: &[(&str, &str)] = &{
    let mut names = [("", ""); TEXTS.len()];
    let mut i = 0;
    while i < TEXTS.len() {
        names[i] = (TEXTS[i].0, TEXTS[i].1);
        i += 1;
    }
    names
};

/// A commented scenario called `name`, from one of [`TEMPLATES`]; `None` if there is no such
/// template.
#[must_use]
pub fn template(name: &str, template: &str) -> Option<String> {
    let (_, _, text) = TEXTS.iter().find(|(known, _, _)| *known == template)?;
    let words = name.replace(['-', '_'], " ");
    let mut letters = words.trim().chars();
    let title: String =
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let title = if title.is_empty() { "A pipeline".to_owned() } else { title };
    Some(text.replace("\"TITLE\"", &crate::print::quote(&title)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_scenario_without_warnings() {
        for (known, _) in TEMPLATES {
            let text = template("my \"first\"-pipeline", known).unwrap();
            let loaded = crate::parse(known, &text, None)
                .unwrap_or_else(|errors| panic!("{}", errors.render(false)));
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
            assert_eq!(loaded.scenario.title, "My \"first\" pipeline");
            assert!(text.matches("# ").count() >= 3, "{known} explains itself");
        }
        assert_eq!(template("x", "nothing"), None);
    }
}
