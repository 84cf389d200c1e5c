//! What a row says about the event that it stands for.
//!
//! The columns are found by their names: `id`, and `key`, `value`, `sequence` where there are such.
//!
//! Simplification: keys and values are numbers, as everywhere in the model. A text becomes the number
//! that it spells, or else its hash: equal texts are equal keys.

use oncesim_external::{Datum, Rows};
use oncesim_history::History;
use oncesim_types::{ActorId, RecordId};

/// An event to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) record: RecordId,
    pub(super) key: Option<u32>,
    /// `None`, from a NULL, is a tombstone.
    pub(super) value: Option<i64>,
    /// The row's `id`, for its mark.
    pub(super) id: i64,
    /// What a cursor says that has passed this row.
    pub(super) cursor: i64,
}

/// Where the columns of a table or of a query's result are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Columns {
    id: Option<usize>,
    key: Option<usize>,
    value: Option<usize>,
    sequence: Option<usize>,
}

impl Columns {
    pub(super) fn of(names: &[String]) -> Self {
        let at = |name: &str| names.iter().position(|it| it.eq_ignore_ascii_case(name));
        Columns { id: at("id"), key: at("key"), value: at("value"), sequence: at("sequence") }
    }

    /// The event of a row that a relay publishes.
    pub(super) fn event(self, naming: &Naming, row: &[Datum]) -> Event {
        let at = |column: Option<usize>| column.and_then(|at| row.get(at));
        let id = at(self.id).and_then(number).unwrap_or(0);
        Event {
            record: naming.name(id),
            key: at(self.key).and_then(number).map(key),
            value: match self.value {
                Some(_) => at(self.value).and_then(number),
                None => Some(id),
            },
            id,
            cursor: at(self.sequence).and_then(number).unwrap_or(id),
        }
    }
}

/// The events of a query's result.
pub(super) fn events(naming: &Naming, rows: &Rows) -> Vec<Event> {
    let columns = Columns::of(&rows.columns);
    rows.rows.iter().map(|row| columns.event(naming, row)).collect()
}

/// What a relay calls its events.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) relay: ActorId,
    /// Whose rows name their events.
    pub(super) services: Vec<ActorId>,
}

impl Naming {
    /// The identity of an event: that which the service gave its row. A row that no service has
    /// written (it is in the schema, or a sink wrote it) is the source of an event of the relay's
    /// own, the same whenever it is read.
    fn name(&self, id: i64) -> RecordId {
        let record = RecordId(id.cast_unsigned());
        if self.services.contains(&record.origin()) {
            return record;
        }
        // Distinct as long as each origin has fewer than 2^23 rows.
        let place = u64::from(record.origin().0) << 23 | record.ordinal() & ((1 << 23) - 1);
        RecordId::new(self.relay, History::LABELLED + place)
    }
}

fn number(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Null => None,
        Datum::Integer(value) => Some(*value),
        Datum::Real(bits) => Some(bits.cast_signed()),
        Datum::Text(text) => Some(text.parse().unwrap_or_else(|_| hash(text.as_bytes()))),
        Datum::Blob(bytes) => Some(hash(bytes)),
    }
}

fn key(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_else(|_| short(&number.to_le_bytes()))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> i64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix).cast_signed()
}

/// A key made of bytes.
pub(super) fn short(bytes: &[u8]) -> u32 {
    let hash = hash(bytes).cast_unsigned();
    u32::try_from((hash ^ hash >> 32) & 0xffff_ffff).expect("masked")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: ActorId = ActorId(9);

    fn naming() -> Naming {
        Naming { relay: RELAY, services: vec![ActorId(3)] }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let columns = ["SEQUENCE", "id", "note", "value", "key"].map(str::to_owned);
        let record = RecordId::new(ActorId(3), 5);
        let id = record.0.cast_signed();
        let row = |value| {
            vec![
                Datum::Integer(17),
                Datum::Integer(id),
                Datum::Null,
                value,
                Datum::Text("2".to_owned()),
            ]
        };
        let rows = Rows {
            columns: columns.to_vec(),
            rows: vec![row(Datum::Integer(8)), row(Datum::Null)],
        };
        let first = Event { record, key: Some(2), value: Some(8), id, cursor: 17 };
        assert_eq!(events(&naming(), &rows), [first, Event { value: None, ..first }]);
    }

    #[test]
    fn what_is_not_there_is_made_up() {
        let rows = Rows { columns: vec!["id".to_owned()], rows: vec![vec![Datum::Integer(4)]] };
        let [event] = events(&naming(), &rows)[..] else { panic!("one row is one event") };
        assert_eq!(event.record, RecordId::new(RELAY, History::LABELLED + 4));
        assert_eq!((event.key, event.value, event.cursor), (None, Some(4), 4));
    }

    #[test]
    fn texts_are_numbers() {
        assert_eq!(number(&Datum::Text("-12".to_owned())), Some(-12));
        let order = |text: &str| number(&Datum::Text(text.to_owned())).map(key);
        assert_eq!(order("order-1"), order("order-1"));
        assert_ne!(order("order-1"), order("order-2"));
    }
}
