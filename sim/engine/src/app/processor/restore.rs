//! The stores of a stateful processor, and how they come back from their changelogs.
//!
//! Mirrors `StoreChangelogReader` and the dirty close of tasks under `exactly_once_v2`: a store is
//! wiped after an abort and read again. It is read up to the end of the changelog, not up to its last
//! stable offset (KAFKA-10167): a transaction whose offsets count already may still wait for its
//! marker in the changelog.

use std::collections::BTreeMap;

use oncesim_kafka::consumer::{ConsumerCall, ConsumerCompletion};
use oncesim_types::lineage::store_entry;
use oncesim_types::{CallId, Instant, Offset, TopicPartition, Transform};

use super::super::AppEffect;
use super::{After, Doing, POLL_TIMEOUT, ProcessorApp};

type Store = BTreeMap<u32, i64>;

/// One store per input partition.
#[derive(Debug, Default)]
pub(super) struct Stores {
    ready: BTreeMap<u16, Store>,
    restoring: Vec<Restoring>,
}

/// A store on its way back.
#[derive(Debug)]
struct Restoring {
    changelog: TopicPartition,
    /// The end of the changelog, once it is known.
    end: Option<Offset>,
    store: Store,
}

impl Stores {
    pub(super) fn get(&self, partition: u16, key: u32) -> Option<i64> {
        self.ready.get(&partition)?.get(&key).copied()
    }

    pub(super) fn put(&mut self, partition: u16, key: u32, value: Option<i64>) {
        put(self.ready.entry(partition).or_default(), key, value);
    }

    /// Wipes those of `partitions`.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.ready.retain(|index, _| partitions.iter().all(|it| it.partition != *index));
    }

    /// Forgets the stores of partitions that are gone.
    pub(super) fn keep_only(&mut self, owned: &[TopicPartition]) {
        self.ready.retain(|index, _| owned.iter().any(|owned| owned.partition == *index));
    }
}

fn put(store: &mut Store, key: u32, value: Option<i64>) {
    match value {
        Some(value) => drop(store.insert(key, value)),
        None => drop(store.remove(&key)),
    }
}

impl ProcessorApp {
    /// Brings the stores of `partitions` back, then goes on with `after`.
    pub(super) fn restore(
        &mut self,
        now: Instant,
        partitions: &[TopicPartition],
        after: After,
        out: &mut Vec<AppEffect>,
    ) {
        let Transform::Aggregate { changelog } = self.spec.transform else {
            return self.proceed(now, after, out);
        };
        for partition in partitions {
            let changelog = TopicPartition::new(changelog, partition.partition);
            let known = self.stores.ready.contains_key(&partition.partition)
                || self.stores.restoring.iter().any(|it| it.changelog == changelog);
            if !known {
                let store = Store::new();
                self.stores.restoring.push(Restoring { changelog, end: None, store });
            }
        }
        if self.stores.restoring.is_empty() {
            return self.proceed(now, after, out);
        }
        self.doing = Doing::Restoring(after);
        self.ask_for_ends(out);
    }

    fn ask_for_ends(&mut self, out: &mut Vec<AppEffect>) {
        let changelogs = self.stores.restoring.iter().map(|it| it.changelog).collect();
        out.push(AppEffect::LogEnds(changelogs));
    }

    /// Where the changelogs end, as far as their leaders can tell.
    pub(crate) fn log_ends(
        &mut self,
        now: Instant,
        ends: &[(TopicPartition, Option<Offset>)],
        out: &mut Vec<AppEffect>,
    ) {
        let Doing::Restoring(after) = self.doing else { return };
        if ends.iter().any(|(_, end)| end.is_none()) {
            out.push(AppEffect::Wake(POLL_TIMEOUT));
            return;
        }
        for it in &mut self.stores.restoring {
            it.end = ends.iter().find(|(at, _)| *at == it.changelog).and_then(|(_, end)| *end);
        }
        self.finish_restored(|_| Some(Offset::ZERO), out);
        if self.stores.restoring.is_empty() {
            return self.proceed(now, after, out);
        }
        let changelogs = self.stores.restoring.iter().map(|it| it.changelog).collect();
        self.restore_call(ConsumerCall::Assign(changelogs), out);
        self.restore_call(ConsumerCall::SeekToBeginning, out);
        self.restore_poll(out);
    }

    fn restore_poll(&mut self, out: &mut Vec<AppEffect>) {
        out.push(AppEffect::Wake(POLL_TIMEOUT));
        self.restore_call(ConsumerCall::Poll, out);
    }

    fn restore_call(&mut self, body: ConsumerCall, out: &mut Vec<AppEffect>) {
        self.calls += 1;
        out.push(AppEffect::Restore { call: CallId(self.calls), body });
    }

    pub(super) fn restore_poll_timeout(&mut self, out: &mut Vec<AppEffect>) {
        if self.stores.restoring.iter().any(|it| it.end.is_none()) {
            return self.ask_for_ends(out);
        }
        out.push(AppEffect::Wake(POLL_TIMEOUT));
        self.restore_call(ConsumerCall::PollTimeout, out);
    }

    /// A call of the restore consumer ended; `position` is its `position()`.
    pub(crate) fn restore_completed(
        &mut self,
        now: Instant,
        end: &ConsumerCompletion,
        position: impl Fn(TopicPartition) -> Option<Offset>,
        out: &mut Vec<AppEffect>,
    ) {
        let (Doing::Restoring(after), ConsumerCompletion::Polled(records)) = (self.doing, end)
        else {
            return;
        };
        for polled in records {
            let of = |it: &&mut Restoring| it.changelog == polled.partition;
            if let (Some(it), Some(key)) =
                (self.stores.restoring.iter_mut().find(of), polled.record.key)
            {
                put(&mut it.store, key, polled.record.value);
            }
        }
        self.finish_restored(position, out);
        if self.stores.restoring.is_empty() {
            self.proceed(now, after, out);
        } else {
            self.restore_poll(out);
        }
    }

    /// Stores that have read their changelog to its end are ready.
    fn finish_restored(
        &mut self,
        position: impl Fn(TopicPartition) -> Option<Offset>,
        out: &mut Vec<AppEffect>,
    ) {
        for it in std::mem::take(&mut self.stores.restoring) {
            let to = position(it.changelog);
            match (to, it.end) {
                (Some(to), Some(end)) if to >= end => {
                    let entries = it.store.iter().map(|(key, value)| store_entry(*key, *value));
                    out.push(AppEffect::StateRestored {
                        changelog: it.changelog,
                        to,
                        keys: u32::try_from(it.store.len()).expect("keys are numbered in 32 bits"),
                        fingerprint: entries.fold(0, u64::wrapping_add),
                    });
                    self.stores.ready.insert(it.changelog.partition, it.store);
                }
                _ => self.stores.restoring.push(it),
            }
        }
    }
}
