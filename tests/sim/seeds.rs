//! Worlds by the number.
//!
//! ```sh
//! SIM_SEEDS=100000 cargo test --release --test sim seeds -- --nocapture
//! ```
//!
//! `SIM_FROM` is the first seed, `SIM_JOBS` the number of threads, and `SIM_ALL=1` goes on after a
//! failure. A seed that fails prints the command that replays it, with a line for everything that
//! happened (`SIM_TRACE=1`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use heartwheel::close::Cause;
use heartwheel::proto::time::Micros;

use crate::script::Script;
use crate::world::{Hardship, Hardships};

/// What worlds have come to.
#[derive(Clone, Debug, Default)]
struct Sum {
    worlds: u64,
    held: Micros,
    verdicts: u64,
    pings: u64,
    ends: BTreeMap<Cause, u64>,
    hardships: Hardships,
    waits: Vec<u64>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.held = self.held + other.held;
        self.verdicts += other.verdicts;
        self.pings += other.pings;
        for (cause, count) in other.ends {
            *self.ends.entry(cause).or_default() += count;
        }
        self.hardships.add(other.hardships);
        self.waits.extend(other.waits);
    }

    /// Demands that clients wait anywhere between the shortest and the longest that they may.
    fn check_waits(&self) {
        let count = self.waits.len() as u64;
        let mean = self.waits.iter().sum::<u64>() / count.max(1);
        eprintln!("{count} waits to dial again, {mean} thousandths of the longest in the mean");
        let is_even = (475..=525).contains(&mean);
        assert!(is_even, "clients do not wait evenly: {mean} thousandths");
    }

    fn tell(&self, begun: Instant) {
        eprintln!(
            "{} worlds, {:.0} connection-hours, {} ends, {} verdicts, {} pings, {:.1} s",
            self.worlds,
            self.held.as_secs_f64() / 3_600.0,
            self.ends.values().sum::<u64>(),
            self.verdicts,
            self.pings,
            begun.elapsed().as_secs_f64(),
        );
    }

    fn tell_what_happened(&self) {
        let causes = self.ends.iter();
        let told: Vec<_> = causes
            .map(|(cause, count)| format!("{cause} {count}"))
            .collect();
        eprintln!("ends: {}", told.join(", "));
        let met = Hardship::EXPECTED.map(|one| format!("{one:?} {}", self.hardships.count(one)));
        eprintln!("hardships: {}", met.join(", "));
    }
}

/// Plays one world; a failure is told with what happened before it.
fn play(script: &Script, is_traced: bool) -> Result<Sum, Vec<String>> {
    let mut sim = script.begin(is_traced);
    let played = catch_unwind(AssertUnwindSafe(|| script.play(&mut sim)));
    let mut world = sim.world_mut();
    if played.is_err() {
        return Err(std::mem::take(&mut world.lines));
    }
    let mut ends = BTreeMap::new();
    for record in &world.book.records {
        *ends.entry(record.evidence.cause).or_default() += 1;
    }
    Ok(Sum {
        worlds: 1,
        held: world.book.held,
        verdicts: world.book.verdicts,
        pings: world.book.pings,
        ends,
        hardships: std::mem::take(&mut world.hardships),
        waits: std::mem::take(&mut world.book.waits),
    })
}

/// What the environment asks for.
pub(crate) struct Order {
    from: u64,
    pub(crate) count: u64,
    jobs: u64,
    pub(crate) is_traced: bool,
    goes_on: bool,
}

impl Order {
    /// `count`: the worlds that are played if it says nothing of that.
    pub(crate) fn of_environment(count: u64) -> Self {
        Self {
            from: number("SIM_FROM", 0),
            count: number("SIM_SEEDS", count),
            jobs: number("SIM_JOBS", 2),
            is_traced: number("SIM_TRACE", 0) > 0,
            goes_on: number("SIM_ALL", 0) > 0,
        }
    }

    /// Plays all worlds, hands over what each came to, and returns the seeds that failed. A world that fails
    /// says what happened before.
    pub(crate) fn carry_out<T>(
        &self,
        play: impl Fn(u64) -> Result<T, Vec<String>> + Sync,
        take: impl FnMut(T) + Send,
    ) -> Vec<u64> {
        let next = AtomicU64::new(self.from);
        let (take, failed) = (Mutex::new(take), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let is_over = !self.goes_on && !failed.lock().unwrap().is_empty();
                if seed >= self.from + self.count || is_over {
                    return;
                }
                match play(seed) {
                    Ok(world) => (*take.lock().unwrap())(world),
                    Err(lines) => {
                        lines.iter().for_each(|line| eprintln!("{line}"));
                        eprintln!("seed {seed} failed");
                        failed.lock().unwrap().push(seed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(work);
            }
        });
        failed.into_inner().unwrap()
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

#[test]
fn seeds_of_worlds_in_which_every_verdict_is_true() {
    let order = Order::of_environment(SEEDS);
    let (begun, mut sum) = (Instant::now(), Sum::default());
    let failed = order.carry_out(
        |seed| play(&Script::of_seed(seed), order.is_traced),
        |world| {
            sum.add(world);
            if sum.worlds.is_multiple_of(TOLD) {
                sum.tell(begun);
            }
        },
    );
    sum.tell(begun);
    sum.tell_what_happened();
    for seed in &failed {
        eprintln!(
            "seed {seed} failed; replay it with\n  \
             SIM_FROM={seed} SIM_SEEDS=1 SIM_TRACE=1 cargo test --test sim seeds -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "{} worlds failed", failed.len());
    if order.count >= SEEDS {
        for cause in EXPECTED {
            assert!(sum.ends.contains_key(&cause), "no world ends as {cause}");
        }
        sum.check_waits();
        for hardship in Hardship::EXPECTED {
            assert!(
                sum.hardships.count(hardship) > 0,
                "no world has {hardship:?}"
            );
        }
    }
}

/// Worlds that every run of the tests plays.
const SEEDS: u64 = 200;

/// Worlds between two lines of progress.
const TOLD: u64 = 1_000;

/// Causes that so many worlds must bring about: all but those for peers that break the rules.
const EXPECTED: [Cause; 21] = [
    Cause::MemoryLimit,
    Cause::Silent,
    Cause::PongTimeout,
    Cause::PathDead,
    Cause::PeerUnresponsive,
    Cause::WriteStalled,
    Cause::SlowPeer,
    Cause::AppIdle,
    Cause::HandshakeTimeout,
    Cause::ConnectTimeout,
    Cause::CloseTimeout,
    Cause::PeerClosed,
    Cause::PeerEof,
    Cause::PeerReset,
    Cause::SendQueueFull,
    Cause::Refused,
    Cause::LocalClose,
    Cause::MaxLifetime,
    Cause::Drain,
    Cause::Replaced,
    Cause::IoError,
];
