//! Placeholders: `:id`, `:key`, ... and what they stand for.
//!
//! Mirrors SQLite's named parameters. Names are resolved to indexes when a statement is prepared;
//! an execution binds integers by index and copies at most a topic's name.

use oncesim_types::TopicPartition;
use rusqlite::Statement;

use crate::message::Parameters;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    Id,
    Key,
    Value,
    Version,
    Topic,
    Partition,
    Offset,
    Next,
    Token,
    Read,
    Cursor,
    Batch,
    Horizon,
    Attempt,
    Now,
    Sequence,
}

use Placeholder as P;

/// All placeholders with their names.
const NAMES: [(&str, Placeholder); 16] = [
    ("id", P::Id),
    ("key", P::Key),
    ("value", P::Value),
    ("version", P::Version),
    ("topic", P::Topic),
    ("partition", P::Partition),
    ("offset", P::Offset),
    ("next", P::Next),
    ("token", P::Token),
    ("read", P::Read),
    ("cursor", P::Cursor),
    ("batch", P::Batch),
    ("horizon", P::Horizon),
    ("attempt", P::Attempt),
    ("now", P::Now),
    ("sequence", P::Sequence),
];

impl Placeholder {
    /// The placeholder of this name, without the colon.
    pub(super) fn named(name: &str) -> Option<Placeholder> {
        NAMES.iter().find(|(known, _)| *known == name).map(|&(_, placeholder)| placeholder)
    }
}

/// The names of all placeholders, as a sentence needs them.
pub(super) fn known() -> String {
    let names: Vec<String> = NAMES.iter().map(|(name, _)| format!(":{name}")).collect();
    names.join(", ")
}

/// What an execution knows beside its parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// `:now`
    pub(super) now_ms: i64,
    /// `:sequence`
    pub(super) sequence: i64,
}

/// The names of partitions, each made once.
#[derive(Debug)]
pub(super) struct PartitionNames {
    topics: std::sync::Arc<[String]>,
    names: Vec<Vec<String>>,
}

impl PartitionNames {
    pub(super) fn new(topics: std::sync::Arc<[String]>) -> Self {
        let names = vec![Vec::new(); topics.len()];
        PartitionNames { topics, names }
    }

    fn topic(&self, at: TopicPartition) -> Option<&str> {
        self.topics.get(usize::from(at.topic.0)).map(String::as_str)
    }

    fn partition(&mut self, at: TopicPartition) -> Option<&str> {
        let index = usize::from(at.partition);
        let topic = self.topics.get(usize::from(at.topic.0))?;
        let names = self.names.get_mut(usize::from(at.topic.0))?;
        while names.len() <= index {
            names.push(format!("{topic}-{}", names.len()));
        }
        names.get(index).map(String::as_str)
    }
}

/// Binds the placeholders of a statement.
pub(super) fn bind(
    statement: &mut Statement<'_>,
    placeholders: &[(usize, Placeholder)],
    parameters: &Parameters,
    surroundings: Surroundings,
    names: &mut PartitionNames,
) -> rusqlite::Result<()> {
    for &(index, placeholder) in placeholders {
        let value = match placeholder {
            P::Id => Some(parameters.id),
            P::Key => parameters.key,
            P::Value => parameters.value,
            P::Version => Some(parameters.version),
            P::Topic => {
                let name = parameters.partition.and_then(|at| names.topic(at));
                statement.raw_bind_parameter(index, name)?;
                continue;
            }
            P::Partition => {
                let name = parameters.partition.and_then(|at| names.partition(at));
                statement.raw_bind_parameter(index, name)?;
                continue;
            }
            P::Offset => Some(parameters.offset),
            P::Next => Some(parameters.next),
            P::Token => Some(parameters.token),
            P::Read => parameters.read,
            P::Cursor => Some(parameters.cursor),
            P::Batch => Some(parameters.batch),
            P::Horizon => Some(parameters.horizon),
            P::Attempt => Some(parameters.attempt),
            P::Now => Some(surroundings.now_ms),
            P::Sequence => Some(surroundings.sequence),
        };
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}
