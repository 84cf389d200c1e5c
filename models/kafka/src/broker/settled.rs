//! Whether a broker has nothing left to do: for the end of a run, not for the protocol.

use oncesim_types::{Offset, ProducerId, TopicPartition};

use crate::broker::Broker;
use crate::broker::lifecycle::Phase;
use crate::replica::{Replica, Role};
use crate::said;

impl Broker {
    /// Whether nothing is pending: every led partition is fully replicated and committed, every
    /// follower knows that, nobody waits for an acknowledgement or a flush.
    ///
    /// # Errors
    /// Says in words what is pending.
    pub fn settled(&self) -> Result<(), String> {
        self.look_settled(true)
    }

    /// Like [`Broker::settled`] without a word why not: a world that waits for rest asks often.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.look_settled(false).is_ok()
    }

    fn look_settled(&self, words: bool) -> Result<(), String> {
        let id = self.id;
        if self.phase != Phase::Running {
            return Err(said(words, format_args!("{id} has not started")));
        }
        if !self.image.is_alive(id) {
            return Err(said(words, format_args!("{id} is fenced")));
        }
        if self.produces.waiting > 0 {
            return Err(said(
                words,
                format_args!("{id}: {} produce requests wait", self.produces.waiting),
            ));
        }
        if !self.verifications.is_empty() {
            return Err(said(words, format_args!("{id} verifies transactions")));
        }
        if !self.writes.is_empty() {
            return Err(said(
                words,
                format_args!("{id}: {} flushes are under way", self.writes.len()),
            ));
        }
        self.coordinator
            .settled()
            .map_err(|pending| said(words, format_args!("{id}: {pending}")))?;
        self.transactions
            .settled(words)
            .map_err(|pending| said(words, format_args!("{id}: {pending}")))?;
        for (index, slot) in (0..).zip(&self.slots) {
            if let Some(replica) = slot.replica.as_deref() {
                self.settled_replica(index, replica, words)?;
            }
        }
        Ok(())
    }

    /// The first transaction that holds back the last stable offset of each partition that this
    /// broker leads: where it begins, and whose it is, unless only its marker is not replicated yet.
    pub fn open_transactions(
        &self,
    ) -> impl Iterator<Item = (TopicPartition, Offset, Option<ProducerId>)> {
        let leads = |replica: &&Replica| matches!(replica.role, Role::Leader(_));
        let led = self.slots.iter().filter_map(|slot| slot.replica.as_deref()).filter(leads);
        led.filter_map(|replica| {
            let producers = replica.log.producers();
            let first = producers.first_unstable_offset()?;
            let mut entries = producers.entries().iter();
            let holder = entries.find(|entry| entry.current_txn_first_offset == Some(first));
            Some((replica.partition, first, holder.map(|entry| entry.producer_id)))
        })
    }

    fn settled_replica(&self, index: u32, replica: &Replica, words: bool) -> Result<(), String> {
        let (id, partition) = (self.id, replica.partition);
        let leader = match &replica.role {
            Role::Leader(leader) => leader,
            Role::Follower(follower) if follower.leader.is_some() => return Ok(()),
            Role::Follower(_) => {
                return Err(said(words, format_args!("{id}: {partition} has no leader")));
            }
            Role::Unassigned => {
                return Err(said(words, format_args!("{id}: {partition} has no role")));
            }
        };
        if leader.pending.is_some() {
            return Err(said(
                words,
                format_args!("{id}: {partition} waits for a change of its ISR"),
            ));
        }
        let log_end = replica.log.log_end();
        for remote in &leader.remotes {
            if !self.image.is_alive(remote.broker) {
                continue;
            }
            let broker = remote.broker;
            if !leader.isr.contains(&broker) {
                return Err(said(
                    words,
                    format_args!("{id}: {broker} is not in the ISR of {partition}"),
                ));
            }
            if remote.log_end != Some(log_end) {
                return Err(said(
                    words,
                    format_args!("{id}: {broker} has not caught up with {partition}"),
                ));
            }
            if !self.follower_is_current(index, broker) {
                return Err(said(
                    words,
                    format_args!("{id}: {broker} lacks the high watermark of {partition}"),
                ));
            }
        }
        if replica.high_watermark != log_end {
            let high_watermark = replica.high_watermark;
            return Err(said(
                words,
                format_args!(
                    "{id}: the high watermark of {partition} is {high_watermark}, its end {log_end}"
                ),
            ));
        }
        Ok(())
    }
}
