//! Very many armed keys, and what is measured on them.

use std::ops::Range;
use std::time::{Duration, Instant};

use allocation_counter::{measure, opt_out};
use heartwheel::proto::time::Micros;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;

use super::candidates::{TICK, Timers};

/// The interval at which each key fires in the steady state.
pub(crate) const PERIOD: Micros = Micros::from_secs(30);

#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Schedule,
    Cancel,
    /// To a deadline one period later: what traffic does to an idle timeout.
    RefreshLater,
    RefreshEarlier,
    /// A key in the steady state: it expires and is armed again a period later.
    Fire,
    /// The slowest tick of a period in the steady state.
    WorstTick,
}

impl Operation {
    pub(crate) const ALL: [Self; 6] = [
        Self::Schedule,
        Self::Cancel,
        Self::RefreshLater,
        Self::RefreshEarlier,
        Self::Fire,
        Self::WorstTick,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Cancel => "cancel",
            Self::RefreshLater => "refresh_later",
            Self::RefreshEarlier => "refresh_earlier",
            Self::Fire => "fire",
            Self::WorstTick => "worst_tick",
        }
    }
}

/// A load of any candidate.
pub(crate) trait Subject {
    /// Does something `iters` times and returns the time that took.
    fn run(&mut self, operation: Operation, iters: u64) -> Duration;

    /// Bytes of the timers when all keys had been armed, allocations and what they hang on.
    fn bytes(&self) -> usize;
}

/// A candidate with all its keys armed, at random within a period.
pub(crate) struct Load<T> {
    timers: T,
    bytes: usize,
    /// The keys in random order, and which of them is next.
    order: Vec<usize>,
    next: usize,
    deadlines: Vec<Micros>,
    now: Micros,
    expired: Vec<usize>,
}

impl<T: Timers> Subject for Load<T> {
    fn run(&mut self, operation: Operation, iters: u64) -> Duration {
        let runtime = self.timers.runtime();
        let _context = runtime.as_ref().map(Handle::enter);
        let mut took = Duration::ZERO;
        // Counting would burden most whoever allocates most.
        opt_out(|| took = self.time(operation, iters));
        took
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<T: Timers> Load<T> {
    pub(crate) fn armed(keys: usize) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut order = Vec::from_iter(0..keys);
        for last in (1..keys).rev() {
            order.swap(last, random.random_range(0..=last));
        }
        let deadline = |_| Micros::new(random.random_range(1..=PERIOD.as_micros()));
        let deadlines = Vec::from_iter((0..keys).map(deadline));
        let mut timers = None;
        let memory = measure(|| {
            let timers = timers.insert(T::new(keys));
            let runtime = timers.runtime();
            let _context = runtime.as_ref().map(Handle::enter);
            for &key in &order {
                timers.schedule(key, deadlines[key]);
            }
        });
        let allocated = usize::try_from(memory.bytes_current).expect("more taken than given back");
        Self {
            timers: timers.expect("made above"),
            bytes: size_of::<T>() + allocated,
            order,
            next: 0,
            deadlines,
            now: Micros::ZERO,
            expired: Vec::with_capacity(keys),
        }
    }

    /// The deadlines are those of the first period: fires and ticks come after all else.
    fn time(&mut self, operation: Operation, iters: u64) -> Duration {
        match operation {
            Operation::Schedule => self.batches(iters, |load, keys| {
                load.disarm(keys.clone());
                timed(|| load.arm(keys))
            }),
            Operation::Cancel => self.batches(iters, |load, keys| {
                let took = timed(|| load.disarm(keys.clone()));
                load.arm(keys);
                took
            }),
            Operation::RefreshLater => self.batches(iters, |load, keys| {
                let took = timed(|| load.refresh(keys.clone(), |at| at + PERIOD));
                load.refresh(keys, |at| at);
                took
            }),
            Operation::RefreshEarlier => self.batches(iters, |load, keys| {
                load.refresh(keys.clone(), |at| at + PERIOD);
                timed(|| load.refresh(keys, |at| at))
            }),
            Operation::Fire => self.fire(iters),
            Operation::WorstTick => (0..iters).map(|_| self.worst_tick()).sum(),
        }
    }

    /// Calls `run` for batches of a tenth of the keys until they add up, and sums what it returns.
    fn batches(
        &mut self,
        iters: u64,
        run: impl Fn(&mut Self, Range<usize>) -> Duration,
    ) -> Duration {
        assert_eq!(self.now, Micros::ZERO, "the deadlines have passed");
        let keys = self.order.len();
        let mut left = usize::try_from(iters).expect("64 bits");
        let mut total = Duration::ZERO;
        while left > 0 {
            let first = self.next;
            let end = keys.min(first + left.min(keys / 10));
            total += run(self, first..end);
            left -= end - first;
            self.next = end % keys;
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

    fn fire(&mut self, iters: u64) -> Duration {
        let mut fired = 0;
        let took = timed(|| {
            while fired < iters {
                fired += self.step() as u64;
            }
        });
        took.mul_f64(iters as f64 / fired as f64)
    }

    fn worst_tick(&mut self) -> Duration {
        let ticks = 0..PERIOD.as_micros() / TICK.as_micros();
        let timed = ticks.map(|_| timed(|| _ = self.step()));
        timed.max().unwrap_or_default()
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
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
