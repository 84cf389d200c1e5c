//! Histories as they come in: one line after the other, so that a file never has to be in memory.

use crate::complaint::{Complaint, Read};

/// How many of the lines that were skipped are remembered; the rest is counted.
const REMEMBERED: usize = 100;

/// Reads a history line by line.
pub trait LineReader {
    /// What it reads.
    type History;

    /// Takes the next line, with or without its end.
    ///
    /// # Errors
    ///
    /// A line that cannot be understood, unless the reader is lenient and can do without it.
    fn line(&mut self, line: &[u8]) -> Result<(), Complaint>;

    /// What has been read.
    ///
    /// # Errors
    ///
    /// A history without an event.
    fn finish(self) -> Result<Read<Self::History>, Complaint>;
}

/// What the notations differ in.
pub(crate) trait Notation: Default {
    type History;

    /// Whether nothing after the next line can be read without it.
    fn needs_next(&self) -> bool {
        false
    }

    fn line(&mut self, number: u32, line: &[u8]) -> Result<(), Complaint>;

    /// The history, or what is missing in it.
    fn finish(self) -> Result<Self::History, Complaint>;
}

/// A reader of one notation.
#[derive(Debug, Default)]
pub(crate) struct Lines<N> {
    notation: N,
    lenient: bool,
    number: u32,
    skipped: Vec<Complaint>,
    skips: u64,
}

impl<N: Notation> Lines<N> {
    pub(crate) fn new(lenient: bool) -> Self {
        let notation = N::default();
        Lines { notation, lenient, number: 0, skipped: Vec::new(), skips: 0 }
    }

    /// Reads a text that is in memory.
    pub(crate) fn read(mut self, text: &[u8]) -> Result<Read<N::History>, Complaint> {
        text.split(|byte| *byte == b'\n').try_for_each(|line| self.line(line))?;
        self.finish()
    }
}

impl<N: Notation> LineReader for Lines<N> {
    type History = N::History;

    fn line(&mut self, line: &[u8]) -> Result<(), Complaint> {
        self.number = self.number.saturating_add(1);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let needed = self.notation.needs_next();
        match self.notation.line(self.number, line) {
            Err(complaint) if self.lenient && !needed => {
                self.skips += 1;
                if self.skipped.len() < REMEMBERED {
                    self.skipped.push(complaint);
                }
                Ok(())
            }
            done => done,
        }
    }

    fn finish(self) -> Result<Read<N::History>, Complaint> {
        let Lines { notation, skipped, skips, .. } = self;
        match notation.finish() {
            Ok(value) => Ok(Read { value, skipped, skips }),
            // Nothing was left: why the first line was skipped says more.
            Err(complaint) => Err(skipped.into_iter().next().unwrap_or(complaint)),
        }
    }
}
