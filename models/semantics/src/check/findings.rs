//! What the checkers found, counted per anomaly, each with its first and most severe witness.

use oncesim_history::History;
use oncesim_types::{ActorId, Instant, Offset, RecordId, TopicPartition};

use crate::anomaly::{Anomaly, AnomalyClass, Severity, Witness};

/// The anomalies of one run so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Anomaly>,
    /// What the engine reports itself: its word counts, so that nothing is counted twice.
    reported: Vec<&'static AnomalyClass>,
}

impl Findings {
    /// Counts one occurrence. The witness is built only for the first of each severity.
    pub(crate) fn add(
        &mut self,
        class: &'static AnomalyClass,
        severity: Severity,
        witness: impl FnOnce() -> Witness,
    ) {
        self.add_sub(class, "", severity, witness);
    }

    /// Leaves a class to the engine.
    pub(crate) fn leave_to_engine(&mut self, class: &'static AnomalyClass) {
        self.reported.push(class);
    }

    /// Counts one occurrence of a sub-kind, unless the engine counts the class.
    pub(crate) fn add_sub(
        &mut self,
        class: &'static AnomalyClass,
        sub_kind: &'static str,
        severity: Severity,
        witness: impl FnOnce() -> Witness,
    ) {
        if !self.reported.iter().any(|reported| std::ptr::eq(*reported, class)) {
            self.add_reported(class, sub_kind, severity, witness);
        }
    }

    /// Counts one occurrence that the engine reports.
    pub(crate) fn add_reported(
        &mut self,
        class: &'static AnomalyClass,
        sub_kind: &'static str,
        severity: Severity,
        witness: impl FnOnce() -> Witness,
    ) {
        let same = |a: &&mut Anomaly| std::ptr::eq(a.class, class) && a.sub_kind == sub_kind;
        match self.found.iter_mut().find(same) {
            Some(anomaly) => {
                anomaly.count += 1;
                if severity < anomaly.severity {
                    anomaly.severity = severity;
                    anomaly.witness = witness();
                }
            }
            None => {
                let witness = witness();
                self.found.push(Anomaly { class, sub_kind, severity, count: 1, witness });
            }
        }
    }

    /// Whether an anomaly was found, at any severity.
    pub(crate) fn has(&self, class: &'static AnomalyClass) -> bool {
        self.found.iter().any(|a| std::ptr::eq(a.class, class))
    }

    /// The anomalies so far.
    pub(crate) fn all(&self) -> &[Anomaly] {
        &self.found
    }

    /// The anomalies, most severe first, then upstream first, then by name.
    pub(crate) fn into_sorted(mut self) -> Vec<Anomaly> {
        self.found.sort_by_key(|a| (a.severity, a.class.level, a.id()));
        self.found
    }
}

/// Collects what proves an occurrence.
#[derive(Debug)]
pub(crate) struct Proof<'h> {
    history: &'h History,
    witness: Witness,
}

impl<'h> Proof<'h> {
    /// A proof that says `sentence`.
    pub(crate) fn new(history: &'h History, sentence: String) -> Self {
        Proof { history, witness: Witness { sentence, ..Witness::default() } }
    }

    /// It concerns a record.
    pub(crate) fn record(mut self, record: RecordId) -> Self {
        self.witness.record = Some(record);
        self
    }

    /// It concerns a partition.
    pub(crate) fn at(mut self, partition: TopicPartition, offsets: &[i64]) -> Self {
        self.witness.partition = Some(partition);
        self.witness.offsets = offsets.iter().map(|o| Offset(*o)).collect();
        self
    }

    /// These events prove it; missing ones (`u32::MAX`) are left out.
    pub(crate) fn events(mut self, events: &[u32]) -> Self {
        let known = |e: &&u32| (**e as usize) < self.history.events.len();
        self.witness.events.extend(events.iter().filter(known));
        self
    }

    /// The witness: events ascending, their actors, and the time of the last.
    pub(crate) fn done(mut self) -> Witness {
        let witness = &mut self.witness;
        witness.events.sort_unstable();
        witness.events.dedup();
        for event in &witness.events {
            let actor: ActorId = self.history.events[*event as usize].actor;
            if !witness.actors.contains(&actor) {
                witness.actors.push(actor);
            }
        }
        witness.time = witness
            .events
            .last()
            .map_or(self.history.end, |last| self.history.events[*last as usize].time);
        self.witness
    }
}

/// A record as people name it: `shop #12`.
pub(crate) fn record_name(history: &History, record: RecordId) -> String {
    history.record_name(record)
}

/// When an event happened.
pub(crate) fn time_of(history: &History, event: u32) -> Instant {
    history.events.get(event as usize).map_or(history.end, |e| e.time)
}
