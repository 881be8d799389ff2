//! What send queues take in memory, counted: little more than their limit, whatever fills them.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/dice.rs"]
mod dice;

use std::io::IoSlice;
use std::time::Duration;

use allocation_counter::measure;
use dice::Dice;
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::error::SendError;
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Env, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};

const LIMIT: usize = 512 * 1024;

/// What a queue may take beside what it counts and a quarter of that: buffers of the smallest classes, and
/// what few entries take.
const BESIDE: usize = 64 * 1024;

const NOW: Moment = Moment::on_time(Micros::from_secs(5));

fn surroundings(count: usize) -> (Env, Vec<Session>) {
    let limits = LimitsConfig {
        send_queue: Some(LIMIT),
        ..LimitsConfig::default()
    };
    let tick = Duration::from_millis(10);
    let wire = Wire::Binary;
    let policy = Policy::new(&HeartbeatConfig::tcp(), &limits, wire.kind(), tick).unwrap();
    let mut env = Env::new(Box::new(Dice::new(7)));
    let policy = env.intern(policy).unwrap();
    let session = |_| Session::accepted(&mut env, policy, Wire::Binary, PingPhase::ZERO, NOW);
    let sessions = (0..count).map(session).collect();
    (env, sessions)
}

/// Returns how many bytes `work` leaves allocated beyond what was before.
fn held(work: impl FnOnce()) -> usize {
    let counted = measure(work);
    usize::try_from(counted.bytes_current).unwrap_or(0)
}

/// Sends messages of so many bytes, as they are or shared, until the queue is full.
fn fill(session: &mut Session, env: &mut Env, size: usize, shared: bool) {
    let payload = vec![7; size];
    loop {
        let message = Message::binary(&payload);
        let sent = match shared {
            true => session.send_shared(env, NOW, &SharedMessage::new(message)),
            false => session.send(env, NOW, message),
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Full { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lets the socket take bytes until no more than `left` are queued.
fn drain(session: &mut Session, env: &mut Env, left: usize) {
    while session.queued() > left {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = session.slices(&mut slices);
        let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        session.handle_written(env, NOW, offered.min(session.queued() - left));
    }
}

#[test]
fn queues_of_tiny_broadcasts_keep_to_their_limits() {
    let (mut env, mut sessions) = surroundings(32);
    let held = held(|| {
        let mut is_full = false;
        while !is_full {
            let news = SharedMessage::new(Message::text("x"));
            for session in &mut sessions {
                is_full |= session.send_shared(&mut env, NOW, &news).is_err();
            }
        }
    });
    let bound = sessions.len() * (LIMIT + LIMIT / 4 + BESIDE);
    assert!(held <= bound, "{held} bytes for {bound}");
    assert!(held >= bound / 4, "{held} bytes are too few to be true");
}

#[test]
fn a_queue_takes_at_most_a_quarter_more_than_its_limit_whatever_fills_it() {
    for size in [0, 1, 10, 100, 1_000, 10_000, 17_000, 100_000] {
        for shared in [false, true] {
            let (mut env, mut sessions) = surroundings(1);
            let held = held(|| fill(&mut sessions[0], &mut env, size, shared));
            let bound = LIMIT + LIMIT / 4 + BESIDE;
            assert!(held <= bound, "{held} bytes, {size} each, shared: {shared}");
        }
    }
}

#[test]
fn a_queue_that_has_been_filled_otherwise_takes_at_most_twice_its_limit() {
    let kinds = [(1, true), (1, false), (1_000, false), (20_000, false)];
    for first in kinds {
        for second in kinds {
            for left in [1, 50_000, 150_000, 350_000] {
                let (mut env, mut sessions) = surroundings(1);
                let session = &mut sessions[0];
                let held = held(|| {
                    fill(session, &mut env, first.0, first.1);
                    drain(session, &mut env, left);
                    fill(session, &mut env, second.0, second.1);
                    drain(session, &mut env, left);
                    fill(session, &mut env, first.0, first.1);
                });
                let bound = 2 * LIMIT + BESIDE;
                let story = format!("{first:?}, down to {left}, {second:?}, and again");
                assert!(held <= bound, "{held} bytes: {story}");
            }
        }
    }
}
