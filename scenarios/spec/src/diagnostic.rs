//! Everything that is wrong with a scenario, at once: what, where, and what to type instead.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosticLevel {
    /// The scenario cannot run.
    Error,
    /// It runs, and probably not as its author believes.
    Warning,
}

impl DiagnosticLevel {
    /// `error` or `warning`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DiagnosticLevel::Error => "error",
            DiagnosticLevel::Warning => "warning",
        }
    }
}

/// A span of bytes in one of the sources of a [`Diagnostics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Which source.
    pub source: u16,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Place {
    pub(crate) fn new(source: u16, span: Range<usize>) -> Self {
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { source, start: at(span.start), end: at(span.end) }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A text that diagnostics point into: the scenario, a `.properties` or `.sql` file, a `--set`
/// argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// As the user knows it.
    pub path: String,
    /// Its content.
    pub text: Arc<str>,
}

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub level: DiagnosticLevel,
    /// Stable: `S0103`.
    pub id: &'static str,
    /// What is wrong, a fragment in lower case.
    pub message: String,
    /// Where; `None`: the file as a whole.
    pub place: Option<Place>,
    /// What is there, beside the underline; may be empty.
    pub label: String,
    /// Other places that take part in it.
    pub also: Vec<(Place, String)>,
    /// What to type instead.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn error(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(DiagnosticLevel::Error, id, message.into())
    }

    pub(crate) fn warning(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(DiagnosticLevel::Warning, id, message.into())
    }

    fn new(level: DiagnosticLevel, id: &'static str, message: String) -> Self {
        Diagnostic {
            level,
            id,
            message,
            place: None,
            label: String::new(),
            also: Vec::new(),
            help: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub(crate) fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also.push((place, label.into()));
        self
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// All complaints about one scenario, with the texts that they point into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    sources: Vec<SourceText>,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many complaints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.level == DiagnosticLevel::Error)
    }

    /// The complaints, in the order of the text.
    #[must_use]
    pub fn items(&self) -> &[Diagnostic] {
        &self.items
    }

    /// The texts that places point into.
    #[must_use]
    pub fn sources(&self) -> &[SourceText] {
        &self.sources
    }

    /// A complaint about a whole file, for example one that cannot be read.
    #[must_use]
    pub fn of_file(path: &str, id: &'static str, message: &str, help: &str) -> Self {
        let mut diagnostics = Diagnostics::default();
        let source = diagnostics.source(path, "");
        let mut item = Diagnostic::error(id, message).at(Place::new(source, 0..0));
        if !help.is_empty() {
            item = item.help(help);
        }
        diagnostics.push(item);
        diagnostics
    }

    /// Of a file or folder that cannot be read.
    pub(crate) fn unreadable(path: &str, error: &std::io::Error, help: &str) -> Self {
        let message = format!("cannot read {path}: {}", reason(error));
        Self::of_file(path, crate::id::UNREADABLE, &message, help)
    }

    pub(crate) fn source(&mut self, path: &str, text: &str) -> u16 {
        self.sources.push(SourceText { path: path.to_owned(), text: Arc::from(text) });
        u16::try_from(self.sources.len() - 1).expect("a scenario has few sources")
    }

    /// The same text, if it was shown before.
    pub(crate) fn source_once(&mut self, path: &str, text: &str) -> u16 {
        let known = self.sources.iter().position(|it| it.path == path && *it.text == *text);
        known.map_or_else(
            || self.source(path, text),
            |index| u16::try_from(index).expect("a scenario has few sources"),
        )
    }

    pub(crate) fn push(&mut self, item: Diagnostic) {
        if !self.items.contains(&item) {
            self.items.push(item);
        }
    }

    /// After a syntax error, what is missing may stand in the part that could not be read, and what
    /// was read from a broken line means nothing.
    pub(crate) fn only_certain(&mut self) {
        let certain = [
            crate::id::UNKNOWN_KEY,
            crate::id::WRONG_TYPE,
            crate::id::BAD_VALUE,
            crate::id::OUT_OF_RANGE,
            crate::id::UNKNOWN_WORD,
        ];
        let broken: Vec<_> = self
            .items
            .iter()
            .filter(|item| item.id == crate::id::SYNTAX)
            .filter_map(|item| item.place)
            .map(|place| (place.source, self.line_and_column(place).0))
            .collect();
        let mut items = std::mem::take(&mut self.items);
        items.retain(|item| {
            let place = item.place.unwrap_or_default();
            let line = (place.source, self.line_and_column(place).0);
            let is_syntax = item.id == crate::id::SYNTAX;
            is_syntax || (certain.contains(&item.id) && !broken.contains(&line))
        });
        self.items = items;
    }

    pub(crate) fn sort(&mut self) {
        self.items.sort_by_key(|item| (item.level, item.place));
    }

    /// Line and column (from 1) of a place.
    #[must_use]
    pub fn line_and_column(&self, place: Place) -> (usize, usize) {
        let Some(source) = self.sources.get(usize::from(place.source)) else { return (1, 1) };
        let upto = source.text.get(..place.start as usize).unwrap_or(&source.text);
        let line = upto.matches('\n').count() + 1;
        let column = upto.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        (line, column)
    }

    /// For a terminal, in the manner of rustc.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.term_width(100);
        self.items
            .iter()
            .map(|item| renderer.render(&self.report(item)))
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    fn report<'a>(&'a self, item: &'a Diagnostic) -> Vec<Group<'a>> {
        let level = match item.level {
            DiagnosticLevel::Error => Level::ERROR,
            DiagnosticLevel::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(item.message.as_str()).id(item.id));
        if let Some(place) = item.place {
            for source in 0..u16::try_from(self.sources.len()).unwrap_or(u16::MAX) {
                let text = &self.sources[usize::from(source)];
                if text.text.is_empty() && place.source == source {
                    // There is no line to show: the file is empty, or could not be read.
                    group = group.element(Origin::path(text.path.as_str()));
                } else if let Some(snippet) = self.snippet(source, item, place) {
                    group = group.element(snippet);
                }
            }
        }
        for help in &item.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        vec![group]
    }

    fn snippet<'a>(
        &'a self,
        source: u16,
        item: &'a Diagnostic,
        place: Place,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let text = &self.sources[usize::from(source)];
        let mut annotations = Vec::new();
        if place.source == source {
            let mut annotation = AnnotationKind::Primary.span(clip(&text.text, place.range()));
            if !item.label.is_empty() {
                annotation = annotation.label(item.label.as_str());
            }
            annotations.push(annotation);
        }
        for (also, label) in item.also.iter().filter(|(also, _)| also.source == source) {
            let annotation = AnnotationKind::Context.span(clip(&text.text, also.range()));
            annotations.push(annotation.label(label.as_str()));
        }
        if annotations.is_empty() {
            return None;
        }
        Some(Snippet::source(&*text.text).path(text.path.as_str()).annotations(annotations))
    }

    /// For machines: `[{"level","id","message","path","line","column","start","end","help"}]`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.items
            .iter()
            .map(|item| {
                let place = item.place.unwrap_or_default();
                let (line, column) = self.line_and_column(place);
                let path = self.sources.get(usize::from(place.source)).map(|s| s.path.as_str());
                serde_json::json!({
                    "level": item.level.name(),
                    "id": item.id,
                    "message": item.message,
                    "label": item.label,
                    "path": path,
                    "line": line,
                    "column": column,
                    "start": place.start,
                    "end": place.end,
                    "help": item.help,
                })
            })
            .collect()
    }
}

/// A multi-line value (a table that misses a key) is shown by its first line.
fn clip(text: &str, range: Range<usize>) -> Range<usize> {
    let start = range.start.min(text.len());
    let end = range.end.clamp(start, text.len());
    let first = text.get(start..end).and_then(|part| part.find('\n'));
    start..first.map_or(end, |newline| start + newline)
}

/// The candidate that `given` was meant to be, if one is near enough.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let score = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (score, candidate)
        })
        .filter(|(score, candidate)| *score <= 1.max(candidate.len().max(given.len()) / 3))
        .min_by_key(|(score, _)| *score)
        .map(|(_, candidate)| candidate)
}
/// Why a file cannot be read, in a few words, without the number of the error.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}
