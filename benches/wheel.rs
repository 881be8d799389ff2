//! The wheel beside what one would use instead, at a million keys.
//!
//! | candidate | what it is |
//! |---|---|
//! | `wheel` | ours |
//! | `list` | the textbook wheel with one list a slot and eager moves |
//! | `lazy_list` | the same, which moves a key set to a later time when its old slot comes up |
//! | `heap` | an indexed heap of four children a node |
//! | `btree` | the standard library's sorted set of deadlines and keys |
//! | `delay_queue` | that of tokio-util, on a paused clock |
//! | `tokio_sleep` | a boxed `tokio::time::Sleep` for each key, on a paused clock |
//! | `hierarchical_hash_wheel_timer` | the crate of that name, with ids for cancelling |
//!
//! All have the same keys, deadlines and order of operations. Criterion's figures come first; then
//! `cargo bench --bench wheel` measures all again in turns and prints one table, with the bytes of a
//! timer: memory that was asked for and not given back when all keys are armed, together with what a
//! candidate needs to find a timer by its key. `cargo bench --bench wheel -- none` prints only that.
//! `--test` checks with few keys that all keep their time, and the wheel's memory with many.

#![allow(missing_docs, reason = "a bench")]

#[path = "wheel/candidates/mod.rs"]
mod candidates;
#[path = "wheel/check.rs"]
mod check;
#[path = "wheel/load.rs"]
mod load;
#[path = "wheel/table.rs"]
mod table;

use std::env;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use heartwheel::proto::time::Micros;
use heartwheel::proto::wheel::Wheel;

use candidates::{CANDIDATES, TICK};
use load::{Operation, PERIOD};

fn benches(criterion: &mut Criterion) {
    for operation in Operation::ALL {
        on_all(criterion, operation);
    }
    quiet(criterion);
}

/// Benches one operation on all candidates.
fn on_all(criterion: &mut Criterion, operation: Operation) {
    let mut group = criterion.benchmark_group(format!("wheel/{}", operation.name()));
    tune(&mut group);
    for candidate in CANDIDATES {
        // Made once and outside the timing: criterion takes a slow setup for slow iterations.
        let mut subject = None;
        group.bench_function(candidate.name, |bencher| {
            let subject = subject.get_or_insert_with(|| (candidate.armed)(keys()));
            bencher.iter_custom(|iters| subject.run(operation, iters));
        });
    }
    group.finish();
}

fn tune(group: &mut BenchmarkGroup<'_, WallTime>) {
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
}

/// A million, or few where only correctness is asked for.
fn keys() -> usize {
    if is_test() { 10_000 } else { 1_000_000 }
}

fn is_test() -> bool {
    env::args().any(|arg| arg == "--test")
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

criterion_group!(wheel, benches);

fn main() {
    wheel();
    if is_test() {
        check::all();
        table::print(keys(), 1, Duration::ZERO);
    } else {
        table::print(keys(), 6, Duration::from_millis(100));
    }
    Criterion::default().configure_from_args().final_summary();
}
