//! A client's connections, and the requests in flight on each.
//!
//! Mirrors `NetworkClient`, `InFlightRequests` and `ClusterConnectionStates`: requests of one
//! connection are answered in order, one that is not answered within its timeout closes the
//! connection, and then everything in flight on it has an unknown outcome.
//!
//! Simplifications:
//! - A connection opens with the first request that is sent on it; connecting is not a state of its
//!   own. A connection that cannot be opened is reported like one that broke, and its first request
//!   was in flight: to the caller both are a disconnect, as in Kafka.
//! - The reconnect backoff is reset by a response instead of by an established connection; a broker
//!   that accepts connections and never answers is then left alone for longer, which only delays.
//! - Which broker is asked when any will do rotates instead of starting at a random place: a model
//!   draws nothing, and clients start their rotation at different brokers.

use std::collections::VecDeque;
use std::rc::Rc;

use oncesim_types::{ActorId, CorrelationId, Duration, Instant};

use super::Backoff;
use crate::machine::{Effect, Effects};
use crate::message::Request;

/// A request that is not answered yet. `T` is what the client needs to understand the answer.
#[derive(Debug)]
pub struct InFlight<T> {
    /// Its number.
    pub correlation: CorrelationId,
    /// When the client gives up on the connection.
    pub deadline: Instant,
    /// What it was for.
    pub purpose: T,
}

#[derive(Debug)]
struct Connection<T> {
    in_flight: VecDeque<InFlight<T>>,
    /// Nothing is sent before this moment.
    ready_at: Instant,
    /// Disconnects since the last response.
    failures: u32,
}

impl<T> Default for Connection<T> {
    fn default() -> Self {
        Connection { in_flight: VecDeque::new(), ready_at: Instant::ZERO, failures: 0 }
    }
}

/// All connections of one client incarnation.
#[derive(Debug)]
pub struct Connections<T> {
    brokers: Rc<[ActorId]>,
    /// Indexed by actor id; grows with the brokers that are talked to.
    connections: Vec<Connection<T>>,
    next_correlation: u32,
    /// Where the next search for any broker begins.
    rotation: usize,
    in_flight: usize,
    request_timeout: Duration,
    reconnect: Backoff,
}

impl<T> Connections<T> {
    /// No connection yet. `client` only spreads the rotation of [`Connections::any_broker`].
    #[must_use]
    pub fn new(
        client: ActorId,
        brokers: Rc<[ActorId]>,
        request_timeout: Duration,
        reconnect: Backoff,
    ) -> Self {
        Connections {
            brokers,
            connections: Vec::new(),
            next_correlation: 0,
            rotation: usize::from(client.0),
            in_flight: 0,
            request_timeout,
            reconnect,
        }
    }

    fn at(&mut self, broker: ActorId) -> &mut Connection<T> {
        let index = usize::from(broker.0);
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, Connection::default);
        }
        &mut self.connections[index]
    }

    fn get(&self, broker: ActorId) -> Option<&Connection<T>> {
        self.connections.get(usize::from(broker.0))
    }

    /// When a request may be sent to `broker`: now or earlier, unless it backs off after a
    /// disconnect.
    #[must_use]
    pub fn ready_at(&self, broker: ActorId) -> Instant {
        self.get(broker).map_or(Instant::ZERO, |connection| connection.ready_at)
    }

    /// How many requests to `broker` are not answered yet.
    #[must_use]
    pub fn in_flight_to(&self, broker: ActorId) -> usize {
        self.get(broker).map_or(0, |connection| connection.in_flight.len())
    }

    /// How many requests are not answered yet, to all brokers.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// `leastLoadedNode`: the next broker in rotation that does not back off, preferably one with
    /// nothing in flight. `None` when all of them back off: see [`Connections::any_ready_at`].
    pub fn any_broker(&mut self, now: Instant) -> Option<ActorId> {
        let count = self.brokers.len();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let index = (self.rotation + step) % count;
            let broker = self.brokers[index];
            if self.ready_at(broker) > now {
                continue;
            }
            let load = self.in_flight_to(broker);
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, index));
            }
            if load == 0 {
                break;
            }
        }
        let (_, index) = best?;
        self.rotation = index + 1;
        Some(self.brokers[index])
    }

    /// When [`Connections::any_broker`] finds one.
    #[must_use]
    pub fn any_ready_at(&self) -> Instant {
        let moments = self.brokers.iter().map(|&broker| self.ready_at(broker));
        moments.min().unwrap_or(Instant::NEVER)
    }

    fn next_correlation(&mut self) -> CorrelationId {
        let correlation = CorrelationId(self.next_correlation);
        self.next_correlation = self.next_correlation.wrapping_add(1);
        correlation
    }

    /// Sends a request that must be answered within `request.timeout.ms`; returns that deadline.
    pub fn send(
        &mut self,
        now: Instant,
        to: ActorId,
        body: Request,
        purpose: T,
        effects: &mut Effects,
    ) -> Instant {
        self.send_within(now, self.request_timeout, to, body, purpose, effects)
    }

    /// Sends a request that must be answered within `timeout` (JoinGroup waits for other members);
    /// returns that deadline.
    pub fn send_within(
        &mut self,
        now: Instant,
        timeout: Duration,
        to: ActorId,
        body: Request,
        purpose: T,
        effects: &mut Effects,
    ) -> Instant {
        let correlation = self.next_correlation();
        let deadline = now + timeout;
        self.at(to).in_flight.push_back(InFlight { correlation, deadline, purpose });
        self.in_flight += 1;
        effects.send(to, correlation, body);
        deadline
    }

    /// Sends a request that is not answered (`acks=0`).
    pub fn send_unanswered(&mut self, to: ActorId, body: Request, effects: &mut Effects) {
        let correlation = self.next_correlation();
        effects.0.push(Effect::Send { to, correlation, expects_response: false, body });
    }

    /// A response arrived: what the request was for. `None` for a response that nobody waits for.
    pub fn complete(&mut self, from: ActorId, correlation: CorrelationId) -> Option<T> {
        let connection = self.connections.get_mut(usize::from(from.0))?;
        let index =
            connection.in_flight.iter().position(|request| request.correlation == correlation)?;
        let request = connection.in_flight.remove(index)?;
        connection.failures = 0;
        self.in_flight -= 1;
        Some(request.purpose)
    }

    /// The connection to `peer` is gone: the requests that were in flight, in order. Starts the
    /// reconnect backoff.
    pub fn disconnected(&mut self, now: Instant, peer: ActorId) -> VecDeque<InFlight<T>> {
        let backoff = self.reconnect;
        let connection = self.at(peer);
        connection.ready_at = now + backoff.after(connection.failures);
        connection.failures = connection.failures.saturating_add(1);
        let lost = std::mem::take(&mut connection.in_flight);
        self.in_flight -= lost.len();
        lost
    }

    /// A broker with a request that is overdue at `now`. The client closes that connection with
    /// [`Connections::close`], and asks again until there is none.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Option<ActorId> {
        let late = |connection: &Connection<T>| {
            connection.in_flight.iter().any(|request| request.deadline <= now)
        };
        let index = self.connections.iter().position(late)?;
        Some(ActorId(u16::try_from(index).expect("connections are indexed by actor id")))
    }

    /// Closes the connection to `peer`; like [`Connections::disconnected`] otherwise.
    pub fn close(
        &mut self,
        now: Instant,
        peer: ActorId,
        effects: &mut Effects,
    ) -> VecDeque<InFlight<T>> {
        effects.0.push(Effect::Disconnect { peer });
        self.disconnected(now, peer)
    }

    /// The earliest deadline of a request in flight. Looks at all of them: for the rare timer, not
    /// for each message; a client keeps one timer and re-arms it only when it is due.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let requests = self.connections.iter().flat_map(|connection| &connection.in_flight);
        requests.map(|request| request.deadline).min().unwrap_or(Instant::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MetadataRequest;

    const B1: ActorId = ActorId(1);
    const B2: ActorId = ActorId(2);
    const B3: ActorId = ActorId(3);

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    fn request() -> Request {
        Request::Metadata(MetadataRequest { topics: Vec::new() })
    }

    fn connections() -> Connections<&'static str> {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(1_000));
        let timeout = Duration::from_millis(30_000);
        Connections::new(ActorId(3), Rc::new([B1, B2, B3]), timeout, backoff)
    }

    #[test]
    fn a_response_completes_its_own_request_once() {
        let (mut it, mut effects) = (connections(), Effects::default());
        it.send(ms(0), B1, request(), "a", &mut effects);
        it.send(ms(1), B1, request(), "b", &mut effects);
        it.send(ms(2), B2, request(), "c", &mut effects);
        let numbers: Vec<_> = effects
            .0
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send { correlation, .. } => Some(*correlation),
                _ => None,
            })
            .collect();
        assert_eq!(numbers, [CorrelationId(0), CorrelationId(1), CorrelationId(2)]);
        assert_eq!(it.complete(B2, CorrelationId(0)), None, "another broker's number");
        assert_eq!(it.complete(B1, CorrelationId(1)), Some("b"));
        assert_eq!(it.complete(B1, CorrelationId(1)), None);
        assert_eq!((it.in_flight(), it.in_flight_to(B1), it.in_flight_to(B2)), (2, 1, 1));
    }

    #[test]
    fn an_overdue_request_takes_its_connection_with_it() {
        let (mut it, mut effects) = (connections(), Effects::default());
        it.send(ms(0), B1, request(), "old", &mut effects);
        it.send(ms(20_000), B1, request(), "young", &mut effects);
        it.send(ms(20_000), B2, request(), "elsewhere", &mut effects);
        assert_eq!(it.next_deadline(), ms(30_000));
        assert_eq!(it.overdue(ms(29_999)), None);
        assert_eq!(it.overdue(ms(30_000)), Some(B1));
        effects.0.clear();
        let lost = it.close(ms(30_000), B1, &mut effects);
        assert!(matches!(effects.0[..], [Effect::Disconnect { peer: B1 }]));
        assert_eq!(lost.iter().map(|r| r.purpose).collect::<Vec<_>>(), ["old", "young"]);
        assert_eq!((it.overdue(ms(30_000)), it.in_flight()), (None, 1));
        assert_eq!(it.next_deadline(), ms(50_000));
    }

    #[test]
    fn a_broken_connection_backs_off_until_a_response() {
        let (mut it, mut effects) = (connections(), Effects::default());
        it.disconnected(ms(0), B1);
        assert_eq!(it.ready_at(B1), ms(50));
        it.disconnected(ms(50), B1);
        assert_eq!(it.ready_at(B1), ms(150));
        it.send(ms(150), B1, request(), "a", &mut effects);
        it.complete(B1, CorrelationId(0));
        it.disconnected(ms(200), B1);
        assert_eq!(it.ready_at(B1), ms(250));
    }

    #[test]
    fn any_broker_rotates_and_skips_what_backs_off() {
        let mut it = connections();
        it.disconnected(ms(0), B2);
        let asked: Vec<_> = (0..3).map(|_| it.any_broker(ms(1))).collect();
        assert_eq!(asked, [Some(B1), Some(B3), Some(B1)]);
        it.disconnected(ms(1), B1);
        it.disconnected(ms(2), B3);
        assert_eq!(it.any_broker(ms(3)), None);
        assert_eq!(it.any_ready_at(), ms(50));
        assert_eq!(it.any_broker(ms(50)), Some(B2));
    }

    #[test]
    fn any_broker_prefers_an_idle_one() {
        let (mut it, mut effects) = (connections(), Effects::default());
        it.send(ms(0), B1, request(), "a", &mut effects);
        assert_eq!(it.any_broker(ms(0)), Some(B2));
    }
}
