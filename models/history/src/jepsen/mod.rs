//! Histories of Jepsen's Kafka workload: operations of processes, each an invocation and a
//! completion, whose values are small transactions of sends and polls.

mod edn;
mod export;
mod form;
mod import;
mod json;
mod op;
mod write;

pub use edn::{edn_reader, read_edn, write_edn};
pub use export::export;
pub use import::{Imported, import};
pub use json::{json_reader, read_json, write_json};
pub use op::{JepsenHistory, Mop, Op, OpKind, OpType, Polled, SendOffset};

#[cfg(test)]
mod tests;
