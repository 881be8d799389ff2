//! Worlds over TLS: the library's own loop and its layer on the simulated network, and peers that are rustls
//! as its own users drive it. A seed decides what becomes of each peer, and from that it is known how its end
//! must be told.
//!
//! ```sh
//! SIM_SEEDS=10000 cargo test --release --test sim tls -- --nocapture
//! ```
//!
//! The environment is that of the other worlds.

mod book;
mod ours;
mod peer;
mod script;
mod seeded;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use heartwheel::close::Cause;
use heartwheel::proto::time::Micros;

use crate::seeds::Order;
use crate::world::HostId;
use script::{Plan, Script};

/// The host of our process.
const OURS: HostId = 0;

const TICK: Micros = Micros::from_millis(10);

/// Worlds that every run of the tests plays.
const SEEDS: u64 = 60;

/// What so many worlds must bring about.
const EXPECTED: [Cause; 10] = [
    Cause::Drain,
    Cause::HandshakeTimeout,
    Cause::PathDead,
    Cause::PeerEof,
    Cause::PeerReset,
    Cause::PeerUnresponsive,
    Cause::PongTimeout,
    Cause::TlsError,
    Cause::TlsHandshake,
    Cause::WriteStalled,
];

/// Plays one world, and returns the causes of its ends; a failure is told with what happened before it.
fn play(seed: u64, is_traced: bool) -> Result<Vec<Cause>, Vec<String>> {
    let script = Script::of_seed(seed);
    let (mut sim, book) = script.begin(is_traced);
    let played = catch_unwind(AssertUnwindSafe(|| script.play(&mut sim, &book)));
    played.map_err(|_| std::mem::take(&mut sim.world_mut().lines))
}

#[test]
fn every_end_is_told_as_what_it_was() {
    let order = Order::of_environment(SEEDS);
    let mut causes = BTreeSet::new();
    let failed = order.carry_out(
        |seed| play(seed, order.is_traced),
        |ends| causes.extend(ends),
    );
    for seed in &failed {
        eprintln!(
            "seed {seed} failed; replay it with\n  \
             SIM_FROM={seed} SIM_SEEDS=1 SIM_TRACE=1 cargo test --test sim tls -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "{} worlds failed", failed.len());
    if order.count >= SEEDS {
        for cause in EXPECTED {
            assert!(causes.contains(&cause), "no world ends as {cause}");
        }
    }
}

/// Each hello costs 3 ms, and a hundred come at once: pings that fall into these 300 ms are late by a tick, the
/// time that a turn has for handshakes, and the one that was begun within it.
#[test]
fn a_crowd_of_handshakes_delays_pings_by_no_more_than_its_budget() {
    const FEW: u64 = 20;
    const CROWD: u64 = 100;
    let (cost, budget) = (Micros::from_millis(3), Micros::from_millis(2));
    let (interval, arrival) = (Micros::from_secs(1), Micros::from_secs(5));
    let few = (0..FEW).map(|number| Plan::calm(Micros::from_millis(10 * number)));
    let crowd = (0..CROWD).map(|_| Plan::calm(arrival));
    let mut script = Script::calm(interval, vec![few.collect(), crowd.collect()]);
    script.cost = cost;
    let (mut sim, book) = script.begin(false);
    let over = arrival + cost.saturating_mul(CROWD) + Micros::from_millis(50);
    sim.run_to(over);
    let mut opened = 0;
    book.each(|record| opened += u64::from(record.opened.is_some()));
    assert_eq!(opened, FEW + CROWD, "all are in when that time is over");
    sim.run_to(over + interval);
    let most = TICK + budget + cost;
    book.each(|record| {
        for pair in record.pings.windows(2) {
            let gap = pair[1] - pair[0];
            let is_even = gap + most >= interval && gap <= interval + most;
            assert!(is_even, "{gap:?} between two pings: {record:?}");
        }
    });
}
