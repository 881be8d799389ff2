//! The loop on virtual time, with peers in memory: what heartbeats cost when the kernel costs nothing.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use serde_json::{Value, json};

use super::plan::Plan;
use super::report::{figures, quantiles};
use super::world::{INTERVAL, World};

/// Benches a simulated minute, and checks that none of its heartbeats was lost.
pub(crate) fn bench(plan: &Plan) -> Value {
    println!(
        "\nvirtual: {} connections pinged every {INTERVAL:?}",
        plan.sessions
    );
    let before = resident();
    let mut world = World::new(plan.sessions);
    let bytes = (resident() - before) / plan.sessions as f64;
    world.run_a_minute();
    world.check(1);
    let mut minutes = 1;
    if !plan.is_test {
        let mut criterion = Criterion::default();
        let mut group = criterion.benchmark_group("idle/virtual");
        group
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat)
            .throughput(Throughput::Elements(2 * plan.sessions as u64))
            .measurement_time(Duration::from_secs(5));
        group.bench_function("a minute", |bencher| {
            bencher.iter(|| {
                world.run_a_minute();
                minutes += 1;
            });
        });
        group.finish();
        world.check(minutes);
    }
    let cpu = super::control::Look::now().cpu();
    world.run_a_minute();
    world.check(minutes + 1);
    let cpu = super::control::Look::now().cpu() - cpu;
    let nanos = cpu.as_nanos() as f64 / (2 * plan.sessions) as f64;
    let lateness = &world.stats().ping_lateness;
    println!(
        "  {nanos:.0} ns CPU a round trip, {bytes:.0} bytes a connection with its peer, no system calls; pings \
         late by {} ms at p50, p99, p99.9 and most: the wheel's rounding",
        quantiles(lateness)
    );
    json!({
        "sessions": plan.sessions,
        "interval_s": INTERVAL.as_secs(),
        "cpu_ns_per_round_trip": nanos,
        "bytes_per_session": bytes,
        "ping_lateness_us": figures(lateness),
    })
}

/// Bytes of this process that are resident.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64
}
