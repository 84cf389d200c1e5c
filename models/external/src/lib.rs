//! What lies outside of Kafka, as sans-IO state machines: databases, APIs with idempotency keys,
//! sinks with two phases.
//!
//! Their clients are applications, which speak to them over the same virtual network as to brokers:
//! one connection is one session. A system knows nothing of Kafka; what its clients are up to
//! travels with requests as tags that no rule of it reads.

pub mod api;
mod fault;
mod image;
mod machine;
mod message;
mod note;
pub mod sql;
pub mod staging;

pub use machine::{Effect, Effects, Input, SystemFault, TimerKey};
pub use message::{
    ApiRequest, CapturedRow, Datum, Execute, LogPosition, Parameters, PendingTransaction, Prepare,
    Request, Response, Rows, StagedName,
};
pub use note::Note;

use api::Api;
use oncesim_types::Instant;
use sql::Database;
use staging::Staging;

/// One system.
#[derive(Debug)]
pub enum System {
    /// A SQL database.
    Database(Box<Database>),
    /// An API with side effects.
    Api(Box<Api>),
    /// A sink that prepares and commits.
    Staging(Box<Staging>),
}

impl System {
    /// Takes one input at host time `now` and says what follows.
    pub fn step(&mut self, now: Instant, input: Input, effects: &mut Effects) {
        match self {
            System::Database(system) => system.step(now, input, effects),
            System::Api(system) => system.step(now, input, effects),
            System::Staging(system) => system.step(now, input, effects),
        }
    }

    /// How many sessions have an open transaction.
    #[must_use]
    pub fn open_transactions(&self) -> usize {
        match self {
            System::Database(system) => system.open_transactions(),
            System::Api(_) | System::Staging(_) => 0,
        }
    }

    /// The process dies: what is durable stays, sessions and whatever is not committed are gone.
    pub fn crash(&mut self) {
        match self {
            System::Database(system) => system.crash(),
            System::Api(system) => system.crash(),
            System::Staging(system) => system.crash(),
        }
    }
}
