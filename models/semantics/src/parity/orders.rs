//! What every rule asks for: who wrote a record, who read it, and where it is in the version order
//! of its key.
//!
//! Everything is an array by record or by key, filled in a few passes over the operations.

use oncesim_history::Name;
use oncesim_history::jepsen::{JepsenHistory, Mop, Op, OpType, SendOffset};

use super::Case;

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// Where a record is in the version order of its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The first and the last index; `NONE` if it is at no known offset.
    pub(super) first: u32,
    pub(super) last: u32,
}

/// One key's version order: the records at each index, and the offset of each index.
#[derive(Debug, Default)]
pub(super) struct VersionOrder {
    /// Offset and record, ascending, each pair once.
    pub(super) log: Vec<(i64, u32)>,
    /// Where each index begins in `log`.
    pub(super) starts: Vec<u32>,
}

impl VersionOrder {
    pub(super) fn len(&self) -> u32 {
        number(self.starts.len())
    }

    /// The records at an index.
    pub(super) fn at(&self, index: u32) -> &[(i64, u32)] {
        let from = self.starts[index as usize] as usize;
        let to = self.starts.get(index as usize + 1).map_or(self.log.len(), |to| *to as usize);
        &self.log[from..to]
    }

    /// The record that stands for an index; an arbitrary one if several claim it.
    pub(super) fn by_index(&self, index: u32) -> u32 {
        self.log[self.starts[index as usize] as usize].1
    }
}

/// A history with its version orders.
#[derive(Debug)]
pub(super) struct Tables<'h> {
    pub(super) history: &'h JepsenHistory,
    /// By key.
    pub(super) orders: Vec<VersionOrder>,
    /// By record.
    pub(super) places: Vec<Place>,
    /// By record: the last completion that tried to write it.
    pub(super) writer: Vec<u32>,
    /// By record: whether an ok operation read it.
    pub(super) read: Vec<bool>,
}

pub(super) fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a history has fewer than 2^32 entries")
}

impl<'h> Tables<'h> {
    pub(super) fn of(history: &'h JepsenHistory) -> Self {
        let records = history.records.keys().len();
        let mut tables = Tables {
            history,
            orders: Vec::new(),
            places: vec![Place { first: NONE, last: NONE }; records],
            writer: vec![NONE; records],
            read: vec![false; records],
        };
        for (position, op) in tables.completions() {
            for mop in history.mops(op) {
                match mop {
                    Mop::Send { record, .. } => tables.writer[*record as usize] = position,
                    Mop::Poll(span) if op.ty == OpType::Ok => {
                        for polled in history.polled(*span) {
                            tables.read[polled.record as usize] = true;
                        }
                    }
                    Mop::Poll(_) => {}
                }
            }
        }
        tables.order();
        tables
    }

    /// The completions of operations, with their positions.
    pub(super) fn completions(&self) -> impl Iterator<Item = (u32, &'h Op)> + use<'h> {
        (0u32..).zip(&self.history.ops).filter(|(_, op)| op.ty != OpType::Invoke)
    }

    /// Whether an operation happened: it says so, or one of its sends was read.
    pub(super) fn must_have_committed(&self, op: &Op) -> bool {
        match op.ty {
            OpType::Ok => true,
            OpType::Info => self.history.mops(op).iter().any(|mop| match mop {
                Mop::Send { record, .. } => self.read[*record as usize],
                Mop::Poll(_) => false,
            }),
            OpType::Invoke | OpType::Fail => false,
        }
    }

    fn order(&mut self) {
        let history = self.history;
        let mut orders: Vec<VersionOrder> = Vec::new();
        orders.resize_with(history.keys.keys().len(), VersionOrder::default);
        // Most records are seen at one offset again and again.
        let mut seen = vec![i64::MIN; history.records.keys().len()];
        let mut see = |record: u32, offset: i64| {
            let last = &mut seen[record as usize];
            if *last != offset {
                *last = offset;
                orders[history.key_of(record) as usize].log.push((offset, record));
            }
        };
        for (_, op) in self.completions() {
            let committed = self.must_have_committed(op);
            for mop in history.mops(op) {
                match mop {
                    Mop::Send { record, offset: SendOffset::At(offset) } if committed => {
                        see(*record, *offset);
                    }
                    Mop::Send { .. } => {}
                    Mop::Poll(span) => {
                        history.polled(*span).iter().for_each(|p| see(p.record, p.offset));
                    }
                }
            }
        }
        for order in &mut orders {
            order.log.sort();
            order.log.dedup();
            let mut last = None;
            for (position, (offset, record)) in (0u32..).zip(&order.log) {
                if last != Some(*offset) {
                    last = Some(*offset);
                    order.starts.push(position);
                }
                let index = number(order.starts.len() - 1);
                let place = &mut self.places[*record as usize];
                if place.first == NONE {
                    place.first = index;
                }
                place.last = index;
            }
        }
        self.orders = orders;
    }

    /// The index by which a record goes: its last.
    pub(super) fn index(&self, record: u32) -> Option<u32> {
        let last = self.places[record as usize].last;
        (last != NONE).then_some(last)
    }

    /// How far `to` is behind `from` in the version order of their key, if both are in it.
    pub(super) fn delta(&self, from: u32, to: u32) -> Option<i64> {
        Some(i64::from(self.index(to)?) - i64::from(self.index(from)?))
    }

    /// What lies between two records of a key.
    pub(super) fn between(&self, from: u32, to: u32) -> Vec<Name> {
        let (Some(from_index), Some(to_index)) = (self.index(from), self.index(to)) else {
            return Vec::new();
        };
        let order = &self.orders[self.history.key_of(from) as usize];
        (from_index + 1..to_index).map(|i| self.value(order.by_index(i))).collect()
    }

    pub(super) fn value(&self, record: u32) -> Name {
        self.history.value_name(record).clone()
    }

    pub(super) fn op_index(&self, op: u32) -> i64 {
        self.history.ops[op as usize].index
    }

    /// A case about records of one key.
    pub(super) fn case(&self, records: &[u32]) -> Case {
        let key = records.first().map(|r| self.history.key_name(self.history.key_of(*r)).clone());
        Case { key, values: records.iter().map(|r| self.value(*r)).collect(), ..Case::default() }
    }
}
