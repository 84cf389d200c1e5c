//! Fetch sessions: what each connection wants, and which of it may have news.
//!
//! Mirrors `FetchSession`, `FetchSessionCache` (KIP-227).
//!
//! Simplifications: a session lives exactly as long as its connection.

use oncesim_types::{ActorId, BrokerEpoch, ConnectionId, CorrelationId, Instant, Offset};

use crate::message::{FetchPartition, FetchedPartition, IsolationLevel};

/// A session that wants a partition, and where the partition is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher {
    pub(super) session: u32,
    pub(super) at: u32,
    pub(super) is_follower: bool,
}

/// One partition of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) index: u32,
    /// False once it was forgotten.
    pub(super) live: bool,
    /// Whether it may have news: it is in `dirty` then.
    pub(super) dirty: bool,
    pub(super) fetch: FetchPartition,
    /// Whether the last answer had something of it.
    pub(super) served: bool,
    /// The high watermark that the client has heard.
    pub(super) sent_high_watermark: Offset,
}

/// A fetch that waits for news.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parked {
    pub(super) correlation: CorrelationId,
    pub(super) since: Instant,
    pub(super) max_bytes: u32,
    pub(super) isolation: IsolationLevel,
    /// Whether it was looked at before, and found nothing.
    pub(super) delayed: bool,
}

/// One connection's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: ActorId,
    pub(super) connection: ConnectionId,
    pub(super) replica: Option<(ActorId, BrokerEpoch)>,
    pub(super) positions: Vec<Position>,
    /// Positions that were forgotten, to be used again.
    pub(super) free: Vec<u32>,
    /// Positions that may have news.
    pub(super) dirty: Vec<u32>,
    /// Answers that need no position: partitions that do not exist.
    pub(super) unknown: Vec<FetchedPartition>,
    pub(super) parked: Option<Parked>,
    /// Whether it is in the list of sessions to serve.
    pub(super) awake: bool,
    /// Whether it is in the list of sessions that wait for the next propagation of high watermarks.
    pub(super) lazy: bool,
    /// Whether its next fetch says again where all its positions are.
    pub(super) recount: bool,
}

impl Session {
    pub(super) fn mark(&mut self, at: u32) {
        let position = &mut self.positions[at as usize];
        if !position.dirty {
            position.dirty = true;
            self.dirty.push(at);
        }
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Sorted by connection.
    by_connection: Vec<(ConnectionId, u32)>,
    places: Vec<Option<Session>>,
    free: Vec<u32>,
    /// Sessions to serve at the end of this step.
    pub(super) awake: Vec<u32>,
    /// Followers that wait for the next propagation of high watermarks.
    pub(super) lazy: Vec<u32>,
}

impl Sessions {
    pub(super) fn find(&self, connection: ConnectionId) -> Option<u32> {
        let at = self.by_connection.binary_search_by_key(&connection, |(c, _)| *c).ok()?;
        Some(self.by_connection[at].1)
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Session> {
        self.places.get_mut(key as usize)?.as_mut()
    }

    pub(super) fn get(&self, key: u32) -> Option<&Session> {
        self.places.get(key as usize)?.as_ref()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.places.len()).expect("fewer than 2^32 connections are open")
    }

    pub(super) fn open(&mut self, client: ActorId, connection: ConnectionId) -> u32 {
        let session = Session {
            client,
            connection,
            replica: None,
            positions: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            unknown: Vec::new(),
            parked: None,
            awake: false,
            lazy: false,
            recount: false,
        };
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 connections are open")
        });
        self.places[key as usize] = Some(session);
        let at = self.by_connection.partition_point(|(c, _)| *c < connection);
        self.by_connection.insert(at, (connection, key));
        key
    }

    pub(super) fn close(&mut self, connection: ConnectionId) -> Option<(u32, Session)> {
        let at = self.by_connection.binary_search_by_key(&connection, |(c, _)| *c).ok()?;
        let (_, key) = self.by_connection.remove(at);
        let session = self.places[key as usize].take()?;
        // Its place may be used again only when no list mentions it.
        if session.awake || session.lazy {
            self.awake.retain(|awake| *awake != key);
            self.lazy.retain(|lazy| *lazy != key);
        }
        self.free.push(key);
        Some((key, session))
    }

    /// Lets a session be served at the end of this step.
    pub(super) fn wake(&mut self, key: u32) {
        if let Some(session) = self.places[key as usize].as_mut()
            && session.parked.is_some()
            && !session.awake
        {
            session.awake = true;
            self.awake.push(key);
        }
    }

    /// Lets a follower's session be served at the next propagation of high watermarks.
    pub(super) fn defer(&mut self, key: u32) {
        if let Some(session) = self.places[key as usize].as_mut()
            && !session.lazy
        {
            session.lazy = true;
            self.lazy.push(key);
        }
    }
}
