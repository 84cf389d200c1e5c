//! The lines of a file that may be long, and compressed with gzip or zstd: one at a time.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use crate::artifact::reason;
use crate::exit::Refusal;
use crate::progress::ReadLine;

/// Longer lines are noise. A whole history on one line may be long.
const LONGEST: u64 = 256 << 20;

/// A file's lines.
pub(crate) struct Lines {
    place: String,
    text: Box<dyn BufRead>,
    /// How many bytes of the file were taken, before decompression.
    taken: Rc<Cell<u64>>,
    line: Vec<u8>,
    /// The line is the first that says anything, and was not handed out yet.
    held: bool,
    /// How many blank lines stand before it.
    blank: u32,
    number: u64,
    progress: ReadLine,
}

/// Counts what is read.
struct Counted(File, Rc<Cell<u64>>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.set(self.1.get() + read as u64);
        Ok(read)
    }
}

impl Lines {
    /// Opens a file; its first bytes say whether it is compressed.
    pub(crate) fn open(path: &Path) -> Result<Lines, Refusal> {
        let place = path.display().to_string();
        let refuse = |error: io::Error| refusal(&place, &error, "read");
        let file = File::open(path).map_err(refuse)?;
        let length = file.metadata().map_or(0, |data| data.len());
        let taken = Rc::new(Cell::new(0));
        let mut file = BufReader::with_capacity(1 << 16, Counted(file, Rc::clone(&taken)));
        let text: Box<dyn BufRead> = match file.fill_buf().map_err(refuse)? {
            [0x1f, 0x8b, ..] => {
                Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let decoder = zstd::Decoder::with_buffer(file).map_err(refuse)?;
                Box::new(BufReader::with_capacity(1 << 16, decoder))
            }
            _ => Box::new(file),
        };
        let progress = ReadLine::new(&place, length);
        let (line, held) = (Vec::new(), false);
        Ok(Lines { place, text, taken, line, held, blank: 0, number: 0, progress })
    }

    /// The first line that is not blank; it will be handed out again.
    pub(crate) fn first(&mut self) -> Result<&[u8], Refusal> {
        let mut blank = 0;
        while self.next()?.is_some_and(|line| line.trim_ascii().is_empty()) {
            blank += 1;
        }
        (self.blank, self.held) = (blank, !self.line.is_empty());
        Ok(&self.line)
    }

    /// The next line, with its end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Refusal> {
        if self.blank > 0 {
            self.blank -= 1;
            return Ok(Some(b"\n"));
        }
        if std::mem::take(&mut self.held) {
            return Ok(Some(&self.line));
        }
        self.line.clear();
        let read = (&mut self.text).take(LONGEST).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| refusal(&self.place, &error, "read"))?;
        if read as u64 == LONGEST && self.line.last() != Some(&b'\n') {
            return Err(Refusal::new(
                format!("the history cannot be read: a line of more than {} MiB", LONGEST >> 20),
                format!("{}:{}", self.place, self.number + 1),
                "expected one event or operation per line",
            ));
        }
        self.number += 1;
        self.progress.update(self.taken.get(), self.number);
        Ok((read > 0).then_some(&self.line))
    }

    /// Everything was read, and so many events are judged now.
    pub(crate) fn judging(&mut self, events: u64) {
        self.progress.judging(events);
    }

    /// Takes the progress line away.
    pub(crate) fn finish(self) {
        self.progress.finish();
    }
}

fn refusal(place: &str, error: &io::Error, what: &str) -> Refusal {
    Refusal::new(
        format!("the history cannot be {what}: {}", reason(error)),
        place,
        "expected a file with a history: JSON Lines, Jepsen's history.edn, or the same as JSON, \
         plain or compressed with gzip or zstd",
    )
}
