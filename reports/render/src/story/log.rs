//! Why the log has a record twice, not at all, or in the wrong order.

use oncesim_types::ProducerId;

use super::and;
use super::facts::{Appended, Facts};

/// A record is in the log twice.
pub(super) fn duplicate(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let appended = facts.appended(record, true);
    let (first, second) = two_places(&appended)?;
    let (name, (_, shop)) = (facts.name(record), facts.sent(record)?);
    let shop_name = facts.actor(shop);
    let broker = facts.actor(first.broker);
    let place = facts.place(first.partition, first.offset);
    let mut story = Vec::new();
    match facts.anomaly.id() {
        "dup-app-resend" => {
            let crash = facts.upheaval(shop, first.time, second.time);
            let end = match crash {
                Some((at, true)) => {
                    format!("{shop_name} died at {at}, before it had read the answer")
                }
                _ => format!("{shop_name} gave up waiting for the answer"),
            };
            story.push(format!(
                "{broker} had appended {name} at {place} ({}), but {end}.",
                first.time
            ));
            story.push(format!(
                "Its application could not know whether the record had arrived, and sent it again; \
                 the second copy is at {} since {}.",
                facts.place(second.partition, second.offset),
                second.time
            ));
            if first.producer_id != ProducerId::NONE && first.producer_id != second.producer_id {
                story.push(format!(
                    "Idempotence does not reach that far: the first copy was sequenced under producer \
                     id {}, the second under {}, and brokers compare sequence numbers within one \
                     producer id only.",
                    first.producer_id.0, second.producer_id.0
                ));
            }
        }
        "dup-idempotent" => {
            story.push(format!(
                "{broker} appended {name} at {place} ({}), and {} appended it again {} later, at {}.",
                first.time,
                facts.actor(second.broker),
                second.time.since(first.time),
                second.time
            ));
            story.push(
                "Both copies carry the same producer id and the same sequence number, so a broker that \
                 remembers the producer's last batches refuses the second. This one no longer did: it \
                 forgets a producer id that has written nothing for producer.id.expiration.ms, and it \
                 keeps five batches at most."
                    .to_owned(),
            );
        }
        _ => {
            story.push(format!(
                "{broker} had appended {name} at {place} ({}), but {shop_name} did not get the answer.",
                first.time
            ));
            if let Some((at, _, error)) = facts.retried(first.partition, first.time) {
                story.push(format!(
                    "All that {shop_name} saw was {error}, which says nothing about whether the batch \
                     was written, so at {at} it sent the batch again; retrying is right, and without \
                     retries the record could be lost."
                ));
            }
            story.push(format!(
                "Without enable.idempotence a batch has no sequence number: {} had nothing to \
                 recognise it by, and appended it once more, at {} ({}).",
                facts.actor(second.broker),
                facts.place(second.partition, second.offset),
                second.time
            ));
        }
    }
    Some(story)
}

/// The first two appends at different places: leaders may append again what was cut off.
fn two_places(appended: &[Appended]) -> Option<(Appended, Appended)> {
    let first = *appended.first()?;
    let differs = |it: &&Appended| (it.partition, it.offset) != (first.partition, first.offset);
    Some((first, *appended.iter().find(differs)?))
}

/// An acknowledged record is gone.
pub(super) fn lost(facts: &Facts<'_>) -> Option<Vec<String>> {
    let record = facts.record()?;
    let (name, (_, shop)) = (facts.name(record), facts.sent(record)?);
    let spec = facts.producer(shop);
    let acks = spec.map_or("", |spec| (facts.acks)(spec));
    let Some(first) = facts.appended(record, true).first().copied() else {
        return Some(vec![format!(
            "With acks={acks} {} does not wait for an answer: it took {name} for sent as soon as the \
             request had left. The request never arrived, no broker ever had the record, and nobody \
             was there to notice.",
            facts.actor(shop)
        )]);
    };
    let (acknowledged, _) = facts.acknowledged(record)?;
    let broker = facts.actor(first.broker);
    let place = facts.place(first.partition, first.offset);
    let partition = facts.history.partition_name(first.partition);
    let copies = facts.appended(record, false);
    let copies = copies.iter().filter(|it| it.time <= acknowledged && it.broker != first.broker);
    let mut holders: Vec<String> = copies.map(|it| facts.actor(it.broker).to_owned()).collect();
    holders.sort();
    holders.dedup();
    let mut story = Vec::new();
    if holders.is_empty() {
        let why = match acks {
            "1" => {
                "with acks=1 the leader answers as soon as the record is in its own log".to_owned()
            }
            _ => format!(
                "{broker} was the only replica in sync, and min.insync.replicas allows that to be \
                 \"all\""
            ),
        };
        story.push(format!(
            "{broker} appended {name} at {place} and acknowledged it at {acknowledged}; no other \
             replica had a copy by then: {why}."
        ));
    } else {
        story.push(format!(
            "{broker} appended {name} at {place}, {} had copied it, and it was acknowledged at \
             {acknowledged}; but it was in page caches, and not yet on any disk.",
            and(&holders)
        ));
    }
    if let Some((at, ..)) =
        facts.upheaval(first.broker, acknowledged, facts.anomaly.witness.time).filter(|it| it.1)
    {
        let cuts = facts.cut(first.partition, first.offset, at);
        let by_power: Vec<String> = cuts
            .iter()
            .filter(|(.., power)| *power)
            .map(|(_, actor, to, _)| format!("{} kept its log up to {to}", facts.actor(*actor)))
            .collect();
        story.push(match by_power.as_slice() {
            [] => format!("At {at} {broker} died."),
            some => {
                format!(
                    "At {at} {broker} lost power, and with it what had not been flushed: {}.",
                    and(some)
                )
            }
        });
    }
    if let Some((at, leader, log_end)) = facts.new_leader(first.partition, acknowledged) {
        let short = if log_end <= first.offset { ", before the record" } else { "" };
        let mut sentence = format!(
            "{} took over {partition} at {at} with a log that ends at offset {log_end}{short}",
            facts.actor(leader)
        );
        if let Some(other) =
            facts.usurper(first.partition, first.offset, at).filter(|it| *it != record)
        {
            sentence.push_str(&format!("; the offset went to {}", facts.name(other)));
        }
        let cut = facts.cut(first.partition, first.offset, at);
        if let Some((when, actor, to, _)) = cut.iter().find(|it| !it.3) {
            sentence.push_str(&format!(
                ", and when {} came back it cut its own log to {to} to follow ({when})",
                facts.actor(*actor)
            ));
        }
        story.push(format!("{sentence}."));
    }
    Some(story)
}

/// Two records changed places.
pub(super) fn reordered(facts: &Facts<'_>) -> Option<Vec<String>> {
    let mut sent: Vec<_> =
        facts.records.iter().filter_map(|it| facts.sent(*it).map(|when| (when, *it))).collect();
    sent.sort();
    let [((at, shop), earlier), (_, later), ..] = sent.as_slice() else { return None };
    let first = facts.appended(*earlier, true).last().copied()?;
    let second = facts.appended(*later, true).last().copied()?;
    let (a, b) = (facts.name(*earlier), facts.name(*later));
    let shop_name = facts.actor(*shop);
    let spec = facts.producer(*shop);
    let mut story = Vec::new();
    if let Some((when, _, error)) = facts.retried(first.partition, *at) {
        story.push(format!(
            "The first request with {a} failed ({error}); {shop_name} queued its batch to be sent \
             again at {when}, while the batch with {b} was on its way or about to be."
        ));
    }
    story.push(format!(
        "So {} appended {b} at {} first ({}), and {a} behind it at {} ({}).",
        facts.actor(second.broker),
        facts.place(second.partition, second.offset),
        second.time,
        facts.place(first.partition, first.offset),
        first.time
    ));
    if let Some(spec) = spec {
        story.push(if spec.config.idempotence {
            format!(
                "{shop_name} is idempotent, so a broker refuses a batch whose sequence number leaves a \
                 gap; but a session's first batches have nothing before them that could be missing, \
                 and with {} requests in flight the second can be appended without the first.",
                spec.config.max_in_flight
            )
        } else {
            format!(
                "Without enable.idempotence the batches carry no sequence numbers, and with \
                 max.in.flight.requests.per.connection={} a broker takes them in the order in which \
                 they come.",
                spec.config.max_in_flight
            )
        });
    }
    Some(story)
}
