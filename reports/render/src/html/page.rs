//! The shell of every HTML page: head, style, footer; one file that needs no network.

use askama::Template;
use oncesim_semantics::Holds;

use crate::model::Judgement;

/// The style that all pages share.
const STYLE: &str = include_str!("../../templates/page.css");

/// A block of data or a program in a page.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    id: &'static str,
    data: bool,
    text: String,
}

impl Script {
    /// A program.
    pub(crate) fn program(text: &str) -> Script {
        Script { id: "", data: false, text: format!("\n{text}") }
    }

    /// A JSON document, which the program finds by its id.
    pub(crate) fn data(id: &'static str, json: &str) -> Script {
        Script { id, data: true, text: inert(json) }
    }
}

/// JSON that can end no script and begin no comment: every `<` is written as its escape, which only
/// strings can hold.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Markup that is safe to put into a page: templates made it, and escaped what they were given.
#[derive(Debug, Clone)]
pub(crate) struct Markup(String);

impl Markup {
    /// What a template makes of its data.
    pub(crate) fn of(template: &impl Template) -> Markup {
        Markup(template.render().expect("templates write into memory and call nothing that fails"))
    }
}

impl std::fmt::Display for Markup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// What the window is called.
    pub(crate) title: String,
    /// What is in it.
    pub(crate) body: Markup,
    /// Style of this kind of page.
    pub(crate) style: &'static str,
    /// Data and programs.
    pub(crate) scripts: Vec<Script>,
    /// What the foot says: how numbers are to be read, say.
    pub(crate) footer: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Shell<'a> {
    version: &'a str,
    title: &'a str,
    style: String,
    body: &'a str,
    footer: &'a str,
    scripts: &'a [Script],
}

impl Page {
    /// The whole file.
    pub(crate) fn render(&self) -> String {
        let shell = Shell {
            version: env!("CARGO_PKG_VERSION"),
            title: &self.title,
            style: format!("{STYLE}{}", self.style),
            body: &self.body.0,
            footer: &self.footer,
            scripts: &self.scripts,
        };
        Markup::of(&shell).0
    }
}

/// The class that colours a judgement: `good`, `doubt` or `bad`.
pub(crate) const fn class_of_judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::AsClaimed => "good",
        Judgement::Vacuous | Judgement::NotLive => "doubt",
        Judgement::Violated | Judgement::Nondeterministic | Judgement::Bug => "bad",
    }
}

/// A judgement in one or two words, behind a sign, so that nothing is said by colour alone.
pub(crate) const fn word_of_judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::AsClaimed => "\u{2713} as claimed",
        Judgement::Vacuous => "? proves nothing",
        Judgement::NotLive => "! not live",
        Judgement::Violated => "\u{2717} violated",
        Judgement::Nondeterministic => "\u{2717} nondeterministic",
        Judgement::Bug => "\u{2717} a bug of oncesim",
    }
}

/// The class of a cell of a table of guarantees; its style adds a sign.
pub(crate) const fn class_of_holds(holds: Holds) -> &'static str {
    holds.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "<p>{{ text }}</p>", ext = "html")]
    struct Paragraph<'a> {
        text: &'a str,
    }

    #[test]
    fn nothing_in_a_page_can_end_a_script_or_begin_an_element() {
        let hostile = "</script><script>alert('1')</script><!-- \" & \u{2028}";
        let page = Page {
            title: hostile.to_owned(),
            body: Markup::of(&Paragraph { text: hostile }),
            style: "",
            scripts: vec![Script::data("data", &serde_json::json!([hostile]).to_string())],
            footer: hostile.to_owned(),
        };
        let html = page.render();
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert_eq!(html.matches("</script").count(), 1, "{html}");
        assert!(!html.contains("<!--"), "{html}");
        let data = html.split_once("type=\"application/json\">").map_or("", |(_, rest)| rest);
        let data = data.split_once("</script>").map_or("", |(data, _)| data);
        let read: Vec<String> = serde_json::from_str(data).expect("still JSON");
        assert_eq!(read, [hostile], "and says the same");
    }
}
