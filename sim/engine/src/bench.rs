//! The kernel against a bare event loop: the same machines, messages and latencies.
//!
//! Workload: six actors, each a server and a client. A client sends sequential requests to random
//! peers and waits for each response, with a timer of 100 ms that is moved with every request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use oncesim_kafka::machine::{Effect, Effects, Input, Machine, TimerKey};
use oncesim_kafka::message::{HeartbeatRequest, Request, Response};
use oncesim_kafka::mutation::Mutations;
use oncesim_spec::{FaultPlan, Limits, NetworkSpec, Scenario};
use oncesim_types::{
    ActorId, CorrelationId, Duration, ErrorCode, GenerationId, GroupId, Instant, MemberId,
};

use crate::draw::{Draws, Purpose};
use crate::world::{Turn, World};

const ACTORS: u16 = 6;
const TIMEOUT: Duration = Duration::from_millis(100);

/// What one workload cost.
#[derive(Debug, Clone, Copy)]
pub struct KernelBench {
    /// Messages delivered by each of the two.
    pub messages: u64,
    /// Wall nanoseconds per message of the kernel, network, timers and digest included.
    pub kernel_ns: f64,
    /// Wall nanoseconds per message of the bare loop.
    pub bare_ns: f64,
}

/// Measures both, `rounds` times in turn, and gives the medians. Each round delivers about
/// `messages` messages.
#[must_use]
pub fn kernel(messages: u64, rounds: usize) -> KernelBench {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        bare.push(time_bare(messages, round));
        ours.push(time_kernel(messages, round));
    }
    KernelBench { messages, kernel_ns: median(ours), bare_ns: median(bare) }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a time in a report")]
fn per_message(started: std::time::Instant, messages: u64) -> f64 {
    started.elapsed().as_nanos() as f64 / messages.max(1) as f64
}

// ---- the kernel ----

/// A server and a client in one.
struct PingPong {
    draws: Draws,
    actor: ActorId,
    correlation: u32,
}

impl PingPong {
    fn next(&mut self, effects: &mut Effects) {
        self.correlation += 1;
        let to = peer(&mut self.draws, self.actor);
        let correlation = CorrelationId(self.correlation);
        effects.send(to, correlation, request());
        effects.set_timer(TimerKey(0), TIMEOUT);
    }
}

fn peer(draws: &mut Draws, actor: ActorId) -> ActorId {
    let other = draws.below_inclusive(u64::from(ACTORS) - 2);
    let other = u16::try_from(other).expect("six actors");
    ActorId(1 + (actor.0 + other) % ACTORS)
}

fn request() -> Request {
    Request::Heartbeat(HeartbeatRequest {
        group: GroupId(0),
        member: MemberId(0),
        instance: None,
        generation: GenerationId(1),
    })
}

impl Machine for PingPong {
    fn step(&mut self, _now: Instant, input: Input, effects: &mut Effects) {
        match input {
            Input::Request { from, connection, correlation, .. } => effects.0.push(Effect::Reply {
                to: from,
                connection,
                correlation,
                body: Response::Heartbeat(ErrorCode::None),
            }),
            Input::Start | Input::Response { .. } | Input::Timer(_) => self.next(effects),
            _ => {}
        }
    }
}

fn time_kernel(messages: u64, seed: u64) -> f64 {
    let scenario = Arc::new(empty_scenario());
    let mut world = World::new(&scenario, seed, FaultPlan::default(), false, &[]);
    for n in 1..=ACTORS {
        let actor = ActorId(n);
        let draws = Draws::new(seed, Purpose::Bench, n, 0);
        world.replace_process(actor, Box::new(PingPong { draws, actor, correlation: 0 }));
    }
    let started = std::time::Instant::now();
    while world.messages() < messages && matches!(world.turn(), Turn::Next(_)) {}
    per_message(started, world.messages())
}

fn empty_scenario() -> Scenario {
    Scenario {
        path: "bench".to_owned(),
        title: "ping-pong".to_owned(),
        claim: None,
        expect: None,
        brokers: ACTORS,
        broker_config: oncesim_kafka::config::BrokerConfig::default(),
        topics: Vec::new(),
        producers: Vec::new(),
        consumers: Vec::new(),
        processors: Vec::new(),
        systems: Vec::new(),
        sinks: Vec::new(),
        services: Vec::new(),
        relays: Vec::new(),
        transactional_ids: Vec::new(),
        groups: Vec::new(),
        network: NetworkSpec::default(),
        swarm: None,
        scripted: Vec::new(),
        walk: false,
        variants: Vec::new(),
        drawn_itself: true,
        limits: Limits { events: u64::from(u32::MAX), ..Limits::default() },
        mutations: Mutations::NONE,
        source: "".into(),
    }
}

// ---- the bare loop ----

enum Bare {
    Request { from: u16, to: u16, id: u32 },
    Response { to: u16, id: u32 },
    Timeout { actor: u16, id: u32 },
}

/// What one would write by hand for this workload alone: a heap, a match, nothing else.
fn time_bare(messages: u64, seed: u64) -> f64 {
    let mut heap: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let mut slab: Vec<Bare> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut links: Vec<Draws> = (0..ACTORS * ACTORS)
        .map(|pair| Draws::new(seed, Purpose::Latency, pair / ACTORS, pair % ACTORS))
        .collect();
    let mut peers: Vec<Draws> =
        (0..ACTORS).map(|actor| Draws::new(seed, Purpose::Bench, actor + 1, 0)).collect();
    let mut current = vec![0u32; usize::from(ACTORS)];
    let (mut sequence, mut delivered, mut hash) = (0u64, 0u64, 0u64);
    let mut push = |heap: &mut BinaryHeap<_>,
                    slab: &mut Vec<Bare>,
                    free: &mut Vec<usize>,
                    at: u64,
                    event: Bare| {
        let slot = free.pop().unwrap_or(slab.len());
        if slot == slab.len() {
            slab.push(event);
        } else {
            slab[slot] = event;
        }
        sequence += 1;
        heap.push(Reverse((at, sequence, slot)));
    };
    let latency = |links: &mut [Draws], from: u16, to: u16| {
        let link = &mut links[usize::from(from * ACTORS + to)];
        (200_000 + link.exponential(Duration(800_000)).0).min(40_000_000)
    };
    let started = std::time::Instant::now();
    for actor in 0..ACTORS {
        push(&mut heap, &mut slab, &mut free, 0, Bare::Timeout { actor, id: 0 });
    }
    while delivered < messages {
        let Some(Reverse((now, _, slot))) = heap.pop() else { break };
        free.push(slot);
        let event = std::mem::replace(&mut slab[slot], Bare::Response { to: 0, id: 0 });
        let next = match event {
            Bare::Request { from, to, id } => {
                delivered += 1;
                hash = fold(hash, now, from, to, id);
                let at = now + latency(&mut links, to, from);
                push(&mut heap, &mut slab, &mut free, at, Bare::Response { to: from, id });
                None
            }
            Bare::Response { to, id } => {
                delivered += 1;
                hash = fold(hash, now, to, to, id);
                (current[usize::from(to)] == id).then_some(to)
            }
            Bare::Timeout { actor, id } => (current[usize::from(actor)] == id).then_some(actor),
        };
        if let Some(actor) = next {
            current[usize::from(actor)] += 1;
            let id = current[usize::from(actor)];
            let to = peer(&mut peers[usize::from(actor)], ActorId(actor + 1)).0 - 1;
            let at = now + latency(&mut links, actor, to);
            let request = Bare::Request { from: actor, to, id };
            push(&mut heap, &mut slab, &mut free, at, request);
            let timeout = Bare::Timeout { actor, id };
            push(&mut heap, &mut slab, &mut free, now + TIMEOUT.0, timeout);
        }
    }
    std::hint::black_box(hash);
    per_message(started, delivered)
}

fn fold(hash: u64, now: u64, from: u16, to: u16, id: u32) -> u64 {
    (hash ^ now ^ u64::from(from) << 48 ^ u64::from(to) << 32 ^ u64::from(id))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
}
