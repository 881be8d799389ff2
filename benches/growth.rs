//! Growing from nothing to a million connections: no turn that copies what is there.
//!
//! Descriptors are too few for a million sockets, so the slab holds what the reactor's slab holds beside
//! the descriptor: a session and 16 bytes. A turn takes in as many connections as the reactor accepts in
//! one, and arms the timer of each. `reserved` is what the reactor does; `doubling` is the same on a slab
//! and a wheel that were not told how many will come. `cargo bench --bench growth` also prints the longest
//! turn and the peak of memory of both, each in a process of its own.

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig, WireKind};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Entropy, Env, PolicyId, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wheel::Wheel;
use rustix::time::{ClockId, clock_gettime};
use slab::Slab;

const CONNECTIONS: usize = 1_000_000;

const TICK: Duration = Duration::from_millis(10);

/// What a slot holds. The socket's number stands for the socket.
struct Conn {
    session: Session,
    _rest: [u32; 4],
}

/// A slab and a wheel that grow in step.
struct Table {
    env: Env,
    policy: PolicyId,
    conns: Slab<Conn>,
    wheel: Wheel,
    phase: PingPhase,
}

impl Table {
    fn new(plan: Plan) -> Self {
        let mut env = Env::new(Box::new(Zero));
        let (heartbeat, limits) = (HeartbeatConfig::websocket(), LimitsConfig::default());
        let policy = Policy::new(&heartbeat, &limits, WireKind::WebSocket, TICK);
        let policy = env
            .intern(policy.expect("the defaults"))
            .expect("the first");
        let mut table = Self {
            env,
            policy,
            conns: Slab::new(),
            wheel: Wheel::new(TICK.into(), Micros::ZERO),
            phase: PingPhase::ZERO,
        };
        if plan == Plan::Reserved {
            table.conns = Slab::with_capacity(CONNECTIONS);
            table.wheel.reserve(CONNECTIONS);
        }
        table
    }

    /// Takes one connection in, opens it and arms its timer.
    fn insert(&mut self, now: Moment) {
        self.phase = self.phase.next();
        let (policy, wire) = (self.policy, Wire::WebSocket);
        let mut session = Session::accepted(&mut self.env, policy, wire, self.phase, now);
        session.handle_handshake(&mut self.env, now, b"");
        let deadline = session.poll_deadline(&self.env, now);
        let key = self.conns.insert(Conn {
            session,
            _rest: [0; 4],
        });
        self.wheel.schedule(key, deadline);
    }

    /// Grows to the end, a turn after the other; returns the CPU time of the longest of them.
    fn grow(&mut self) -> Duration {
        let each = ReactorConfig::default().accept_budget;
        let mut longest = Duration::ZERO;
        let mut now = Micros::ZERO;
        while self.conns.len() < CONNECTIONS {
            let began = cpu_time();
            let more = each.min(CONNECTIONS - self.conns.len());
            (0..more).for_each(|_| self.insert(Moment::on_time(now)));
            longest = longest.max(cpu_time() - began);
            now = now + Micros::from_millis(1);
        }
        longest
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Reserved,
    Doubling,
}

impl Plan {
    const ALL: [Self; 2] = [Self::Reserved, Self::Doubling];

    const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Doubling => "doubling",
        }
    }
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("growth/to_a_million");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(CONNECTIONS as u64));
    for plan in Plan::ALL {
        group.bench_function(plan.name(), |bencher| {
            bencher.iter_with_large_drop(|| {
                let mut table = Table::new(plan);
                black_box(table.grow());
                table
            });
        });
    }
    group.finish();
}

/// Grows once and prints how it went, in a process of its own: a peak is never forgotten.
fn report(plan: Plan) {
    let before = status("VmRSS:");
    let mut table = Table::new(plan);
    let longest = table.grow();
    let (after, peak) = (status("VmRSS:"), status("VmHWM:"));
    let each = (after - before) as f64 / CONNECTIONS as f64;
    let overshoot = (peak - before) as f64 / (after - before) as f64;
    println!(
        "{:<10} longest turn {:>8.3} ms of {} connections, {each:.1} bytes a connection at the end, \
         peak {overshoot:.2} of that",
        plan.name(),
        longest.as_secs_f64() * 1e3,
        ReactorConfig::default().accept_budget,
    );
    black_box(&table.conns[CONNECTIONS - 1].session);
}

/// Returns the CPU time of this thread, the kernel's part of it too: on a machine that does other things,
/// what a turn takes on the wall is mostly theirs.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time goes on")
}

/// Returns a figure of this process in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let figure = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = figure.and_then(|rest| rest.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .expect("a figure in kB")
        * 1_024
}

/// Servers need no random numbers but for the key of their tokens.
#[derive(Debug)]
struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

criterion_group! {
    name = growth;
    config = Criterion::default();
    targets = benches
}

const ONE: &str = "HEARTWHEEL_GROWTH";

fn main() {
    if let Ok(name) = env::var(ONE) {
        let plan = Plan::ALL.into_iter().find(|plan| plan.name() == name);
        return report(plan.expect("the name of a plan"));
    }
    if env::args().any(|arg| arg == "--bench") {
        let program = env::current_exe().expect("a path");
        for plan in Plan::ALL {
            let status = Command::new(&program)
                .env(ONE, plan.name())
                .stdin(Stdio::null())
                .status();
            assert!(status.expect("it starts").success());
        }
    }
    growth();
    Criterion::default().configure_from_args().final_summary();
}
