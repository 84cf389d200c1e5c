//! The vocabulary between a system and the world. A system performs nothing; it says what should be
//! performed.

use oncesim_types::{ActorId, ConnectionId, CorrelationId, Duration};

use crate::message::{Request, Response};
use crate::note::Note;

/// What happens to a system.
#[derive(Debug)]
pub enum Input {
    /// The process started, for the first time or again.
    Start,
    /// A request arrived.
    Request {
        /// The client.
        from: ActorId,
        /// The connection that it came in on: the session.
        connection: ConnectionId,
        /// The client's number for it.
        correlation: CorrelationId,
        /// What is asked.
        body: Request,
    },
    /// A client's connection closed: its session is over.
    ConnectionClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// A timer that was set is due.
    Timer(TimerKey),
    /// A fault begins (`true`) or ends.
    Fault(SystemFault, bool),
}

/// What goes wrong with a system by itself. Crashes, pauses and lost messages are the world's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemFault {
    /// Every request is refused; nothing is done.
    Errors,
    /// Whoever wants to commit a transaction with writes is chosen to end a deadlock.
    Deadlocks,
    /// Every reply comes so much later.
    Slow(Duration),
    /// What changes something is executed, and then the connection breaks before the reply.
    UnknownCommits,
}

/// What a system wants done.
#[derive(Debug)]
pub enum Effect {
    /// Answers a request, after a while.
    Reply {
        /// The client.
        to: ActorId,
        /// The connection that the request came in on; if it is closed, the reply goes nowhere.
        connection: ConnectionId,
        /// The client's number of the request.
        correlation: CorrelationId,
        /// How long the reply takes to be sent. Replies of one connection keep their order.
        after: Duration,
        /// The answer.
        body: Response,
    },
    /// Breaks a client's connection.
    CloseConnection {
        /// The connection.
        connection: ConnectionId,
    },
    /// Sets the timer `key` to go off after `after`; replaces its earlier setting.
    SetTimer {
        /// Which.
        key: TimerKey,
        /// From now.
        after: Duration,
    },
    /// Cancels the timer `key`, if it is set.
    CancelTimer(TimerKey),
    /// Something that the recorder must know: the system's own log.
    Note(Note),
}

/// A system's name for one of its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(pub u64);

/// Collects the effects of one step.
#[derive(Debug, Default)]
pub struct Effects(pub Vec<Effect>);

impl Effects {
    /// Tells the recorder.
    pub fn note(&mut self, note: Note) {
        self.0.push(Effect::Note(note));
    }
}
