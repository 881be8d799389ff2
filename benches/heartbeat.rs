//! The boring path of time: a byte that comes, a visit with nothing due, a whole beat; of the heartbeat
//! machine alone, and of the whole loop; and a heartbeat that is set, beside few and many others.
#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented items"
)]
#![allow(clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/support/memory/mod.rs"]
mod memory;
#[path = "idle/world.rs"]
mod world;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, WireKind};
use heartwheel::proto::heartbeat::{Heartbeat, PingPhase, PongMatch, Verdict};
use heartwheel::proto::lateness::Lateness;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::policy::{Policy, Timing};
use heartwheel::proto::session::{Entropy, Env, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};

use world::World;

fn timing() -> Timing {
    let config = HeartbeatConfig {
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::websocket()
    };
    Timing::new(&config, Duration::from_millis(10)).unwrap()
}

fn heartbeat(c: &mut Criterion) {
    let timing = timing();
    let start = Moment::on_time(Micros::ZERO);
    let lateness = Lateness::new(Micros::from_millis(10));
    let mut group = c.benchmark_group("heartbeat");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bytes", |b| {
        let mut heartbeat = Heartbeat::new(&timing, PingPhase::ZERO, start);
        b.iter(|| heartbeat.handle_bytes(&timing, black_box(start)));
    });
    group.bench_function("nothing_due", |b| {
        let mut heartbeat = Heartbeat::new(&timing, PingPhase::ZERO, start);
        b.iter(|| heartbeat.handle_timeout(&timing, black_box(start), &lateness));
    });
    group.bench_function("beat", |b| {
        let mut heartbeat = Heartbeat::new(&timing, PingPhase::ZERO, start);
        let mut now = start;
        b.iter(|| {
            now.at = now.at + Micros::from_secs(30);
            beat(&mut heartbeat, &timing, now, &lateness)
        });
    });
    group.finish();
}

/// A ping, its answer, and the next deadline.
fn beat(heartbeat: &mut Heartbeat, timing: &Timing, now: Moment, lateness: &Lateness) -> Verdict {
    let ping = heartbeat.handle_timeout(timing, now, lateness);
    assert_eq!(ping, Verdict::Ping);
    let number = heartbeat.next_number();
    heartbeat.handle_ping_written(timing, now, lateness);
    heartbeat.handle_written(now, 6);
    heartbeat.handle_bytes(timing, now);
    let found = heartbeat.handle_pong(timing, now, Some(number));
    assert!(matches!(found, PongMatch::Answer { .. }));
    heartbeat.handle_timeout(timing, now, lateness)
}

/// Two beats a minute for each connection, and a message for all of them: few of them lie in the cache, many
/// do not.
fn event_loop(c: &mut Criterion) {
    let mut group = c.benchmark_group("event_loop");
    for connections in [100, 100_000] {
        group.throughput(Throughput::Elements(2 * connections as u64));
        group.bench_function(BenchmarkId::new("beats", connections), |b| {
            let mut world = World::new(connections);
            let mut minutes = 0;
            b.iter(|| {
                world.run_a_minute();
                minutes += 1;
            });
            world.check(minutes);
        });
    }
    for connections in [100, 100_000] {
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::new("broadcast", connections), |b| {
            let mut world = World::new(connections);
            let news = SharedMessage::new(Message::text("news for everybody"));
            b.iter(|| world.broadcast(&news));
        });
    }
    group.finish();
}

/// Heartbeats of one connection, each another than the last, beside so many that are in use.
fn policy(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    for known in [1, 65_000] {
        group.bench_function(BenchmarkId::new("set", known), |b| {
            let mut env = Env::new(Box::new(Zero));
            let first = env.intern(numbered(0)).unwrap();
            for number in 1..known {
                env.intern(numbered(number)).unwrap();
            }
            let now = Moment::on_time(Micros::ZERO);
            let mut session = Session::accepted(&mut env, first, Wire::Line, PingPhase::ZERO, now);
            let mut own = [known, known + 1].map(numbered).into_iter().cycle();
            b.iter(|| {
                session
                    .set_policy(&mut env, now, own.next().unwrap())
                    .unwrap()
            });
            session.discard(&mut env);
            assert_eq!(env.policy_count() as u64, known);
        });
    }
    group.finish();
}

/// One of many policies that differ.
fn numbered(number: u64) -> Policy {
    let config = HeartbeatConfig {
        app_idle: Some(Duration::from_millis(1 + number)),
        ..HeartbeatConfig::tcp()
    };
    let (limits, tick) = (LimitsConfig::default(), Duration::from_millis(10));
    Policy::new(&config, &limits, WireKind::Line, tick).unwrap()
}

#[derive(Debug)]
struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = heartbeat, event_loop, policy
}
criterion_main!(benches);
