//! Many WebSocket sessions and their wheel on virtual time, driven as a shell drives them, with peers
//! that answer every ping at once.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Due, Entropy, Env, Event, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wheel::Wheel;
use heartwheel::stats::Stats;

pub(crate) struct World {
    env: Env,
    sessions: Vec<Session>,
    wheel: Wheel,
    now: Moment,
    expired: Vec<usize>,
}

impl World {
    pub(crate) fn new(count: usize) -> Self {
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
        let mut phase = PingPhase::ZERO;
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
    pub(crate) fn run_a_minute(&mut self) {
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

    pub(crate) fn stats(&self) -> &Stats {
        self.env.stats()
    }

    /// Makes sure that every session has had two pings and two answers a minute.
    pub(crate) fn check(&self, minutes: u64) {
        let stats = self.stats();
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

/// A server needs no randomness but for its tokens.
#[derive(Debug)]
struct Seven;

impl Entropy for Seven {
    fn next_u64(&mut self) -> u64 {
        7
    }
}

pub(crate) const INTERVAL: Duration = Duration::from_secs(30);
const TICK: Micros = Micros::from_millis(10);
