//! How many events per second the checkers judge, wall time, on one core.
//!
//! `cargo run --release -p oncesim-semantics --example checker_speed`
//!
//! The histories are a producer with keys, a leader and a follower, and a group of two that polls,
//! processes and commits in batches of ten: 3.1 events per record, in both tiers.

use oncesim_history::{AppendedBatch, History, HistoryBuilder, WorldEvent};
use oncesim_types::{Offset, RecordId, TopicId, TopicPartition};

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
    for round in 0u16.. {
        let p = round % PARTITIONS;
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
        assert!(round < u16::MAX, "fewer than 2.4 million events");
    }
    for (p, log) in (0..).zip(&logs) {
        b.drain(auditor, at(p), log);
    }
    b.finish()
}

#[expect(clippy::print_stdout, reason = "a measurement is for people")]
#[expect(clippy::disallowed_types, reason = "a measurement reads the wall clock")]
fn main() {
    for events in [1_000, 2_000, 10_000, 100_000, 1_000_000] {
        let history = history(events);
        let found = oncesim_semantics::check(&history).anomalies.len();
        let repeat = (2_000_000 / history.events.len()).max(1);
        let start = std::time::Instant::now();
        for _ in 0..repeat {
            assert_eq!(oncesim_semantics::check(&history).anomalies.len(), found);
        }
        let one = start.elapsed().as_secs_f64() / repeat as f64;
        println!(
            "{:>8} events: {:>9.3} ms wall, {:>6.2} M events/s, {found} anomalies",
            history.events.len(),
            one * 1e3,
            history.events.len() as f64 / one / 1e6
        );
    }
}
