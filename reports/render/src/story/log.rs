//! Why the log has a record twice, not at all, or in the wrong order.

use oncesim_types::{ErrorCode, Instant, ProducerId};

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
            let (end, then) = match crash {
                Some((at, true)) => (
                    format!("{shop_name} died at {at}, before it had read the answer"),
                    "After its restart the",
                ),
                _ => (format!("{shop_name} gave up waiting for the answer"), "The"),
            };
            story.push(format!("{broker} appended {name} at {place} ({}), but {end}.", first.time));
            story.push(format!(
                "{then} application could not know whether the record had arrived, and sent it \
                 again: {} appended the second copy at {} ({}).",
                facts.actor(second.broker),
                facts.place(second.partition, second.offset),
                second.time
            ));
            if first.producer_id != ProducerId::NONE && first.producer_id != second.producer_id {
                story.push(format!(
                    "Idempotence does not reach that far: it ends with the producer's session. The \
                     first copy was sequenced under producer id {}, the second under producer id {}, \
                     and a broker compares sequence numbers within one producer id only.",
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
            let retried = facts.retried(first.partition, first.time);
            let error = retried.map(|(_, _, error)| error);
            let answered = error.filter(|error| {
                !matches!(error, ErrorCode::NetworkException | ErrorCode::RequestTimedOut)
            });
            story.push(match answered {
                Some(error) => format!(
                    "{broker} appended {name} at {place} ({}), and then answered {error} for it.",
                    first.time
                ),
                None => format!(
                    "{broker} appended {name} at {place} ({}), but its answer never reached \
                     {shop_name}.",
                    first.time
                ),
            });
            if let Some((at, _, error)) = retried {
                story.push(format!(
                    "The client saw {error}, which does not say whether the batch was written, and \
                     sent it again at {at}. That is right: if it had not been written, giving up \
                     would lose the record."
                ));
            }
            story.push(format!(
                "Without enable.idempotence a batch carries no producer id and no sequence number, \
                 so {} could not recognise this one and appended it a second time, at {} ({}).",
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
    let acks = facts.producer(shop).map_or("", |spec| (facts.acks)(spec));
    let Some(first) = facts.appended(record, true).first().copied() else {
        return Some(vec![format!(
            "With acks=0 {} does not wait for an answer: it took {name} for sent as soon as the \
             request had left. The request never arrived, so no broker ever had the record, and \
             nobody was there to notice.",
            facts.actor(shop)
        )]);
    };
    let (acknowledged, _) = facts.acknowledged(record)?;
    let broker = facts.actor(first.broker);
    let mut story = stored(facts, &first, acks, acknowledged);
    let died = facts.upheaval(first.broker, acknowledged, facts.anomaly.witness.time);
    if let Some((at, true)) = died {
        let cuts = facts.cut(first.partition, first.offset, at);
        let by_power: Vec<String> = cuts
            .iter()
            .filter(|(.., power)| *power)
            .map(|(_, actor, to, _)| {
                format!("{} kept its log up to offset {to}", facts.actor(*actor))
            })
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
    story.extend(succeeded(facts, &first, acknowledged));
    Some(story)
}

/// Who had a record when it was acknowledged, and why that was enough.
fn stored(facts: &Facts<'_>, first: &Appended, acks: &str, acknowledged: Instant) -> Vec<String> {
    let broker = facts.actor(first.broker);
    let place = facts.place(first.partition, first.offset);
    let name = facts.record().map_or(String::new(), |record| facts.name(record));
    let copies = facts.record().map_or(Vec::new(), |record| facts.appended(record, false));
    let copies = copies.iter().filter(|it| it.time <= acknowledged && it.broker != first.broker);
    let mut holders: Vec<String> = copies.map(|it| facts.actor(it.broker).to_owned()).collect();
    holders.sort();
    holders.dedup();
    if !holders.is_empty() {
        return vec![format!(
            "{broker} appended {name} at {place} and {} copied it before it was acknowledged at \
             {acknowledged}; but the copies were in page caches, and not yet on any disk.",
            and(&holders)
        )];
    }
    let why = match acks {
        "1" => "With acks=1 a leader answers as soon as the record is in its own log.".to_owned(),
        _ => format!(
            "With acks={acks} a leader waits for the in-sync replicas only, and min.insync.replicas \
             allowed {broker} to be the only one."
        ),
    };
    let alone = format!(
        "{broker} appended {name} at {place} and acknowledged it at {acknowledged}, when no other \
         replica had a copy."
    );
    vec![why, alone]
}

/// Who led without the record, and what became of the last copy.
fn succeeded(facts: &Facts<'_>, first: &Appended, acknowledged: Instant) -> Vec<String> {
    let Some((at, leader, log_end)) = facts.new_leader(first.partition, acknowledged) else {
        return Vec::new();
    };
    let partition = facts.history.partition_name(first.partition);
    let (old, new) = (facts.actor(first.broker), facts.actor(leader));
    let fenced = facts.fenced(first.broker, acknowledged).filter(|fenced| *fenced <= at);
    let unclean = facts.unclean(first.partition, (acknowledged, at));
    let died = facts.upheaval(first.broker, acknowledged, at).is_some_and(|(_, died)| died);
    let how = match fenced {
        _ if unclean && facts.may_elect_unclean(first.partition) => format!(
            "Nobody else of the in-sync set was left, but unclean.leader.election.enable let the \
             controller elect {new}"
        ),
        _ if unclean && died => format!(
            "No replica was left that was known to have everything, so the controller elected the \
             last known leader (KIP-966), {new}"
        ),
        _ if unclean => format!("The controller elected {new}, which was not in the in-sync set"),
        Some(fenced) if leader != first.broker => format!(
            "At {fenced} {old}'s session with the controller had timed out, and the controller \
             elected {new}"
        ),
        _ => format!("{new} became the leader of {partition}"),
    };
    let short = if log_end <= first.offset { ", before the record" } else { "" };
    let mut story =
        vec![format!("{how} ({at}), whose log of {partition} ended at offset {log_end}{short}.")];
    let other = facts.usurper(first.partition, first.offset, at);
    let other = other.filter(|it| Some(*it) != facts.record());
    let taken = other.map(|it| format!("{new} gave the offset to {}", facts.name(it)));
    let copied = facts.record().is_some_and(|it| !facts.appended(it, false).is_empty());
    let only = if copied { "" } else { ", which had the only copy," };
    let cut = facts.cut(first.partition, first.offset, at).into_iter().find(|it| !it.3);
    let cut = cut.map(|(when, actor, to, _)| {
        format!(
            "{}{only} truncated its log to offset {to} at {when}: a follower cuts off what its \
             leader's epochs do not have (KIP-101)",
            facts.actor(actor)
        )
    });
    let rest: Vec<String> = taken.into_iter().chain(cut).collect();
    if !rest.is_empty() {
        story.push(format!("{}.", rest.join(", and ")));
    }
    story
}

/// Two records changed places.
pub(super) fn reordered(facts: &Facts<'_>) -> Option<Vec<String>> {
    let mut sent: Vec<_> =
        facts.records.iter().filter_map(|it| facts.sent(*it).map(|when| (when, *it))).collect();
    sent.sort();
    let [((at, shop), earlier), (_, later), ..] = sent.as_slice() else { return None };
    // Either may be in the log more than once: the two places that are the wrong way round.
    let second_places = facts.appended(*later, true);
    let pair = |first: Appended| {
        let before = |it: &&Appended| it.partition == first.partition && it.offset < first.offset;
        Some((first, *second_places.iter().rfind(before)?))
    };
    let (first, second) = facts.appended(*earlier, true).into_iter().rev().find_map(pair)?;
    let (a, b) = (facts.name(*earlier), facts.name(*later));
    let shop_name = facts.actor(*shop);
    let spec = facts.producer(*shop);
    let mut story = Vec::new();
    if let Some((when, _, error)) = facts.retried(first.partition, *at) {
        story.push(format!(
            "The first request with {a} failed ({error}), and {shop_name} queued its batch to be \
             sent again at {when}, while the batch with {b} was on its way or about to be."
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
