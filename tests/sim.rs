//! Two sessions back to back over a scripted network: split reads, short writes, blocked output,
//! pauses, stalls, closes, ends of input and resets, in an order that a seed decides.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::{Cause, Phase as Stage};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Proof};
use heartwheel::proto::heartbeat::Phase;
use heartwheel::proto::message::Message;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Due, Entropy, Env, Event, Session, SocketAction, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wire::Payload;

/// SplitMix64: seeded, so that a failure comes again.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % bound as u64).unwrap()
    }
}

impl Entropy for Dice {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let hash = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^ (hash >> 31)
    }
}

/// What the network holds at most in one direction, bytes.
const PIPE: usize = 8 * 1024;

/// One end: a session, and the socket it would have.
struct End {
    env: Env,
    session: Session,
    /// Bytes on their way to us.
    pipe: VecDeque<u8>,
    /// The peer has ended its direction, or reset the connection.
    fin: bool,
    reset: bool,
    eof_seen: bool,
    sent: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    /// Which message the end of input ended.
    rest: Option<usize>,
    cause: Option<Cause>,
}

impl End {
    fn new(wire: Wire, is_client: bool, seed: u64) -> Self {
        let heartbeat = HeartbeatConfig {
            interval: Some(Duration::from_secs(10)),
            timeout: Some(Duration::from_secs(25)),
            proof: [Proof::Bytes, Proof::Message, Proof::Pong][(seed % 3) as usize],
            ..HeartbeatConfig::tcp()
        };
        let limits = LimitsConfig {
            max_fragment: 3_000,
            ..LimitsConfig::default()
        };
        let tick = Duration::from_millis(10);
        let policy = Policy::new(&heartbeat, &limits, wire.kind(), tick).unwrap();
        let mut env = Env::new(Box::new(Dice(seed)));
        let policy = env.intern(policy).unwrap();
        let (phase, now) = (Phase::new(seed as u32), Moment::default());
        let mut session = if is_client {
            let mut session = Session::dialed(&env, policy, wire, phase, now);
            session.handle_connected(&mut env, now, b"");
            session
        } else {
            Session::accepted(&env, policy, wire, phase, now)
        };
        if session.phase() == Stage::Handshaking {
            session.handle_handshake(&mut env, now, b"");
        }
        Self {
            env,
            session,
            pipe: VecDeque::new(),
            fin: false,
            reset: false,
            eof_seen: false,
            sent: Vec::new(),
            heard: Vec::new(),
            rest: None,
            cause: None,
        }
    }

    fn send(&mut self, now: Moment, size: usize) {
        // Text that no wire refuses, and that tells its place.
        let mut text = format!("{} ", self.sent.len());
        text.extend(std::iter::repeat_n('x', size));
        if self
            .session
            .send(&mut self.env, now, Message::text(&text))
            .is_ok()
        {
            self.sent.push(text.into_bytes());
        }
    }

    fn read(&mut self, now: Moment, most: usize) {
        if self.cause.is_some() || self.session.is_paused() {
            return;
        }
        if self.reset {
            self.session.handle_io_error(now, Some(104), true);
            return;
        }
        let mut left = most.min(self.pipe.len());
        let mut input = self.session.take_input(&mut self.env);
        while left > 0 {
            let spare = input.spare_mut(self.env.pool_mut());
            let count = left.min(spare.len());
            if count == 0 {
                let limit = self.session.input_limit(&self.env);
                assert!(
                    input.grow(limit, self.env.pool_mut()),
                    "a full ring at its limit"
                );
                continue;
            }
            for (to, byte) in spare.iter_mut().zip(self.pipe.drain(..count)) {
                *to = byte;
            }
            input.commit(count);
            left -= count;
            self.session.handle_bytes(&mut self.env, now, count);
            loop {
                let bytes = input.contiguous_mut();
                let (consumed, event) = self.session.decode(&mut self.env, now, bytes);
                match event {
                    Event::NeedMore => {
                        input.consume(consumed);
                        break;
                    }
                    Event::Consumed | Event::Pong { .. } => {}
                    Event::Message {
                        payload: Payload::Assembled,
                        ..
                    } => {
                        self.heard.push(self.session.take_assembled());
                    }
                    Event::Message {
                        payload: Payload::Input(range),
                        ..
                    } => {
                        self.heard.push(bytes[range].to_vec());
                    }
                }
                input.consume(consumed);
            }
        }
        self.session.put_input(&mut self.env, input);
        if self.fin && self.pipe.is_empty() && !self.eof_seen {
            self.eof_seen = true;
            if self.session.decode_rest(&mut self.env, now).is_some() {
                self.rest = Some(self.heard.len());
                self.heard.push(self.session.take_assembled());
            }
            self.session.handle_eof(&self.env, now);
        }
    }

    fn write(&mut self, now: Moment, peer: &mut Self, most: usize) {
        if self.cause.is_some() || !self.session.has_output() {
            return;
        }
        let room = if peer.cause.is_some() {
            PIPE
        } else {
            PIPE - peer.pipe.len()
        };
        self.session.handle_writable();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = self.session.slices(&mut slices);
        let len: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        let taken = len.min(room).min(most);
        let mut left = taken;
        for slice in &slices[..count] {
            let count = left.min(slice.len());
            peer.pipe.extend(&slice[..count]);
            left -= count;
        }
        self.session.handle_written(&mut self.env, now, taken);
        if taken < len {
            self.session.handle_blocked();
        }
        self.session.release(&mut self.env);
    }

    fn tick(&mut self, now: Moment) {
        if self.cause.is_some() || self.session.poll_deadline(&self.env, now) > now.at {
            return;
        }
        loop {
            match self.session.handle_timeout(&mut self.env, now) {
                Due::Wait(at) => {
                    assert!(at > now.at, "waits for what has passed");
                    return;
                }
                Due::Changed => {}
                Due::Silent => {
                    let waiting = self.pipe.len();
                    if self.session.is_paused() && waiting > 0 {
                        self.session.handle_waiting_bytes(&self.env, now);
                    } else {
                        self.read(now, waiting);
                    }
                    if self.session.is_silent(&self.env, now) {
                        self.session.judge(&self.env, now, None);
                    }
                }
            }
        }
    }

    /// Does with the socket what the session asks for; called once a step.
    fn settle(&mut self, now: Moment, peer: &mut Self) {
        if self.cause.is_some() {
            return;
        }
        match self.session.socket_action() {
            SocketAction::Keep => return,
            SocketAction::ShutdownWrite => {
                assert!(!peer.fin, "a direction ends once");
                peer.fin = true;
                return;
            }
            SocketAction::Close => peer.fin = true,
            SocketAction::Reset => peer.reset = true,
        }
        assert_eq!(self.session.phase(), Stage::Closed);
        let evidence = self.session.evidence(now, Micros::ZERO);
        assert!(evidence.pings_answered <= evidence.pings_written);
        self.session.discard(&mut self.env);
        assert!(self.session.is_released());
        self.cause = Some(evidence.cause);
    }
}

/// Both ends and the time.
struct Pair {
    ends: [End; 2],
    now: Moment,
    dice: Dice,
}

impl Pair {
    fn new(wire: fn() -> Wire, seed: u64) -> Self {
        Self {
            ends: [End::new(wire(), true, seed), End::new(wire(), false, !seed)],
            now: Moment::default(),
            dice: Dice(seed ^ 0xD1CE),
        }
    }

    /// Writes, reads and looks at the sockets once.
    fn exchange(&mut self, most: usize) {
        let now = self.now;
        let [client, server] = &mut self.ends;
        for is_client in [true, false] {
            let (end, peer) = if is_client {
                (&mut *client, &mut *server)
            } else {
                (&mut *server, &mut *client)
            };
            end.read(now, most);
            end.tick(now);
            end.write(now, peer, most);
            end.settle(now, peer);
            if end.cause.is_none() {
                end.session.release(&mut end.env);
            }
        }
    }

    /// One random step.
    fn step(&mut self, is_rough: bool) {
        let size = [3, 200, 5_000, 30_000][self.dice.below(4)];
        let most = [4, 100, 20_000][self.dice.below(3)];
        let most = 1 + self.dice.below(most);
        let end = self.dice.below(2);
        let now = self.now;
        match self.dice.below(if is_rough { 60 } else { 40 }) {
            0..8 => self.ends[end].send(now, size),
            8..30 => self.exchange(most),
            30..37 => self.now.at = now.at + Micros::new(self.dice.next_u64() % 1_500_000),
            37 => self.ends[end].session.ping(&mut self.ends[end].env, now),
            38 => self.ends[end].session.handle_pause(),
            39..44 => self
                .ends
                .iter_mut()
                .for_each(|end| end.session.handle_resume(now)),
            44 => {
                let stop = Micros::from_secs(self.dice.next_u64() % 60);
                self.now = Moment {
                    at: now.at + stop,
                    late: now.late + stop,
                    stalled: true,
                };
                self.exchange(most);
                self.now.stalled = false;
            }
            45 if self.dice.below(40) == 0 => {
                let End { session, env, .. } = &mut self.ends[end];
                session.close(env, now, Cause::LocalClose, None, "that will do");
            }
            46 if self.dice.below(80) == 0 => self.ends[end].reset = true,
            47 if self.dice.below(80) == 0 => self.ends[end].fin = true,
            _ => self.exchange(PIPE),
        }
    }

    /// Lets everything flow until nothing moves.
    fn drain(&mut self) {
        let now = self.now;
        self.ends
            .iter_mut()
            .for_each(|end| end.session.handle_resume(now));
        while self.is_moving() {
            self.exchange(usize::MAX);
        }
        self.exchange(usize::MAX);
        self.exchange(usize::MAX);
    }

    fn is_moving(&self) -> bool {
        let is_moving = |end: &End| !end.pipe.is_empty() || end.session.has_output();
        self.ends
            .iter()
            .any(|end| end.cause.is_none() && is_moving(end))
    }

    /// Lets so much time pass that whoever is closing is closed.
    fn wait(&mut self, secs: u64) {
        for _ in 0..secs * 10 {
            self.now.at = self.now.at + Micros::from_millis(100);
            self.exchange(usize::MAX);
        }
    }

    fn assert_faithful(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (sent, heard) = (&self.ends[from].sent, &self.ends[to].heard);
            // On the line wire an end of input in the middle of a line ends that line.
            let whole = self.ends[to].rest.unwrap_or(heard.len());
            assert!(whole <= sent.len());
            assert!(
                heard[..whole] == sent[..whole],
                "what was heard is not what was sent"
            );
            assert!(heard.len() <= whole + 1);
            let stats = self.ends[from].env.stats();
            assert_eq!(stats.pongs_unsolicited, 0);
        }
    }
}

/// The built-in wires that carry messages, made anew for each end.
const WIRES: [fn() -> Wire; 3] = [|| Wire::WebSocket, || Wire::Line, || Wire::Binary];

#[test]
fn gentle_networks_deliver_everything_and_close_cleanly() {
    for wire in WIRES {
        let name = wire().kind().label();
        for seed in 0..40 {
            eprintln!("{name}, seed {seed}");
            let mut pair = Pair::new(wire, seed);
            for _ in 0..300 {
                pair.step(false);
                // Nobody is to die of a pause here.
                if pair.dice.below(10) == 0 {
                    pair.drain();
                }
            }
            pair.drain();
            for (from, to) in [(0, 1), (1, 0)] {
                assert_eq!(pair.ends[from].cause, None);
                assert_eq!(pair.ends[from].sent, pair.ends[to].heard);
                assert!(pair.ends[from].session.is_released());
            }
            let (now, closer) = (pair.now, pair.dice.below(2));
            pair.ends[closer].send(now, 20_000);
            let End { session, env, .. } = &mut pair.ends[closer];
            session.close(env, now, Cause::LocalClose, None, "done");
            pair.drain();
            let other = if name == "ws" {
                Cause::PeerClosed
            } else {
                Cause::PeerEof
            };
            assert_eq!(pair.ends[closer].cause, Some(Cause::LocalClose));
            assert_eq!(pair.ends[1 - closer].cause, Some(other));
            assert_eq!(pair.ends[closer].sent, pair.ends[1 - closer].heard);
        }
    }
}

#[test]
fn rough_networks_end_every_connection_once_and_invent_nothing() {
    let mut causes = Vec::new();
    for wire in WIRES {
        let name = wire().kind().label();
        for seed in 0..150 {
            eprintln!("{name}, seed {seed}");
            let mut pair = Pair::new(wire, seed);
            for _ in 0..600 {
                pair.step(true);
            }
            pair.assert_faithful();
            // One end closes, if any is left; the other follows, or is judged.
            let now = pair.now;
            for End {
                session,
                env,
                cause,
                ..
            } in &mut pair.ends
            {
                if cause.is_none() {
                    session.handle_resume(now);
                    session.close(env, now, Cause::LocalClose, None, "enough");
                }
            }
            pair.wait(40);
            pair.assert_faithful();
            for end in &pair.ends {
                causes.push(end.cause.expect("both ends have ended"));
            }
        }
    }
    causes.sort_unstable();
    causes.dedup();
    for expected in [
        Cause::LocalClose,
        Cause::PeerClosed,
        Cause::PeerEof,
        Cause::PeerReset,
    ] {
        assert!(causes.contains(&expected), "no {expected} among {causes:?}");
    }
}
