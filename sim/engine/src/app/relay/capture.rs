//! Change data capture: a table's changes in commit order, as the database's log has them.
//!
//! Mirrors what Debezium documents: `snapshot.mode=initial` reads the table and where the log is at
//! that moment, publishes the rows, and streams from there; a snapshot that a crash or a failure
//! interrupts begins anew; a restart goes on from the last position that was stored, and publishes
//! again, in order, what came after it. Of the changes of an outbox its event router
//! (`io.debezium.transforms.outbox.EventRouter`) publishes insertions, by the columns `id`, `key`,
//! `value`; it filters deletions out, as a service may delete what it has just written. A payload of
//! NULL makes a tombstone (`route.tombstone.on.empty.payload`).
//!
//! Simplifications:
//! - The log is kept for ever, and from the beginning: without a snapshot the first start reads all
//!   of it, as from a replication slot that was made with the database.
//! - An update of a row is published (the event router warns and skips it): the log does not tell it
//!   from an insertion, and an outbox has none.
//! - With transactions all of a snapshot is one (`transaction.boundary=connector` allows that): a part
//!   that was committed would come again with the next snapshot.
//! - At every start the table is read for its columns, as connectors read the schema.

use oncesim_external::{CapturedRow, LogPosition, Request, Rows};
use oncesim_spec::RelayKind;
use oncesim_types::Instant;

use super::super::AppEffect;
use super::event::{Columns, events};
use super::{Doing, RelayApp, Round};

/// Bits of a position for the changes of one commit.
const CHANGE_BITS: u32 = 24;

/// A position in the log as one number that grows with it.
pub(super) fn pack(position: LogPosition) -> i64 {
    assert!(position.changes < 1 << CHANGE_BITS, "a transaction changes few rows");
    (position.commit << CHANGE_BITS | u64::from(position.changes)).cast_signed()
}

pub(super) fn unpack(position: i64) -> LogPosition {
    let position = position.cast_unsigned();
    let changes = u32::try_from(position & ((1 << CHANGE_BITS) - 1)).expect("masked");
    LogPosition { commit: position >> CHANGE_BITS, changes }
}

impl RelayApp {
    fn table(&self) -> &str {
        match &self.spec.kind {
            RelayKind::Capture { table, .. } => table,
            RelayKind::Poll { .. } => "",
        }
    }

    pub(super) fn read_table(&mut self, out: &mut Vec<AppEffect>) {
        let table = self.table().to_owned();
        self.ask(Doing::ReadingTable, Request::Snapshot { table }, out);
    }

    pub(super) fn table_read(
        &mut self,
        now: Instant,
        rows: &Rows,
        position: LogPosition,
        out: &mut Vec<AppEffect>,
    ) {
        self.columns = Columns::of(&rows.columns);
        let wanted = matches!(self.spec.kind, RelayKind::Capture { snapshot: true, .. });
        let snapshot = wanted && self.position.is_none();
        if snapshot {
            self.snapshot = events(&self.naming, rows).into();
            self.snapshot_position = Some(pack(position));
            self.snapshotting = true;
        }
        let position = self.position.map_or(-1, |position| self.reported(position));
        out.push(AppEffect::RelayStarted { position, snapshot });
        self.begin_round(now, out);
    }

    /// Publishes the next rows of the snapshot. It has a position when all of it is published.
    pub(super) fn publish_snapshot(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let size = match self.spec.batch.max(1) {
            _ if self.is_transactional() => usize::MAX,
            batch => usize::try_from(batch).expect("32 bits"),
        };
        let events: Vec<_> = self.snapshot.drain(..size.min(self.snapshot.len())).collect();
        let next = if self.snapshot.is_empty() { self.snapshot_position.take() } else { None };
        self.fetched(now, Round { events, next, full: true, given_up: false }, out);
    }

    pub(super) fn capture(&mut self, out: &mut Vec<AppEffect>) {
        let after = self.position.map_or_else(LogPosition::default, unpack);
        let max = self.spec.batch.max(1);
        self.ask(Doing::Fetching, Request::Capture { after, max }, out);
    }

    pub(super) fn captured(
        &mut self,
        now: Instant,
        rows: &[CapturedRow],
        out: &mut Vec<AppEffect>,
    ) {
        let table = self.table();
        let is_event = |row: &&CapturedRow| !row.deleted && row.table.eq_ignore_ascii_case(table);
        let event = |row: &CapturedRow| self.columns.event(&self.naming, &row.values);
        let events = rows.iter().filter(is_event).map(event).collect();
        let next = rows.last().map(|row| pack(row.position));
        let full = rows.len() as u64 >= u64::from(self.spec.batch.max(1));
        self.fetched(now, Round { events, next, full, given_up: false }, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_one_number() {
        let at = |commit, changes| LogPosition { commit, changes };
        for position in [at(0, 0), at(1, 0), at(7, 3), at(1 << 30, (1 << CHANGE_BITS) - 1)] {
            assert_eq!(unpack(pack(position)), position);
        }
        assert!(pack(at(2, 5)) < pack(at(2, 6)));
        assert!(pack(at(2, 6)) < pack(at(3, 0)));
    }
}
