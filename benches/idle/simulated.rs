//! Sessions and the wheel on virtual time, without sockets: what heartbeats cost when the kernel costs
//! nothing.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::heartbeat::Phase;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Due, Entropy, Env, Event, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wheel::Wheel;
use serde_json::{Value, json};

use super::plan::Plan;
use super::report::{figures, quantiles};

/// Benches a simulated minute, and checks that none of its heartbeats was lost.
pub(crate) fn bench(plan: &Plan) -> Value {
    println!(
        "\nvirtual: {} sessions pinged every {INTERVAL:?}",
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
    let lateness = &world.env.stats().ping_lateness;
    println!(
        "  {nanos:.0} ns CPU a round trip, {bytes:.0} bytes a session and its node, no system calls; pings \
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

struct World {
    env: Env,
    sessions: Vec<Session>,
    wheel: Wheel,
    now: Moment,
    expired: Vec<usize>,
}

impl World {
    fn new(count: usize) -> Self {
        let mut env = Env::new(Box::new(Seven));
        let heartbeat = HeartbeatConfig {
            interval: Some(INTERVAL),
            ping_slack: Some(Duration::ZERO),
            ..HeartbeatConfig::websocket()
        };
        let wire = Wire::WebSocket.kind();
        let policy = Policy::new(&heartbeat, &LimitsConfig::default(), wire, TICK.into()).unwrap();
        let policy = env.intern(policy).unwrap();
        let mut world = Self {
            env,
            sessions: Vec::with_capacity(count),
            wheel: Wheel::new(TICK, Micros::ZERO),
            now: Moment::on_time(Micros::ZERO),
            expired: Vec::new(),
        };
        world.wheel.reserve(count);
        let mut phase = Phase::ZERO;
        for key in 0..count {
            let (env, now) = (&mut world.env, world.now);
            let mut session = Session::accepted(env, policy, Wire::WebSocket, phase, now);
            session.handle_handshake(env, now, b"");
            world.wheel.schedule(key, session.poll_deadline(env, now));
            world.sessions.push(session);
            phase = phase.next();
        }
        world
    }

    /// Lets a minute pass, tick by tick, as far as there is something to do.
    fn run_a_minute(&mut self) {
        let end = self.now.at + Micros::from_secs(60);
        while let Some(next) = self.wheel.next_deadline().filter(|next| *next <= end) {
            self.now.at = self.now.at.max(next);
            let mut expired = std::mem::take(&mut self.expired);
            while self.wheel.advance(self.now.at, 4_096, &mut expired) {}
            for key in expired.drain(..) {
                self.beat(key);
            }
            self.expired = expired;
        }
        self.now.at = end;
    }

    /// Sends the ping that is due, and brings its answer back.
    fn beat(&mut self, key: usize) {
        let (env, now) = (&mut self.env, self.now);
        let session = &mut self.sessions[key];
        if session.handle_timeout(env, now) == Due::Changed {
            let mut slices = [IoSlice::new(&[]); 4];
            session.slices(&mut slices);
            // The mask of the answer is zero: its payload is the ping's.
            let mut pong = [0x8A, 0x84, 0, 0, 0, 0, 0, 0, 0, 0];
            let token = slices[0].last_chunk::<4>().expect("a ping has a token");
            pong[6..].copy_from_slice(token);
            session.handle_written(env, now, black_box(slices[0].len()));
            session.release(env);
            answer(session, env, now, &pong);
        }
        let Due::Wait(deadline) = session.handle_timeout(env, now) else {
            panic!("session {key} has more than a ping to do");
        };
        self.wheel.schedule(key, deadline);
    }

    /// Every session has had two pings and two answers a minute.
    fn check(&self, minutes: u64) {
        let stats = self.env.stats();
        let expected = 2 * minutes * self.sessions.len() as u64;
        assert_eq!(stats.pings_written, expected);
        assert_eq!(stats.pongs_matched, expected);
        assert!(self.sessions.iter().all(Session::is_released));
    }
}

/// Reads as a shell does.
fn answer(session: &mut Session, env: &mut Env, now: Moment, bytes: &[u8]) {
    let mut input = session.take_input(env);
    input.extend(bytes, env.pool_mut());
    session.handle_bytes(env, now, bytes.len());
    let (consumed, event) = session.decode(env, now, input.contiguous_mut());
    assert!(matches!(event, Event::Pong { .. }), "{event:?}");
    input.consume(consumed);
    session.put_input(env, input);
    session.release(env);
}

/// Bytes of this process that are resident.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64
}

/// A server needs no randomness but for its tokens.
#[derive(Debug)]
struct Seven;

impl Entropy for Seven {
    fn next_u64(&mut self) -> u64 {
        7
    }
}

const INTERVAL: Duration = Duration::from_secs(30);
const TICK: Micros = Micros::from_millis(10);
