//! What is written is read again; what is wrong is named with its line.

use oncesim_types::{
    ActorId, Duration, EffectId, Offset, Operation, RecordId, StatementRole, SystemError, TopicId,
    TopicPartition, TransactionResult, Transform, lineage,
};
use proptest::prelude::*;

use super::{read_jsonl, write_jsonl};
use crate::event::{ClientKind, EventKind, Output, PositionReason};
use crate::history::{
    AnnouncementInfo, Announcing, History, ProcessorInfo, RelayInfo, RelayProgress, SinkInfo,
    SystemKind,
};
use crate::{AskOutcome, ExternalEvent, HistoryBuilder, Outcome};

/// A history from a list of small choices.
fn history(choices: &[(u8, u8, u8)]) -> History {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 3);
    let group = b.group("mailer", &[topic]);
    let (shop, mailer) = (b.producer("shop"), b.consumer("mailer-0", group));
    let auditor = b.auditor();
    let at = |p: u8| TopicPartition::new(TopicId(0), u16::from(p % 3));
    let mut records = Vec::new();
    for (what, p, n) in choices {
        let (at, offset) = (at(*p), i64::from(*n));
        let last = records.last().copied();
        match (what % 10, last) {
            (0, _) | (_, None) => records.push(b.send_keyed(shop, at, (*n > 9).then_some(7))),
            (1, Some(record)) => {
                b.acked(record, at, offset);
                records.pop();
            }
            (2, Some(record)) => {
                b.unknown(record);
                records.pop();
            }
            (3, Some(record)) => {
                let polled = [b.polled(at, offset, record)];
                b.poll(mailer, &polled[..usize::from(n % 2)]);
            }
            (4, _) => {
                b.assigned(mailer, i32::from(*n), &[at], &[at]);
            }
            (5, _) => {
                b.revoked(mailer, &[at]);
            }
            (6, Some(record)) => {
                b.processed(mailer, at, offset, record);
            }
            (7, _) => {
                let call = b.commit_begin(mailer, &[(at, offset)], n % 2 == 0);
                b.commit_end(mailer, call, Outcome::Ok);
            }
            (8, _) => {
                b.position(mailer, at, offset, PositionReason::Seek);
            }
            (_, Some(_)) => {
                let drained =
                    ClientKind::Drained { partition: at, from: Offset::ZERO, to: Offset(offset) };
                b.client(auditor, drained);
                b.crash(mailer, false);
            }
        }
    }
    b.finish()
}

fn same(a: &History, b: &History) {
    assert_eq!(a.actors, b.actors);
    assert_eq!(a.topics, b.topics);
    assert_eq!(a.groups, b.groups);
    assert_eq!(a.events, b.events);
    assert_eq!(a.polled, b.polled);
    assert_eq!(a.commits, b.commits);
    assert_eq!(a.partitions, b.partitions);
    assert_eq!(a.sinks, b.sinks);
    assert_eq!(a.announcements, b.announcements);
    assert_eq!(a.relays, b.relays);
    assert_eq!(a.row_changes, b.row_changes);
}

/// Services and relays of every kind.
fn declarations(b: &mut HistoryBuilder, service: ActorId, shop: ActorId) {
    let topic = TopicId(0);
    let hows = [
        Announcing::Outbox,
        Announcing::DatabaseFirst,
        Announcing::LogFirst,
        Announcing::InsideTransaction,
    ];
    for how in hows {
        b.announcement(AnnouncementInfo { service, database: shop, to: topic, how });
    }
    for progress in [
        RelayProgress::MarkAfterAck,
        RelayProgress::MarkBeforeAck,
        RelayProgress::Cursor,
        RelayProgress::Capture,
    ] {
        b.relay(RelayInfo { relay: service, database: shop, to: topic, progress });
    }
}

/// Every event outside of Kafka, with these numbers in it.
fn external_events(b: &mut HistoryBuilder, numbers: &[(u8, u64, i64)]) {
    let (topic, loads) = (TopicId(0), b.topic("loads", 2));
    let group = b.group("loader", &[topic, loads]);
    let (service, loader) = (b.producer("ordering"), b.consumer("loader-0", group));
    let shop = b.system("shop-db", SystemKind::Database);
    let others = [b.system("payments", SystemKind::Api), b.system("lake", SystemKind::Staging)];
    let sink = b.sink("ledger", shop, group);
    let plain = b.sink("pay", others[0], group);
    *b.sink_info(sink) = SinkInfo {
        steps: 3,
        absorbs: true,
        overwrites: true,
        dedups: true,
        inbox: true,
        window: Some(Duration::from_secs(4)),
        stores_offsets: true,
        before_commit: true,
        tombstones: true,
        ..b.sink_info(sink).clone()
    };
    declarations(b, service, shop);
    let deleted = b.send_tombstone(service, TopicPartition::new(topic, 0), Some(3));
    let gone = [b.polled(TopicPartition::new(topic, 0), 4, deleted)];
    b.poll(loader, &gone);
    for (what, n, i) in numbers {
        let record = RecordId::new(service, n % 7);
        let partition = TopicPartition::new(topic, 0);
        let effect = EffectId { record, sink: [sink, plain][usize::from(n % 2 == 0)], step: 2 };
        let original = EffectId { step: 0, ..effect };
        let next = Offset((i / 16).max(-1));
        let (commit, rows, token) = (*n, u32::from(*what), *i);
        let error = SystemError::Deadlock;
        let event = match what % 15 {
            0 => {
                let operation = Operation::ALL[usize::from(*what) % Operation::ALL.len()];
                let call = b.ask(loader, shop, operation, (n % 3 > 0).then_some(effect), *n);
                let outcome = match n % 3 {
                    0 => AskOutcome::Ok,
                    1 => AskOutcome::Refused(error),
                    _ => AskOutcome::Unknown(SystemError::ConnectionLost),
                };
                b.answer(loader, call, outcome, *n);
                continue;
            }
            1 => ExternalEvent::EffectDone { effect, skipped: n % 2 == 0 },
            2 => ExternalEvent::Intended { record, aggregate: rows },
            3 => ExternalEvent::IntentEnded { record, outcome: AskOutcome::Refused(error) },
            4 => ExternalEvent::RelayStarted { position: *i, snapshot: n % 2 == 0 },
            5 => ExternalEvent::RelayPosition { position: *i },
            6 => {
                b.apply_with(effect, commit, &[(*n, 0, 1), (1, *n, 0)], token, *n);
                continue;
            }
            7 => ExternalEvent::Replayed { effect, original, same_payload: n % 2 == 0 },
            8 => ExternalEvent::KeyEvicted { effect },
            9 => ExternalEvent::Committed {
                role: [StatementRole::DedupMark, StatementRole::Outbox][usize::from(n % 2 == 0)],
                record: (n % 3 > 0).then_some(record),
                commit,
                sequence: *i,
                changed: rows,
            },
            10 => ExternalEvent::DedupEvicted { commit, rows },
            11 => {
                let accepted = n % 2 == 0;
                ExternalEvent::OffsetStored { partition, next, token, commit, accepted }
            }
            12 => ExternalEvent::OffsetServed { partition, next },
            13 => ExternalEvent::RolledBack { record: (n % 3 > 0).then_some(record) },
            _ if n % 2 == 0 => {
                ExternalEvent::Prepared { partition, first: next, next, attempt: *n }
            }
            _ => ExternalEvent::Finished { partition, attempt: *n, commit: n % 3 == 0 },
        };
        b.external(shop, event);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(choices in prop::collection::vec(any::<(u8, u8, u8)>(), 1..60)) {
        let history = history(&choices);
        let text = write_jsonl(&history);
        let read = read_jsonl(text.as_bytes(), false).expect("its own text").value;
        same(&history, &read);
        prop_assert_eq!(write_jsonl(&read), text);
    }

    #[test]
    fn what_happens_outside_of_kafka_is_written_and_read(
        numbers in prop::collection::vec(any::<(u8, u64, i64)>(), 1..60),
    ) {
        let mut b = HistoryBuilder::new();
        b.topic("orders", 2);
        external_events(&mut b, &numbers);
        let history = b.finish();
        let text = write_jsonl(&history);
        let read = read_jsonl(text.as_bytes(), false).expect("its own text").value;
        same(&history, &read);
        prop_assert_eq!(write_jsonl(&read), text);
    }

    #[test]
    fn noise_is_refused_in_words(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_jsonl(&noise, true);
        let mut text = b"{\"oncesim-history\":1}\n".to_vec();
        text.extend(&noise);
        let _ = read_jsonl(&text, true);
        let _ = crate::jepsen::read_edn(&noise, true);
        let _ = crate::jepsen::read_json(&noise, true);
    }

    #[test]
    fn a_cut_text_is_a_complaint_or_a_shorter_history(at in 0usize..100) {
        let text = write_jsonl(&history(&[(0, 0, 1), (1, 0, 1), (0, 1, 2), (3, 1, 3)]));
        let cut = &text.as_bytes()[..text.len() * at / 100];
        let _ = read_jsonl(cut, false);
        let _ = read_jsonl(cut, true);
    }
}

#[test]
fn transactions_are_written_and_read() {
    let mut b = HistoryBuilder::new();
    let (orders, counts) = (b.topic("orders", 1), b.topic("counts", 1));
    let group = b.group("billing", &[orders]);
    let transform = Transform::Aggregate { changelog: counts };
    b.processor(group, ProcessorInfo { to: vec![counts], transform, transactional: true });
    let (shop, billing) = (b.producer("shop"), b.consumer("billing-0", group));
    let producer = b.producer("billing-0-producer");
    b.read_committed(billing);
    let (from, to) = (TopicPartition::new(orders, 0), TopicPartition::new(counts, 0));
    let order = b.send_keyed(shop, from, Some(7));
    b.acked(order, from, 0);
    b.client(shop, ClientKind::Transfer { record: order, amount: -5 });
    b.init_transactions(producer, "billing", (4, 0));
    b.begin(producer, 1);
    for output in [Output::Aggregate, Output::Changelog, Output::Ordinal(3)] {
        b.emit((billing, producer), (from, 0, order), output, to, 9);
    }
    b.send_offsets(producer, 1, billing, &[(from, 1)]);
    b.end_transaction(producer, 1, TransactionResult::Commit, Outcome::Ok);
    let (changelog, keys, fingerprint) = (to, 1, u64::MAX);
    b.client(billing, ClientKind::StateRestored { changelog, to: Offset(2), keys, fingerprint });
    let history = b.finish();
    let text = write_jsonl(&history);
    let read = read_jsonl(text.as_bytes(), false).expect("its own text").value;
    same(&history, &read);
    assert_eq!(history.transactional_ids, read.transactional_ids);
    assert_eq!(write_jsonl(&read), text);
}

#[test]
fn records_may_have_any_name() {
    let text = br#"{"oncesim-history":1}
{"time":1,"actor":"till","event":"send","call":1,"record":"order-77","topic":"orders","partition":0}
{"time":2,"actor":"till","event":"send","call":2,"record":78,"topic":"orders","partition":0}
{"time":3,"actor":"till","event":"send-end","call":1,"record":"order-77","topic":"orders","partition":0,"outcome":"ok","offset":0}
{"time":4,"actor":"till","event":"send-end","call":2,"record":78,"outcome":"info","error":"REQUEST_TIMED_OUT"}
{"time":5,"actor":"c","event":"poll-end","records":[{"topic":"orders","partition":0,"offset":0,"record":"order-77"},{"topic":"orders","partition":0,"offset":1,"record":"stranger"}]}
"#;
    let history = read_jsonl(text, false).expect("a history").value;
    let names: Vec<String> = history.polled.iter().map(|p| history.record_name(p.record)).collect();
    assert_eq!(names, ["record order-77", "record stranger"]);
    assert_eq!(history.actor_name(history.polled[0].record.origin()), "till");
    assert_eq!(history.actor_name(history.polled[1].record.origin()), "nobody");
    assert!(matches!(
        &history.events[3].kind,
        EventKind::Client(ClientKind::SendEnd {
            outcome: Outcome::Info(oncesim_types::ErrorCode::RequestTimedOut),
            ..
        })
    ));
}

#[test]
fn a_record_without_a_value_says_so_whatever_it_is_called() {
    let text = br#"{"oncesim-history":1}
{"time":1,"actor":"till","event":"send","call":1,"record":"gone","topic":"orders","partition":0,"tombstone":true}
{"time":2,"actor":"c","event":"poll-end","records":[{"topic":"orders","partition":0,"offset":0,"record":"gone"}]}
"#;
    let history = read_jsonl(text, false).expect("a history").value;
    let polled = history.polled[0];
    assert_eq!(polled.payload, lineage::payload(polled.record, None));
    let again = read_jsonl(write_jsonl(&history).as_bytes(), false).expect("its own text").value;
    assert_eq!(again.events, history.events);
    assert_eq!(again.polled, history.polled);
}

#[test]
fn an_effect_needs_a_sink_that_is_declared() {
    let text = br#"{"oncesim-history":1,"sinks":[{"name":"ledger","system":"db","group":"mailer"}]}
{"time":1,"actor":"db","event":"applied","effect":{"sink":"ledger","record":"order-1"},"commit":1}
{"time":2,"actor":"db","event":"applied","effect":{"sink":"lodger","record":"order-1"},"commit":2}
"#;
    let complaint = read_jsonl(text, false).expect_err("lodger is not declared");
    assert_eq!(complaint.line, 3);
    assert!(complaint.to_string().contains("an effect at lodger"), "{complaint}");
    let history = read_jsonl(text, true).expect("one good line").value;
    assert_eq!(history.actors[0].role, crate::ActorRole::System(SystemKind::Database));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let send = r#"{"time":5,"actor":"a","event":"send","call":1,"record":1,"topic":"t"}"#;
    for (lines, line, what) in [
        ("", 1, "empty"),
        ("hello\n", 1, "hello"),
        ("{\"oncesim-history\":2}\n", 1, "version 2"),
        ("{\"oncesim-history\":1}\n\n", 1, "no event"),
        ("{\"oncesim-history\":1}\n{\"time\":5,\"act", 2, "EOF"),
        (
            "{\"oncesim-history\":1}\nSEND\n{\"time\":4,\"actor\":\"a\",\"event\":\"poll\"}",
            3,
            "back",
        ),
        ("{\"oncesim-history\":1}\nSEND\nSEND", 3, "begins again"),
        ("{\"oncesim-history\":1}\n{\"time\":1,\"actor\":\"a\",\"event\":\"jump\"}", 2, "jump"),
        ("{\"oncesim-history\":1}\n{\"time\":1,\"actor\":\"a\",\"event\":\"send\"}", 2, "record"),
        (
            "{\"oncesim-history\":1}\nSEND\n{\"time\":6,\"actor\":\"a\",\"event\":\"send-end\",\
             \"call\":2,\"record\":1,\"outcome\":\"ok\"}",
            3,
            "not open",
        ),
    ] {
        let text = lines.replace("SEND", send);
        let complaint = read_jsonl(text.as_bytes(), false).expect_err(lines);
        assert_eq!(complaint.line, line, "{complaint}");
        assert!(complaint.to_string().contains(what), "{complaint}");
        assert!(!complaint.expected.is_empty());
    }
}

#[test]
fn a_lenient_reader_skips_and_counts() {
    let text = "{\"oncesim-history\":1}\nnoise\n{\"time\":1,\"actor\":\"a\",\"event\":\"poll\"}\n{";
    let read = read_jsonl(text.as_bytes(), true).expect("one good line");
    assert_eq!(read.value.events.len(), 1);
    assert_eq!(read.skipped.iter().map(|c| c.line).collect::<Vec<_>>(), [2, 4]);
}
