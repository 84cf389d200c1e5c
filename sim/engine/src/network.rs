//! The virtual network: links with latency, connections with order.
//!
//! Mirrors TCP as clients of Kafka live with it. Messages of one connection arrive in order; a new
//! connection gives no order against the old one. Nothing is lost on its own: when a message is
//! lost, its connection is reset, and both ends learn of it. While a partition lasts, messages wait
//! and arrive after the heal (retransmission). A client that closes a connection does not take back
//! what it has sent: the server may still read and execute it.
//!
//! Simplifications: no bandwidth, no segments (a message is lost or arrives whole), no keep-alive;
//! a connection is opened with its first message, without a handshake.

use oncesim_spec::{LatencySpec, MessageApi};
use oncesim_types::{ActorId, ConnectionId, CorrelationId, Duration, Instant, Operation, Ratio};

use oncesim_kafka::message::{Request, Response};

use crate::draw::{Draws, Purpose};
use oncesim_history::trace::StepId;

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// From the client of a connection to its server.
    Request(Request),
    /// Back.
    Response(Response),
    /// From an application to a system outside of Kafka.
    Ask(Box<oncesim_external::Request>, Operation),
    /// Back, with what had been asked.
    Answer(Box<oncesim_external::Response>, Operation),
}

impl Body {
    /// Whether it goes from a client to a server.
    #[inline]
    pub(crate) fn is_request(&self) -> bool {
        matches!(self, Body::Request(_) | Body::Ask(..))
    }

    /// What it asks for, or answers.
    #[inline]
    pub(crate) fn api(&self) -> MessageApi {
        match self {
            Body::Request(body) => MessageApi::Kafka(body.api_key()),
            Body::Response(body) => MessageApi::Kafka(body.api_key()),
            Body::Ask(_, operation) | Body::Answer(_, operation) => MessageApi::System(*operation),
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) from: ActorId,
    pub(crate) to: ActorId,
    pub(crate) connection: ConnectionId,
    pub(crate) correlation: CorrelationId,
    /// Whether it is a second copy, made by a fault: its response goes nowhere.
    pub(crate) copy: bool,
    /// When, and in which step of the world it was sent.
    pub(crate) sent: (Instant, StepId),
    pub(crate) body: Body,
}

/// One connection, from its first message to its end.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: ActorId,
    pub(crate) client_incarnation: u32,
    pub(crate) server: ActorId,
    pub(crate) server_incarnation: u32,
    /// The client still listens.
    pub(crate) open: bool,
    /// Reset: nothing on it arrives any more.
    pub(crate) reset: bool,
    /// The last arrival by direction and lane.
    last_to_server: [Instant; 2],
    last_to_client: [Instant; 2],
}

/// Which of the connections between two actors a message takes, as far as order goes: a broker sends
/// `AlterPartition` to the controller on a connection of its own (`NodeToControllerChannelManager`),
/// so that it can overtake, and be overtaken by, heartbeats and the metadata log.
#[inline]
pub(crate) fn lane(body: &Body) -> usize {
    match body {
        Body::Request(Request::AlterPartition(_)) | Body::Response(Response::AlterPartition(_)) => {
            1
        }
        _ => 0,
    }
}

/// One directed link.
#[derive(Debug)]
struct Link {
    min: Duration,
    /// Mean of the part above `min`.
    exponential: Duration,
    max: Duration,
    draws: Draws,
    loss_draws: Option<Draws>,
    /// How many partitions hold it.
    held_by: u16,
    /// Extra latency of clogs.
    clogged: Duration,
    /// What waits for the heal.
    waiting: Vec<Message>,
}

impl Link {
    #[inline]
    fn sample(&mut self) -> Duration {
        Duration((self.min + self.draws.exponential(self.exponential)).0.min(self.max.0))
    }
}

/// What becomes of a message that is sent.
#[derive(Debug)]
pub(crate) enum Passage {
    /// It arrives then.
    Arrives(Instant),
    /// It waits for a partition to heal.
    Held,
    /// It is lost with its connection.
    Lost,
}

/// All links and connections.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    actors: usize,
    loss: Ratio,
    /// Latency by directed pair of actors.
    latency: Vec<LatencySpec>,
    latency_of: Vec<u8>,
    links: Vec<Option<Box<Link>>>,
    /// The open connection of a (client, server) pair.
    current: Vec<Option<ConnectionId>>,
    connections: Vec<Connection>,
}

impl Network {
    pub(crate) fn new(seed: u64, actors: usize, latency: LatencySpec, loss: Ratio) -> Self {
        let pairs = actors * actors;
        Network {
            seed,
            actors,
            loss,
            latency: vec![latency],
            latency_of: vec![0; pairs],
            links: (0..pairs).map(|_| None).collect(),
            current: vec![None; pairs],
            connections: Vec::new(),
        }
    }

    /// Gives the link between two actors, in both directions, its own latency.
    pub(crate) fn set_latency(&mut self, a: ActorId, b: ActorId, latency: LatencySpec) {
        self.latency.push(latency);
        let index = u8::try_from(self.latency.len() - 1).expect("few links have their own latency");
        let (forth, back) = (self.pair(a, b), self.pair(b, a));
        self.latency_of[forth] = index;
        self.latency_of[back] = index;
    }

    /// Every link draws from the streams of another seed from now on.
    pub(crate) fn draw_anew(&mut self, seed: u64) {
        self.seed = seed;
        for pair in 0..self.links.len() {
            let place = |actor: usize| u16::try_from(actor).expect("few actors");
            let (from, to) = (place(pair / self.actors), place(pair % self.actors));
            if let Some(link) = &mut self.links[pair] {
                link.draws = Draws::new(seed, Purpose::Latency, from, to);
                link.loss_draws =
                    link.loss_draws.as_ref().map(|_| Draws::new(seed, Purpose::Loss, from, to));
            }
        }
    }

    fn pair(&self, from: ActorId, to: ActorId) -> usize {
        usize::from(from.0) * self.actors + usize::from(to.0)
    }

    #[inline]
    fn link(&mut self, from: ActorId, to: ActorId) -> &mut Link {
        let pair = self.pair(from, to);
        if self.links[pair].is_none() {
            self.links[pair] = Some(Box::new(self.new_link(from, to)));
        }
        self.links[pair].as_mut().expect("just made")
    }

    #[cold]
    fn new_link(&self, from: ActorId, to: ActorId) -> Link {
        let latency = self.latency[usize::from(self.latency_of[self.pair(from, to)])];
        let draws = |purpose| Draws::new(self.seed, purpose, from.0, to.0);
        Link {
            min: latency.min,
            exponential: latency.mean - latency.min,
            max: latency.max,
            draws: draws(Purpose::Latency),
            loss_draws: (!self.loss.is_zero()).then(|| draws(Purpose::Loss)),
            held_by: 0,
            clogged: Duration::ZERO,
            waiting: Vec::new(),
        }
    }

    /// The client's open connection to a server.
    pub(crate) fn current(&self, client: ActorId, server: ActorId) -> Option<ConnectionId> {
        self.current[self.pair(client, server)]
    }

    /// Opens a connection.
    pub(crate) fn open(
        &mut self,
        client: (ActorId, u32),
        server: (ActorId, u32),
        now: Instant,
    ) -> ConnectionId {
        let id = ConnectionId(u32::try_from(self.connections.len()).expect("few connections"));
        self.connections.push(Connection {
            client: client.0,
            client_incarnation: client.1,
            server: server.0,
            server_incarnation: server.1,
            open: true,
            reset: false,
            last_to_server: [now; 2],
            last_to_client: [now; 2],
        });
        let pair = self.pair(client.0, server.0);
        self.current[pair] = Some(id);
        id
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> &Connection {
        &self.connections[id.0 as usize]
    }

    /// Until when requests that were sent on a connection are under way, if any are.
    pub(crate) fn still_coming(&self, id: ConnectionId, now: Instant) -> Option<Instant> {
        let connection = &self.connections[id.0 as usize];
        let last = connection.last_to_server.into_iter().max().expect("two lanes");
        (!connection.reset && last >= now).then_some(last + Duration(1))
    }

    /// The client stops listening; the next message to this server opens a new connection.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0 as usize];
        connection.open = false;
        let pair =
            usize::from(connection.client.0) * self.actors + usize::from(connection.server.0);
        if self.current[pair] == Some(id) {
            self.current[pair] = None;
        }
    }

    /// Closes what a client that is gone has open.
    pub(crate) fn close_all_of(&mut self, client: ActorId) {
        let first = usize::from(client.0) * self.actors;
        for pair in first..first + self.actors {
            if let Some(id) = self.current[pair].take() {
                self.connections[id.0 as usize].open = false;
            }
        }
    }

    /// Nothing on this connection arrives any more; the client still believes in it until it is
    /// told (and then closed). False if that was so already.
    pub(crate) fn reset(&mut self, id: ConnectionId) -> bool {
        !std::mem::replace(&mut self.connections[id.0 as usize].reset, true)
    }

    /// The connections that an actor has a part in and that still carry something.
    pub(crate) fn live_connections_of(&self, actor: ActorId) -> Vec<ConnectionId> {
        let live = |c: &Connection| !c.reset && (c.client == actor || c.server == actor);
        self.connections
            .iter()
            .enumerate()
            .filter(|(_, c)| live(c) && c.open)
            .map(|(index, _)| ConnectionId(u32::try_from(index).expect("few connections")))
            .collect()
    }

    /// The connections of an actor that are reset and that their clients still believe in.
    pub(crate) fn live_connections_of_reset(&self, actor: ActorId) -> Vec<ConnectionId> {
        let believed = |c: &Connection| c.reset && c.open && c.server == actor;
        self.connections
            .iter()
            .enumerate()
            .filter(|(_, c)| believed(c))
            .map(|(index, _)| ConnectionId(u32::try_from(index).expect("few connections")))
            .collect()
    }

    /// What becomes of a message that is sent now: draws its latency, keeps its connection's order.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        (from, to): (ActorId, ActorId),
        (connection, lane): (ConnectionId, usize),
        extra: Duration,
    ) -> Passage {
        let loss = self.loss;
        let link = self.link(from, to);
        if link.loss_draws.as_mut().is_some_and(|draws| draws.chance(loss)) {
            return Passage::Lost;
        }
        if link.held_by > 0 {
            return Passage::Held;
        }
        Passage::Arrives(self.arrival(now, (from, to), (connection, lane), extra))
    }

    /// When a message that is not lost arrives: after what went before on its connection.
    #[inline]
    fn arrival(
        &mut self,
        now: Instant,
        (from, to): (ActorId, ActorId),
        (connection, lane): (ConnectionId, usize),
        extra: Duration,
    ) -> Instant {
        let link = self.link(from, to);
        let latency = link.sample() + link.clogged + extra;
        let connection = &mut self.connections[connection.0 as usize];
        let last = if from == connection.client {
            &mut connection.last_to_server[lane]
        } else {
            &mut connection.last_to_client[lane]
        };
        let at = (now + latency).max(*last + Duration(1));
        *last = at;
        at
    }

    /// Keeps a held message until the heal.
    pub(crate) fn wait(&mut self, message: Message) {
        self.link(message.from, message.to).waiting.push(message);
    }

    /// A latency of the link, for news that are not messages (a reset).
    pub(crate) fn latency(&mut self, from: ActorId, to: ActorId) -> Duration {
        self.link(from, to).sample()
    }

    /// Holds what is sent from now on.
    pub(crate) fn hold(&mut self, from: ActorId, to: ActorId) {
        self.link(from, to).held_by += 1;
    }

    /// Ends one hold; what waited (if no other partition holds the link) is returned with its
    /// arrival.
    pub(crate) fn release(
        &mut self,
        now: Instant,
        from: ActorId,
        to: ActorId,
    ) -> Vec<(Instant, Message)> {
        let link = self.link(from, to);
        link.held_by = link.held_by.saturating_sub(1);
        if link.held_by > 0 {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut link.waiting);
        // Held back once, they are not lost as well.
        let arrives = |message: Message| {
            let path = (message.from, message.to);
            let order = (message.connection, lane(&message.body));
            (self.arrival(now, path, order, Duration::ZERO), message)
        };
        waiting.into_iter().map(arrives).collect()
    }

    /// Makes every message of the link slower (`slower`), or takes that back.
    pub(crate) fn clog(&mut self, from: ActorId, to: ActorId, extra: Duration, slower: bool) {
        let link = self.link(from, to);
        link.clogged = if slower { link.clogged + extra } else { link.clogged - extra };
    }

    /// Whether news can pass from one actor to another at the moment.
    pub(crate) fn is_held(&self, from: ActorId, to: ActorId) -> bool {
        self.links[self.pair(from, to)].as_ref().is_some_and(|link| link.held_by > 0)
    }

    /// Whether anything waits for a heal.
    pub(crate) fn anything_held(&self) -> bool {
        self.links.iter().flatten().any(|link| !link.waiting.is_empty())
    }
}
