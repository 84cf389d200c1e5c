//! Events of systems outside of Kafka in words, without time and actor.

use oncesim_history::{AskOutcome, ExternalEvent, History};
use oncesim_types::{EffectId, Offset, Operation, RecordId, StatementRole, TopicPartition};

/// What happened, in words.
pub(crate) fn external_text(history: &History, event: &ExternalEvent) -> String {
    match event {
        ExternalEvent::Asked { call, system, operation, effect: of, key } => {
            let whom = history.actor_name(*system);
            let what = match of {
                Some(of) => format!(" for {}", effect(history, *of)),
                None => String::new(),
            };
            let key = if *key == 0 { String::new() } else { format!(", under the key {key:x}") };
            format!("{call} asks {whom} to {}{what}{key}", verb(*operation))
        }
        ExternalEvent::Answered { call, outcome, .. } => format!("{call} {}", ending(*outcome)),
        ExternalEvent::EffectDone { effect: of, skipped } => {
            let why = if *skipped { ": it was seen before" } else { "" };
            format!("takes {} for done{why}", effect(history, *of))
        }
        ExternalEvent::Intended { record, aggregate } => {
            format!("begins operation {} on aggregate {aggregate}", name(history, *record))
        }
        ExternalEvent::IntentEnded { record, outcome } => {
            format!("operation {} {}", name(history, *record), ending(*outcome))
        }
        ExternalEvent::RelayStarted { position: _, snapshot: true } => {
            "begins with a snapshot".to_owned()
        }
        ExternalEvent::RelayStarted { position: -1, .. } => "goes on from the beginning".to_owned(),
        ExternalEvent::RelayStarted { position, .. } => format!("goes on after {position}"),
        ExternalEvent::RelayPosition { position } => format!("moves its cursor to {position}"),
        _ => log_text(history, event),
    }
}

/// A system's own log.
fn log_text(history: &History, event: &ExternalEvent) -> String {
    match event {
        ExternalEvent::Applied { effect: of, commit, changes, token, .. } => {
            let rows = history.row_changes(*changes);
            let changed = rows.iter().filter(|change| change.before != change.after).count();
            let what = match changed {
                0 => "changes nothing".to_owned(),
                1 => "1 row".to_owned(),
                n => format!("{n} rows"),
            };
            let token = if *token < 0 { String::new() } else { format!(", token {token}") };
            format!("commit {commit} applies {} ({what}{token})", effect(history, *of))
        }
        ExternalEvent::Replayed { effect: of, original, same_payload } => {
            let [of, original] = [of, original].map(|effect| name(history, effect.record));
            let payload = if *same_payload { "" } else { ", although the payload differs" };
            format!("answers for {of} as it did for {original}{payload}")
        }
        ExternalEvent::KeyEvicted { effect: of } => {
            format!("forgets the key of {}", effect(history, *of))
        }
        ExternalEvent::Committed { role, record, commit, changed, .. } => {
            let of = record.map_or_else(|| "a record".to_owned(), |record| name(history, record));
            format!("commit {commit} {}", bookkeeping(*role, &of, *changed))
        }
        ExternalEvent::DedupEvicted { commit, rows } => {
            format!("commit {commit} forgets {rows} marks")
        }
        ExternalEvent::RolledBack { record: Some(record) } => {
            format!("rolls back the transaction of {}", name(history, *record))
        }
        ExternalEvent::RolledBack { record: None } => "rolls back a transaction".to_owned(),
        _ => offset_text(history, event),
    }
}

/// How far partitions were consumed, as systems have it.
fn offset_text(history: &History, event: &ExternalEvent) -> String {
    let at = |partition: &TopicPartition, offset: &Offset| {
        format!("{}@{offset}", history.partition_name(*partition))
    };
    match event {
        ExternalEvent::OffsetStored { partition, next, token, commit, accepted } => {
            let token = if *token < 0 { String::new() } else { format!(", token {token}") };
            let at = at(partition, next);
            match accepted {
                true => format!("commit {commit} stores {at} as where to go on{token}"),
                false => format!("does not store {at}: the fence holds{token}"),
            }
        }
        ExternalEvent::OffsetServed { partition, next: Offset(-1) } => {
            format!("tells that nothing is stored for {}", history.partition_name(*partition))
        }
        ExternalEvent::OffsetServed { partition, next } => {
            format!("tells to go on at {}", at(partition, next))
        }
        ExternalEvent::Prepared { partition, first, next, .. } => {
            format!("prepares the effects of {} up to {next}", at(partition, first))
        }
        ExternalEvent::Finished { partition, commit, .. } => {
            let verb = if *commit { "commits" } else { "drops" };
            format!("{verb} what was prepared of {}", history.partition_name(*partition))
        }
        _ => String::new(),
    }
}

fn name(history: &History, record: RecordId) -> String {
    history.record_name(record)
}

/// `the effect of shop #7 at ledger`, with its step if there are several.
fn effect(history: &History, effect: EffectId) -> String {
    let sink = history.sinks.get(usize::from(effect.sink.0));
    let step = match sink {
        Some(sink) if sink.steps > 1 => format!("step {} of ", effect.step + 1),
        _ => String::new(),
    };
    let at = sink.map_or("?", |sink| &sink.name);
    format!("{step}the effect of {} at {at}", name(history, effect.record))
}

const fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Begin => "begin",
        Operation::Execute => "execute a statement",
        Operation::Commit => "commit",
        Operation::Rollback => "roll back",
        Operation::Capture => "tell what changed",
        Operation::Snapshot => "read a table",
        Operation::Perform => "act",
        Operation::Prepare => "prepare effects",
        Operation::Finish => "finish what is prepared",
        Operation::Pending => "tell what is prepared",
    }
}

fn ending(outcome: AskOutcome) -> String {
    match outcome {
        AskOutcome::Ok => "succeeded".to_owned(),
        AskOutcome::Refused(error) => format!("was refused: {}", error.name()),
        AskOutcome::Unknown(error) => format!("ended without an answer: {}", error.name()),
    }
}

/// What a row of bookkeeping says about a record.
fn bookkeeping(role: StatementRole, of: &str, changed: u32) -> String {
    match role {
        StatementRole::DedupMark if changed == 0 => format!("finds {of} marked as seen"),
        StatementRole::DedupMark => format!("marks {of} as seen"),
        StatementRole::Business => format!("has the row of {of}"),
        StatementRole::Outbox => format!("has the outbox row of {of}"),
        StatementRole::RelayMark if changed == 0 => {
            format!("finds no row of {of} to mark as published")
        }
        StatementRole::RelayMark => format!("marks {of} as published"),
        StatementRole::CursorWrite => "stores the relay's cursor".to_owned(),
        StatementRole::OffsetWrite => "stores an offset".to_owned(),
        StatementRole::DedupEvict => format!("forgets {changed} marks"),
        StatementRole::Effect => format!("has the effect of {of}"),
        StatementRole::Read
        | StatementRole::DedupCheck
        | StatementRole::OffsetRead
        | StatementRole::RelaySelect
        | StatementRole::CursorRead => format!("reads for {of}"),
    }
}

#[cfg(test)]
mod tests {
    use oncesim_history::{EventKind, HistoryBuilder, SystemKind};
    use oncesim_types::{GroupId, SystemError, TopicId};

    use super::*;

    #[test]
    fn every_event_is_told_in_words() {
        let mut b = HistoryBuilder::new();
        let orders = b.topic("orders", 1);
        let partition = TopicPartition::new(TopicId(0), 0);
        b.group("mailer", &[orders]);
        let (shop, mailer) = (b.producer("shop"), b.consumer("mailer-0", GroupId(0)));
        let db = b.system("ledger", SystemKind::Database);
        let sink = b.sink("accounts", db, GroupId(0));
        b.sink_info(sink).steps = 2;
        let record = b.send(shop, partition);
        let effect = EffectId { record, sink, step: 1 };
        b.ask(mailer, db, Operation::Commit, None, 0);
        let call = b.ask(mailer, db, Operation::Perform, Some(effect), 255);
        b.answer(mailer, call, AskOutcome::Unknown(SystemError::Timeout), 0);
        b.effect_done(mailer, effect, true);
        b.apply_with(effect, 4, &[(1, 0, 2), (2, 3, 3)], 7, u64::MAX);
        b.committed(db, StatementRole::DedupMark, Some(record), 5, 0);
        b.offset_stored(db, (partition, 6), 7, 4, true);
        b.offset_stored(db, (partition, 6), 2, 4, false);
        let original = EffectId { step: 0, ..effect };
        let (next, first) = (Offset(-1), Offset(0));
        for event in [
            ExternalEvent::Intended { record, aggregate: 3 },
            ExternalEvent::IntentEnded { record, outcome: AskOutcome::Ok },
            ExternalEvent::RelayStarted { position: -1, snapshot: false },
            ExternalEvent::RelayPosition { position: 9 },
            ExternalEvent::Replayed { effect, original, same_payload: false },
            ExternalEvent::KeyEvicted { effect },
            ExternalEvent::DedupEvicted { commit: 8, rows: 2 },
            ExternalEvent::OffsetServed { partition, next },
            ExternalEvent::RolledBack { record: Some(record) },
            ExternalEvent::Prepared { partition, first, next: Offset(3), attempt: 1 },
            ExternalEvent::Finished { partition, attempt: 1, commit: false },
        ] {
            b.external(db, event);
        }
        let history = b.finish();
        let texts: Vec<String> = history
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::External(event) => Some(external_text(&history, event)),
                _ => None,
            })
            .collect();
        assert_eq!(
            texts,
            [
                "call-1 asks ledger to commit",
                "call-2 asks ledger to act for step 2 of the effect of shop #0 at accounts, under \
                 the key ff",
                "call-2 ended without an answer: timeout",
                "takes step 2 of the effect of shop #0 at accounts for done: it was seen before",
                "commit 4 applies step 2 of the effect of shop #0 at accounts (1 row, token 7)",
                "commit 5 finds shop #0 marked as seen",
                "commit 4 stores orders-0@6 as where to go on, token 7",
                "does not store orders-0@6: the fence holds, token 2",
                "begins operation shop #0 on aggregate 3",
                "operation shop #0 succeeded",
                "goes on from the beginning",
                "moves its cursor to 9",
                "answers for shop #0 as it did for shop #0, although the payload differs",
                "forgets the key of step 2 of the effect of shop #0 at accounts",
                "commit 8 forgets 2 marks",
                "tells that nothing is stored for orders-0",
                "rolls back the transaction of shop #0",
                "prepares the effects of orders-0@0 up to 3",
                "drops what was prepared of orders-0",
            ]
        );
    }
}
