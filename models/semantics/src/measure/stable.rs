//! How long the last stable offset stood still below the high watermark: what readers of committed
//! data wait for while a transaction is open, or its markers are on their way.

use std::collections::BTreeMap;

use oncesim_history::{Event, EventKind, History, WorldEvent};
use oncesim_types::{ActorId, Duration, Instant, LeaderEpoch, Offset, TopicPartition};

/// One partition of an application's topic that was written in transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StableMeasure {
    /// Which.
    pub partition: TopicPartition,
    /// The longest time that the last stable offset did not move while the high watermark was
    /// further.
    pub longest: Duration,
    /// How long the high watermark was further, in all.
    pub total: Duration,
    /// How often it got ahead.
    pub times: u64,
}

#[derive(Debug, Default)]
struct Partition {
    leader: Option<(ActorId, LeaderEpoch)>,
    /// The high watermark, as each replica knows it.
    known: BTreeMap<ActorId, Offset>,
    high_watermark: Offset,
    last_stable_offset: Option<Offset>,
    /// Since when it is behind, and since when it has not moved.
    behind: Option<(Instant, Instant)>,
    longest: Duration,
    total: Duration,
    times: u64,
}

pub(super) fn stable(history: &History) -> Vec<StableMeasure> {
    let mut partitions: BTreeMap<TopicPartition, Partition> = BTreeMap::new();
    for event in &history.events {
        let EventKind::World(kind) = &event.kind else { continue };
        let at = match kind {
            WorldEvent::BecameLeader { partition, .. }
            | WorldEvent::HighWatermark { partition, .. }
            | WorldEvent::LastStableOffset { partition, .. } => *partition,
            _ => continue,
        };
        partitions.entry(at).or_default().see(event, kind);
    }
    let internal = |at: &TopicPartition| {
        history.topics.get(usize::from(at.topic.0)).is_none_or(|topic| topic.internal)
    };
    partitions
        .into_iter()
        .filter(|(at, one)| one.last_stable_offset.is_some() && !internal(at))
        .map(|(partition, mut one)| {
            one.close(history.end);
            let Partition { longest, total, times, .. } = one;
            StableMeasure { partition, longest, total, times }
        })
        .collect()
}

impl Partition {
    fn leads(&self, actor: ActorId) -> bool {
        self.leader.is_none_or(|(leader, _)| leader == actor)
    }

    fn elect(&mut self, actor: ActorId, epoch: LeaderEpoch) {
        if self.leader.is_none_or(|(_, known)| epoch >= known) {
            self.leader = Some((actor, epoch));
            if let Some(known) = self.known.get(&actor) {
                self.high_watermark = *known;
            }
        }
    }

    fn see(&mut self, event: &Event, kind: &WorldEvent) {
        let actor = event.actor;
        match kind {
            WorldEvent::BecameLeader { leader_epoch, .. } => self.elect(actor, *leader_epoch),
            WorldEvent::HighWatermark { high_watermark, .. } => {
                self.known.insert(actor, *high_watermark);
                if !self.leads(actor) {
                    return;
                }
                // What the leader says of its last stable offset comes right after it, at the same
                // moment: a step between the two takes no time.
                self.high_watermark = *high_watermark;
            }
            WorldEvent::LastStableOffset { last_stable_offset, .. } => {
                if !self.leads(actor) {
                    return;
                }
                let moved = self.last_stable_offset != Some(*last_stable_offset);
                self.last_stable_offset = Some(*last_stable_offset);
                if moved && self.is_behind() {
                    self.stands_since(event.time);
                }
            }
            _ => {}
        }
        match (self.is_behind(), self.behind) {
            (true, None) => self.behind = Some((event.time, event.time)),
            (false, Some(_)) => self.close(event.time),
            _ => {}
        }
    }

    fn is_behind(&self) -> bool {
        self.last_stable_offset.is_some_and(|stable| stable < self.high_watermark)
    }

    /// It has moved, and is still behind.
    fn stands_since(&mut self, now: Instant) {
        if let Some((_, still)) = &mut self.behind {
            self.longest = self.longest.max(now.since(*still));
            *still = now;
        }
    }

    fn close(&mut self, now: Instant) {
        if let Some((since, still)) = self.behind.take() {
            // Caught up at the very moment: the two are noted one after the other.
            if now > since {
                self.longest = self.longest.max(now.since(still));
                self.total = self.total + now.since(since);
                self.times += 1;
            }
        }
    }
}
