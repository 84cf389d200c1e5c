//! The only vocabulary between the protocol and the world.
//!
//! A machine performs nothing; it says what should be performed. Its time is the `now` it is given:
//! the clock of its own host, which may be skewed and may jump.

use oncesim_types::{ActorId, CallId, ConnectionId, CorrelationId, Duration, Instant};

use crate::consumer::{ConsumerCall, ConsumerCompletion, RebalanceCallback};
use crate::message::{Request, Response};
use crate::note::Note;
use crate::producer::{ProducerCall, ProducerCompletion};

/// A deterministic participant of the protocol.
pub trait Machine {
    /// Takes one input at host time `now` and says what follows. Never blocks, never panics on
    /// what a peer sent.
    fn step(&mut self, now: Instant, input: Input, effects: &mut Effects);
}

/// What happens to a machine.
#[derive(Debug)]
pub enum Input {
    /// The process started. What survived on its disk was given to its constructor.
    Start,
    /// A request arrived. A reply goes back on the same connection.
    Request {
        /// The client.
        from: ActorId,
        /// The connection that it came in on.
        connection: ConnectionId,
        /// The client's number for it.
        correlation: CorrelationId,
        /// What is asked.
        body: Request,
    },
    /// A response to a request of this machine arrived, on a connection that is still open.
    Response {
        /// The server.
        from: ActorId,
        /// The number of the request.
        correlation: CorrelationId,
        /// What was answered.
        body: Response,
    },
    /// This machine's connection to a server broke, or could not be opened. Every request in flight
    /// on it has an unknown outcome. The next `Send` opens a new connection.
    Disconnected {
        /// The server.
        peer: ActorId,
    },
    /// A client's connection to this machine closed: replies to it go nowhere.
    ConnectionClosed {
        /// The client.
        peer: ActorId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A timer that was set is due.
    Timer(TimerKey),
    /// A flush that was asked for with [`Effect::Persist`] is on the platter.
    Durable(WriteId),
    /// The volume has no room (`true`), or room again (`false`).
    DiskFull(bool),
    /// The application calls its client.
    Call(CallId, Call),
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Sends a request; opens a connection if there is none. Requests of one connection arrive in
    /// order. `expects_response` is false for `acks=0` only.
    Send {
        /// The server.
        to: ActorId,
        /// The sender's number for it, unique in this incarnation.
        correlation: CorrelationId,
        /// Whether the server will answer.
        expects_response: bool,
        /// What is asked.
        body: Request,
    },
    /// Answers a request.
    Reply {
        /// The client.
        to: ActorId,
        /// The connection that the request came in on; if it is closed, the reply goes nowhere.
        connection: ConnectionId,
        /// The client's number of the request.
        correlation: CorrelationId,
        /// The answer.
        body: Response,
    },
    /// Closes this machine's connection to a server. What was sent on it may still arrive and be
    /// executed; no response to it will arrive.
    Disconnect {
        /// The server.
        peer: ActorId,
    },
    /// Closes a client's connection to this machine (Kafka's answer to a failed `acks=0` produce).
    CloseConnection {
        /// The client.
        peer: ActorId,
        /// The connection.
        connection: ConnectionId,
    },
    /// Sets the timer `key` to go off after `after`; replaces its earlier setting.
    SetTimer {
        /// Which.
        key: TimerKey,
        /// From now, in this host's time.
        after: Duration,
    },
    /// Cancels the timer `key`, if it is set.
    CancelTimer(TimerKey),
    /// Flushes to disk; [`Input::Durable`] follows.
    Persist(WriteId),
    /// The process ends itself (a failed log directory, KAFKA_STORAGE_ERROR on the only one).
    Halt(&'static str),
    /// A call of the application is complete.
    Return(CallId, Completion),
    /// The client calls the application back; the application answers with
    /// [`ConsumerCall::CallbackDone`].
    Callback(RebalanceCallback),
    /// Something worth knowing inside the model, for the recorder and the invariants.
    Note(Note),
}

/// A machine's name for one of its timers: kinds in the high half by the machine's own convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(pub u64);

/// A machine's name for one flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// A call of the application to its client.
#[derive(Debug)]
pub enum Call {
    /// To a producer.
    Producer(ProducerCall),
    /// To a consumer.
    Consumer(ConsumerCall),
}

/// The end of a call.
#[derive(Debug)]
pub enum Completion {
    /// Of a producer's call.
    Producer(ProducerCompletion),
    /// Of a consumer's call.
    Consumer(ConsumerCompletion),
}

/// Where to send an answer that is not ready yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The client.
    pub client: ActorId,
    /// The connection that the request came in on.
    pub connection: ConnectionId,
    /// The client's number of the request.
    pub correlation: CorrelationId,
}

/// Collects the effects of one step. Reused between steps, so that a step allocates nothing for it.
#[derive(Debug, Default)]
pub struct Effects(pub Vec<Effect>);

impl Effects {
    /// Sends a request that will be answered.
    pub fn send(&mut self, to: ActorId, correlation: CorrelationId, body: Request) {
        self.0.push(Effect::Send { to, correlation, expects_response: true, body });
    }

    /// Answers a request.
    pub fn reply(&mut self, to: ReplyTo, body: Response) {
        let ReplyTo { client, connection, correlation } = to;
        self.0.push(Effect::Reply { to: client, connection, correlation, body });
    }

    /// Sets (or resets) a timer.
    pub fn set_timer(&mut self, key: TimerKey, after: Duration) {
        self.0.push(Effect::SetTimer { key, after });
    }

    /// Cancels a timer.
    pub fn cancel_timer(&mut self, key: TimerKey) {
        self.0.push(Effect::CancelTimer(key));
    }

    /// Tells the recorder and the invariants.
    pub fn note(&mut self, note: Note) {
        self.0.push(Effect::Note(note));
    }
}
