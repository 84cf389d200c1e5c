//! A processor's side effects: what it does outside of Kafka while it processes a record.
//!
//! They are there before the record's outputs and its offset are committed, and no abort takes them
//! back: the effect of a transaction that is aborted is repeated with the record. Mirrors a
//! `foreach()` or `transform()` of Kafka Streams with a call to a service in it.
//!
//! Simplification: one record at a time, also where the sink would take a poll.

use oncesim_types::{GenerationId, Instant, TopicPartition};

use super::super::AppEffect;
use super::super::sink::{Again, Delivery, Progress, Sink, Turn};
use super::{Doing, ProcessorApp};

impl ProcessorApp {
    pub(super) fn set_tokens(&mut self, generation: GenerationId, added: &[TopicPartition]) {
        if self.sink.is_some() {
            self.tokens.retain(|(partition, _)| !added.contains(partition));
            let token = i64::from(generation.0);
            self.tokens.extend(added.iter().map(|partition| (*partition, token)));
        }
    }

    /// Brings the next record's effects about. Whether they are there.
    pub(super) fn effect_of_next(&mut self, now: Instant, out: &mut Vec<AppEffect>) -> bool {
        if std::mem::take(&mut self.effect_done) {
            return true;
        }
        let (Some(sink), Some(polled)) = (&mut self.sink, self.todo.front()) else { return true };
        let token = self.tokens.iter().find(|(at, _)| *at == polled.partition);
        let delivery = Delivery { polled: *polled, token: token.map_or(-1, |(_, token)| *token) };
        let turn = &mut Turn { now, calls: &mut self.calls, out };
        let progress = sink.put(vec![delivery], Again::Part, turn);
        if progress == Progress::Done {
            return true;
        }
        self.doing = Doing::Asking;
        self.sink_progressed(now, progress, out);
        false
    }

    /// Lets the sink do something.
    pub(super) fn with_sink(
        &mut self,
        now: Instant,
        out: &mut Vec<AppEffect>,
        act: impl FnOnce(&mut Sink, &mut Turn<'_>) -> Progress,
    ) {
        let Some(sink) = &mut self.sink else { return };
        let progress = act(sink, &mut Turn { now, calls: &mut self.calls, out });
        self.sink_progressed(now, progress, out);
    }

    fn sink_progressed(&mut self, now: Instant, progress: Progress, out: &mut Vec<AppEffect>) {
        match progress {
            Progress::UnderWay => {}
            Progress::Done => {
                self.worked = true;
                self.effect_done = true;
                self.go_on(now, out);
            }
            Progress::Fenced => self.close(out),
            // It knows no better than to end its process.
            Progress::Failed | Progress::Unsure => {
                self.doing = Doing::Stopped;
                out.push(AppEffect::Restart);
            }
        }
    }
}
