//! The story of a failure, in up to four paragraphs: what was promised and what happened; how it came
//! about; which fault opened the window, and when it was too late; what prevents it, and why that
//! works. A few sentences with names, offsets and times from the run.
//!
//! Why it happened is told by the family of the anomaly. Where the facts that a family asks for are
//! not in the history, the catalogue's own words stand in.

mod effect;
mod facts;
mod log;
mod outbox;
mod processing;
mod transaction;

use crate::model::ChangeView;
use crate::number::grouped;
pub use facts::Facts;

/// The story: paragraphs of sentences.
#[must_use]
pub fn story(facts: &Facts<'_>) -> Vec<Vec<String>> {
    let mut why = why(facts);
    if why.is_empty() {
        why.push(facts.anomaly.class.causes.to_owned());
    }
    let window = [Some(window(facts)), which_one(facts), too_late(facts)];
    let window = window.into_iter().flatten().collect();
    let mut story =
        vec![vec![promised(facts), happened(facts)], why, window, helps(facts).unwrap_or_default()];
    for paragraph in &mut story {
        paragraph.retain(|sentence| !sentence.is_empty());
    }
    story.retain(|paragraph| !paragraph.is_empty());
    story
}

/// What the pipeline was to do, by what the anomaly breaks.
fn promised(facts: &Facts<'_>) -> String {
    let violates = facts.anomaly.class.violates;
    let level = match facts.anomaly.class.level {
        oncesim_semantics::Level::Log => "in the log",
        oncesim_semantics::Level::Processing => "on its way through the consumers",
        oncesim_semantics::Level::Effect => "in the system outside of Kafka",
    };
    let own = match facts.anomaly.id() {
        "lost-write" | "lost-write-final" | "acked-truncated" | "committed-lost-globally" => {
            "What a producer was told is stored should stay stored."
        }
        "delayed-endtxn" => "The end of a transaction should end the one that its client means.",
        "hanging-txn" => "Every transaction should come to an end, one way or the other.",
        "stale-upsert" | "tombstone-resurrect" => {
            "The newest record of a key should have the last word."
        }
        "outbox-missing" | "outbox-premature-mark" | "outbox-skip-gap" => {
            "What the database commits, the log should announce."
        }
        "outbox-phantom" => "The log should announce what the database commits, and nothing else.",
        "outbox-duplicate" => "The log should announce each committed operation once.",
        "outbox-order" => "The log should announce operations in the order of their commits.",
        _ => "",
    };
    if !own.is_empty() {
        return own.to_owned();
    }
    let what = if violates.isolation {
        "Nobody should see what was never committed".to_owned()
    } else if violates.atomicity && !violates.at_least_once {
        "What belongs together should happen together or not at all".to_owned()
    } else if violates.at_most_once {
        format!("No record should count twice {level}")
    } else if violates.at_least_once {
        format!("No record should be lost {level}")
    } else if violates.ordering {
        "Records should keep the order in which they were sent".to_owned()
    } else if violates.integrity {
        "What is stored should be what was sent".to_owned()
    } else if violates.liveness {
        "Once the faults are over, everything should come to rest".to_owned()
    } else {
        return facts.anomaly.class.meaning.to_owned();
    };
    format!("{what}.")
}

/// What the witness says.
fn happened(facts: &Facts<'_>) -> String {
    let sentence = &facts.anomaly.witness.sentence;
    let sentence = match sentence.split_once(": ") {
        Some((group, rest)) if group.starts_with("group ") && group.matches(' ').count() == 1 => {
            format!("Here, in {group}, {rest}")
        }
        Some((place, rest)) if !place.contains(' ') => format!("Here, at {place}, {rest}"),
        _ => format!("Here {sentence}"),
    };
    match facts.anomaly.count {
        0 | 1 => format!("{sentence}."),
        2 => format!("{sentence}. It happens once more in this run."),
        n => format!("{sentence}. It happens {} times in this run.", grouped(n)),
    }
}

/// Why, by the family of the anomaly.
fn why(facts: &Facts<'_>) -> Vec<String> {
    let id = facts.anomaly.id();
    let told = match id {
        "dup-retry" | "dup-idempotent" | "dup-app-resend" | "duplicate-append" => {
            log::duplicate(facts)
        }
        "lost-write"
        | "lost-write-final"
        | "acked-truncated"
        | "committed-lost-globally"
        | "unseen" => log::lost(facts),
        "nonmonotonic-send"
        | "key-order-violation"
        | "append-realtime-inversion"
        | "pipeline-key-order" => log::reordered(facts),
        "lost-processing" | "commit-before-process" | "poll-skip" | "int-poll-skip" => {
            processing::lost(facts)
        }
        "dup-processing" | "duplicate-delivery" | "zombie-output" | "nonmonotonic-poll" => {
            processing::doubled(facts)
        }
        "zombie-effect" | "stale-upsert" | "tombstone-resurrect" => effect::zombie(facts),
        "effect-duplicate"
        | "idem-key-instability"
        | "dedup-window-miss"
        | "dedup-after-effect"
        | "inbox-dup" => effect::doubled(facts),
        "effect-lost" | "partial-effect" | "dedup-before-effect" | "inbox-miss" => {
            effect::lost(facts)
        }
        "idem-key-collision" | "lost-update" | "effect-before-commit" => effect::others(facts),
        _ if id.starts_with("outbox-") => outbox::outbox(facts),
        _ => transaction::transaction(facts),
    };
    told.unwrap_or_default()
}

/// Which faults opened the window.
fn window(facts: &Facts<'_>) -> String {
    let needed = facts.needed();
    let not_needed =
        facts.view.faults.iter().filter(|fault| fault.known && !fault.concerned()).count();
    let rest = match (not_needed, needed.is_empty()) {
        (0, _) | (_, true) => String::new(),
        (1, _) => "; the other fault that struck has nothing to do with it".to_owned(),
        (n, _) => {
            format!("; the other {} faults that struck have nothing to do with it", in_words(n))
        }
    };
    match needed.as_slice() {
        [] => match &facts.view.without_any {
            Some(sentence) => sentence.clone(),
            None if facts.view.faults.is_empty() => "It needs no fault.".to_owned(),
            None => untried(facts),
        },
        [(fault, at)] => {
            format!(
                "One fault opened the window, at {at}: \"{fault}\". Without it this does not happen{rest}."
            )
        }
        many => {
            let list: Vec<String> =
                many.iter().map(|(fault, at)| format!("\"{fault}\" at {at}")).collect();
            format!(
                "It took {} faults together: {}. Without {} of them this does not happen{rest}.",
                in_words(many.len()),
                and(&list),
                if many.len() == 2 { "either" } else { "any one" }
            )
        }
    }
}

/// Faults without which another record would be the one to tell of.
fn which_one(facts: &Facts<'_>) -> Option<String> {
    let faults = facts.view.faults.iter().filter(|fault| fault.for_this_one);
    let list: Vec<String> = faults
        .filter_map(|fault| Some(format!("\"{}\" at {}", fault.description, fault.struck?)))
        .collect();
    let them = if list.len() == 1 { "it" } else { "any of them" };
    let that = if list.len() == 1 { "it is" } else { "they are" };
    (!list.is_empty()).then(|| {
        format!(
            "That it is this record is due to {}: without {them} another one is the first, so {that} \
             part of this story, and not of every such failure.",
            and(&list)
        )
    })
}

/// Faults of which nobody knows whether they are needed.
fn untried(facts: &Facts<'_>) -> String {
    let struck = facts.view.faults.iter().filter_map(|fault| Some((fault, fault.struck?)));
    let list: Vec<String> =
        struck.map(|(fault, at)| format!("\"{}\" at {at}", fault.description)).collect();
    match list.as_slice() {
        [] => String::new(),
        [one] => format!("One fault struck: {one}. Whether it is needed was not tried."),
        many => format!("These faults struck: {}. Which it needs was not tried.", and(many)),
    }
}

/// When it was too late.
fn too_late(facts: &Facts<'_>) -> Option<String> {
    let found = facts.view.unavoidable.as_ref()?;
    let (before, after) = (found.before, found.after);
    if before.0 == before.1 {
        return Some("It was certain from the beginning; luck had no part in it.".to_owned());
    }
    let fault =
        facts.needed().iter().any(|(fault, at)| *at == found.at && found.event.ends_with(fault));
    let what = match (fault, facts.needed().len()) {
        (true, 1) => "It was too late as soon as it struck".to_owned(),
        (true, _) => format!("It was too late when the fault of {} struck", found.at),
        (false, _) => format!("It was too late at {} ({})", found.at, found.event),
    };
    Some(format!(
        "{what}: of {} futures that begin just before it {}; of {} that begin just after it {}.",
        before.1,
        fails(before),
        after.1,
        fails(after)
    ))
}

/// `none fails`, `3 fail`, `all fail`.
fn fails((failed, of): (u64, u64)) -> String {
    match failed {
        0 => "none fails".to_owned(),
        _ if failed == of => "all fail".to_owned(),
        1 => "one fails".to_owned(),
        n => format!("{n} fail"),
    }
}

/// What helps, and why.
fn helps(facts: &Facts<'_>) -> Option<Vec<String>> {
    if facts.view.changes_over.is_empty() {
        return None;
    }
    let clean = |change: &&ChangeView| change.holds() && change.instead.is_empty();
    let mut holding: Vec<&ChangeView> = facts.view.changes.iter().filter(clean).collect();
    if holding.is_empty() {
        holding = facts.view.changes.iter().filter(|change| change.holds()).collect();
    }
    let Some(first) = holding.first() else {
        return Some(vec![
            "None of the changes that were tried makes it go away.".to_owned(),
            format!("The catalogue says: {}", facts.anomaly.class.fixes),
        ]);
    };
    let (failed, seeds, before) = first
        .same_faults
        .filter(|_| first.failed_before == 0)
        .unwrap_or((first.failed, first.seeds, first.failed_before));
    let others: Vec<&str> = holding.iter().skip(1).take(2).map(|it| it.what.as_str()).collect();
    let mut story = vec![
        format!("What prevents it: {}.", first.what),
        first.because.clone(),
        format!("With it {failed} of {seeds} seeds fail, without it {before}."),
    ];
    if !first.instead.is_empty() {
        story.push(format!("But then there is {}.", first.instead.join(", ")));
    }
    story.extend(first.note.as_ref().map(|note| format!("The price: {note}.")));
    if !others.is_empty() {
        story.push(format!("What holds as well: {}.", others.join("; or ")));
    }
    Some(story)
}

/// `a, b and c`.
fn and(items: &[String]) -> String {
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn in_words(n: usize) -> String {
    const WORDS: [&str; 10] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    WORDS.get(n).map_or_else(|| n.to_string(), |word| (*word).to_owned())
}
