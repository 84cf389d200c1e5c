//! What every client saw and what the model noted: the record of one run.
//!
//! A history is the only thing that a checker sees. The recorder of the engine writes it; imported
//! histories of real clusters have the client events only (the black-box tier).

mod builder;
mod complaint;
mod event;
mod external_event;
mod history;
mod intern;
pub mod jepsen;
pub mod jsonl;
mod lines;
pub mod trace;
pub mod traffic;
mod world_event;

pub use builder::{AppendedBatch, HistoryBuilder};
pub use complaint::{Complaint, Read};
pub use event::{
    ClientKind, Event, EventKind, Outcome, Output, PolledRecord, PositionReason, SpanIndex,
};
pub use external_event::{AskOutcome, ExternalEvent};
pub use history::{
    ActorInfo, ActorRole, AnnouncementInfo, Announcing, CommitEntry, GroupInfo, History,
    ProcessorInfo, Promise, RelayInfo, RelayProgress, SinkInfo, SystemKind, TopicInfo,
};
pub use intern::{Interner, Key, Name};
pub use lines::LineReader;
pub use world_event::WorldEvent;
