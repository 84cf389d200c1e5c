//! Edits of a scenario's text that `--set` cannot say: taking something out, and telling a story.

use toml_edit::{DocumentMut, Item, TableLike};

/// The text without the table `name` of `section` (`producers`, `sinks`, `topics`, ...). `None` when
/// there is no such table. Comments elsewhere survive.
///
/// # Panics
/// When the text is not TOML.
#[must_use]
pub fn without(text: &str, section: &str, name: &str) -> Option<String> {
    let mut document: DocumentMut = text.parse().expect("a text that was read is TOML");
    let tables = document.get_mut(section).and_then(Item::as_table_like_mut)?;
    tables.remove(name)?;
    if tables.is_empty() {
        document.remove(section);
    }
    Some(document.to_string())
}

/// What a scenario is about, not how it is set: these say what is claimed and what happened.
const STAY: [&str; 6] = ["claim", "expect", "mutation", "fault", "faults", "replay"];

/// The dotted paths of all values that a scenario sets, in the order of its text: `network.loss`,
/// `producers.shop.config.linger.ms`; of what it is about none.
///
/// # Panics
/// When the text is not TOML.
#[must_use]
pub fn settings(text: &str) -> Vec<Vec<String>> {
    let document: DocumentMut = text.parse().expect("a text that was read is TOML");
    let mut found = Vec::new();
    for (key, item) in document.iter().filter(|(key, _)| !STAY.contains(key)) {
        if let Some(table) = item.as_table_like() {
            leaves(table, &mut vec![key.to_owned()], &mut found);
        }
    }
    found
}

fn leaves(table: &dyn TableLike, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item.as_table_like() {
            Some(inner) => leaves(inner, path, found),
            None => found.push(path.clone()),
        }
        path.pop();
    }
}

/// The text without some of its [`settings`]; tables that are empty then go as well.
///
/// # Panics
/// When the text is not TOML.
#[must_use]
pub fn without_settings(text: &str, paths: &[Vec<String>]) -> String {
    let mut document: DocumentMut = text.parse().expect("a text that was read is TOML");
    for path in paths {
        take_out(document.as_table_mut(), path);
    }
    document.to_string()
}

fn take_out(table: &mut dyn TableLike, path: &[String]) {
    let Some((key, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.remove(key);
        return;
    }
    let Some(inner) = table.get_mut(key).and_then(Item::as_table_like_mut) else { return };
    take_out(inner, rest);
    if inner.is_empty() {
        table.remove(key);
    }
}

/// How a story begins, so that the next one can replace it.
const ONCE: &str = "# Shrunk by oncesim";

/// The text of a counterexample that begins with a story, one comment per line; a story that was
/// there before is replaced. The file belongs into `scenarios/regressions`, and a `#:schema` line
/// is made to fit.
#[must_use]
pub fn with_story(text: &str, story: &[String]) -> String {
    let (schema, rest) = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#:schema ") => {
            ("#:schema ../scenario.schema.json\n", rest)
        }
        _ => ("", text),
    };
    let rest = if rest.starts_with(ONCE) {
        rest.split_once("\n\n").map_or(rest, |(_, rest)| rest)
    } else {
        rest
    };
    let mut out = format!("{schema}{ONCE}.\n");
    for line in story.iter().flat_map(|line| line.split('\n')) {
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
    out.push('\n');
    out.push_str(rest.trim_start_matches('\n'));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#:schema ../../scenario.schema.json\n# Two consumers.\ntitle = \"T\"\n\n\
                        [consumers.a] # the first\nfrom = [\"x\"]\n\n# The second.\n[consumers.b]\n\
                        from = [\"x\"]\n\n[topics]\nx = { partitions = 1 }\ny = { partitions = 2 }\n";

    #[test]
    fn a_table_goes_with_its_comments_and_the_others_stay() {
        let text = without(TEXT, "consumers", "b").unwrap();
        assert!(!text.contains("second") && !text.contains("consumers.b"), "{text}");
        assert!(text.contains("[consumers.a] # the first"), "{text}");
        let text = without(&text, "consumers", "a").unwrap();
        assert!(!text.contains("[consumers"), "{text}");
        let text = without(&text, "topics", "y").unwrap();
        assert!(text.contains("x = { partitions = 1 }") && !text.contains("y ="), "{text}");
        assert_eq!(without(&text, "topics", "y"), None);
        assert_eq!(without(&text, "producers", "y"), None);
    }

    #[test]
    fn settings_go_with_the_tables_that_they_leave_empty() {
        let text = "title = \"T\"\n\n[claim]\nlog = \"exactly-once\"\n\n[network]\nloss = 0.1\n\n\
                    [producers.shop]\nto = \"x\"\nconfig.linger.ms = 5\nconfig.acks = \"all\"\n\n\
                    [topics]\nx = { partitions = 1 }\n";
        let found = settings(text);
        let shown: Vec<String> = found.iter().map(|path| path.join(".")).collect();
        let all = [
            "network.loss",
            "producers.shop.to",
            "producers.shop.config.linger.ms",
            "producers.shop.config.acks",
            "topics.x.partitions",
        ];
        assert_eq!(shown, all);
        let less = without_settings(text, &[found[0].clone(), found[2].clone()]);
        assert!(!less.contains("network") && !less.contains("linger"), "{less}");
        assert!(less.contains("config.acks = \"all\"") && less.contains("[claim]"), "{less}");
    }

    #[test]
    fn a_story_replaces_the_one_before() {
        let first = with_story(TEXT, &["It was long.\n\nVery long.".to_owned()]);
        assert!(
            first.starts_with(
                "#:schema ../scenario.schema.json\n# Shrunk by oncesim.\n# It was long.\n#\n\
                 # Very long.\n\n# Two consumers.\n"
            ),
            "{first}"
        );
        let second = with_story(&first, &["It is short.".to_owned()]);
        assert!(!second.contains("long"), "{second}");
        assert!(second.contains("# It is short.\n\n# Two consumers.\n"), "{second}");
    }
}
