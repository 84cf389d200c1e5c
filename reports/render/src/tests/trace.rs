//! The trace as people see it: excerpts, rows, lanes, filters.

use oncesim_history::trace::{About, LineKind, Trace, TraceLine};
use oncesim_history::{
    ActorInfo, ActorRole, ClientKind, Event, EventKind, History, TopicInfo, WorldEvent,
};
use oncesim_types::{
    ActorId, CallId, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordId, TopicId,
    TopicPartition, TransactionalId,
};

use super::without_escapes;
use crate::row::rows;
use crate::trace::{excerpt, trace_text};
use crate::*;

pub(super) fn actors(names: &[&str]) -> Vec<ActorInfo> {
    let actor = |name: &&str| ActorInfo {
        name: (*name).to_owned(),
        role: ActorRole::Broker,
        read_committed: false,
    };
    names.iter().map(actor).collect()
}

pub(super) fn line(
    us: u64,
    actor: u16,
    peer: Option<u16>,
    kind: LineKind,
    text: &str,
) -> TraceLine {
    TraceLine {
        time: Instant(us * 1_000),
        actor: ActorId(actor),
        peer: peer.map(ActorId),
        event: None,
        step: 0,
        sent: None,
        kind,
        about: About::default(),
        text: text.to_owned(),
    }
}

pub(super) fn event(us: u64, actor: u16, kind: EventKind) -> Event {
    Event { time: Instant(us * 1_000), actor: ActorId(actor), incarnation: 0, kind }
}

/// b1 appends and acknowledges what b2, the next leader, does not have.
pub(super) fn recording() -> Recording {
    use LineKind::{Arrived, Note};
    let orders = TopicPartition::new(TopicId(0), 0);
    let acknowledged = EventKind::Client(ClientKind::SendEnd {
        call: CallId(1),
        record: RecordId::new(ActorId(0), 7),
        partition: Some(orders),
        outcome: oncesim_history::Outcome::Ok,
        offset: Some(Offset(7)),
    });
    let leads = EventKind::World(WorldEvent::BecameLeader {
        partition: orders,
        leader_epoch: LeaderEpoch(1),
        log_end: Offset(7),
    });
    let history = History {
        actors: actors(&["shop", "b1", "b2", "b3", "消費者"]),
        topics: vec![TopicInfo {
            name: "orders".to_owned(),
            partitions: 1,
            internal: false,
            unclean_election: false,
        }],
        events: vec![event(2_400, 0, acknowledged), event(9_000_500, 2, leads)],
        ..History::default()
    };
    let mut lines = vec![
        line(1_000, 0, Some(1), Arrived, "Produce orders-0, 1 record"),
        line(1_900, 1, None, Note, "append orders-0 at 7"),
        line(2_000, 1, Some(0), Arrived, "Produce: no error, base offset 7"),
    ];
    lines.extend(
        (0..20)
            .map(|i| TraceLine { event: Some(0), ..line(3_000 + i, 4, Some(3), Arrived, "Fetch") }),
    );
    lines.push(line(5_000, 1, None, LineKind::Crashed { power: false }, "crashes"));
    Recording { history, trace: Trace { lines, ..Trace::default() } }
}

#[test]
fn an_excerpt_is_the_proof_and_what_is_around_it() {
    let recording = recording();
    let rows = rows(&recording, [0, 1]);
    let proof = [3, 25];
    let all = excerpt(&rows, &[0, 1], 2, 14);
    assert!(proof.iter().all(|position| all.contains(position)), "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    for limit in 1..14 {
        assert!(excerpt(&rows, &[0, 1], 5, limit).len() <= limit);
    }
    assert!(excerpt(&rows, &[], 2, 14).is_empty());
}

#[test]
fn wide_names_stay_aligned() {
    use unicode_width::UnicodeWidthStr;
    let recording = recording();
    let text = trace_text(&rows(&recording, [0, 1]), &[0, 4, 25], &[], "", false);
    let columns: Vec<usize> = text
        .lines()
        .filter(|line| !line.contains("..."))
        .map(|line| {
            let at = line.find("Produce").or(line.find("Fetch")).or(line.find("leads"));
            line[..at.expect("every line has its text")].width()
        })
        .collect();
    assert_eq!(columns.len(), 3);
    assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
}

#[test]
fn events_stand_where_they_happened() {
    let world = |us: u64, kind: WorldEvent| event(us, 0, EventKind::World(kind));
    let history = History {
        actors: actors(&["b1"]),
        events: vec![
            world(1, WorldEvent::Started),
            world(2, WorldEvent::Paused),
            world(3, WorldEvent::Resumed),
            world(9, WorldEvent::Crashed { power: true }),
        ],
        ..History::default()
    };
    let at = |us: u64, event: Option<u32>| TraceLine {
        event,
        ..line(us, 0, None, LineKind::Note, "line")
    };
    let lines = vec![at(1, Some(0)), at(2, None), at(4, Some(2)), at(5, Some(2))];
    let recording = Recording { history, trace: Trace { lines, ..Trace::default() } };
    let merged = rows(&recording, [1, 3]);
    let told: Vec<(u64, String, Option<u32>)> = merged
        .iter()
        .map(|row| (row.time().0 / 1_000, row.text().into_owned(), row.event()))
        .collect();
    let expected = [
        (1, "line", None),
        (2, "line", None),
        (2, "stands still", Some(1)),
        (4, "line", None),
        (5, "line", None),
        (9, "dies in a power failure", Some(3)),
    ];
    let told: Vec<(u64, &str, Option<u32>)> =
        told.iter().map(|(time, text, event)| (*time, text.as_str(), *event)).collect();
    assert_eq!(told, expected);
}

const ORDERS: TopicPartition = TopicPartition::new(TopicId(0), 0);
const SHOP_0: RecordId = RecordId::new(ActorId(3), 0);

/// A small run with every symbol. The actors are b1, b2, controller, shop and 消費者.
fn lanes() -> Recording {
    use LineKind::{Arrived, Crashed, Fault, Lost, Note, Paused, Phase, Repeated, Started, Stuck};
    let about = About {
        partitions: vec![ORDERS],
        transactional_ids: vec![TransactionalId(0)],
        records: vec![SHOP_0],
        producers: vec![ProducerId(1_000)],
        ..About::default()
    };
    let session =
        ClientKind::InitTransactions { call: CallId(0), transactional_id: TransactionalId(0) };
    let sends = ClientKind::SendInvoke {
        call: CallId(1),
        partition: ORDERS,
        record: SHOP_0,
        key: None,
        payload: 1,
        attempt: 1,
    };
    let served =
        WorldEvent::AckedAll { partition: ORDERS, next_offset: Offset(1), isr: 2, min_isr: 1 };
    let marker = WorldEvent::MarkerRejected {
        partition: ORDERS,
        producer_id: ProducerId(1_000),
        producer_epoch: ProducerEpoch(0),
        error: oncesim_types::ErrorCode::InvalidTxnState,
    };
    let history = History {
        actors: actors(&["b1", "b2", "controller", "shop", "消費者"]),
        topics: vec![TopicInfo {
            name: "orders".to_owned(),
            partitions: 1,
            internal: false,
            unclean_election: false,
        }],
        transactional_ids: vec!["checkout".to_owned()],
        events: vec![
            event(0, 0, EventKind::World(WorldEvent::Started)),
            event(800, 3, EventKind::Client(session)),
            event(900, 3, EventKind::Client(sends)),
            event(1_950, 0, EventKind::World(served)),
            event(1_960, 0, EventKind::World(marker)),
            event(5_000_200, 4, EventKind::Client(ClientKind::PollInvoke)),
            event(5_000_200, 4, EventKind::Client(ClientKind::Closed)),
        ],
        ..History::default()
    };
    let sent = |us: u64| Some((Instant(us * 1_000), 0));
    let lines = vec![
        line(0, 0, None, Started, "starts"),
        TraceLine {
            about: about.clone(),
            sent: sent(900),
            event: Some(2),
            ..line(1_000, 3, Some(0), Arrived, "Produce p0 1 records seq 0")
        },
        TraceLine {
            about: About { transactional_ids: Vec::new(), ..about.clone() },
            ..line(1_000, 0, None, Note, "appends 0..0 at orders-0 (epoch 0)")
        },
        TraceLine { sent: sent(1_100), ..line(1_100, 1, Some(0), Repeated, "ReplicaFetch") },
        line(1_900, 2, None, Fault(0), "FAULT: pause b1 for 5s"),
        TraceLine {
            event: Some(4),
            ..line(2_000, 0, None, Paused { application: false }, "is paused")
        },
        TraceLine {
            about,
            sent: sent(1_900),
            ..line(2_100, 0, Some(3), Lost, "Produce answered: p0 at 0  (lost with its connection)")
        },
        TraceLine { sent: sent(2_100), ..line(2_200, 1, Some(0), Arrived, "ReplicaFetch") },
        line(5_000_000, 0, None, Crashed { power: false }, "crashes"),
        TraceLine { sent: sent(2_000), ..line(5_000_100, 4, Some(1), Arrived, "Fetch") },
        line(5_000_150, 2, None, Phase, "all faults have healed"),
        TraceLine {
            event: Some(6),
            ..line(5_000_300, 2, None, Stuck, "STUCK: 消費者 waits for b1")
        },
    ];
    Recording { history, trace: Trace { lines, ..Trace::default() } }
}

#[test]
fn a_trace_has_a_column_per_actor_and_a_legend() {
    let recording = lanes();
    let lens = Lens::default();
    let of = |subjects: Subjects| Lens { subjects, ..Lens::default() };
    let none = Subjects::default();
    let mut text = lanes_text(&recording, &lens, false);
    for (title, lens) in [
        ("48 columns", Lens { width: Some(48), ..lens.clone() }),
        ("one actor", Lens { actors: vec![ActorId(3)], ..lens.clone() }),
        ("one record", of(Subjects { record: Some(SHOP_0), ..none })),
        (
            "one transactional id",
            of(Subjects { transactional_id: Some(TransactionalId(0)), ..none }),
        ),
        ("one partition", of(Subjects { partition: Some(ORDERS), ..none })),
        (
            "a record and an actor",
            Lens { actors: vec![ActorId(0)], ..of(Subjects { record: Some(SHOP_0), ..none }) },
        ),
        ("an event", Lens { around: Some(Around::Event(6)), ..lens.clone() }),
        ("a time", Lens { around: Some(Around::Time(Instant(2_050_000))), ..lens.clone() }),
        ("nobody", Lens { actors: vec![ActorId(9)], ..lens.clone() }),
    ] {
        text.push_str(&format!("\n-- {title}\n{}", lanes_text(&recording, &lens, false)));
    }
    insta::assert_snapshot!("lanes_text", text);
    let styled = lanes_text(&recording, &lens, true);
    assert_eq!(without_escapes(&styled), lanes_text(&recording, &lens, false));
}

/// Notes of actors with these names, a nanosecond apart.
fn notes(names: &[String], count: u64) -> Recording {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let history = History { actors: actors(&names), ..History::default() };
    let mut lines = Vec::new();
    for i in 0..count {
        let actor = u16::try_from(i % names.len() as u64).expect("few actors");
        let note = line(0, actor, None, LineKind::Note, "appends 0..0 at orders-0 (epoch 0)");
        lines.push(TraceLine { time: Instant(i), ..note });
    }
    Recording { history, trace: Trace { lines, ..Trace::default() } }
}

#[test]
fn a_moment_shows_some_lines_around_it_and_no_more() {
    let recording = notes(&["b1".to_owned()], 200);
    for (time, lines) in [(0, 21), (100, 41), (199, 21), (10_000, 20)] {
        let around = Some(Around::Time(Instant(time)));
        let text = lanes_text(&recording, &Lens { around, ..Lens::default() }, false);
        assert_eq!(text.matches("appends").count(), lines, "{time}");
    }
    for count in [1_usize, 30, 80] {
        let names: Vec<String> =
            (0..count).map(|i| format!("a-long-name-of-an-actor-{i}")).collect();
        let recording = notes(&names, count as u64);
        let text = lanes_text(&recording, &Lens { width: Some(10), ..Lens::default() }, false);
        assert_eq!(text.matches("appends").count(), count, "some of the text is always shown");
    }
}
