//! Tests of the transaction coordinator, with a broker that is nothing but a log, and partition
//! leaders that are nothing but answers.

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{
    ActorId, ConnectionId, CorrelationId, Duration, ErrorCode, Instant, LeaderEpoch, Offset,
    ProducerEpoch, ProducerId, TopicId, TopicPartition, TransactionNumber, TransactionResult,
    TransactionState, TransactionalId,
};

use crate::config::{BrokerConfig, TransactionVersion};
use crate::log::batch::{CoordinatorRecord, TransactionMetadataValue};
use crate::machine::{ReplyTo, TimerKey};
use crate::message::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, Request, Response, TxnMarker,
    WriteTxnMarkersRequest,
};
use crate::mutation::{Mutation, Mutations};
use crate::note::Note;
use crate::transaction::{ProducerIds, TransactionCoordinator, TransactionEffect};

mod failover;
mod matrix;
mod random;
mod sessions;

use TransactionResult::{Abort, Commit};
use TransactionVersion::{V1, V2};

const ID: TransactionalId = TransactionalId(0);
const LOG: TopicPartition = TopicPartition::new(TopicId(7), 0);
const X: TopicPartition = TopicPartition::new(TopicId(0), 0);
const Y: TopicPartition = TopicPartition::new(TopicId(0), 1);
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the log does with an append.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Log {
    /// Replicated at once.
    Healthy,
    /// Appended; the followers are away.
    Stuck,
    /// Refused.
    Refusing(ErrorCode),
}

/// What the leaders do with markers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaders {
    /// They write them.
    Writing,
    /// They say nothing.
    Silent,
    /// They refuse them.
    Refusing(ErrorCode),
}

struct World {
    coordinator: TransactionCoordinator,
    config: Rc<BrokerConfig>,
    mutations: Mutations,
    now: Instant,
    epoch: i32,
    log: Vec<CoordinatorRecord>,
    high_watermark: usize,
    mode: Log,
    leaders: Leaders,
    /// Requests to leaders that have no answer.
    under_way: VecDeque<(ActorId, CorrelationId, WriteTxnMarkersRequest)>,
    /// Markers that leaders have written.
    markers: Vec<TxnMarker>,
    next_correlation: u32,
    next_producer_id: i64,
    timers: Vec<(TimerKey, Instant)>,
    replies: Vec<(u32, Response)>,
    next: u32,
    notes: Vec<Note>,
}

type Session = (ProducerId, ProducerEpoch);

fn session(producer_id: i64, epoch: i16) -> Session {
    (ProducerId(producer_id), ProducerEpoch(epoch))
}

impl World {
    fn new(version: TransactionVersion) -> World {
        World::with(version, Mutations::NONE, Vec::new())
    }

    fn with(
        version: TransactionVersion,
        mutations: Mutations,
        log: Vec<CoordinatorRecord>,
    ) -> World {
        let config = BrokerConfig { transaction_version: version, ..BrokerConfig::default() };
        let config = Rc::new(config);
        let mut world = World {
            coordinator: TransactionCoordinator::new(Rc::clone(&config), mutations),
            config,
            mutations,
            now: Instant::ZERO + Duration::from_secs(1),
            epoch: 0,
            high_watermark: log.len(),
            log,
            mode: Log::Healthy,
            leaders: Leaders::Writing,
            under_way: VecDeque::new(),
            markers: Vec::new(),
            next_correlation: 0,
            next_producer_id: 1000,
            timers: Vec::new(),
            replies: Vec::new(),
            next: 0,
            notes: Vec::new(),
        };
        world.load();
        world
    }

    /// Another broker takes over with the log as it is.
    fn fail_over(&mut self) {
        self.coordinator = TransactionCoordinator::new(Rc::clone(&self.config), self.mutations);
        self.timers.clear();
        self.under_way.clear();
        self.load();
    }

    /// The same broker is elected again.
    fn elect_again(&mut self) {
        let mut out = Vec::new();
        self.coordinator.resigned(self.now, 0, &mut out);
        self.perform(out);
        self.load();
    }

    fn load(&mut self) {
        let mut out = Vec::new();
        self.epoch += 1;
        self.coordinator.elected(self.now, LOG, LeaderEpoch(self.epoch), &mut out);
        let log = self.log.clone();
        let mut records = (0..).map(Offset).zip(log);
        let high_watermark = Offset(i64::try_from(self.high_watermark).unwrap());
        self.coordinator.loaded(self.now, 0, &mut records, high_watermark, &mut out);
        self.perform(out);
        if self.mode == Log::Healthy {
            self.replicate(self.log.len());
        }
    }

    fn replicate(&mut self, to: usize) {
        self.high_watermark = to;
        let mut out = Vec::new();
        let to = Offset(i64::try_from(to).unwrap());
        self.coordinator.high_watermark(self.now, 0, to, &mut out);
        self.perform(out);
    }

    /// The followers are back, the leaders answer.
    fn heal(&mut self) {
        self.mode = Log::Healthy;
        self.leaders = Leaders::Writing;
        self.replicate(self.log.len());
        self.answer_markers();
    }

    fn perform(&mut self, effects: Vec<TransactionEffect>) {
        let mut queue = VecDeque::from(effects);
        loop {
            let Some(effect) = queue.pop_front() else {
                let mut out = Vec::new();
                if self.coordinator.has_markers_to_send() {
                    self.dispatch(&mut out);
                }
                if self.leaders != Leaders::Silent && !self.under_way.is_empty() {
                    self.answer_markers();
                }
                if out.is_empty() && !self.coordinator.has_markers_to_send() {
                    return;
                }
                queue.extend(out);
                continue;
            };
            match effect {
                TransactionEffect::Append { record, ticket, .. } => {
                    let out = self.append(record, ticket);
                    queue.extend(out);
                }
                TransactionEffect::Reply(to, response) => {
                    self.replies.push((to.correlation.0, response));
                }
                TransactionEffect::AwaitProducerId(to, request) => {
                    let block = ProducerIds::block(ProducerId(self.next_producer_id), 1000);
                    self.next_producer_id += 1000;
                    *self.coordinator.producer_ids() = block;
                    let mut out = Vec::new();
                    self.coordinator.request(self.now, to, request, 0, None, &mut out);
                    queue.extend(out);
                }
                TransactionEffect::Disconnect(_) => {}
                TransactionEffect::SetTimer(key, after) => {
                    self.timers.retain(|(other, _)| *other != key);
                    self.timers.push((key, self.now + after));
                }
                TransactionEffect::Note(note) => self.notes.push(note),
            }
        }
    }

    fn append(&mut self, record: CoordinatorRecord, ticket: u64) -> Vec<TransactionEffect> {
        let mut out = Vec::new();
        if let Log::Refusing(error) = self.mode {
            self.coordinator.append_failed(self.now, ticket, error, &mut out);
            return out;
        }
        let offset = Offset(i64::try_from(self.log.len()).unwrap());
        self.log.push(record);
        self.coordinator.appended(self.now, ticket, offset, &mut out);
        if self.mode == Log::Healthy {
            self.high_watermark = self.log.len();
            self.coordinator.high_watermark(self.now, 0, offset.next(), &mut out);
        }
        out
    }

    /// X and Y are led by different brokers.
    fn dispatch(&mut self, out: &mut Vec<TransactionEffect>) {
        let leader = |partition: TopicPartition| Some(ActorId(partition.partition + 1));
        for (broker, request) in self.coordinator.dispatch_markers(leader, out) {
            self.next_correlation += 1;
            let correlation = CorrelationId(self.next_correlation);
            self.coordinator.markers_sent(self.now, broker, correlation, out);
            self.under_way.push_back((broker, correlation, request));
        }
    }

    /// The leaders answer what is under way.
    fn answer_markers(&mut self) {
        let error = match self.leaders {
            Leaders::Refusing(error) => error,
            Leaders::Writing | Leaders::Silent => ErrorCode::None,
        };
        for (broker, correlation, request) in std::mem::take(&mut self.under_way) {
            let answer = |marker: &TxnMarker| {
                let partitions = marker.partitions.iter().map(|partition| (*partition, error));
                (marker.producer_id, partitions.collect())
            };
            let written = request.markers.iter().map(answer).collect();
            if error == ErrorCode::None {
                self.markers.extend(request.markers);
            }
            let mut out = Vec::new();
            let (now, coordinator) = (self.now, &mut self.coordinator);
            coordinator.markers_written(now, broker, correlation, &written, &mut out);
            self.perform(out);
        }
    }

    /// Lets time pass, timers going off in order.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((key, due)) =
            self.timers.iter().copied().filter(|(_, due)| *due <= end).min_by_key(|t| (t.1, t.0))
        {
            self.timers.retain(|(other, _)| *other != key);
            self.now = self.now.max(due);
            let mut out = Vec::new();
            self.coordinator.timer(self.now, key, &mut out);
            self.perform(out);
        }
        self.now = end;
    }

    fn send(&mut self, request: Request) -> u32 {
        self.next += 1;
        let to = ReplyTo {
            client: ActorId(9),
            connection: ConnectionId(0),
            correlation: CorrelationId(self.next),
        };
        let mut out = Vec::new();
        self.coordinator.request(self.now, to, request, 0, None, &mut out);
        self.perform(out);
        self.next
    }

    fn answer(&mut self, id: u32) -> Option<Response> {
        let at = self.replies.iter().position(|(to, _)| *to == id)?;
        Some(self.replies.remove(at).1)
    }

    fn initialized(&mut self, id: u32) -> Option<Result<Session, ErrorCode>> {
        match self.answer(id)? {
            Response::InitProducerId(answer) => Some(match answer.error {
                ErrorCode::None => Ok((answer.producer_id, answer.producer_epoch)),
                error => Err(error),
            }),
            other => panic!("InitProducerId is answered with {other:?}"),
        }
    }

    fn init(&mut self, current: Option<Session>) -> Result<Session, ErrorCode> {
        let id = self.send(init(current));
        self.initialized(id).expect("answered at once")
    }

    fn added(&mut self, id: u32) -> Option<ErrorCode> {
        match self.answer(id)? {
            Response::AddPartitionsToTxn(answers) => Some(answers[0].1),
            other => panic!("AddPartitionsToTxn is answered with {other:?}"),
        }
    }

    fn add(
        &mut self,
        session: Session,
        number: u64,
        version: TransactionVersion,
        partition: TopicPartition,
    ) -> ErrorCode {
        let id = self.send(add(session, number, version, partition, false));
        self.added(id).expect("answered at once")
    }

    fn verify(&mut self, session: Session, partition: TopicPartition) -> ErrorCode {
        let id = self.send(add(session, 0, V1, partition, true));
        self.added(id).expect("answered at once")
    }

    fn ended(&mut self, id: u32) -> Option<Result<Session, ErrorCode>> {
        match self.answer(id)? {
            Response::EndTxn(answer) => Some(match answer.error {
                ErrorCode::None => Ok((answer.producer_id, answer.producer_epoch)),
                error => Err(error),
            }),
            other => panic!("EndTxn is answered with {other:?}"),
        }
    }

    fn end(
        &mut self,
        session: Session,
        number: u64,
        version: TransactionVersion,
        result: TransactionResult,
    ) -> Result<Session, ErrorCode> {
        let id = self.send(end(session, number, version, result));
        self.ended(id).expect("answered at once")
    }

    fn state(&self) -> Option<TransactionState> {
        self.coordinator.state(ID)
    }

    /// What the log says of the id at last.
    fn logged(&self) -> Option<&TransactionMetadataValue> {
        let CoordinatorRecord::Transaction { metadata, .. } = self.log.last()? else {
            panic!("the log has transactions only");
        };
        metadata.as_deref()
    }

    /// The states that the coordinator went through, each with its epoch.
    fn story(&self) -> Vec<(TransactionState, i16)> {
        let states = self.notes.iter().filter_map(|note| match note {
            Note::TransactionState { to, producer_epoch, .. } => Some((*to, producer_epoch.0)),
            _ => None,
        });
        states.collect()
    }

    fn hits(&self) -> usize {
        self.notes.iter().filter(|note| matches!(note, Note::MutationHit)).count()
    }
}

fn init(current: Option<Session>) -> Request {
    Request::InitProducerId(InitProducerIdRequest {
        transactional_id: Some(ID),
        transaction_timeout: TIMEOUT,
        current,
    })
}

fn add(
    (producer_id, producer_epoch): Session,
    number: u64,
    version: TransactionVersion,
    partition: TopicPartition,
    verify_only: bool,
) -> Request {
    Request::AddPartitionsToTxn(Box::new(AddPartitionsToTxnRequest {
        transactional_id: ID,
        producer_id,
        producer_epoch,
        verify_only,
        version,
        number: TransactionNumber(number),
        partitions: vec![partition],
    }))
}

fn end(
    (producer_id, producer_epoch): Session,
    number: u64,
    version: TransactionVersion,
    result: TransactionResult,
) -> Request {
    Request::EndTxn(EndTxnRequest {
        transactional_id: ID,
        producer_id,
        producer_epoch,
        result,
        version,
        number: TransactionNumber(number),
    })
}

/// A log with the id in one state, with session (500, `epoch`) and the id 400 before.
fn log_of(
    state: TransactionState,
    epoch: i16,
    version: TransactionVersion,
) -> Vec<CoordinatorRecord> {
    let has_partitions = matches!(
        state,
        TransactionState::Ongoing
            | TransactionState::PrepareCommit
            | TransactionState::PrepareAbort
    );
    let value = TransactionMetadataValue {
        producer_id: ProducerId(500),
        previous_producer_id: ProducerId(400),
        next_producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(epoch),
        timeout: TIMEOUT,
        state,
        partitions: if has_partitions { vec![X, Y] } else { Vec::new() },
        started: Instant::ZERO,
        updated: Instant::ZERO,
        version,
        number: TransactionNumber(1),
    };
    vec![CoordinatorRecord::Transaction { transactional_id: ID, metadata: Some(Rc::new(value)) }]
}
