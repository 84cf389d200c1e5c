//! What happens outside of Kafka, for [`HistoryBuilder`].

use oncesim_types::{
    ActorId, CallId, EffectId, GroupId, Offset, Operation, RecordId, RowChange, SinkId,
    StatementRole, TopicPartition,
};

use super::{HistoryBuilder, span};
use crate::event::EventKind;
use crate::external_event::{AskOutcome, ExternalEvent};
use crate::history::{ActorRole, AnnouncementInfo, RelayInfo, SinkInfo, SystemKind};

impl HistoryBuilder {
    /// Adds a system.
    pub fn system(&mut self, name: &str, kind: SystemKind) -> ActorId {
        self.actor(name, ActorRole::System(kind))
    }

    /// Adds a sink: each record of the group's topics asks the system for one plain effect. What is
    /// special about it is set through [`HistoryBuilder::sink_info`].
    pub fn sink(&mut self, name: &str, system: ActorId, group: GroupId) -> SinkId {
        let id = SinkId(u16::try_from(self.history.sinks.len()).expect("fewer than 65536 sinks"));
        self.history.sinks.push(SinkInfo {
            name: name.to_owned(),
            system,
            group,
            steps: 1,
            absorbs: false,
            overwrites: false,
            dedups: false,
            inbox: false,
            window: None,
            stores_offsets: false,
            before_commit: false,
            tombstones: false,
        });
        id
    }

    /// What a sink is like.
    pub fn sink_info(&mut self, sink: SinkId) -> &mut SinkInfo {
        &mut self.history.sinks[usize::from(sink.0)]
    }

    /// Says how a service announces what it does.
    pub fn announcement(&mut self, info: AnnouncementInfo) -> &mut Self {
        self.history.announcements.push(info);
        self
    }

    /// Says what a relay publishes.
    pub fn relay(&mut self, info: RelayInfo) -> &mut Self {
        self.history.relays.push(info);
        self
    }

    /// Appends an event of what happens outside of Kafka and returns its position.
    pub fn external(&mut self, actor: ActorId, event: ExternalEvent) -> u32 {
        self.push(actor, EventKind::External(event))
    }

    /// `send()` of the producer's next record, which has no value.
    pub fn send_tombstone(
        &mut self,
        producer: ActorId,
        to: TopicPartition,
        key: Option<u32>,
    ) -> RecordId {
        let record = self.next_record(producer);
        self.send_value(producer, to, record, key, None);
        record
    }

    /// A client asks a system for something.
    pub fn ask(
        &mut self,
        client: ActorId,
        system: ActorId,
        operation: Operation,
        effect: Option<EffectId>,
        key: u64,
    ) -> CallId {
        let call = self.call();
        self.external(client, ExternalEvent::Asked { call, system, operation, effect, key });
        call
    }

    /// A client has, or gives up to wait for, an answer.
    pub fn answer(
        &mut self,
        client: ActorId,
        call: CallId,
        outcome: AskOutcome,
        result: u64,
    ) -> u32 {
        self.external(client, ExternalEvent::Answered { call, outcome, result })
    }

    /// A client asks for an effect, and is told that it was done.
    pub fn asked_and_done(
        &mut self,
        client: ActorId,
        (sink, record): (SinkId, RecordId),
        operation: Operation,
    ) {
        let system = self.history.sinks[usize::from(sink.0)].system;
        let effect = EffectId { record, sink, step: 0 };
        let call = self.ask(client, system, operation, Some(effect), 0);
        self.answer(client, call, AskOutcome::Ok, 0);
    }

    /// The application takes an effect for done.
    pub fn effect_done(&mut self, client: ActorId, effect: EffectId, skipped: bool) -> u32 {
        self.external(client, ExternalEvent::EffectDone { effect, skipped })
    }

    /// A commit of a sink's system applies an effect: rows with their images before and after.
    pub fn apply(&mut self, effect: EffectId, commit: u64, rows: &[(u64, u64, u64)]) -> u32 {
        self.apply_with(effect, commit, rows, -1, u64::MAX)
    }

    /// The same, with a fencing token, and from what had been read at a commit.
    pub fn apply_with(
        &mut self,
        effect: EffectId,
        commit: u64,
        rows: &[(u64, u64, u64)],
        token: i64,
        read_at: u64,
    ) -> u32 {
        let changes: Vec<RowChange> =
            rows.iter().map(|&(row, before, after)| RowChange { row, before, after }).collect();
        let changes = span(&mut self.history.row_changes, &changes);
        let system = self.history.sinks[usize::from(effect.sink.0)].system;
        self.external(system, ExternalEvent::Applied { effect, commit, changes, token, read_at })
    }

    /// A commit of a system has a row of bookkeeping or business.
    pub fn committed(
        &mut self,
        system: ActorId,
        role: StatementRole,
        record: Option<RecordId>,
        commit: u64,
        changed: u32,
    ) -> u32 {
        let sequence = i64::try_from(commit).expect("a small commit number");
        self.external(system, ExternalEvent::Committed { role, record, commit, sequence, changed })
    }

    /// A commit of a system has how far a partition was consumed.
    pub fn offset_stored(
        &mut self,
        system: ActorId,
        (partition, next): (TopicPartition, i64),
        token: i64,
        commit: u64,
        accepted: bool,
    ) -> u32 {
        let next = Offset(next);
        let stored = ExternalEvent::OffsetStored { partition, next, token, commit, accepted };
        self.external(system, stored)
    }
}
