//! The host of one run: a fresh thread with a madsim runtime.
//!
//! The only file that names madsim. It supplies the virtual clock that `std` sees, the entropy that
//! seeds hash maps, the lifecycle of nodes and the executor of hosted tasks; everything else is the
//! kernel's. Each run gets a new OS thread, because the standard library seeds its hash maps once
//! per thread, and every node is killed before the runtime goes, because madsim leaks the tasks of
//! living ones.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use oncesim_types::Instant;

/// The clock that `std` shows inside the run.
pub struct HostClock {
    handle: TimeHandle,
}

impl HostClock {
    /// Moves it forward to `now`; it never goes back (each poll of a task moves it by some
    /// nanoseconds on its own, and the kernel's time is what counts).
    pub fn advance_to(&self, now: Instant) {
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
pub struct HostNodes {
    nodes: Vec<NodeId>,
}

impl HostNodes {
    /// Starts `task` on a node of its own. The node dies with the run.
    pub fn start<F>(&mut self, name: &str, task: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let node = Handle::current().create_node().name(name).init(task).build();
        self.nodes.push(node.id());
    }
}

/// Runs `turn` until it is ready, inside a fresh runtime on a fresh thread. `turn` is polled by
/// madsim's executor: between two polls hosted tasks run.
///
/// # Errors
/// The message of a panic.
pub fn run<T: Send>(
    seed: u64,
    turn: impl FnOnce(HostClock, &mut HostNodes) -> T + Send,
) -> Result<T, String> {
    on_fresh_thread(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let mut nodes = HostNodes::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            runtime
                .block_on(async { turn(HostClock { handle: TimeHandle::current() }, &mut nodes) })
        }));
        clean_up(&runtime, &nodes);
        result.map_err(|panic| panic_message(&*panic))
    })
}

/// Like [`run`], for a world with hosted tasks: `start` builds the world (and starts nodes), then
/// `poll` is called like a future's until it is ready.
///
/// # Errors
/// The message of a panic.
pub fn run_hosted<W, T: Send>(
    seed: u64,
    start: impl FnOnce(HostClock, &mut HostNodes) -> W + Send,
    poll: impl Fn(&mut W, &mut Context<'_>) -> Poll<T> + Send,
) -> Result<T, String> {
    on_fresh_thread(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let mut nodes = HostNodes::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut world = start(HostClock { handle: TimeHandle::current() }, &mut nodes);
                std::future::poll_fn(|context| poll(&mut world, context)).await
            })
        }));
        clean_up(&runtime, &nodes);
        result.map_err(|panic| panic_message(&*panic))
    })
}

fn on_fresh_thread<T: Send>(body: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("oncesim-run".to_owned())
            .stack_size(4 << 20)
            .spawn_scoped(scope, body)
            .map_err(|error| format!("cannot start a thread: {error}"))?
            .join()
            .unwrap_or_else(|panic| Err(panic_message(&*panic)))
    })
}

fn clean_up(runtime: &Runtime, nodes: &HostNodes) {
    if nodes.nodes.is_empty() {
        return;
    }
    runtime.block_on(async {
        let handle = Handle::current();
        for node in &nodes.nodes {
            handle.kill(*node);
        }
        madsim::time::sleep(std::time::Duration::from_millis(1)).await;
    });
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
