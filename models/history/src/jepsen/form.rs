//! What JSON and EDN have in common, and an operation from it.

use super::op::{JepsenHistory, Mop, Op, OpKind, OpType, Polled, SendOffset, position};
use crate::complaint::Complaint;
use crate::event::SpanIndex;
use crate::intern::Name;

/// One form, of either notation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Nil,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Form>),
    Map(Vec<(Form, Form)>),
    /// Anything that histories have no use for.
    Other,
}

impl Form {
    fn get(&self, key: &str) -> Option<&Form> {
        match self {
            Form::Map(entries) => entries
                .iter()
                .find(|(k, _)| matches!(k, Form::Text(k) if k == key))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Form::Text(text) => Some(text),
            _ => None,
        }
    }

    fn list(&self) -> Option<&[Form]> {
        match self {
            Form::List(items) => Some(items),
            _ => None,
        }
    }

    /// A value; keys of JSON objects are always text, so that a number in text is a number.
    fn key(&self) -> Option<Name> {
        match self {
            Form::Int(n) => Some(Name::Int(*n)),
            Form::Text(text) => Some(match text.parse() {
                Ok(n) => Name::Int(n),
                Err(_) => Name::Text(text.as_str().into()),
            }),
            _ => None,
        }
    }

    fn value(&self) -> Option<Name> {
        match self {
            Form::Int(n) => Some(Name::Int(*n)),
            Form::Text(text) => Some(Name::Text(text.as_str().into())),
            _ => None,
        }
    }
}

const OP: &str = "an operation with :type (invoke, ok, fail or info), :process, :f and :value";

/// Appends operations to a history, and pairs them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) history: JepsenHistory,
    /// The open invocation of each process, by its number.
    open: crate::intern::Interner<Name>,
    invoked: Vec<u32>,
    last_index: Option<i64>,
    last_time: i64,
}

const CLOSED: u32 = u32::MAX;
/// More than any log has, and small enough that no sum runs over.
const OFFSET_MAX: i64 = 1 << 60;

impl Reader {
    /// The history, if there is anything in it.
    pub(crate) fn finish(self, expected: &str) -> Result<JepsenHistory, Complaint> {
        if self.history.ops.is_empty() {
            return Err(Complaint::new(1, "no operation of a client in it", expected));
        }
        Ok(self.history)
    }

    /// Reads one operation; a refused one leaves no trace.
    pub(crate) fn op(&mut self, line: u32, form: &Form) -> Result<(), Complaint> {
        let marks =
            (self.history.mops.len(), self.history.polled.len(), self.history.key_lists.len());
        self.try_op(line, form).inspect_err(|_| {
            self.history.mops.truncate(marks.0);
            self.history.polled.truncate(marks.1);
            self.history.key_lists.truncate(marks.2);
        })
    }

    fn try_op(&mut self, line: u32, form: &Form) -> Result<(), Complaint> {
        let wrong = |what: &str, expected: &str| Complaint::new(line, what, expected);
        if !matches!(form, Form::Map(_)) {
            return Err(wrong("this is no operation", OP));
        }
        let process = match form.get("process") {
            Some(Form::Int(process)) => *process,
            Some(_) => {
                self.history.foreign += 1;
                return Ok(());
            }
            None => return Err(wrong("an operation without :process", OP)),
        };
        let ty = match form.get("type").and_then(Form::text) {
            Some("invoke") => OpType::Invoke,
            Some("ok") => OpType::Ok,
            Some("fail") => OpType::Fail,
            Some("info") => OpType::Info,
            _ => return Err(wrong("an operation without a known :type", OP)),
        };
        let kind = match form.get("f").and_then(Form::text) {
            Some("send") => OpKind::Send,
            Some("poll") => OpKind::Poll,
            Some("txn") => OpKind::Txn,
            Some("subscribe") => OpKind::Subscribe,
            Some("assign") => OpKind::Assign,
            Some("crash") => OpKind::Crash,
            Some(_) => OpKind::Other,
            None => return Err(wrong("an operation without :f", OP)),
        };
        let here = position(self.history.ops.len());
        let index = self.ascending(line, form, i64::from(here))?;
        let time = match form.get("time") {
            Some(Form::Int(time)) if *time < self.last_time => {
                let what = format!("time goes back from {} to {time}", self.last_time);
                return Err(wrong(&what, "operations in the order of :time"));
            }
            Some(Form::Int(time)) => *time,
            _ => self.last_time.max(i64::from(here)),
        };
        let value = form.get("value").unwrap_or(&Form::Nil);
        let mut op = Op {
            index,
            time,
            process,
            ty,
            kind,
            mops: SpanIndex::default(),
            keys: SpanIndex::default(),
            rebalanced: SpanIndex::default(),
            seek: form.get("seek-to-beginning?") == Some(&Form::Bool(true)),
        };
        if kind.is_data() {
            op.mops = self.mops(line, value)?;
        } else if matches!(kind, OpKind::Subscribe | OpKind::Assign) {
            op.keys = self.keys(line, value)?;
        }
        if let Some(log) = form.get("rebalance-log").and_then(Form::list) {
            let keys: Vec<u32> = log
                .iter()
                .filter_map(|entry| entry.get("keys").and_then(Form::list))
                .flatten()
                .filter_map(Form::key)
                .map(|key| self.history.keys.intern(key))
                .collect();
            op.rebalanced = self.history.list(keys);
        }
        self.pair(line, &op, here)?;
        (self.last_index, self.last_time) = (Some(index), time);
        self.history.ops.push(op);
        Ok(())
    }

    fn ascending(&self, line: u32, form: &Form, here: i64) -> Result<i64, Complaint> {
        match (form.get("index"), self.last_index) {
            (Some(Form::Int(index)), Some(last)) if *index <= last => Err(Complaint::new(
                line,
                format!("index goes back from {last} to {index}"),
                "operations in the order of :index, each index once",
            )),
            (Some(Form::Int(index)), _) => Ok(*index),
            (_, Some(last)) => Ok(here.max(last.saturating_add(1))),
            _ => Ok(here),
        }
    }

    fn pair(&mut self, line: u32, op: &Op, here: u32) -> Result<(), Complaint> {
        let row = self.open.intern(Name::Int(op.process)) as usize;
        if self.invoked.len() <= row {
            self.invoked.resize(row + 1, CLOSED);
        }
        let open = self.invoked[row];
        let process = op.process;
        if op.ty == OpType::Invoke {
            if open != CLOSED {
                return Err(Complaint::new(
                    line,
                    format!("process {process} begins an operation while another is open"),
                    "a completion (ok, fail or info) of its last operation first",
                ));
            }
            self.invoked[row] = here;
        } else if open == CLOSED {
            return Err(Complaint::new(
                line,
                format!("process {process} completes an operation that it has not begun"),
                "an invocation before each completion",
            ));
        } else {
            self.invoked[row] = CLOSED;
        }
        Ok(())
    }

    fn keys(&mut self, line: u32, value: &Form) -> Result<SpanIndex, Complaint> {
        let wrong =
            || Complaint::new(line, "a :value that is no list of keys", "keys, as in [1 2]");
        let keys = match value {
            Form::Nil => &[][..],
            _ => value.list().ok_or_else(wrong)?,
        };
        let start = position(self.history.key_lists.len());
        for key in keys {
            let key = self.history.keys.intern(key.key().ok_or_else(wrong)?);
            self.history.key_lists.push(key);
        }
        Ok(SpanIndex { start, len: position(keys.len()) })
    }

    fn mops(&mut self, line: u32, value: &Form) -> Result<SpanIndex, Complaint> {
        let wrong = |what: &str| {
            Complaint::new(
                line,
                what,
                "sends and polls: [:send k v], [:send k [offset v]], [:poll], \
                 [:poll {k [[offset v] ...]}]",
            )
        };
        let mops = match value {
            Form::Nil => &[][..],
            _ => value.list().ok_or_else(|| wrong("a :value that is no list"))?,
        };
        let start = position(self.history.mops.len());
        for mop in mops {
            let parts = mop.list().unwrap_or_default();
            let mop = match (parts.first().and_then(Form::text), parts) {
                (Some("send"), [_, key, value]) => {
                    self.send(key, value).ok_or_else(|| wrong("a send that cannot be read"))?
                }
                (Some("poll"), [_]) => Mop::Poll(SpanIndex::default()),
                (Some("poll"), [_, records]) => {
                    self.poll(records).ok_or_else(|| wrong("a poll that cannot be read"))?
                }
                _ => return Err(wrong("neither a send nor a poll")),
            };
            self.history.mops.push(mop);
        }
        Ok(SpanIndex { start, len: position(mops.len()) })
    }

    fn send(&mut self, key: &Form, value: &Form) -> Option<Mop> {
        let (offset, value) = match value {
            Form::List(pair) => match &pair[..] {
                [Form::Nil, value] => (SendOffset::Unknown, value),
                [Form::Int(offset @ 0..=OFFSET_MAX), value] => (SendOffset::At(*offset), value),
                _ => return None,
            },
            value => (SendOffset::Open, value),
        };
        Some(Mop::Send { record: self.history.record(key.key()?, value.value()?), offset })
    }

    fn poll(&mut self, records: &Form) -> Option<Mop> {
        let start = position(self.history.polled.len());
        let Form::Map(entries) = records else {
            return (*records == Form::Nil).then_some(Mop::Poll(SpanIndex::default()));
        };
        for (key, pairs) in entries {
            let key = self.history.keys.intern(key.key()?);
            for pair in pairs.list()? {
                let [Form::Int(offset @ 0..=OFFSET_MAX), value] = pair.list()? else { return None };
                let value = self.history.values.intern(value.value()?);
                let record = self.history.records.intern((key, value));
                self.history.polled.push(Polled { record, offset: *offset });
            }
        }
        Some(Mop::Poll(SpanIndex { start, len: position(self.history.polled.len()) - start }))
    }
}
