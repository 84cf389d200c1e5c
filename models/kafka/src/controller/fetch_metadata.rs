//! `FetchMetadata`: a broker reads the metadata log, and waits for what comes next.
//!
//! Mirrors `Fetch` on `__cluster_metadata` (KIP-595, KIP-631).
//!
//! Simplifications: the long poll has no timeout, so that an idle cluster causes no events (Kafka's
//! 500 ms empty answers change nothing); a newer request of a broker ends its waiting one.

use crate::controller::Controller;
use crate::machine::{Effects, ReplyTo};
use crate::message::{FetchMetadataRequest, FetchMetadataResponse, Response};

impl Controller {
    pub(super) fn on_fetch_metadata(
        &mut self,
        request: FetchMetadataRequest,
        to: ReplyTo,
        effects: &mut Effects,
    ) {
        if request.from < self.disk.log_end() {
            self.reply_records(request.from, to, effects);
        } else if let Some(slot) = self.slot(request.broker) {
            // Which of the two the broker still waits for is not known here: the newer may be a late
            // one of a connection that the broker gave up. Whoever lives asks again.
            if let Some(ended) = self.parked[usize::from(slot)].replace(to) {
                self.reply_records(request.from, ended, effects);
            }
        }
    }

    /// Answers everybody who waits, if the log has grown.
    pub(super) fn serve_parked(&mut self, effects: &mut Effects) {
        let from = self.served;
        if from == self.disk.log_end() {
            return;
        }
        self.served = self.disk.log_end();
        for slot in 0..self.parked.len() {
            if let Some(to) = self.parked[slot].take() {
                self.reply_records(from, to, effects);
            }
        }
    }

    fn reply_records(&self, from: u64, to: ReplyTo, effects: &mut Effects) {
        let records = self.disk.records_from(from).to_vec();
        effects.reply(to, Response::FetchMetadata(FetchMetadataResponse { from, records }));
    }
}
