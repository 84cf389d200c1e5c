//! Edits of a scenario's text that `--set` cannot say: taking something out, and telling a story.

use toml_edit::{DocumentMut, Item};

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
    for line in story.iter().flat_map(|line| line.lines()) {
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
    fn a_story_replaces_the_one_before() {
        let first = with_story(TEXT, &["It was long.\nVery long.".to_owned()]);
        assert!(
            first.starts_with(
                "#:schema ../scenario.schema.json\n# Shrunk by oncesim.\n# It was long.\n\
                 # Very long.\n\n# Two consumers.\n"
            ),
            "{first}"
        );
        let second = with_story(&first, &["It is short.".to_owned()]);
        assert!(!second.contains("long"), "{second}");
        assert!(second.contains("# It is short.\n\n# Two consumers.\n"), "{second}");
    }
}
