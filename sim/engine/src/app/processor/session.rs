//! The producers of a processor and the transaction of each.
//!
//! One producer serves all partitions since KIP-447. Before it each partition had its own
//! (`StreamTask` under `exactly_once`): it is initialized when the partition is assigned, which fences
//! the producer of the owner before, and closed when the partition is given up. The group knows
//! nothing of it: offsets are sent without group metadata.
//!
//! Simplifications:
//! - A partition is a task. Streams makes one task of the partitions of equal number of all its topics.
//! - A fatal error of one producer ends the process (`TaskMigratedException` makes Streams drop its
//!   tasks and join again): what comes next is a new member without tasks in both.

use oncesim_kafka::producer::ProducerCall;
use oncesim_types::{ActorId, Instant, LeaderEpoch, Offset, TopicPartition, TransactionResult};

use super::super::AppEffect;
use super::{After, Doing, ProcessorApp};

/// A producer in use.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) actor: ActorId,
    /// The partition that it serves; `None` if it serves all of them.
    pub(super) partition: Option<TopicPartition>,
    pub(super) in_transaction: bool,
    /// Processed and not committed: the next offset per partition, and the epoch of the last record.
    pub(super) uncommitted: Vec<(TopicPartition, Offset, LeaderEpoch)>,
}

impl Session {
    pub(super) fn new(partition: Option<TopicPartition>, actor: ActorId) -> Self {
        Session { actor, partition, in_transaction: false, uncommitted: Vec::new() }
    }

    pub(super) fn serves(&self, partition: TopicPartition) -> bool {
        self.partition.is_none_or(|own| own == partition)
    }
}

impl ProcessorApp {
    pub(super) fn session(&self) -> &Session {
        &self.sessions[self.current]
    }

    pub(super) fn session_mut(&mut self) -> &mut Session {
        &mut self.sessions[self.current]
    }

    /// The session that processes the records of a partition.
    pub(super) fn session_of(&self, partition: TopicPartition) -> usize {
        let session = self.sessions.iter().position(|session| session.serves(partition));
        session.expect("a partition is read once it has a producer")
    }

    pub(super) fn has_open_transaction(&self) -> bool {
        self.sessions.iter().any(|session| session.in_transaction)
    }

    pub(super) fn has_uncommitted(&self) -> bool {
        self.sessions.iter().any(|session| !session.uncommitted.is_empty())
    }

    // ---- partitions come and go ----

    /// Initializes a producer for each partition that has none, then brings the stores back.
    pub(super) fn take_over(&mut self, now: Instant, out: &mut Vec<AppEffect>) {
        let next = self.producers.iter().find(|(partition, actor)| {
            partition.is_some_and(|it| self.owned.contains(&it))
                && self.sessions.iter().all(|session| session.actor != *actor)
        });
        if let Some(&(partition, actor)) = next {
            self.current = self.sessions.len();
            self.sessions.push(Session::new(partition, actor));
            return self.initialize(Some(After::TakeOver), out);
        }
        // After the producers: nothing is added to a changelog from then on by an owner before.
        let owned = self.owned.clone();
        self.restore(now, &owned, After::Return, out);
    }

    /// Ends what is open of the partitions that are taken away, then closes their producers.
    pub(super) fn give_up(&mut self, how: TransactionResult, out: &mut Vec<AppEffect>) {
        let is_taken = |session: &Session| self.taken.iter().any(|it| session.serves(*it));
        let open = |session: &Session| session.in_transaction && is_taken(session);
        if let Some(session) = self.sessions.iter().position(open) {
            return match how {
                TransactionResult::Commit => {
                    self.commit_transaction(session, After::GiveUp(how), out);
                }
                TransactionResult::Abort => {
                    self.current = session;
                    self.end_transaction(how, After::GiveUp(how), out);
                }
            };
        }
        let own = |session: &Session| session.partition.is_some() && is_taken(session);
        match self.sessions.iter().position(own) {
            Some(session) => self.close_producer(session, Some(After::GiveUp(how)), out),
            None => self.return_from_callback(out),
        }
    }

    // ---- the end of a producer ----

    fn close_producer(&mut self, session: usize, after: Option<After>, out: &mut Vec<AppEffect>) {
        self.current = session;
        self.await_producer(Doing::ClosingProducer(after), ProducerCall::Close, out);
    }

    /// Closes what is left of them; then the process starts anew.
    pub(super) fn close_producers(&mut self, out: &mut Vec<AppEffect>) {
        if self.sessions.is_empty() {
            self.doing = Doing::Stopped;
            out.push(AppEffect::Restart);
        } else {
            self.close_producer(0, None, out);
        }
    }

    pub(super) fn producer_closed(
        &mut self,
        now: Instant,
        after: Option<After>,
        out: &mut Vec<AppEffect>,
    ) {
        let closed = self.sessions.remove(self.current);
        match after {
            Some(after) => {
                // For when the partition comes back.
                out.push(AppEffect::NewProducer(closed.actor));
                self.proceed(now, after, out);
            }
            None => self.close_producers(out),
        }
    }
}
