//! Timers of tokio, on a clock that stands still but for `advance`.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use allocation_counter::opt_out;
use heartwheel::proto::time::Micros;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{Instant, Sleep, advance, sleep_until};
use tokio_util::time::{DelayQueue, delay_queue};

use super::Timers;

/// A runtime whose clock is ours.
struct Clock {
    runtime: Runtime,
    start: Instant,
    now: Micros,
}

impl Clock {
    fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let start = runtime.block_on(async { Instant::now() });
        Self {
            runtime,
            start,
            now: Micros::ZERO,
        }
    }

    fn instant(&self, at: Micros) -> Instant {
        self.start + Duration::from(at)
    }

    fn advance(&mut self, now: Micros) {
        let span = Duration::from(now - self.now);
        self.now = now;
        self.runtime.block_on(advance(span));
    }
}

/// The queue of tokio-util with a table from our keys to its own.
pub(super) struct Queue {
    clock: Clock,
    queue: DelayQueue<usize>,
    handles: Vec<delay_queue::Key>,
}

impl Timers for Queue {
    const NAME: &'static str = "delay_queue";

    fn new(keys: usize) -> Self {
        let clock = Clock::new();
        let (queue, stale) = clock.runtime.block_on(async {
            let mut queue = DelayQueue::with_capacity(keys);
            let key = queue.insert(0, Duration::ZERO);
            queue.remove(&key);
            (queue, key)
        });
        // An `Option` of a key would take twice the memory.
        let handles = vec![stale; keys];
        Self {
            clock,
            queue,
            handles,
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        let deadline = self.clock.instant(deadline);
        self.handles[key] = self.queue.insert_at(key, deadline);
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let deadline = self.clock.instant(deadline);
        self.queue.reset_at(&self.handles[key], deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.queue.remove(&self.handles[key]);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        self.clock.advance(now);
        let queue = &mut self.queue;
        self.clock.runtime.block_on(poll_fn(|cx| {
            while let Poll::Ready(Some(entry)) = queue.poll_expired(cx) {
                expired.push(entry.into_inner());
            }
            Poll::Ready(())
        }));
    }

    fn runtime(&self) -> Option<Handle> {
        Some(self.clock.runtime.handle().clone())
    }
}

/// A `Sleep` for each key, as tasks would have that each wait for one deadline.
pub(super) struct Sleeps {
    /// Before the clock, whose end would wake all that are left.
    sleeps: Vec<Option<Pin<Box<Sleep>>>>,
    clock: Clock,
    wakers: Vec<Waker>,
    woken: Arc<Mutex<Vec<usize>>>,
}

/// Stands for the task that has a key.
struct Task {
    key: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.lock().expect("not poisoned").push(self.key);
    }
}

impl Sleeps {
    fn poll(&mut self, key: usize) -> Poll<()> {
        let sleep = self.sleeps[key].as_mut().expect("armed");
        let mut context = Context::from_waker(&self.wakers[key]);
        sleep.as_mut().poll(&mut context)
    }
}

impl Timers for Sleeps {
    const NAME: &'static str = "tokio_sleep";

    fn new(keys: usize) -> Self {
        let woken = Arc::<Mutex<_>>::default();
        let task = |key| {
            let woken = Arc::clone(&woken);
            Waker::from(Arc::new(Task { key, woken }))
        };
        // The tasks would be there without timers: their memory is not the timers'.
        let mut wakers = Vec::new();
        opt_out(|| wakers.extend((0..keys).map(task)));
        Self {
            sleeps: (0..keys).map(|_| None).collect(),
            clock: Clock::new(),
            wakers,
            woken,
        }
    }

    /// One that has fired is used again; polling it is what arms it.
    fn schedule(&mut self, key: usize, deadline: Micros) {
        let deadline = self.clock.instant(deadline);
        match &mut self.sleeps[key] {
            Some(sleep) => sleep.as_mut().reset(deadline),
            none => *none = Some(Box::pin(sleep_until(deadline))),
        }
        let polled = self.poll(key);
        debug_assert!(polled.is_pending());
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let deadline = self.clock.instant(deadline);
        let sleep = self.sleeps[key].as_mut().expect("armed");
        sleep.as_mut().reset(deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.sleeps[key] = None;
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        self.clock.advance(now);
        let mut woken = mem::take(&mut *self.woken.lock().expect("not poisoned"));
        expired.extend(woken.drain(..).filter(|&key| self.poll(key).is_ready()));
        *self.woken.lock().expect("not poisoned") = woken;
    }

    fn runtime(&self) -> Option<Handle> {
        Some(self.clock.runtime.handle().clone())
    }
}
