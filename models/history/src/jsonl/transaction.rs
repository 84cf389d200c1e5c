//! Lines about transactions and processors, to events.

use oncesim_types::{
    CallId, GenerationId, MemberId, TransactionNumber, TransactionalId, Transform,
};

use super::line::{Kind, Line, OutputLine, ProcessorLine, TransformLine};
use super::read::{Reader, text};
use crate::complaint::Complaint;
use crate::event::{ClientKind, Output};
use crate::history::ProcessorInfo;

impl Reader {
    pub(super) fn processor(&mut self, line: &ProcessorLine) -> Result<ProcessorInfo, Complaint> {
        let transform = match &line.transform {
            TransformLine::Map => Transform::Map,
            TransformLine::FanOut { outputs } => Transform::FanOut { outputs: *outputs },
            TransformLine::Filter { per_million } => {
                Transform::Filter { per_million: *per_million }
            }
            TransformLine::Aggregate { changelog } => {
                Transform::Aggregate { changelog: self.topic(changelog)? }
            }
        };
        let to = line.to.iter().map(|topic| self.topic(topic)).collect::<Result<_, _>>()?;
        Ok(ProcessorInfo { to, transform, transactional: line.transactional })
    }

    pub(super) fn transaction_event(&mut self, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        match kind {
            Kind::Begin => {
                let number = TransactionNumber(self.need(line.number, "number", kind)?);
                return Ok(ClientKind::TransactionBegin { number });
            }
            Kind::Emitted | Kind::Restored | Kind::Transfer => return self.processor_event(line),
            _ => {}
        }
        let call = CallId(self.need(line.call, "call", kind)?);
        match kind {
            Kind::InitTransactions => {
                let id = self.need(line.id, "id", kind)?;
                let row = self.ids.intern(text(&id));
                let row = self.number(row, "transactional ids")?;
                if self.history.transactional_ids.len() <= usize::from(row) {
                    self.history.transactional_ids.push(id.into_owned());
                }
                let transactional_id = TransactionalId(row);
                Ok(ClientKind::InitTransactions { call, transactional_id })
            }
            Kind::SendOffsets => {
                let number = TransactionNumber(self.need(line.number, "number", kind)?);
                let group = self.need(line.group, "group", kind)?;
                let group = self.group(&group)?;
                let offsets = self.need(line.offsets, "offsets", kind)?;
                let offsets = self.offsets(offsets)?;
                let member = line.member.map(MemberId);
                let generation = GenerationId(line.generation.unwrap_or(-1));
                Ok(ClientKind::SendOffsets { call, number, group, offsets, member, generation })
            }
            Kind::EndTransaction => {
                let number = TransactionNumber(self.need(line.number, "number", kind)?);
                let result = self.need(line.result, "result", kind)?;
                Ok(ClientKind::EndTransaction { call, number, result })
            }
            Kind::InitTransactionsEnd => {
                Ok(ClientKind::InitTransactionsEnd { call, outcome: self.outcome(&line)? })
            }
            Kind::SendOffsetsEnd => {
                Ok(ClientKind::SendOffsetsEnd { call, outcome: self.outcome(&line)? })
            }
            _ => Ok(ClientKind::TransactionEnd { call, outcome: self.outcome(&line)? }),
        }
    }

    fn processor_event(&mut self, line: Line<'_>) -> Result<ClientKind, Complaint> {
        let kind = line.event;
        if kind == Kind::Restored {
            return Ok(ClientKind::StateRestored {
                changelog: self.place(line.topic, line.partition, kind)?,
                to: self.need_offset(line.to, "to", kind)?,
                keys: self.need(line.keys, "keys", kind)?,
                fingerprint: self.need(line.fingerprint, "fingerprint", kind)?,
            });
        }
        let record = self.need(line.record, "record", kind)?;
        let record = self.record(record);
        if kind == Kind::Transfer {
            let amount = self.need(line.amount, "amount", kind)?;
            return Ok(ClientKind::Transfer { record, amount });
        }
        let input = self.need(line.input, "input", kind)?;
        Ok(ClientKind::Emitted {
            record,
            input: self.record(input),
            partition: self.place(line.topic, line.partition, kind)?,
            offset: self.need_offset(line.offset, "offset", kind)?,
            output: match self.need(line.output, "output", kind)? {
                OutputLine::Ordinal(n) => Output::Ordinal(n),
                OutputLine::Aggregate => Output::Aggregate,
                OutputLine::Changelog => Output::Changelog,
            },
        })
    }
}
