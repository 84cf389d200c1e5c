//! The two streams: results to standard output, everything else to standard error.

use std::io::{self, Write};

use anstream::ColorChoice;

use crate::exit::Refusal;

/// Writes a result. A reader that has gone away (`| head`) is no error.
pub(crate) fn result(text: &str) -> Result<(), Refusal> {
    let mut stream = anstream::stdout().lock();
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Refusal::new(
            format!("the result cannot be written: {}", crate::artifact::reason(&error)),
            "standard output",
            "write it to a place with room, or through a pipe",
        )),
        _ => Ok(()),
    }
}

/// Writes a diagnostic or a note. Nobody is told if that fails: there is no third stream.
pub(crate) fn note(text: &str) {
    let mut stream = anstream::stderr().lock();
    let _ = stream.write_all(text.trim_end().as_bytes()).and_then(|()| stream.write_all(b"\n"));
}

/// Whether results are shown in colour.
pub(crate) fn styled() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Whether diagnostics are shown in colour.
pub(crate) fn styled_notes() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != ColorChoice::Never
}
