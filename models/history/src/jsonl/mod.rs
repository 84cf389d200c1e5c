//! Histories as JSON Lines: one event of a client, or of a system outside of Kafka, per line, in the
//! order in which they happened.
//!
//! Any language can write it with a logger; `docs/history-format.md` is its description. The first
//! line names the version and may declare actors, topics and groups; whatever it does not declare
//! is declared by its first use.

mod external;
mod line;
mod read;
mod transaction;
mod write;

pub use read::{read_jsonl, reader};
pub use write::write_jsonl;

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
