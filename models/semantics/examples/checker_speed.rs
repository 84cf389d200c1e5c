//! How many events per second the checkers judge, wall time, on one core.
//!
//! `cargo run --release -p oncesim-semantics --example checker_speed [-- --ten-million]`
//!
//! The histories are a producer with keys, a leader and a follower, and a group of two that polls,
//! processes and commits in batches of ten: 3.1 events per record, in both tiers.

use oncesim_history::{
    AppendedBatch, History, HistoryBuilder, Outcome, Output, ProcessorInfo, WorldEvent,
};
use oncesim_types::{
    Offset, RecordId, TopicId, TopicPartition, TransactionResult, Transform, lineage,
};

const PARTITIONS: u16 = 4;
const BATCH: i64 = 10;

/// A history of about so many events.
fn history(events: usize) -> History {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", PARTITIONS);
    let group = b.group("mailer", &[topic]);
    let (shop, auditor) = (b.producer("shop"), b.auditor());
    let mailers = [b.consumer("mailer-0", group), b.consumer("mailer-1", group)];
    let brokers = [b.broker("b1"), b.broker("b2")];
    let at = |p: u16| TopicPartition::new(TopicId(0), p);
    for (mailer, owned) in mailers.iter().zip([[at(0), at(1)], [at(2), at(3)]]) {
        b.assigned(*mailer, 1, &owned, &owned);
    }
    let mut logs: Vec<Vec<RecordId>> = vec![Vec::new(); usize::from(PARTITIONS)];
    let mut length = 0;
    for p in (0..PARTITIONS).cycle() {
        let log = &mut logs[usize::from(p)];
        let base = i64::try_from(log.len()).expect("a short log");
        let records: Vec<RecordId> =
            (0..BATCH).map(|k| b.send_keyed(shop, at(p), Some(k as u32))).collect();
        for (broker, leader) in brokers.iter().zip([true, false]) {
            let sequence = i32::try_from(base).expect("a short log");
            let producer = Some((7, 0, sequence));
            let batch = AppendedBatch {
                base_offset: base,
                leader_epoch: 0,
                producer,
                leader,
                transactional: false,
            };
            b.append(*broker, at(p), batch, &records);
            let high_watermark = Offset(base + BATCH);
            let partition = at(p);
            let (isr, min_isr) = (2, 2);
            b.world(
                *broker,
                WorldEvent::HighWatermark { partition, high_watermark, leader, isr, min_isr },
            );
        }
        for (offset, record) in (base..).zip(&records) {
            b.acked(*record, at(p), offset);
        }
        let mailer = mailers[usize::from(p / 2)];
        let polled: Vec<_> =
            (base..).zip(&records).map(|(o, record)| b.polled(at(p), o, *record)).collect();
        b.poll(mailer, &polled);
        for (offset, record) in (base..).zip(&records) {
            b.processed(mailer, at(p), offset, *record);
        }
        b.commit(mailer, &[(at(p), base + BATCH)]);
        log.extend(records);
        length += 8 + 3 * usize::try_from(BATCH).expect("a batch is small");
        if length >= events {
            break;
        }
    }
    for (p, log) in (0..).zip(&logs) {
        b.drain(auditor, at(p), log);
    }
    b.finish()
}

/// Makes a history of about so many events.
type Make = fn(usize) -> History;

/// The same work in transactions: a processor makes an invoice of each order, ten to a transaction,
/// one in ten aborted and made again.
fn transactional(events: usize) -> History {
    let mut b = HistoryBuilder::new();
    let (from, to) = (b.topic("orders", 1), b.topic("invoices", 1));
    let (orders, invoices) = (TopicPartition::new(from, 0), TopicPartition::new(to, 0));
    let group = b.group("billing", &[from]);
    let processor = ProcessorInfo { to: vec![to], transform: Transform::Map, transactional: true };
    b.processor(group, processor);
    let (shop, billing) = (b.producer("shop"), b.consumer("billing-0", group));
    let (producer, auditor, broker) =
        (b.producer("billing-0-producer"), b.auditor(), b.broker("b1"));
    b.read_committed(billing).read_committed(auditor);
    b.assigned(billing, 1, &[orders], &[orders]);
    b.init_transactions(producer, "billing", (4, 0));
    let (mut input, mut shown) = (Vec::new(), Vec::new());
    let (mut end, mut number, mut sequence, mut length) = (0i64, 0u64, 0i32, 0);
    while length < events {
        let base = i64::try_from(input.len()).expect("a short log");
        let batch: Vec<RecordId> =
            (0..BATCH).map(|k| b.send_keyed(shop, orders, Some(k as u32))).collect();
        for (offset, record) in (base..).zip(&batch) {
            b.acked(*record, orders, offset);
        }
        let polled: Vec<_> =
            (base..).zip(&batch).map(|(o, record)| b.polled(orders, o, *record)).collect();
        b.poll(billing, &polled);
        input.extend(&batch);
        let abort = (base / BATCH) % 10 == 9;
        let results = [TransactionResult::Abort, TransactionResult::Commit];
        for result in &results[usize::from(!abort)..] {
            number += 1;
            b.begin(producer, number);
            let mut made = Vec::new();
            for (offset, record) in (base..).zip(&batch) {
                let value = lineage::transformed(*record, 0);
                let clients = (billing, producer);
                let output = Output::Ordinal(0);
                made.push(b.emit(clients, (orders, offset, *record), output, invoices, value));
            }
            let appended = AppendedBatch {
                base_offset: end,
                leader_epoch: 0,
                producer: Some((4, 0, sequence)),
                leader: true,
                transactional: true,
            };
            b.append(broker, invoices, appended, &made);
            for (offset, record) in (end..).zip(&made) {
                b.acked(*record, invoices, offset);
                if *result == TransactionResult::Commit {
                    shown.push((offset, *record));
                }
            }
            b.send_offsets(producer, number, billing, &[(orders, base + BATCH)]);
            b.end_transaction(producer, number, *result, Outcome::Ok);
            b.marker(broker, invoices, end + BATCH, (4, 0), *result);
            end += BATCH + 1;
            sequence += 10;
            length += 37;
        }
        length += 22;
    }
    b.drain(auditor, orders, &input);
    b.drain_at(auditor, invoices, &shown, end);
    b.finish()
}

/// The most memory that this process has had so far, KiB: history and tables. Linux says; else 0.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[expect(clippy::print_stdout, reason = "a measurement is for people")]
#[expect(clippy::disallowed_types, reason = "a measurement reads the wall clock")]
fn main() {
    let mut sizes = vec![1_000, 2_000, 10_000, 100_000, 1_000_000];
    if std::env::args().any(|arg| arg == "--ten-million") {
        sizes.push(10_000_000);
    }
    let kinds: [(&str, Make); 2] = [("plain", history), ("transactional", transactional)];
    for (events, (kind, make)) in kinds.iter().flat_map(|k| sizes.iter().map(move |n| (*n, k))) {
        let history = make(events);
        let found = oncesim_semantics::check(&history).anomalies.len();
        let repeat = (2_000_000 / history.events.len()).max(1);
        let start = std::time::Instant::now();
        for _ in 0..repeat {
            assert_eq!(oncesim_semantics::check(&history).anomalies.len(), found);
        }
        let one = start.elapsed().as_secs_f64() / repeat as f64;
        println!(
            "{kind:>13} {:>8} events: {:>9.3} ms wall, {:>6.2} M events/s, {:>4.0} ns/event, \
             {found} anomalies, peak {} MiB",
            history.events.len(),
            one * 1e3,
            history.events.len() as f64 / one / 1e6,
            one * 1e9 / history.events.len() as f64,
            peak() / 1024,
        );
    }
}
