//! The host of one run: a fresh thread with a madsim runtime.
//!
//! The only file that names madsim. It supplies the virtual clock that `std` sees, the entropy that
//! seeds hash maps, the lifecycle of nodes and the executor of hosted tasks; everything else is the
//! kernel's. Each run gets a new OS thread, because the standard library seeds its hash maps once
//! per thread, and every node is killed before the runtime goes, because madsim leaks the tasks of
//! living ones.
//!
//! A panic inside a run is a result, not a crash: it is caught before madsim's executor sees it, and
//! a hook keeps its message and place instead of printing them, so that a campaign reports the seed
//! once and goes on.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::task::{Context, Poll};

use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use oncesim_types::Instant;

/// The clock that `std` shows inside the run.
pub(crate) struct HostClock {
    handle: TimeHandle,
}

impl HostClock {
    /// Moves it forward to `now`; it never goes back (each poll of a task moves it by some
    /// nanoseconds on its own, and the kernel's time is what counts).
    pub(crate) fn advance_to(&self, now: Instant) {
        let elapsed = self.handle.elapsed().as_nanos();
        let target = u128::from(now.0);
        if target > elapsed {
            let gap = u64::try_from(target - elapsed).expect("virtual time fits in 64 bits");
            self.handle.advance(std::time::Duration::from_nanos(gap));
        }
    }
}

/// Nodes for hosted tasks.
#[derive(Debug, Default)]
pub(crate) struct HostNodes {
    nodes: Vec<NodeId>,
}

impl HostNodes {
    /// Starts `task` on a node of its own. The node dies with the run.
    pub(crate) fn start<F>(&mut self, name: &str, task: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let node = Handle::current().create_node().name(name).init(task).build();
        self.nodes.push(node.id());
    }
}

/// Runs `turn` to its end, inside a fresh runtime on a fresh thread.
///
/// # Errors
/// The message of a panic, with its place.
pub(crate) fn run<T: Send>(
    seed: u64,
    turn: impl FnOnce(&HostClock) -> T + Send,
) -> Result<T, String> {
    on_fresh_thread(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async { caught(|| turn(&HostClock { handle: TimeHandle::current() })) })
    })
}

/// Like [`run`], for a world with hosted tasks: `start` builds the world (and starts nodes), then
/// `poll` is called like a future's until it is ready. Between two polls hosted tasks run.
///
/// # Errors
/// The message of a panic, with its place.
pub(crate) fn run_hosted<W, T: Send>(
    seed: u64,
    start: impl FnOnce(HostClock, &mut HostNodes) -> W + Send,
    poll: impl Fn(&mut W, &mut Context<'_>) -> Poll<Result<T, String>> + Send,
) -> Result<T, String> {
    on_fresh_thread(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let mut nodes = HostNodes::default();
        let result = runtime.block_on(async {
            let clock = HostClock { handle: TimeHandle::current() };
            let mut world = caught(|| start(clock, &mut nodes))?;
            let step = |context: &mut Context<'_>| {
                caught(|| poll(&mut world, context))
                    .unwrap_or_else(|message| Poll::Ready(Err(message)))
            };
            std::future::poll_fn(step).await
        });
        let clean = caught(|| clean_up(&runtime, &nodes));
        result.and_then(|value| clean.map(|()| value))
    })
}

fn on_fresh_thread<T: Send>(body: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    keep_panics_of_runs();
    let body = || {
        INSIDE.set(true);
        caught(body).and_then(|result| result)
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("oncesim-run".to_owned())
            .stack_size(4 << 20)
            .spawn_scoped(scope, body)
            .map_err(|error| format!("cannot start a thread: {error}"))?
            .join()
            .unwrap_or_else(|panic| Err(message_of(&*panic)))
    })
}

fn clean_up(runtime: &Runtime, nodes: &HostNodes) {
    runtime.block_on(async {
        let handle = Handle::current();
        for node in &nodes.nodes {
            handle.kill(*node);
        }
        madsim::time::sleep(std::time::Duration::from_millis(1)).await;
    });
}

thread_local! {
    /// Whether this thread belongs to a run.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The last panic of this thread: message and place.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `body`; a panic becomes its message, with its place.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body))
        .map_err(|panic| LAST_PANIC.take().unwrap_or_else(|| message_of(&*panic)))
}

/// Lets the panics of runs be kept instead of printed. Those of other threads go where they went.
fn keep_panics_of_runs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if INSIDE.try_with(Cell::get).unwrap_or(false) {
                let _ = LAST_PANIC.try_with(|last| last.replace(Some(described(panic))));
            } else {
                others(panic);
            }
        }));
    });
}

fn described(panic: &PanicHookInfo<'_>) -> String {
    let message = message_of(panic.payload());
    panic.location().map_or_else(|| message.clone(), |place| format!("{message} (at {place})"))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
