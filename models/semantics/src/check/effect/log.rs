//! What clients asked and were told, and what systems noted: the tables of one pass.

use oncesim_history::{AskOutcome, Event, ExternalEvent, History, SpanIndex};
use oncesim_types::{
    ActorId, CallId, EffectId, Operation, RecordId, RowChange, StatementRole, SystemError,
};

use crate::check::Context;
use crate::check::index::NONE;

/// A step of a record's effect at a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) sink: u16,
    pub(crate) step: u16,
    pub(crate) record: u32,
}

/// One application of an effect, by the system's own log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Application {
    pub(crate) sink: u16,
    pub(crate) step: u16,
    pub(crate) record: u32,
    pub(crate) position: u32,
    pub(crate) commit: u64,
    pub(crate) changes: SpanIndex,
    pub(crate) token: i64,
    pub(crate) read_at: u64,
}

impl Application {
    /// The rows that it changed.
    pub(crate) fn changes<'h>(
        &self,
        history: &'h History,
    ) -> impl Iterator<Item = &'h RowChange> + use<'h> {
        history.row_changes(self.changes).iter().filter(|change| change.before != change.after)
    }

    /// Whether it changed anything.
    pub(crate) fn is_change(&self, history: &History) -> bool {
        self.changes(history).next().is_some()
    }

    /// What it is an application of.
    pub(crate) const fn of(&self) -> Step {
        Step { sink: self.sink, step: self.step, record: self.record }
    }
}

/// One request to a system. A statement inside of a transaction ends as the transaction does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// For what; `sink` is `u16::MAX` if for no effect.
    pub(crate) of: Step,
    pub(crate) operation: Operation,
    pub(crate) actor: u16,
    pub(crate) system: u16,
    pub(crate) incarnation: u32,
    pub(crate) key: u64,
    pub(crate) position: u32,
    /// Its answer's event; [`NONE`] until then.
    pub(crate) answered: u32,
    pub(crate) outcome: Option<AskOutcome>,
    pub(crate) result: u64,
}

impl Ask {
    /// Whether it is for an effect.
    pub(crate) const fn is_for_effect(&self) -> bool {
        self.of.sink != u16::MAX
    }

    /// Whether nobody was told what became of it.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.outcome, None | Some(AskOutcome::Unknown(_)))
    }

    /// Whether it was refused because its key stands for something else.
    pub(crate) const fn is_reused_key(&self) -> bool {
        matches!(self.outcome, Some(AskOutcome::Refused(SystemError::KeyReused)))
    }
}

/// A request without an answer yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    incarnation: u32,
    call: CallId,
    ask: u32,
}

/// What one client is doing.
#[derive(Debug, Default)]
struct Client {
    open: Vec<Open>,
    /// Statements of the open transaction, and after its `Commit` was asked for, which ask that is.
    statements: Vec<u32>,
    committing: Option<u32>,
}

/// A mark in a dedup table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) system: u16,
    pub(crate) record: u32,
    pub(crate) commit: u64,
    pub(crate) position: u32,
    /// Whether there was none before.
    pub(crate) is_new: bool,
}

/// An API's stored answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replay {
    pub(crate) of: Step,
    pub(crate) original: Step,
    pub(crate) same_payload: bool,
    pub(crate) position: u32,
}

/// A stored offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) system: u16,
    pub(crate) p: u32,
    pub(crate) next: i64,
    pub(crate) token: i64,
    pub(crate) commit: u64,
    pub(crate) accepted: bool,
    pub(crate) position: u32,
}

/// What a two-phase sink made durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staged {
    pub(crate) system: u16,
    pub(crate) p: u32,
    pub(crate) range: (i64, i64),
    pub(crate) attempt: u64,
    pub(crate) position: u32,
    /// Whether it was committed or dropped.
    pub(crate) finished: bool,
}

/// A record that a processor made, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) actor: u16,
    pub(crate) incarnation: u32,
    pub(crate) input: u32,
    pub(crate) record: u32,
    pub(crate) position: u32,
}

/// Everything that happened outside of Kafka, in the order in which it happened.
#[derive(Debug, Default)]
pub(crate) struct EffectLog {
    pub(crate) applications: Vec<Application>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) marks: Vec<Mark>,
    /// Marks were forgotten: by which system, when.
    pub(crate) evictions: Vec<(u16, u32)>,
    /// Idempotency keys were forgotten: of what, when.
    pub(crate) forgotten: Vec<(Step, u32)>,
    pub(crate) replays: Vec<Replay>,
    pub(crate) stored: Vec<Stored>,
    pub(crate) staged: Vec<Staged>,
    /// What applications took for done.
    pub(crate) done: Vec<Step>,
    pub(crate) made: Vec<Made>,
    /// By actor.
    clients: Vec<Client>,
    /// How many effects were asked for.
    pub(crate) asked: u64,
    /// How many were taken for done because they had been done before.
    pub(crate) skipped: u64,
}

impl EffectLog {
    /// A processor made a record.
    pub(crate) fn on_emitted(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        (record, input): (RecordId, RecordId),
    ) {
        if context.history.sinks.iter().any(|sink| sink.before_commit) {
            let [record, input] = [record, input].map(|r| row(context, r));
            let (actor, incarnation) = (event.actor.0, event.incarnation);
            self.made.push(Made { actor, incarnation, input, record, position });
        }
    }

    /// What applications and systems did.
    pub(crate) fn on_event(
        &mut self,
        context: &Context<'_>,
        position: u32,
        event: &Event,
        external: &ExternalEvent,
    ) {
        match external {
            ExternalEvent::Asked { call, system, operation, effect, key } => {
                let asks = effect.is_some() || *operation == Operation::Prepare;
                self.asked += u64::from(asks);
                let nothing = Step { sink: u16::MAX, step: 0, record: NONE };
                let ask = Ask {
                    of: effect.and_then(|e| step(context, e)).unwrap_or(nothing),
                    operation: *operation,
                    actor: event.actor.0,
                    system: system.0,
                    incarnation: event.incarnation,
                    key: *key,
                    position,
                    answered: NONE,
                    outcome: None,
                    result: 0,
                };
                self.on_asked(*call, ask);
            }
            ExternalEvent::Answered { call, outcome, result } => {
                self.on_answered(position, event, *call, (*outcome, *result));
            }
            ExternalEvent::EffectDone { effect, skipped } => {
                self.skipped += u64::from(*skipped);
                self.done.extend(step(context, *effect));
            }
            ExternalEvent::Applied { effect, commit, changes, token, read_at } => {
                let Some(Step { sink, step, record }) = step(context, *effect) else { return };
                self.applications.push(Application {
                    sink,
                    step,
                    record,
                    position,
                    commit: *commit,
                    changes: *changes,
                    token: *token,
                    read_at: *read_at,
                });
            }
            ExternalEvent::Replayed { effect, original, same_payload } => {
                let both = step(context, *effect).zip(step(context, *original));
                let Some((of, original)) = both else { return };
                let same_payload = *same_payload;
                self.replays.push(Replay { of, original, same_payload, position });
            }
            ExternalEvent::KeyEvicted { effect } => {
                self.forgotten.extend(step(context, *effect).map(|step| (step, position)));
            }
            _ => self.bookkeeping(context, position, event.actor.0, external),
        }
    }

    /// What systems keep beside effects.
    fn bookkeeping(
        &mut self,
        context: &Context<'_>,
        position: u32,
        system: u16,
        external: &ExternalEvent,
    ) {
        match external {
            ExternalEvent::Committed {
                role: StatementRole::DedupMark,
                record: Some(record),
                commit,
                changed,
                ..
            } => {
                let (record, is_new) = (row(context, *record), *changed > 0);
                self.marks.push(Mark { system, record, commit: *commit, position, is_new });
            }
            ExternalEvent::DedupEvicted { rows: 1.., .. } => {
                self.evictions.push((system, position));
            }
            ExternalEvent::OffsetStored { partition, next, token, commit, accepted } => {
                let Some(p) = context.index.partition(*partition) else { return };
                self.stored.push(Stored {
                    system,
                    p,
                    next: next.0,
                    token: *token,
                    commit: *commit,
                    accepted: *accepted,
                    position,
                });
            }
            ExternalEvent::Prepared { partition, first, next, attempt } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let (range, attempt) = ((first.0, next.0), *attempt);
                let finished = false;
                self.staged.push(Staged { system, p, range, attempt, position, finished });
            }
            ExternalEvent::Finished { partition, attempt, .. } => {
                let Some(p) = context.index.partition(*partition) else { return };
                let same = |s: &&mut Staged| (s.system, s.p, s.attempt) == (system, p, *attempt);
                // What is finished was mostly prepared a moment ago.
                if let Some(staged) = self.staged.iter_mut().rev().find(same) {
                    staged.finished = true;
                }
            }
            _ => {}
        }
    }

    fn on_asked(&mut self, call: CallId, ask: Ask) {
        let actor = usize::from(ask.actor);
        if self.clients.len() <= actor {
            self.clients.resize_with(actor + 1, Client::default);
        }
        let number = u32::try_from(self.asks.len()).expect("fewer than 2^32 asks");
        let client = &mut self.clients[actor];
        let incarnation = ask.incarnation;
        // What an earlier process asked for is answered to nobody.
        if client.open.iter().any(|open| open.incarnation != incarnation) {
            *client = Client::default();
        }
        client.open.push(Open { incarnation, call, ask: number });
        match ask.operation {
            Operation::Begin => {
                client.statements.clear();
                client.committing = None;
            }
            Operation::Execute if ask.is_for_effect() && client.committing.is_none() => {
                client.statements.push(number);
            }
            Operation::Commit => {
                client.committing = Some(number);
                for statement in &client.statements {
                    self.asks[*statement as usize].outcome = None;
                }
            }
            _ => {}
        }
        self.asks.push(ask);
    }

    fn on_answered(
        &mut self,
        position: u32,
        event: &Event,
        call: CallId,
        (outcome, result): (AskOutcome, u64),
    ) {
        let Some(client) = self.clients.get_mut(usize::from(event.actor.0)) else { return };
        let same = |o: &Open| o.call == call && o.incarnation == event.incarnation;
        let Some(at) = client.open.iter().position(same) else { return };
        let number = client.open.swap_remove(at).ask;
        let ask = &mut self.asks[number as usize];
        (ask.answered, ask.outcome, ask.result) = (position, Some(outcome), result);
        if client.committing == Some(number) {
            client.committing = None;
            for statement in client.statements.drain(..) {
                let ask = &mut self.asks[statement as usize];
                (ask.answered, ask.outcome) = (position, Some(outcome));
            }
        }
    }

    /// Who a system tells something that is not about an effect; `None` unless it is certain.
    pub(crate) fn reader(&self, context: &Context<'_>, system: ActorId) -> Option<(u16, u32)> {
        let open = self.clients.iter().flat_map(|client| &client.open);
        let mut reading = open
            .map(|open| &self.asks[open.ask as usize])
            .filter(|a| a.system == system.0 && !a.is_for_effect())
            .filter(|a| a.operation == Operation::Execute && is_member(context, a.actor));
        let one = reading.next()?;
        reading.next().is_none().then_some((one.actor, one.incarnation))
    }
}

fn is_member(context: &Context<'_>, actor: u16) -> bool {
    let role = context.history.actors.get(usize::from(actor)).map(|actor| &actor.role);
    matches!(role, Some(oncesim_history::ActorRole::Consumer(_)))
}

fn row(context: &Context<'_>, record: RecordId) -> u32 {
    context.index.record(record).expect("the index has every record")
}

/// The step of a sink that the history declares.
fn step(context: &Context<'_>, effect: EffectId) -> Option<Step> {
    let sink = effect.sink.0;
    let known = usize::from(sink) < context.history.sinks.len();
    let record = context.index.record(effect.record)?;
    known.then_some(Step { sink, step: effect.step, record })
}
