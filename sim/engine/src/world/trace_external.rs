//! The trace for people: what is asked of systems outside of Kafka, and what they do.

use oncesim_external::{Execute, Note, Request, Response, StagedName};
use oncesim_spec::SystemSpecKind;
use oncesim_types::{ActorId, EffectId, Operation, StatementRole};

use super::World;
use oncesim_history::trace::LineKind;

/// How much of a statement is shown.
const STATEMENT_MAX: usize = 60;

impl World {
    /// A request, as its client would say it.
    pub(super) fn ask_in_words(
        &self,
        system: ActorId,
        body: &Request,
        operation: Operation,
    ) -> String {
        let history = &self.recorder.history;
        match body {
            Request::Begin => "begins".to_owned(),
            Request::Execute(execute) => self.statement(system, execute),
            Request::Commit => "commits".to_owned(),
            Request::Rollback => "rolls back".to_owned(),
            Request::Capture { after, max } => format!(
                "reads the log after {}.{}, at most {max} changes",
                after.commit, after.changes
            ),
            Request::Snapshot { table } => format!("reads all of {table}"),
            Request::Perform(request) => {
                let with = request.key.map_or("without a key".to_owned(), |key| {
                    format!("with key {}", key_name(key))
                });
                let token = request.token.map_or(String::new(), |it| format!(", token {it}"));
                format!("performs {} {with}{token}", self.effect(request.effect))
            }
            Request::Prepare(prepare) => format!(
                "prepares {} ({} effects)",
                self.staged(prepare.name),
                prepare.effects.len()
            ),
            Request::Finish { name, commit } => {
                format!("{} {}", if *commit { "commits" } else { "drops" }, self.staged(*name))
            }
            Request::Pending { partition, .. } => {
                format!("{} for {}?", operation.name(), history.partition_name(*partition))
            }
        }
    }

    fn statement(&self, system: ActorId, execute: &Execute) -> String {
        let index = self.systems.iter().position(|other| *other == system);
        let kind = index.and_then(|index| self.scenario.systems.get(index)).map(|it| &it.kind);
        let Some(SystemSpecKind::Database(database)) = kind else {
            return role_name(execute.role).to_owned();
        };
        let statement = database.statements.get(usize::from(execute.statement.0));
        let text = statement.map_or("", |statement| statement.text.as_ref());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = words.chars().take(STATEMENT_MAX).collect();
        if shown.len() < words.len() {
            shown.push_str("...");
        }
        match (execute.effect, execute.record) {
            (Some(effect), _) => format!("{shown}  for {}", self.effect(effect)),
            (None, Some(record)) => {
                format!("{shown}  for {}", self.recorder.history.record_name(record))
            }
            (None, None) => shown,
        }
    }

    fn effect(&self, effect: EffectId) -> String {
        let record = self.recorder.history.record_name(effect.record);
        let step = if effect.step == 0 { String::new() } else { format!(" step {}", effect.step) };
        format!("{record}{step}")
    }

    fn staged(&self, name: StagedName) -> String {
        let partition = self.recorder.history.partition_name(name.partition);
        format!("{partition} {}..{} attempt {}", name.first, name.next, name.attempt)
    }

    /// Writes down what a system noted about itself, where people want to see it.
    pub(super) fn watch_system(&mut self, system: ActorId, note: &Note) {
        if self.tracing.is_none() {
            return;
        }
        let text = match note {
            Note::Applied { effect, commit, changes, .. } => {
                let changed = changes.iter().filter(|it| it.before != it.after).count();
                let how = match changed {
                    0 => ", which changes nothing".to_owned(),
                    n => format!(": {}", rows(n as u64)),
                };
                format!("applies {} in commit {commit}{how}", self.effect(*effect))
            }
            Note::Replayed { effect, same_payload, .. } => format!(
                "gives the stored answer for {}{}",
                self.effect(*effect),
                if *same_payload { "" } else { ", although the payload is another" }
            ),
            Note::KeyEvicted { key, effect } => {
                format!("forgets key {} of {}", key_name(*key), self.effect(*effect))
            }
            Note::Committed { role, record, commit, changed, .. } => {
                let of = record.map_or(String::new(), |record| {
                    format!(" of {}", self.recorder.history.record_name(record))
                });
                format!("commit {commit}: {}{of}, {}", role_name(*role), rows(*changed))
            }
            Note::DedupEvicted { commit, rows: n } => {
                format!("commit {commit}: forgets marks, {}", rows(*n))
            }
            Note::OffsetStored { partition, next, accepted, commit, .. } => format!(
                "commit {commit}: {} is consumed to {next}{}",
                self.recorder.history.partition_name(*partition),
                if *accepted { "" } else { ": refused by the fence" }
            ),
            Note::OffsetServed { partition, next } => {
                let partition = self.recorder.history.partition_name(*partition);
                match next {
                    Some(next) => format!("{partition} is to go on from {next}"),
                    None => format!("nothing is stored for {partition}"),
                }
            }
            Note::RolledBack { .. } => "rolls a transaction back".to_owned(),
            Note::Prepared { name, .. } => format!("{} is prepared", self.staged(*name)),
            Note::Finished { name, commit } => {
                format!("{} is {}", self.staged(*name), if *commit { "visible" } else { "dropped" })
            }
        };
        self.trace_note(system, LineKind::Note, &text);
    }
}

/// An answer, in a few words.
pub(super) fn answer(body: &Response, operation: Operation) -> String {
    let name = operation.name();
    match body {
        Response::Begun { sequence } => format!("{name} answered: number {sequence}"),
        Response::Executed { rows: result, .. } if !result.columns.is_empty() => {
            format!("{name} answered: returns {}", rows(result.rows.len() as u64))
        }
        Response::Executed { changed, .. } => format!("{name} answered: {}", rows(*changed)),
        Response::Captured { rows: changes } => {
            format!("{name} answered: {} changes", changes.len())
        }
        Response::Snapshot { rows: result, position } => format!(
            "{name} answered: {}, as of commit {}",
            rows(result.rows.len() as u64),
            position.commit
        ),
        Response::Performed { result, replayed } => {
            let again = if *replayed { ", as stored" } else { "" };
            format!("{name} answered: receipt {result}{again}")
        }
        Response::Pending(pending) => format!("{name} answered: {}", pending.len()),
        Response::Refused(error) => format!("{name} refused: {}", error.name()),
        Response::Committed | Response::RolledBack | Response::Prepared | Response::Finished => {
            format!("{name} answered")
        }
    }
}

fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

/// Keys are hashes: their first digits tell them apart.
fn key_name(key: u64) -> String {
    format!("{:08x}", key >> 32)
}

fn role_name(role: StatementRole) -> &'static str {
    match role {
        StatementRole::Effect => "an effect",
        StatementRole::Read => "a read",
        StatementRole::DedupCheck => "a look at the marks",
        StatementRole::DedupMark => "a mark",
        StatementRole::DedupEvict => "old marks forgotten",
        StatementRole::OffsetRead => "an offset read",
        StatementRole::OffsetWrite => "an offset",
        StatementRole::Business => "a row of the business",
        StatementRole::Outbox => "a row of the outbox",
        StatementRole::RelaySelect => "a look into the outbox",
        StatementRole::RelayMark => "a row marked as published",
        StatementRole::CursorRead => "a cursor read",
        StatementRole::CursorWrite => "a cursor",
    }
}
