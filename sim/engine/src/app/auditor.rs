//! The auditor: a fresh client that reads every topic from its start after everything has healed.

use oncesim_kafka::consumer::ConsumerCall;
use oncesim_kafka::machine::Call;
use oncesim_types::{CallId, TopicPartition};

use super::AppEffect;

/// Assigns every partition to itself, goes to the beginning and polls.
#[derive(Debug)]
pub(crate) struct AuditorApp {
    partitions: Vec<TopicPartition>,
    calls: u64,
}

impl AuditorApp {
    pub(crate) fn new(partitions: Vec<TopicPartition>) -> Self {
        AuditorApp { partitions, calls: 0 }
    }

    pub(crate) fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    pub(crate) fn start(&mut self, out: &mut Vec<AppEffect>) {
        let partitions = self.partitions.clone();
        self.call(ConsumerCall::Assign(partitions), out);
        self.call(ConsumerCall::SeekToBeginning, out);
        self.call(ConsumerCall::Poll, out);
    }

    /// A poll ended: the next one.
    pub(crate) fn polled(&mut self, out: &mut Vec<AppEffect>) {
        self.call(ConsumerCall::Poll, out);
    }

    fn call(&mut self, body: ConsumerCall, out: &mut Vec<AppEffect>) {
        self.calls += 1;
        let call = CallId(self.calls);
        out.push(AppEffect::Call { call, attempt: 0, body: Call::Consumer(body) });
    }
}
