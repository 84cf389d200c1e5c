//! Transactions of a producer, against an oracle that knows what it sent in each and how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use oncesim::history::{ActorRole, ClientKind, EventKind, History, Outcome};
use oncesim::spec::Scenario;
use oncesim::types::{ActorId, RecordId, TransactionNumber, TransactionResult};
use oncesim::{RunEnd, RunOptions, run};

const SCENARIO: &str = r#"
title = "Money moves"
claim = { log = "exactly-once" }

[cluster]
brokers = 3
transaction-version = VERSION
config.min.insync.replicas = 2

[topics]
debits = { partitions = 2, replication-factor = 3 }
credits = { partitions = 2, replication-factor = 3 }

[producers.bank]
to = "debits"
records = 60
keys = 10
interval = "3ms"
transactions = { size = 3, abort = 0.2, hold = "10ms", transfer-to = "credits" }
config.transaction.timeout.ms = 10000
config.request.timeout.ms = 3000
config.delivery.timeout.ms = 6000

[faults.swarm]
kinds = [
  "crash", "ack-loss", "request-loss", "pause", "leader-change", "coordinator-move", "partition",
  "controller-failover", "clock-jump",
]
count = 6
"#;

fn scenario(version: u8) -> Arc<Scenario> {
    let text = SCENARIO.replace("VERSION", &version.to_string());
    let loaded = oncesim::spec::parse("transactions.toml", &text, None);
    Arc::new(loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).scenario)
}

/// One transaction as its application saw it.
#[derive(Debug, Default)]
struct Transaction {
    records: Vec<RecordId>,
    asked: Option<TransactionResult>,
    ended: Option<Outcome>,
}

type Place = (ActorId, u32, TransactionNumber);

fn transactions(history: &History) -> BTreeMap<Place, Transaction> {
    let mut all: BTreeMap<Place, Transaction> = BTreeMap::new();
    let mut open: BTreeMap<(ActorId, u32), TransactionNumber> = BTreeMap::new();
    for event in &history.events {
        let EventKind::Client(kind) = &event.kind else { continue };
        let who = (event.actor, event.incarnation);
        if let ClientKind::TransactionBegin { number } = kind {
            open.insert(who, *number);
        }
        let Some(number) = open.get(&who) else { continue };
        let transaction = all.entry((who.0, who.1, *number)).or_default();
        match kind {
            ClientKind::SendInvoke { record, .. } => transaction.records.push(*record),
            ClientKind::EndTransaction { result, .. } => transaction.asked = Some(*result),
            ClientKind::TransactionEnd { outcome, .. } => transaction.ended = Some(*outcome),
            _ => {}
        }
    }
    all
}

fn drained(history: &History) -> BTreeMap<RecordId, u32> {
    let mut records = BTreeMap::new();
    for event in &history.events {
        if let EventKind::Client(ClientKind::PollEnd { records: span, .. }) = &event.kind
            && history.actors[usize::from(event.actor.0)].role == ActorRole::Auditor
        {
            for polled in history.polled(*span) {
                *records.entry(polled.record).or_default() += 1;
            }
        }
    }
    records
}

fn look(history: &History) -> Result<(u32, u32), String> {
    let drained = drained(history);
    let times = |record: &RecordId| drained.get(record).copied().unwrap_or(0);
    let (mut committed, mut aborted) = (0, 0);
    for (place, transaction) in transactions(history) {
        let seen: Vec<u32> = transaction.records.iter().map(times).collect();
        let expected: &[u32] = match (transaction.asked, transaction.ended) {
            (Some(TransactionResult::Commit), Some(Outcome::Ok)) => {
                committed += 1;
                &[1]
            }
            // Nobody asked for its commit.
            (None | Some(TransactionResult::Abort), _) => {
                aborted += 1;
                &[0]
            }
            _ => &[0, 1],
        };
        let all_same = seen.windows(2).all(|pair| pair[0] == pair[1]);
        if !all_same || seen.first().is_some_and(|first| !expected.contains(first)) {
            return Err(format!("{place:?}: its records count {seen:?} times"));
        }
    }
    let mut sum = 0;
    for event in &history.events {
        if let EventKind::Client(ClientKind::Transfer { record, amount }) = &event.kind {
            sum += amount * i64::from(times(record));
        }
    }
    if sum == 0 { Ok((committed, aborted)) } else { Err(format!("{sum} came or went")) }
}

#[test]
fn a_transaction_counts_as_a_whole_or_not_at_all() {
    for version in [1, 2] {
        let scenario = scenario(version);
        let (mut committed, mut aborted) = (0, 0);
        for seed in 0..200 {
            let options = RunOptions { seed, keep_history: true, ..RunOptions::default() };
            let outcome = run(&scenario, &options);
            assert!(matches!(outcome.end, RunEnd::Settled), "seed {seed}: {:?}", outcome.end);
            match look(&outcome.history.expect("it was asked for")) {
                Ok((ok, not)) => {
                    committed += ok;
                    aborted += not;
                }
                Err(reason) => panic!("version {version}, seed {seed}: {reason}"),
            }
        }
        assert!(committed > 2_000 && aborted > 500, "{committed} committed, {aborted} aborted");
    }
}
