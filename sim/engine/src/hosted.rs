//! Hosted tasks: a user's async code on a node of the simulated world, with simulated clients.
//!
//! A hosted task runs on a madsim node, where `std`'s clocks are virtual, and talks to the kernel
//! through handles: a call is put into the mailbox of the run, the kernel performs it between two
//! events, and wakes the task when the client has completed it. The kernel advances time only while
//! no hosted task can run, so a task takes no virtual time except where it waits.
//!
//! ```no_run
//! # async fn example(client: oncesim::HostedProducer) {
//! let sent = client.send(0, Some(7), 42).await;
//! oncesim::sleep(std::time::Duration::from_millis(5)).await;
//! # let _ = sent;
//! # }
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use oncesim_kafka::config::ProducerConfig;
use oncesim_kafka::log::batch::Record;
use oncesim_kafka::machine::Call;
use oncesim_kafka::producer::{ProducerCall, ProducerCompletion, SendResult};
use oncesim_spec::Scenario;
use oncesim_types::{ActorId, CallId, Duration, Instant, RecordId, TopicId};

use crate::host;
use crate::outcome::{Outcome, RunOptions};
use crate::run::{panicked, planned};
use crate::world::{Turn, World};

/// How often hosted tasks may be polled between two events of the kernel, so that a task that wakes
/// itself instead of waiting cannot hang a run.
const POLLS_MAX: usize = 1_000_000;

/// A boxed future of a hosted task.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A user's task with its own simulated producer.
#[derive(Clone)]
pub struct HostedTask {
    /// The actor's name in traces and reports.
    pub name: String,
    /// Configuration of its producer.
    pub producer: ProducerConfig,
    /// The task. Called once per run.
    pub task: Arc<dyn Fn(HostedProducer) -> TaskFuture + Send + Sync>,
}

/// A hosted task's handle of its producer.
#[derive(Debug, Clone, Copy)]
pub struct HostedProducer {
    actor: ActorId,
}

impl HostedProducer {
    /// `send()`: completes when the record is acknowledged, or given up. `topic` counts the
    /// scenario's topics in the order of their names, from 0.
    pub async fn send(self, topic: u16, key: Option<u32>, value: i64) -> SendResult {
        let ordinal = with_mailbox(|mailbox| mailbox.next_record());
        let record = Record {
            id: RecordId::new(self.actor, ordinal),
            key,
            value: Some(value),
            size: 100,
            timestamp: Instant::ZERO,
        };
        let call = CallId(ordinal << 16 | 1);
        let body = ProducerCall::Send { topic: TopicId(topic), partition: None, record };
        match (Request { actor: self.actor, call, body: Some(body) }).await {
            ProducerCompletion::Sent(result) => result,
            ProducerCompletion::Flushed
            | ProducerCompletion::Closed
            | ProducerCompletion::Transaction(_) => {
                unreachable!("a send completes as a send")
            }
        }
    }

    /// `close()`: completes when every earlier `send` is complete.
    pub async fn close(self) {
        let call = CallId(u64::MAX);
        Request { actor: self.actor, call, body: Some(ProducerCall::Close) }.await;
    }
}

/// Waits for a span of virtual time.
pub async fn sleep(span: std::time::Duration) {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Sleep { span: Duration(nanos), ticket: None }.await;
}

/// Runs a scenario together with hosted tasks. The fault phase lasts until every task has ended.
#[must_use]
pub fn run_hosted(scenario: &Arc<Scenario>, options: &RunOptions, tasks: &[HostedTask]) -> Outcome {
    let plan = match planned(scenario, options) {
        Ok(plan) => plan,
        Err(outcome) => return *outcome,
    };
    let scenario = scenario.with(&plan.settings);
    let shown = plan.clone();
    let result = host::run_hosted(
        options.seed,
        |clock, nodes| {
            let clients: Vec<_> =
                tasks.iter().map(|task| (task.name.clone(), task.producer.clone())).collect();
            let mut world = World::new(scenario, options.seed, plan, options.keep_trace, &clients);
            // A task begins when its client is there to be called.
            while !world.hosted_have_started() {
                if let Turn::Next(now) = world.turn() {
                    clock.advance_to(now);
                }
            }
            let run = Arc::new(Run::default());
            MAILBOX.with_borrow_mut(|mailbox| *mailbox = Mailbox::default());
            for (index, task) in tasks.iter().enumerate() {
                start(nodes, task, world.hosted_actor(index), &run);
            }
            (Some(world), clock, run)
        },
        |(world, clock, run), context| {
            let Some(current) = world.as_mut() else { return Poll::Pending };
            let ended = loop {
                match run.stopped.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(Stop::Panicked(message)) => break Err(message),
                    Some(Stop::NeverWaits(actor)) => {
                        current.hosted_never_waits(actor, POLLS_MAX);
                        break Ok(());
                    }
                    None => {}
                }
                if run.runnable.load(Ordering::Relaxed) > 0 {
                    run.park_kernel(context.waker());
                    return Poll::Pending;
                }
                run.polls.store(0, Ordering::Relaxed);
                drain_mailbox(current);
                match current.turn() {
                    Turn::Next(now) => clock.advance_to(now),
                    Turn::Over => break Ok(()),
                }
            };
            let world = world.take().expect("it was there");
            Poll::Ready(ended.map(|()| world.into_outcome(options.keep_history)))
        },
    );
    result.unwrap_or_else(|message| panicked(scenario, options.seed, shown, message))
}

/// Starts a task on a node of its own.
fn start(nodes: &mut host::HostNodes, task: &HostedTask, actor: ActorId, run: &Arc<Run>) {
    let (body, run) = (Arc::clone(&task.task), Arc::clone(run));
    let name = task.name.clone();
    nodes.start(&task.name, move || {
        let body = Arc::clone(&body);
        let done = async move {
            // The task itself may panic before its first wait.
            body(HostedProducer { actor }).await;
            with_mailbox(|mailbox| mailbox.ended.push(actor));
        };
        Tracked::new(Arc::clone(&run), actor, name.clone(), done)
    });
}

/// Gives the kernel what tasks have asked for since the last event.
fn drain_mailbox(world: &mut World) {
    loop {
        let (call, sleeper, ended) = with_mailbox(|mailbox| {
            (mailbox.calls.pop_front(), mailbox.sleeps.pop_front(), mailbox.ended.pop())
        });
        if call.is_none() && sleeper.is_none() && ended.is_none() {
            return;
        }
        if let Some((actor, call, body)) = call {
            world.hosted_call(actor, call, Call::Producer(body));
        }
        if let Some((ticket, span)) = sleeper {
            world.hosted_sleep(ticket, span);
        }
        if let Some(actor) = ended {
            world.hosted_ended(actor);
        }
    }
}

/// What tasks and kernel exchange in one run. Lives on the run's thread.
#[derive(Default)]
struct Mailbox {
    calls: VecDeque<(ActorId, CallId, ProducerCall)>,
    sleeps: VecDeque<(u64, Duration)>,
    ended: Vec<ActorId>,
    completions: BTreeMap<(ActorId, CallId), ProducerCompletion>,
    waiting: BTreeMap<(ActorId, CallId), Waker>,
    elapsed: Vec<u64>,
    sleeping: BTreeMap<u64, Waker>,
    records: u64,
    tickets: u64,
}

impl Mailbox {
    fn next_record(&mut self) -> u64 {
        self.records += 1;
        self.records - 1
    }
}

thread_local! {
    static MAILBOX: RefCell<Mailbox> = RefCell::new(Mailbox::default());
}

fn with_mailbox<T>(body: impl FnOnce(&mut Mailbox) -> T) -> T {
    MAILBOX.with_borrow_mut(body)
}

/// A producer has completed a hosted task's call.
pub(crate) fn complete(actor: ActorId, call: CallId, end: ProducerCompletion) {
    let waker = with_mailbox(|mailbox| {
        mailbox.completions.insert((actor, call), end);
        mailbox.waiting.remove(&(actor, call))
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A hosted task's sleep is over.
pub(crate) fn awake(ticket: u64) {
    let waker = with_mailbox(|mailbox| {
        mailbox.elapsed.push(ticket);
        mailbox.sleeping.remove(&ticket)
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Request {
    actor: ActorId,
    call: CallId,
    body: Option<ProducerCall>,
}

impl Future for Request {
    type Output = ProducerCompletion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProducerCompletion> {
        let key = (self.actor, self.call);
        let body = self.body.take();
        with_mailbox(|mailbox| {
            if let Some(body) = body {
                mailbox.calls.push_back((key.0, key.1, body));
            }
            if let Some(end) = mailbox.completions.remove(&key) {
                return Poll::Ready(end);
            }
            mailbox.waiting.insert(key, context.waker().clone());
            Poll::Pending
        })
    }
}

struct Sleep {
    span: Duration,
    ticket: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        with_mailbox(|mailbox| {
            let span = self.span;
            let ticket = *self.ticket.get_or_insert_with(|| {
                mailbox.tickets += 1;
                mailbox.sleeps.push_back((mailbox.tickets, span));
                mailbox.tickets
            });
            if let Some(at) = mailbox.elapsed.iter().position(|over| *over == ticket) {
                mailbox.elapsed.swap_remove(at);
                return Poll::Ready(());
            }
            mailbox.sleeping.insert(ticket, context.waker().clone());
            Poll::Pending
        })
    }
}

/// Counts the tasks that could run, so that time stands still until they have.
#[derive(Default)]
struct Run {
    runnable: AtomicUsize,
    /// Polls of tasks since the kernel's last event.
    polls: AtomicUsize,
    kernel: Mutex<Option<Waker>>,
    stopped: Mutex<Option<Stop>>,
}

/// Why a task ends the whole run.
enum Stop {
    /// With this message.
    Panicked(String),
    /// It is polled without end.
    NeverWaits(ActorId),
}

impl Run {
    fn park_kernel(&self, waker: &Waker) {
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn wake_kernel(&self) {
        if let Some(waker) = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    fn stop(&self, why: Stop) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.wake_kernel();
    }
}

/// A hosted task that tells the kernel when it can run.
struct Tracked {
    run: Arc<Run>,
    actor: ActorId,
    name: String,
    /// `None` when it has ended.
    task: Option<TaskFuture>,
    scheduled: Arc<Scheduled>,
}

struct Scheduled {
    run: Arc<Run>,
    /// Counted as runnable.
    flag: AtomicBool,
    /// It has ended: a wake that comes late (of a `sleep` that lost a race) must not count, because
    /// nobody would take it back and time would stand still for ever.
    ended: AtomicBool,
    inner: Mutex<Option<Waker>>,
}

impl Scheduled {
    fn rest(&self) {
        if self.flag.swap(false, Ordering::Relaxed) {
            self.run.runnable.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Wake for Scheduled {
    fn wake(self: Arc<Self>) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        if !self.flag.swap(true, Ordering::Relaxed) {
            self.run.runnable.fetch_add(1, Ordering::Relaxed);
        }
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = inner {
            waker.wake();
        }
    }
}

impl Tracked {
    fn new(
        run: Arc<Run>,
        actor: ActorId,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        run.runnable.fetch_add(1, Ordering::Relaxed);
        let scheduled = Arc::new(Scheduled {
            run: Arc::clone(&run),
            flag: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            inner: Mutex::new(None),
        });
        Tracked { run, actor, name, task: Some(Box::pin(task)), scheduled }
    }

    fn poll_task(&mut self) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        if self.run.polls.fetch_add(1, Ordering::Relaxed) >= POLLS_MAX {
            self.run.stop(Stop::NeverWaits(self.actor));
            return Poll::Ready(());
        }
        let waker = Waker::from(Arc::clone(&self.scheduled));
        let polled = host::caught(|| task.as_mut().poll(&mut Context::from_waker(&waker)));
        polled.unwrap_or_else(|message| {
            self.run.stop(Stop::Panicked(format!("the task {} panicked: {message}", self.name)));
            Poll::Ready(())
        })
    }
}

impl Future for Tracked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.scheduled.inner.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(context.waker().clone());
        self.scheduled.rest();
        let result = self.poll_task();
        if result.is_ready() {
            let task = self.task.take();
            if let Err(message) = host::caught(|| drop(task)) {
                self.run.stop(Stop::Panicked(message));
            }
            self.scheduled.ended.store(true, Ordering::Relaxed);
            self.scheduled.rest();
        }
        if self.run.runnable.load(Ordering::Relaxed) == 0 {
            self.run.wake_kernel();
        }
        result
    }
}
