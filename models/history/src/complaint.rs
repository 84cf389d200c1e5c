//! What is wrong with a history that somebody else wrote.

use std::fmt;

/// One line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Which line, from 1.
    pub line: u32,
    /// What is wrong with it, a fragment in lower case.
    pub what: String,
    /// What was expected instead.
    pub expected: String,
}

impl Complaint {
    pub(crate) fn new(
        line: u32,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> Complaint {
        Complaint { line, what: what.into(), expected: expected.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; expected {}", self.line, self.what, self.expected)
    }
}

/// What a reader made of its input.
#[derive(Debug, Clone)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// The first lines that were skipped, in order; empty unless the reader was told to be lenient.
    pub skipped: Vec<Complaint>,
    /// How many lines were skipped.
    pub skips: u64,
}

/// The beginning of a line, as far as it can be shown.
pub(crate) fn excerpt(line: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(&line[..line.len().min(120)])
        .chars()
        .filter(|c| !c.is_control())
        .take(48)
        .collect();
    if shown.len() < line.len() { format!("`{shown}...`") } else { format!("`{shown}`") }
}

/// Whether brackets are nested deeper than any history has them.
pub(crate) fn too_deep(line: &[u8]) -> bool {
    let mut depth = 0u32;
    for byte in line {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 64 {
            return true;
        }
    }
    false
}
