//! What a database writes down: the numbers of its commits, what they contained, and the changes of
//! captured tables in commit order.
//!
//! Mirrors a write-ahead log with logical decoding, as change data capture reads it (Debezium): only
//! what was committed is in it, in commit order, and every change of a row, also of one that the
//! same transaction deletes again.
//!
//! Simplification: the log is never cut off, so that a position is always served; a run is short.

use std::collections::BTreeMap;

use oncesim_types::{ActorId, EffectId, Offset, RecordId, StatementRole};

use super::connection::{Connection, Executed};
use crate::machine::Effects;
use crate::message::{CapturedRow, Execute, LogPosition};
use crate::note::Note;

use super::images::Captured;

/// What a transaction has done so far.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Its number from the sequence.
    pub(super) sequence: i64,
    /// The record of its first statement.
    record: Option<RecordId>,
    /// Whether it had a statement yet.
    begun: bool,
    /// Whether it has executed a statement that writes.
    pub(super) writes: bool,
    /// What to note when it commits; the commit's number is filled in then.
    notes: Vec<Note>,
    captured: Vec<Captured>,
}

/// What is durable beside the rows.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Number of the newest commit.
    commits: u64,
    /// The newest number from the sequence.
    sequence: i64,
    /// Changes of captured tables, by position.
    log: Vec<CapturedRow>,
    /// Where the log ends.
    end: LogPosition,
    /// The newest commit when a client read what it computes a record's effect from. No rule of the
    /// database reads it.
    reads: BTreeMap<(ActorId, RecordId), u64>,
}

impl Work {
    /// The work of a transaction with this number.
    pub(super) fn new(sequence: i64) -> Self {
        Work { sequence, ..Work::default() }
    }

    /// A statement of it begins.
    pub(super) fn begin_statement(&mut self, execute: &Execute) {
        if !self.begun {
            self.begun = true;
            self.record = execute.record.or(execute.effect.map(|effect| effect.record));
        }
    }

    /// A statement of it was executed.
    pub(super) fn add(
        &mut self,
        execute: &Execute,
        executed: &mut Executed,
        writes: bool,
        read_at: Option<u64>,
    ) {
        self.writes |= writes;
        self.captured.append(&mut executed.captured);
        let parameters = &execute.parameters;
        match execute.role {
            StatementRole::Effect => {
                if let Some(effect) = execute.effect {
                    self.notes.push(Note::Applied {
                        effect,
                        commit: 0,
                        changes: std::mem::take(&mut executed.changes),
                        key: None,
                        token: (parameters.token != 0).then_some(parameters.token),
                        read_at,
                    });
                }
            }
            StatementRole::Business
            | StatementRole::Outbox
            | StatementRole::DedupMark
            | StatementRole::RelayMark
            | StatementRole::CursorWrite => self.notes.push(Note::Committed {
                role: execute.role,
                record: execute.record,
                commit: 0,
                sequence: self.sequence,
                changed: executed.changed,
            }),
            StatementRole::DedupEvict if executed.changed > 0 => {
                self.notes.push(Note::DedupEvicted { commit: 0, rows: executed.changed });
            }
            StatementRole::OffsetWrite => {
                if let Some(partition) = parameters.partition {
                    self.notes.push(Note::OffsetStored {
                        partition,
                        next: Offset(parameters.next),
                        token: parameters.token,
                        commit: 0,
                        accepted: executed.changed > 0,
                    });
                }
            }
            StatementRole::DedupEvict
            | StatementRole::Read
            | StatementRole::DedupCheck
            | StatementRole::OffsetRead
            | StatementRole::RelaySelect
            | StatementRole::CursorRead => {}
        }
    }

    /// It ends without a commit.
    pub(super) fn roll_back(self, effects: &mut Effects) {
        if self.writes {
            effects.note(Note::RolledBack { record: self.record });
        }
    }
}

/// Whether a statement of this role is noted when it commits.
pub(super) fn is_noted(role: StatementRole) -> bool {
    match role {
        StatementRole::Effect
        | StatementRole::Business
        | StatementRole::Outbox
        | StatementRole::DedupMark
        | StatementRole::DedupEvict
        | StatementRole::RelayMark
        | StatementRole::CursorWrite
        | StatementRole::OffsetWrite => true,
        StatementRole::Read
        | StatementRole::DedupCheck
        | StatementRole::OffsetRead
        | StatementRole::RelaySelect
        | StatementRole::CursorRead => false,
    }
}

impl Journal {
    /// Draws a number from the sequence. It is never given back.
    pub(super) fn draw(&mut self) -> i64 {
        self.sequence += 1;
        self.sequence
    }

    /// A client has read what it will compute the effect of `record` from.
    pub(super) fn read(&mut self, client: ActorId, record: RecordId) {
        self.reads.insert((client, record), self.commits);
    }

    /// The newest commit when the client last read for this effect.
    pub(super) fn read_at(&self, client: ActorId, effect: Option<EffectId>) -> Option<u64> {
        self.reads.get(&(client, effect?.record)).copied()
    }

    /// A transaction is committed.
    pub(super) fn commit(&mut self, work: Work, connection: &Connection, effects: &mut Effects) {
        if !work.writes {
            return;
        }
        self.commits += 1;
        for mut note in work.notes {
            match &mut note {
                Note::Applied { commit, .. }
                | Note::Committed { commit, .. }
                | Note::DedupEvicted { commit, .. }
                | Note::OffsetStored { commit, .. } => *commit = self.commits,
                _ => {}
            }
            effects.note(note);
        }
        self.end = LogPosition { commit: self.commits, changes: 0 };
        for captured in work.captured {
            self.end.changes += 1;
            self.log.push(CapturedRow {
                position: self.end,
                table: connection.table_name(captured.table),
                deleted: captured.deleted,
                values: captured.values,
            });
        }
    }

    /// At most `max` changes after a position.
    pub(super) fn capture(&self, after: LogPosition, max: u32) -> Vec<CapturedRow> {
        let from = self.log.partition_point(|row| row.position <= after);
        self.log[from..].iter().take(max as usize).cloned().collect()
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> LogPosition {
        self.end
    }
}
