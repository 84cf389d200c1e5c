//! Small histories whose costs can be worked out by hand: each event is one millisecond after the
//! one before it.

use oncesim_history::{AppendedBatch, HistoryBuilder, Outcome, WorldEvent};
use oncesim_types::{Duration, ErrorCode, LeaderEpoch, Offset, TopicPartition, TransactionResult};
use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn stage(measures: &Measures, stage: Stage) -> StageMeasure {
    *measures.stages.iter().find(|it| it.stage == stage).expect("the stage was reached")
}

#[test]
fn nothing_sent_measures_nothing() {
    let mut b = HistoryBuilder::new();
    b.broker("b1");
    let measures = measure(&b.finish());
    assert!(measures.is_vacuous());
    assert_eq!(measures.began, None);
}

#[test]
fn a_record_that_arrives_nowhere_measures_nothing() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let record = b.send(p, TopicPartition::new(t, 0));
    b.unknown(record);
    let measures = measure(&b.finish());
    assert!(measures.is_vacuous());
    assert_eq!(measures.inputs, 1);
}

/// Two records: acknowledged 1 ms after they were sent, polled by one poll, processed in turn.
#[test]
fn latencies_begin_with_the_first_send_and_rates_end_with_the_workload() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let g = b.group("g", &[t]);
    let c = b.consumer("c", g);
    let auditor = b.auditor();
    let at = TopicPartition::new(t, 0);
    let first = b.send(p, at); // 1 ms
    b.acked(first, at, 0); // 2 ms
    let second = b.send(p, at); // 3 ms
    b.acked(second, at, 1); // 4 ms
    let both = [b.polled(at, 0, first), b.polled(at, 1, second)];
    b.poll(c, &both); // 5 ms, 6 ms
    b.processed(c, at, 0, first); // 7 ms
    b.world(p, WorldEvent::QuiesceBegin); // 8 ms
    b.processed(c, at, 1, second); // 9 ms
    b.processed(c, at, 1, second); // again: not counted
    b.drain(auditor, at, &[first, second]);
    let measures = measure(&b.finish());
    let acknowledged = stage(&measures, Stage::Acknowledged(t));
    assert_eq!((acknowledged.latency.count, acknowledged.latency.max), (2, ms(1)));
    let visible = stage(&measures, Stage::Visible(g));
    assert_eq!((visible.latency.min, visible.latency.max), (ms(3), ms(5)));
    let processed = stage(&measures, Stage::Processed(g));
    assert_eq!((processed.latency.count, processed.latency.max), (2, ms(6)));
    assert_eq!((processed.arrived, processed.span), (1, ms(6)), "one before the end");
    assert_eq!(visible.per_1000_seconds(), Some(2_000 * 1_000 / 5));
    assert_eq!((measures.inputs, measures.makespan), (2, ms(6)));
}

#[test]
fn a_send_that_is_repeated_is_as_late_as_its_first_attempt() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    let record = b.send(p, at); // 1 ms
    b.unknown(record); // 2 ms
    b.wait(ms(100));
    b.send_again(p, at, record, None); // 103 ms
    b.acked(record, at, 0); // 104 ms
    let measures = measure(&b.finish());
    assert_eq!(stage(&measures, Stage::Acknowledged(t)).latency.max, ms(103));
    assert_eq!(measures.inputs, 1);
}

/// The output of a processor is as late as its input makes it.
#[test]
fn an_output_counts_from_the_send_of_its_input() {
    let mut b = HistoryBuilder::new();
    let (p, t, u) = (b.producer("p"), b.topic("t", 1), b.topic("u", 1));
    let g = b.group("g", &[t]);
    let (c, q) = (b.consumer("c", g), b.producer("c-producer"));
    let (at, to) = (TopicPartition::new(t, 0), TopicPartition::new(u, 0));
    let input = b.send(p, at); // 1 ms
    b.acked(input, at, 0); // 2 ms
    b.begin(q, 1); // 3 ms
    let output = oncesim_history::Output::Ordinal(0);
    let made = b.emit((c, q), (at, 0, input), output, to, 7); // 4 ms, 5 ms
    b.acked(made, to, 0); // 6 ms
    b.wait(ms(10));
    b.end_transaction(q, 1, TransactionResult::Commit, Outcome::Ok); // 17 ms, 18 ms
    let measures = measure(&b.finish());
    assert_eq!(stage(&measures, Stage::Committed(u)).latency.max, ms(17));
    assert_eq!(stage(&measures, Stage::Acknowledged(u)).latency.max, ms(5));
    assert_eq!(measures.inputs, 1, "what is made of an input is none");
    let commit = measures.calls.iter().find(|call| call.kind == CallKind::CommitTransaction);
    let commit = commit.expect("one commit");
    assert_eq!((commit.latency.count, commit.latency.max), (1, ms(1)));
    assert_eq!(commit.blocked_ppm, 1_000_000 / 17);
    assert_eq!(measures.blocked_ppm, 1_000_000 / 17);
}

#[test]
fn an_aborted_transaction_commits_nothing() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    b.begin(p, 1);
    let record = b.send(p, at);
    b.acked(record, at, 0);
    b.end_transaction(p, 1, TransactionResult::Abort, Outcome::Ok);
    let measures = measure(&b.finish());
    assert!(!measures.stages.iter().any(|it| it.stage == Stage::Committed(t)));
    assert!(measures.calls.is_empty());
}

/// A commit that times out and is asked for again takes from the first call to the last.
#[test]
fn a_commit_that_is_repeated_is_one_commit() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    b.begin(p, 1); // 1 ms
    let record = b.send(p, at); // 2 ms
    b.acked(record, at, 0); // 3 ms
    let timed_out = Outcome::Info(ErrorCode::RequestTimedOut);
    b.end_transaction(p, 1, TransactionResult::Commit, timed_out); // 4 ms, 5 ms
    b.end_transaction(p, 1, TransactionResult::Commit, Outcome::Ok); // 6 ms, 7 ms
    let measures = measure(&b.finish());
    assert_eq!(measures.calls.len(), 1);
    assert_eq!(measures.calls[0].latency.max, ms(3));
}

fn high_watermark(at: TopicPartition, to: i64) -> WorldEvent {
    let high_watermark = Offset(to);
    WorldEvent::HighWatermark { partition: at, high_watermark, leader: true, isr: 1, min_isr: 1 }
}

fn stable_offset(at: TopicPartition, to: i64) -> WorldEvent {
    WorldEvent::LastStableOffset { partition: at, last_stable_offset: Offset(to) }
}

#[test]
fn the_last_stable_offset_stands_still_while_it_is_behind_and_does_not_move() {
    let mut b = HistoryBuilder::new();
    let (broker, t) = (b.broker("b1"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    b.world(broker, high_watermark(at, 0)); // 1 ms
    b.world(broker, stable_offset(at, 0)); // 2 ms
    b.world(broker, high_watermark(at, 5)); // 3 ms: behind
    b.wait(ms(20));
    b.world(broker, stable_offset(at, 2)); // 24 ms: moves, still behind
    b.wait(ms(4));
    b.world(broker, stable_offset(at, 5)); // 29 ms: level
    b.world(broker, high_watermark(at, 6)); // 30 ms: behind
    b.world(broker, stable_offset(at, 6)); // 31 ms: level
    b.wait(ms(50));
    b.world(broker, high_watermark(at, 7)); // 82 ms: behind, to the end
    b.wait(ms(2));
    b.world(broker, high_watermark(at, 8)); // 85 ms
    let stable = measure(&b.finish()).stable;
    let expected =
        StableMeasure { partition: at, longest: ms(21), total: ms(26 + 1 + 3), times: 3 };
    assert_eq!(stable, [expected]);
}

/// What a deposed leader says is no news.
#[test]
fn only_the_leader_knows_the_last_stable_offset() {
    let mut b = HistoryBuilder::new();
    let (old, new, t) = (b.broker("b1"), b.broker("b2"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    let lead = |epoch, log_end| WorldEvent::BecameLeader {
        partition: at,
        leader_epoch: LeaderEpoch(epoch),
        log_end: Offset(log_end),
    };
    b.world(old, lead(0, 0));
    b.world(old, stable_offset(at, 4)); // 2 ms
    b.world(old, high_watermark(at, 4)); // 3 ms
    b.world(new, lead(1, 4)); // 4 ms
    b.world(old, high_watermark(at, 9)); // 5 ms: nobody's
    b.wait(ms(30));
    b.world(new, high_watermark(at, 4));
    let stable = measure(&b.finish()).stable;
    assert_eq!((stable[0].total, stable[0].times), (ms(0), 0));
}

#[test]
fn an_outage_lasts_from_the_fault_to_the_first_success_that_was_wanted() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 2));
    let (hit, other) = (TopicPartition::new(t, 0), TopicPartition::new(t, 1));
    let before = b.send(p, hit); // 1 ms
    b.acked(before, hit, 0); // 2 ms
    b.world(p, WorldEvent::Fault { index: 0 }); // 3 ms
    b.wait(ms(10));
    let during = b.send(p, hit); // 14 ms: wanted only now
    let elsewhere = b.send(p, other); // 15 ms
    b.acked(elsewhere, other, 0); // 16 ms
    b.send_end(during, Some(hit), Outcome::Info(ErrorCode::RequestTimedOut), None); // 17 ms
    b.wait(ms(40));
    b.send_again(p, hit, during, None); // 58 ms
    b.acked(during, hit, 1); // 59 ms
    b.world(p, WorldEvent::QuiesceBegin);
    let faults = measure(&b.finish()).faults;
    let outage = Outage {
        service: Service::Produce,
        worst: "t-0".to_owned(),
        first: ms(45),
        longest: ms(45),
        recovered: true,
    };
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].outages, [outage]);
}

#[test]
fn a_fault_that_nobody_notices_costs_nothing_and_one_without_an_end_says_so() {
    let mut b = HistoryBuilder::new();
    let (p, t) = (b.producer("p"), b.topic("t", 1));
    let at = TopicPartition::new(t, 0);
    let record = b.send(p, at); // 1 ms
    b.acked(record, at, 0); // 2 ms
    b.world(p, WorldEvent::Fault { index: 0 }); // 3 ms
    b.wait(ms(5));
    b.world(p, WorldEvent::Fault { index: 1 }); // 9 ms
    b.send(p, at); // 10 ms
    b.crash(p, false); // 11 ms
    b.wait(ms(5));
    b.world(p, WorldEvent::QuiesceBegin); // 17 ms
    let faults = measure(&b.finish()).faults;
    assert_eq!(faults[0].outages, []);
    assert_eq!(faults[1].outages.len(), 1);
    assert!(!faults[1].outages[0].recovered);
    assert_eq!(faults[1].outages[0].longest, ms(1), "until the last who waited gave up");
}

#[test]
fn each_copy_is_work() {
    let mut b = HistoryBuilder::new();
    let (b1, b2) = (b.broker("b1"), b.broker("b2"));
    let (p, t, offsets) = (b.producer("p"), b.topic("t", 1), b.topic("__consumer_offsets", 1));
    let at = TopicPartition::new(t, 0);
    let (one, two) = (b.send(p, at), b.send(p, at));
    let batch = |base_offset, leader| AppendedBatch {
        base_offset,
        leader_epoch: 0,
        producer: Some((1, 0, 0)),
        leader,
        transactional: true,
    };
    b.append(b1, at, batch(0, true), &[one, two]);
    b.append(b2, at, batch(0, false), &[one, two]);
    b.append(b1, at, batch(2, true), &[two]);
    b.append(b1, TopicPartition::new(offsets, 0), batch(0, true), &[one]);
    b.marker(b1, at, 3, (1, 0), TransactionResult::Commit);
    b.world(p, WorldEvent::QuiesceBegin);
    b.wait(ms(1));
    b.marker(b1, at, 4, (1, 0), TransactionResult::Commit);
    let work = measure(&b.finish()).work;
    assert_eq!(work.distinct, 2);
    assert_eq!(work.records, Copies { by_leaders: 3, by_followers: 2 });
    assert_eq!(work.coordinators, Copies { by_leaders: 1, by_followers: 0 });
    assert_eq!(work.markers, Copies { by_leaders: 1, by_followers: 0 });
    assert_eq!(work.batches.all(), 5);
}

/// A history that a drawn list of steps makes: every kind of event that is measured.
fn drawn(steps: &[(u8, u8, u16)]) -> History {
    let mut b = HistoryBuilder::new();
    let (broker, p, t) = (b.broker("b1"), b.producer("p"), b.topic("t", 2));
    let g = b.group("g", &[t]);
    let c = b.consumer("c", g);
    let mut sent = Vec::new();
    let (mut high, mut stable) = (0_i64, 0_i64);
    for &(what, which, wait) in steps {
        b.wait(Duration::from_micros(u64::from(wait) * 100));
        let at = TopicPartition::new(t, u16::from(which % 2));
        let known = (!sent.is_empty()).then(|| sent[usize::from(which) % sent.len().max(1)]);
        match (what % 8, known) {
            (0, _) => sent.push(b.send(p, at)),
            (1, Some(record)) => drop(b.acked(record, at, 0)),
            (2, Some(record)) => {
                let polled = b.polled(at, 0, record);
                b.poll(c, &[polled]);
            }
            (3, Some(record)) => {
                let batch = AppendedBatch {
                    base_offset: 0,
                    leader_epoch: 0,
                    producer: None,
                    leader: true,
                    transactional: false,
                };
                b.append(broker, at, batch, &[record]);
            }
            (4, _) => {
                high += i64::from(which % 4);
                b.world(broker, high_watermark(TopicPartition::new(t, 0), high));
            }
            (5, _) => {
                stable = (stable + i64::from(which % 5)).min(high);
                b.world(broker, stable_offset(TopicPartition::new(t, 0), stable));
            }
            (6, _) => drop(b.world(p, WorldEvent::Fault { index: u32::from(which) })),
            _ => drop(b.commit(c, &[(at, 1)])),
        }
    }
    b.finish()
}

proptest! {
    #[test]
    fn measures_keep_their_laws(steps in proptest::collection::vec((0..8_u8, any::<u8>(), 0..900_u16), 0..120)) {
        let history = drawn(&steps);
        let measures = measure(&history);
        prop_assert_eq!(&measures, &measure(&history), "a pure function");
        let run = history.end.since(Instant::ZERO);
        let all = measures.stages.iter().map(|it| it.latency);
        for it in all.chain(measures.calls.iter().map(|it| it.latency)) {
            prop_assert!(it.min <= it.p50 && it.p50 <= it.p90 && it.p90 <= it.p99);
            prop_assert!(it.p99 <= it.p999 && it.p999 <= it.max && it.max <= run);
            prop_assert!(it.max <= it.total || it.count == 0);
        }
        for it in &measures.stable {
            prop_assert!(it.longest <= it.total && it.total <= run);
        }
        for outage in measures.faults.iter().flat_map(|fault| &fault.outages) {
            prop_assert!(outage.first <= outage.longest && outage.longest <= run);
        }
        prop_assert!(measures.work.records.by_leaders >= measures.work.distinct);
        prop_assert!(measures.makespan <= run);
        prop_assert!(measures.calls.iter().all(|it| it.blocked_ppm <= 1_000_000));
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_durations(
        mut ns in proptest::collection::vec(0..40_000_000_000_u64, 1..400),
    ) {
        let durations: Vec<Duration> = ns.iter().map(|n| Duration(*n)).collect();
        let found = Percentiles::of(&durations);
        ns.sort_unstable();
        prop_assert_eq!((found.min.0, found.max.0), (ns[0], ns[ns.len() - 1]));
        for (value, part) in [(found.p50, 500), (found.p90, 900), (found.p99, 990), (found.p999, 999)] {
            // The nearest rank; three digits of it.
            let exact = ns[(ns.len() * part).div_ceil(1000).max(1) - 1];
            prop_assert!(value.0 >= exact && value.0 - exact <= exact / 500 + 1, "{value} for {exact}");
        }
    }
}
