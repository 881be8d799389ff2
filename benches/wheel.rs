//! The wheel beside what one would use instead, at a million keys.
//!
//! `wheel` is ours; `list` is the textbook wheel with one list a slot and eager moves; `heap` is an
//! indexed heap of four children a node; `delay_queue` is that of tokio-util on a paused clock. All
//! have the same keys, deadlines and order of operations. `cargo bench --bench wheel` also prints
//! how the cost of a fire compares between `wheel` and `list`, measured in turns.

use std::env;
use std::future::poll_fn;
use std::hint::black_box;
use std::ops::Range;
use std::task::Poll;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio_util::time::{DelayQueue, delay_queue};

const TICK: Micros = Micros::from_millis(10);
/// The interval at which each key fires in the steady state.
const PERIOD: Micros = Micros::from_secs(30);

fn benches(criterion: &mut Criterion) {
    on_all::<Schedule>(criterion);
    on_all::<Cancel>(criterion);
    on_all::<RefreshLater>(criterion);
    on_all::<RefreshEarlier>(criterion);
    on_all::<Fire>(criterion);
    on_all::<WorstTick>(criterion);
    quiet(criterion);
}

/// Benches one operation on all four candidates.
fn on_all<O: Operation>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("wheel/{}", O::NAME));
    tune(&mut group);
    on_one::<O, Wheel>(&mut group, "wheel");
    on_one::<O, List>(&mut group, "list");
    on_one::<O, Heap>(&mut group, "heap");
    on_one::<O, Queue>(&mut group, "delay_queue");
    group.finish();
}

fn on_one<O: Operation, T: Timers>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str) {
    // Made once and outside the timing: criterion takes a slow setup for slow iterations.
    let mut load = None;
    group.bench_function(name, |bencher| {
        let load = load.get_or_insert_with(|| Load::<T>::armed(keys()));
        bencher.iter_custom(|iters| O::run(load, iters));
    });
}

fn tune(group: &mut BenchmarkGroup<'_, WallTime>) {
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
}

/// A million, or few where only correctness is asked for.
fn keys() -> usize {
    if is_test() { 10_000 } else { 1_000_000 }
}

fn is_test() -> bool {
    env::args().any(|arg| arg == "--test")
}

/// What all candidates can do.
trait Timers {
    fn new(keys: usize) -> Self;
    fn schedule(&mut self, key: usize, deadline: Micros);
    fn refresh(&mut self, key: usize, deadline: Micros);
    fn cancel(&mut self, key: usize);
    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>);
}

/// A candidate with all its keys armed, at random within a period.
struct Load<T> {
    timers: T,
    /// The keys in random order, and which of them is next.
    order: Vec<usize>,
    next: usize,
    deadlines: Vec<Micros>,
    now: Micros,
    expired: Vec<usize>,
}

impl<T: Timers> Load<T> {
    fn armed(keys: usize) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut order = Vec::from_iter(0..keys);
        for last in (1..keys).rev() {
            order.swap(last, random.random_range(0..=last));
        }
        let deadline = |_| Micros::new(random.random_range(1..=PERIOD.as_micros()));
        let mut load = Self {
            timers: T::new(keys),
            order,
            next: 0,
            deadlines: (0..keys).map(deadline).collect(),
            now: Micros::ZERO,
            expired: Vec::with_capacity(keys),
        };
        load.arm(0..keys);
        load
    }

    /// Calls `run` for batches of a tenth of the keys until they add up, and sums what it returns.
    fn batches(
        &mut self,
        iters: u64,
        run: impl Fn(&mut Self, Range<usize>) -> Duration,
    ) -> Duration {
        let mut left = usize::try_from(iters).expect("64 bits");
        let mut total = Duration::ZERO;
        while left > 0 {
            let first = self.next;
            let end = self
                .order
                .len()
                .min(first + left.min(self.order.len() / 10));
            total += run(self, first..end);
            left -= end - first;
            self.next = end % self.order.len();
        }
        total
    }

    fn arm(&mut self, keys: Range<usize>) {
        for &key in &self.order[keys] {
            self.timers.schedule(key, self.deadlines[key]);
        }
    }

    fn disarm(&mut self, keys: Range<usize>) {
        for &key in &self.order[keys] {
            self.timers.cancel(key);
        }
    }

    /// Refreshes keys with deadlines changed for this once.
    fn refresh(&mut self, keys: Range<usize>, change: impl Fn(Micros) -> Micros) {
        for &key in &self.order[keys] {
            self.timers.refresh(key, change(self.deadlines[key]));
        }
    }

    /// Goes one tick on, arms again what fired a period later and returns how many that were.
    fn step(&mut self) -> usize {
        self.now = self.now + TICK;
        self.timers.advance(self.now, &mut self.expired);
        for &key in &self.expired {
            self.timers.schedule(key, self.now + PERIOD);
        }
        let fired = self.expired.len();
        self.expired.clear();
        fired
    }

    /// Runs for one period and returns the slowest tick.
    fn period(&mut self) -> Duration {
        let ticks = 0..PERIOD.as_micros() / TICK.as_micros();
        let timed = ticks.map(|_| timed(|| _ = self.step()));
        timed.max().unwrap_or_default()
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Something to measure on any candidate.
trait Operation {
    const NAME: &'static str;

    /// Does it `iters` times and returns the time that took. All keys are armed before and after.
    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration;
}

struct Schedule;

impl Operation for Schedule {
    const NAME: &'static str = "schedule";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        load.batches(iters, |load, keys| {
            load.disarm(keys.clone());
            timed(|| load.arm(keys))
        })
    }
}

struct Cancel;

impl Operation for Cancel {
    const NAME: &'static str = "cancel";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        load.batches(iters, |load, keys| {
            let took = timed(|| load.disarm(keys.clone()));
            load.arm(keys);
            took
        })
    }
}

/// To a deadline one period later: what traffic does to an idle timeout.
struct RefreshLater;

impl Operation for RefreshLater {
    const NAME: &'static str = "refresh_later";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        load.batches(iters, |load, keys| {
            let took = timed(|| load.refresh(keys.clone(), |at| at + PERIOD));
            load.refresh(keys, |at| at);
            took
        })
    }
}

struct RefreshEarlier;

impl Operation for RefreshEarlier {
    const NAME: &'static str = "refresh_earlier";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        load.batches(iters, |load, keys| {
            load.refresh(keys.clone(), |at| at + PERIOD);
            timed(|| load.refresh(keys, |at| at))
        })
    }
}

/// A key in the steady state: it expires and is armed again a period later.
struct Fire;

impl Operation for Fire {
    const NAME: &'static str = "fire";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        let mut fired = 0;
        let took = timed(|| {
            while fired < iters {
                fired += load.step() as u64;
            }
        });
        took.mul_f64(iters as f64 / fired as f64)
    }
}

/// The slowest tick of a period in the steady state.
struct WorstTick;

impl Operation for WorstTick {
    const NAME: &'static str = "worst_tick";

    fn run<T: Timers>(load: &mut Load<T>, iters: u64) -> Duration {
        (0..iters).map(|_| load.period()).sum()
    }
}

/// A tick with nothing due, and the question for the next deadline, at its farthest.
fn quiet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel/quiet");
    tune(&mut group);
    group.bench_function("tick_with_nothing_due", |bencher| {
        let mut wheel = Wheel::new(TICK, Micros::ZERO);
        let mut expired = Vec::new();
        let mut now = Micros::ZERO;
        bencher.iter(|| {
            if now.as_micros().is_multiple_of(PERIOD.as_micros()) {
                wheel.cancel(0);
                wheel.schedule(0, now + PERIOD + PERIOD);
            }
            now = now + TICK;
            wheel.advance(black_box(now), usize::MAX, &mut expired)
        });
        assert!(expired.is_empty());
    });
    group.bench_function("next_deadline", |bencher| {
        let mut wheel = Wheel::new(TICK, Micros::ZERO);
        wheel.schedule(0, TICK.saturating_mul(8192));
        bencher.iter(|| black_box(&wheel).next_deadline());
    });
    group.finish();
}

/// Prints the cost of a fire of `wheel` and `list`, the least of several runs taken in turns.
fn report_fire_ratio() {
    for keys in [100_000, 1_000_000] {
        let (mut wheel, mut list) = (Load::<Wheel>::armed(keys), Load::<List>::armed(keys));
        let mut best = [f64::MAX; 2];
        for _ in 0..8 {
            for (best, took) in best.iter_mut().zip([fires(&mut wheel), fires(&mut list)]) {
                *best = best.min(took);
            }
        }
        let [wheel, list] = best;
        println!(
            "fire at {keys} keys: wheel {wheel:.1} ns, list {list:.1} ns, ratio {:.2}",
            wheel / list
        );
    }
}

/// Runs one period and returns nanoseconds a fire.
fn fires<T: Timers>(load: &mut Load<T>) -> f64 {
    let mut fired = 0;
    let took = timed(|| {
        for _ in 0..PERIOD.as_micros() / TICK.as_micros() {
            fired += load.step();
        }
    });
    took.as_nanos() as f64 / fired as f64
}

impl Timers for Wheel {
    fn new(keys: usize) -> Self {
        let mut wheel = Self::new(TICK, Micros::ZERO);
        wheel.reserve(keys);
        wheel
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.schedule(key, deadline);
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        self.schedule(key, deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.cancel(key);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        self.advance(now, usize::MAX, expired);
    }
}

/// The textbook wheel: one doubly linked list a slot, sentinels behind the keys, moves at once.
struct List {
    nodes: Vec<ListNode>,
    keys: usize,
    now: u64,
}

#[derive(Clone, Copy)]
struct ListNode {
    next: u32,
    prev: u32,
    at: u64,
}

impl List {
    const SLOTS: usize = Wheel::DEFAULT_SLOTS;

    fn sentinel(&self, tick: u64) -> usize {
        self.keys + tick as usize % Self::SLOTS
    }

    fn unlink(&mut self, key: usize) {
        let ListNode { next, prev, .. } = self.nodes[key];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
    }

    fn link(&mut self, key: usize, at: u64) {
        let sentinel = self.sentinel(at);
        let next = self.nodes[sentinel].next;
        let prev = sentinel as u32;
        self.nodes[key] = ListNode { next, prev, at };
        self.nodes[sentinel].next = key as u32;
        self.nodes[next as usize].prev = key as u32;
    }
}

impl Timers for List {
    fn new(keys: usize) -> Self {
        let alone = |node| ListNode {
            next: node as u32,
            prev: node as u32,
            at: 0,
        };
        Self {
            nodes: (0..keys + Self::SLOTS).map(alone).collect(),
            keys,
            now: 0,
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        let tick = black_box(TICK).as_micros();
        self.link(key, deadline.as_micros().div_ceil(tick).max(self.now + 1));
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        self.unlink(key);
        self.schedule(key, deadline);
    }

    fn cancel(&mut self, key: usize) {
        self.unlink(key);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while self.now < now.as_micros() / TICK.as_micros() {
            self.now += 1;
            let sentinel = self.sentinel(self.now);
            let mut key = self.nodes[sentinel].next as usize;
            while key != sentinel {
                let ListNode { next, at, .. } = self.nodes[key];
                if at <= self.now {
                    self.unlink(key);
                    expired.push(key);
                }
                key = next as usize;
            }
        }
    }
}

/// A heap of four children a node that knows where each key is.
struct Heap {
    heap: Vec<(u64, u32)>,
    places: Vec<u32>,
}

impl Heap {
    fn place(&mut self, place: usize, entry: (u64, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && entry.0 < self.heap[(place - 1) / 4].0 {
            let parent = (place - 1) / 4;
            self.place(place, self.heap[parent]);
            place = parent;
        }
        self.place(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * 4 + 1;
            let children = first..self.heap.len().min(first + 4);
            let Some(least) = children.min_by_key(|&child| self.heap[child].0) else {
                break;
            };
            if entry.0 <= self.heap[least].0 {
                break;
            }
            self.place(place, self.heap[least]);
            place = least;
        }
        self.place(place, entry);
    }

    fn remove(&mut self, place: usize) {
        let last = self.heap.pop().expect("not empty");
        if place < self.heap.len() {
            let removed = self.heap[place];
            self.heap[place] = last;
            if last < removed {
                self.rise(place)
            } else {
                self.sink(place)
            }
        }
    }
}

impl Timers for Heap {
    fn new(keys: usize) -> Self {
        Self {
            heap: Vec::with_capacity(keys),
            places: vec![0; keys],
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.heap.push((deadline.as_micros(), key as u32));
        self.rise(self.heap.len() - 1);
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let place = self.places[key] as usize;
        let old = self.heap[place].0;
        self.heap[place].0 = deadline.as_micros();
        if deadline.as_micros() < old {
            self.rise(place)
        } else {
            self.sink(place)
        }
    }

    fn cancel(&mut self, key: usize) {
        self.remove(self.places[key] as usize);
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        while let Some(&(at, key)) = self.heap.first().filter(|entry| entry.0 <= now.as_micros()) {
            debug_assert!(at <= now.as_micros());
            self.remove(0);
            expired.push(key as usize);
        }
    }
}

/// The queue of tokio-util with a table from our keys to its own.
struct Queue {
    runtime: Runtime,
    queue: DelayQueue<usize>,
    handles: Vec<Option<delay_queue::Key>>,
    start: tokio::time::Instant,
    now: Micros,
}

impl Queue {
    fn instant(&self, deadline: Micros) -> tokio::time::Instant {
        self.start + Duration::from(deadline)
    }
}

impl Timers for Queue {
    fn new(keys: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let (queue, start) = runtime
            .block_on(async { (DelayQueue::with_capacity(keys), tokio::time::Instant::now()) });
        Self {
            runtime,
            queue,
            handles: vec![None; keys],
            start,
            now: Micros::ZERO,
        }
    }

    fn schedule(&mut self, key: usize, deadline: Micros) {
        let deadline = self.instant(deadline);
        let _guard = self.runtime.enter();
        self.handles[key] = Some(self.queue.insert_at(key, deadline));
    }

    fn refresh(&mut self, key: usize, deadline: Micros) {
        let deadline = self.instant(deadline);
        let _guard = self.runtime.enter();
        self.queue
            .reset_at(&self.handles[key].expect("armed"), deadline);
    }

    fn cancel(&mut self, key: usize) {
        let _guard = self.runtime.enter();
        self.queue.remove(&self.handles[key].take().expect("armed"));
    }

    fn advance(&mut self, now: Micros, expired: &mut Vec<usize>) {
        let span = Duration::from(now - self.now);
        self.now = now;
        self.runtime.block_on(async {
            tokio::time::advance(span).await;
            poll_fn(|cx| {
                while let Poll::Ready(Some(entry)) = self.queue.poll_expired(cx) {
                    expired.push(entry.into_inner());
                }
                Poll::Ready(())
            })
            .await;
        });
    }
}

criterion_group!(wheel, benches);

fn main() {
    wheel();
    if !is_test() {
        report_fire_ratio();
    }
    Criterion::default().configure_from_args().final_summary();
}
