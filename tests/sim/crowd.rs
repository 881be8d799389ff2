//! Many sessions on virtual time, driven as a shell drives them, against peers that follow a script.
//!
//! What ought to happen is computed from the script and from what the simulated network delivered,
//! never from the code under test.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::{Cause, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, PingWhen, Proof};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::Message;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::{Due, Env, Event, PolicyId, Session, SocketAction, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::websocket::{Opcode, encode};
use heartwheel::proto::wheel::Wheel;
use heartwheel::proto::wire::{Payload, Role};

use crate::dice::Dice;

const SEED: u64 = 0x5EED_2024;
const TICK: Micros = Micros::from_millis(10);
const NEVER: Micros = Micros::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    WebSocket,
    Line,
    Binary,
    Raw,
}

/// One kind of connection: a policy, and what the script needs to know of it.
#[derive(Clone, Debug)]
struct Kind {
    speech: Speech,
    role: Role,
    /// Zero: the interval is off.
    interval: Micros,
    timeout: Micros,
    slack: Option<Duration>,
    proof: Proof,
    ping_when: PingWhen,
}

impl Kind {
    fn new(speech: Speech, interval: u64, timeout: u64) -> Self {
        Self {
            speech,
            role: Role::Server,
            interval: Micros::from_secs(interval),
            timeout: Micros::from_secs(timeout),
            slack: Some(Duration::ZERO),
            proof: Proof::Bytes,
            ping_when: PingWhen::Always,
        }
    }

    fn policy(&self) -> Policy {
        let wire = self.wire();
        let heartbeat = HeartbeatConfig {
            interval: (self.interval > Micros::ZERO).then(|| self.interval.into()),
            timeout: Some(self.timeout.into()),
            proof: self.proof,
            ping_when: self.ping_when,
            ping_slack: self.slack,
            ..HeartbeatConfig::tcp()
        };
        let limits = LimitsConfig::default();
        Policy::new(&heartbeat, &limits, wire.kind(), TICK.into()).unwrap()
    }

    fn wire(&self) -> Wire {
        match self.speech {
            Speech::WebSocket => Wire::WebSocket,
            Speech::Line => Wire::Line,
            Speech::Binary => Wire::Binary,
            Speech::Raw => Wire::Raw,
        }
    }

    fn slack(&self) -> Micros {
        let hundredth = Micros::new(self.interval.as_micros() / 100);
        let default = hundredth.min(Micros::from_millis(50));
        self.slack.map_or(default, Micros::from)
    }

    /// The latest that a death may come after the last proof.
    fn latest(&self) -> Micros {
        match self.ping_when {
            PingWhen::Always => self.timeout + TICK,
            // Proof may spare a ping: silence then counts from the one after it.
            PingWhen::Idle => self.timeout + self.interval + TICK,
        }
    }
}

/// What the peer of one connection does.
#[derive(Clone, Copy, Debug)]
struct Script {
    /// From here on nothing of the peer's arrives that would be proof of life.
    silent_from: Micros,
    /// A pong comes this long after its ping, at most; zero: none comes.
    answer: Micros,
    /// Data comes in gaps from here to there; zero: none comes.
    gap: (Micros, Micros),
}

/// What the network is about to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Delivery {
    /// The second half of a message; first of what comes at the same time.
    Rest,
    /// The answer to the ping of that number, with its token.
    Pong(u32, u32),
    Data,
}

struct Conn {
    kind: usize,
    session: Session,
    script: Script,
    fraction: u32,
    /// When the network last delivered what the policy takes for proof of life.
    proof: Micros,
    /// Half a message was delivered, when that was, and when the rest will be.
    is_cut: bool,
    rest: Micros,
    /// Pings the peer has read, and when its latest pong arrives: a stream keeps its order.
    pinged: u32,
    pong: Micros,
    end: Option<(Micros, Cause)>,
    reported: u32,
}

/// Sessions, wheel, network and clock.
struct World {
    env: Env,
    kinds: Vec<(Kind, PolicyId)>,
    conns: Vec<Conn>,
    wheel: Wheel,
    network: BinaryHeap<Reverse<(Micros, usize, Delivery)>>,
    dice: Dice,
    now: Moment,
    phase: PingPhase,
    fraction: u32,
    expired: Vec<usize>,
    scratch: Vec<u8>,
    /// When each ping was written, if that is of interest.
    pings: Option<Vec<Micros>>,
}

impl World {
    fn new(seed: u64, start: Micros, kinds: Vec<Kind>) -> Self {
        eprintln!("seed {seed:#x}");
        let mut env = Env::new(Box::new(Dice::new(seed)));
        let kinds = kinds
            .into_iter()
            .map(|kind| {
                let policy = env.intern(kind.policy()).unwrap();
                (kind, policy)
            })
            .collect();
        Self {
            env,
            kinds,
            conns: Vec::new(),
            wheel: Wheel::new(TICK, start),
            network: BinaryHeap::new(),
            dice: Dice::new(!seed),
            now: Moment::on_time(start),
            phase: PingPhase::new(0x1234_5678),
            fraction: 0x1234_5678,
            expired: Vec::new(),
            scratch: Vec::new(),
            pings: None,
        }
    }

    fn connect(&mut self, kind: usize, script: Script) -> usize {
        let (Kind { role, .. }, policy) = self.kinds[kind];
        let (env, now, phase) = (&mut self.env, self.now, self.phase);
        let wire = self.kinds[kind].0.wire();
        let mut session = match role {
            Role::Server => Session::accepted(env, policy, wire, phase, now),
            Role::Client => Session::dialed(env, policy, wire, phase, now),
        };
        if role == Role::Client {
            session.handle_connected(env, now, b"");
        }
        if session.phase() == Phase::Handshaking {
            session.handle_handshake(env, now, b"");
        }
        let key = self.conns.len();
        self.conns.push(Conn {
            kind,
            session,
            script,
            fraction: self.fraction,
            proof: now.at,
            is_cut: false,
            rest: now.at,
            pinged: 0,
            pong: now.at,
            end: None,
            reported: 0,
        });
        self.phase = phase.next();
        self.fraction = self.fraction.wrapping_add(0x9E37_79B9);
        self.rearm(key);
        self.expect_data(key);
        key
    }

    /// Lets time pass without stalls.
    fn run_to(&mut self, end: Micros) {
        loop {
            let arrival = self.network.peek().map(|Reverse((at, ..))| *at);
            let expiry = self.wheel.next_deadline();
            let next = arrival.into_iter().chain(expiry).min().unwrap_or(NEVER);
            if next > end {
                break;
            }
            self.now.at = self.now.at.max(next);
            self.turn();
        }
        self.now.at = end;
        self.turn();
    }

    /// Stops the whole process for a while; then one late turn.
    fn stop_for(&mut self, span: Micros) {
        let began = self.now.at;
        self.env.lateness_mut().end_turn(began, began);
        self.now = self.env.lateness_mut().begin_turn(began + span);
        self.turn();
        let ended = self.now.at;
        self.now = self.env.lateness_mut().end_turn(ended, Micros::MAX);
    }

    /// One turn of the loop: what arrived, then what expired.
    fn turn(&mut self) {
        while let Some(&Reverse((at, key, delivery))) = self.network.peek()
            && at <= self.now.at
        {
            self.network.pop();
            self.deliver(at, key, delivery);
        }
        let mut expired = std::mem::take(&mut self.expired);
        while self.wheel.advance(self.now.at, 4_096, &mut expired) {}
        for key in expired.drain(..) {
            self.on_expired(key);
        }
        self.expired = expired;
    }

    fn deliver(&mut self, sent: Micros, key: usize, delivery: Delivery) {
        let conn = &mut self.conns[key];
        let kind = &self.kinds[conn.kind].0;
        let is_silent = sent >= conn.script.silent_from;
        // Under proof by pong a dead peer's data goes on: it is none.
        if conn.end.is_some() || (is_silent && kind.proof != Proof::Pong) {
            return;
        }
        if let (Delivery::Pong(..), true) = (delivery, conn.is_cut) {
            self.network.push(Reverse((conn.rest, key, delivery)));
            return;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let mask = (kind.role == Role::Server).then_some([1, 2, 3, 4]);
        let mut is_proof = kind.proof == Proof::Bytes;
        match (delivery, kind.speech) {
            (Delivery::Pong(..), _) if is_silent => return,
            (Delivery::Pong(_, token), Speech::WebSocket) => {
                encode(true, Opcode::Pong, &token.to_be_bytes(), mask, &mut bytes);
                is_proof = true;
            }
            (Delivery::Pong(..), Speech::Line) => {
                bytes.extend_from_slice(b"PONG\n");
                is_proof = true;
            }
            (Delivery::Pong(..), Speech::Binary) => {
                bytes.push(2);
                is_proof = true;
            }
            (_, Speech::WebSocket)
                if delivery == Delivery::Data && !conn.is_cut && self.dice.one_in(8) =>
            {
                encode(true, Opcode::Ping, b"are you there", mask, &mut bytes);
                is_proof |= kind.proof == Proof::Message;
            }
            (Delivery::Data | Delivery::Rest, speech) => {
                match speech {
                    Speech::WebSocket => encode(true, Opcode::Text, b"hello", mask, &mut bytes),
                    Speech::Line => bytes.extend_from_slice(b"hello\n"),
                    Speech::Binary => bytes.extend_from_slice(b"\0\0\0\0\x05hello"),
                    Speech::Raw => bytes.extend_from_slice(b"hello"),
                }
                // Now and then a message comes in two pieces, an eighth of a second apart.
                if conn.is_cut {
                    bytes.drain(..4);
                    conn.is_cut = false;
                } else if self.dice.one_in(4) && speech != Speech::Raw {
                    bytes.truncate(4);
                    conn.is_cut = true;
                    conn.rest = self.now.at + Micros::from_millis(125);
                    self.network.push(Reverse((conn.rest, key, Delivery::Rest)));
                }
                is_proof |= kind.proof == Proof::Message && !conn.is_cut;
            }
            (Delivery::Pong(..), Speech::Raw) => unreachable!("nobody pings a raw wire"),
        }
        if is_proof {
            conn.proof = self.now.at;
        }
        self.read(key, &bytes);
        self.scratch = bytes;
        self.flush(key);
        if delivery == Delivery::Data {
            self.expect_data(key);
        }
    }

    /// Schedules the peer's next data, unless half a message is still to be finished first.
    fn expect_data(&mut self, key: usize) {
        let (low, high) = self.conns[key].script.gap;
        if high > Micros::ZERO {
            let at = self.now.at + self.dice.span(low, high);
            self.network.push(Reverse((at, key, Delivery::Data)));
        }
    }

    fn read(&mut self, key: usize, bytes: &[u8]) {
        let (conn, env, now) = (&mut self.conns[key], &mut self.env, self.now);
        let session = &mut conn.session;
        let mut input = session.take_input(env);
        input.extend(bytes, env.pool_mut());
        session.handle_bytes(env, now, bytes.len());
        loop {
            let (consumed, event) = session.decode(env, now, input.contiguous_mut());
            input.consume(consumed);
            match event {
                Event::NeedMore => break,
                Event::Consumed | Event::Pong { .. } => {}
                Event::Message {
                    payload: Payload::Assembled,
                    ..
                } => {
                    assert_eq!(session.take_assembled(), b"hello");
                }
                Event::Message {
                    payload: Payload::Input(range),
                    ..
                } => {
                    assert_eq!(range.len(), 5);
                }
            }
        }
        session.put_input(env, input);
        assert_eq!(session.phase(), Phase::Open, "{conn:?}", conn = conn.script);
        self.rearm(key);
    }

    /// Writes all output; the peer reads it and plans its answer.
    fn flush(&mut self, key: usize) {
        let mut wire = [0; 256];
        loop {
            let (conn, env) = (&mut self.conns[key], &mut self.env);
            let mut slices = [IoSlice::new(&[]); 4];
            let count = conn.session.slices(&mut slices);
            if count == 0 {
                break;
            }
            let mut len = 0;
            for slice in &slices[..count] {
                wire[len..len + slice.len()].copy_from_slice(slice);
                len += slice.len();
            }
            conn.session.handle_written(env, self.now, len);
            self.peer_reads(key, &wire[..len]);
        }
        let (conn, env) = (&mut self.conns[key], &mut self.env);
        conn.session.release(env);
        self.rearm(key);
    }

    fn peer_reads(&mut self, key: usize, mut wire: &[u8]) {
        let speech = self.kinds[self.conns[key].kind].0.speech;
        while let [first, rest @ ..] = wire {
            let (is_ping, token, len) = match speech {
                Speech::WebSocket => {
                    let (is_masked, len) = (rest[0] & 0x80 != 0, usize::from(rest[0] & 0x7f));
                    let mut payload = rest[1..].to_vec();
                    if is_masked {
                        for i in 0..len {
                            payload[4 + i] ^= payload[i % 4];
                        }
                        payload.drain(..4);
                    }
                    let token = payload.first_chunk().copied().unwrap_or_default();
                    let head = 2 + if is_masked { 4 } else { 0 };
                    (*first == 0x89, u32::from_be_bytes(token), head + len)
                }
                Speech::Line => (wire.starts_with(b"PING\n"), 0, wire.len()),
                Speech::Binary => (*first == 1, 0, wire.len()),
                Speech::Raw => (false, 0, wire.len()),
            };
            if is_ping {
                self.peer_pinged(key, token);
            }
            wire = &wire[len..];
        }
    }

    fn peer_pinged(&mut self, key: usize, token: u32) {
        let conn = &self.conns[key];
        let (kind, now) = (&self.kinds[conn.kind].0, self.now.at);
        // On the grid: phase + k * interval, by the slack early at most, by slack and tick late.
        let interval = kind.interval.as_micros();
        let phase = (u128::from(interval) * u128::from(conn.fraction)) >> 32;
        let since = (u128::from(now.as_micros()) + u128::from(interval) - phase) as u64 % interval;
        let slack = kind.slack();
        let is_on_grid =
            since <= (slack + TICK).as_micros() || since >= interval - slack.as_micros();
        assert!(
            self.env.lateness().total(now) > Micros::ZERO || is_on_grid,
            "{key} pinged {since} µs off its grid"
        );
        if let Some(pings) = &mut self.pings {
            pings.push(now);
        }
        if conn.script.answer > Micros::ZERO {
            let conn = &mut self.conns[key];
            conn.pinged += 1;
            conn.pong = conn
                .pong
                .max(now + self.dice.span(Micros::ZERO, conn.script.answer));
            let pong = Delivery::Pong(conn.pinged, token);
            self.network.push(Reverse((conn.pong, key, pong)));
        }
    }

    fn on_expired(&mut self, key: usize) {
        loop {
            let (conn, env) = (&mut self.conns[key], &mut self.env);
            assert!(conn.end.is_none(), "{key} has ended and still has a timer");
            match conn.session.handle_timeout(env, self.now) {
                Due::Wait(at) => {
                    assert!(at > self.now.at, "{key} waits for what has passed");
                    self.wheel.schedule(key, at);
                    return;
                }
                Due::Changed => {
                    self.flush(key);
                    let session = &mut self.conns[key].session;
                    if session.socket_action() == SocketAction::Close {
                        let cause = session.cause().unwrap();
                        self.reap(key, cause);
                        return;
                    }
                }
                Due::Stalled => unreachable!("the network takes what it is given"),
                // All that has arrived was read at the beginning of this turn.
                Due::Silent => {
                    assert!(conn.session.is_silent(env, self.now));
                    let cause = conn.session.judge(env, self.now, None);
                    assert_eq!(conn.session.socket_action(), SocketAction::Reset);
                    self.reap(key, cause);
                    return;
                }
            }
        }
    }

    fn reap(&mut self, key: usize, cause: Cause) {
        let conn = &mut self.conns[key];
        assert_eq!(conn.session.phase(), Phase::Closed);
        let evidence = conn.session.evidence(self.now);
        assert_eq!(evidence.cause, cause);
        conn.session.discard(&mut self.env);
        self.wheel.cancel(key);
        conn.end = Some((self.now.at, cause));
        conn.reported += 1;
    }

    fn rearm(&mut self, key: usize) {
        let session = &mut self.conns[key].session;
        if session.take_rearm() {
            let at = session.poll_deadline(&self.env, self.now);
            self.wheel.schedule(key, at);
        }
    }

    /// Checks every end against the script, in a world that was never late.
    fn check_ends(&self) -> usize {
        let mut deaths = 0;
        for (key, conn) in self.conns.iter().enumerate() {
            let kind = &self.kinds[conn.kind].0;
            let about = format!("{key} {kind:?} {:?} proof {:?}", conn.script, conn.proof);
            match conn.end {
                Some((at, cause)) => {
                    assert!(
                        conn.script.silent_from < NEVER,
                        "a live peer was closed: {about}"
                    );
                    assert_eq!(conn.reported, 1);
                    deaths += 1;
                    // Also within a message: it is a short one, which may take longer than the timeout.
                    let expected = match kind.speech {
                        Speech::Raw => Cause::Silent,
                        Speech::WebSocket | Speech::Line | Speech::Binary => Cause::PongTimeout,
                    };
                    assert_eq!(cause, expected, "{about}");
                    let (since, from, to) = (conn.proof, kind.timeout, kind.latest());
                    assert!(at >= since + from, "early, after {:?}: {about}", at - since);
                    assert!(at <= since + to, "late, after {:?}: {about}", at - since);
                }
                None => {
                    let is_overdue = conn.proof + kind.latest() <= self.now.at;
                    assert!(!is_overdue, "a dead peer is still there: {about}");
                }
            }
        }
        deaths
    }

    /// Closes whatever is left, peers answering at once, and checks that nothing is borrowed.
    fn close_all(&mut self) {
        for key in 0..self.conns.len() {
            let conn = &mut self.conns[key];
            if conn.end.is_some() {
                assert!(conn.session.is_released());
                continue;
            }
            assert!(
                conn.is_cut || conn.session.is_released(),
                "{key} is idle and owns buffers"
            );
            let kind = &self.kinds[conn.kind].0;
            let (env, now) = (&mut self.env, self.now);
            conn.session
                .close(env, now, Cause::LocalClose, None, "done");
            let mut slices = [IoSlice::new(&[]); 4];
            let count = conn.session.slices(&mut slices);
            let len = slices[..count].iter().map(|slice| slice.len()).sum();
            conn.session.handle_written(env, now, len);
            if kind.speech == Speech::WebSocket && !conn.is_cut {
                let mask = (kind.role == Role::Server).then_some([1, 2, 3, 4]);
                let mut answer = Vec::new();
                encode(true, Opcode::Close, &[], mask, &mut answer);
                let (consumed, _) = conn.session.decode(env, now, &mut answer);
                assert_eq!(consumed, answer.len());
            }
            let action = conn.session.socket_action();
            if action != SocketAction::Close {
                conn.session.handle_eof(env, now);
                assert_eq!(conn.session.socket_action(), SocketAction::Close);
            }
            assert!(conn.is_cut || conn.session.evidence(now).clean);
            self.reap(key, Cause::LocalClose);
        }
        assert!(self.conns.iter().all(|conn| conn.reported == 1));
        assert!(self.conns.iter().all(|conn| conn.session.is_released()));
        assert!(self.wheel.is_empty());
        assert!(self.env.pool().free_bytes() <= Pool::KEPT);
    }
}

fn mixed() -> Vec<Kind> {
    vec![
        Kind {
            slack: None,
            ..Kind::new(Speech::WebSocket, 30, 60)
        },
        Kind {
            proof: Proof::Pong,
            ..Kind::new(Speech::WebSocket, 10, 25)
        },
        Kind {
            role: Role::Client,
            ping_when: PingWhen::Idle,
            ..Kind::new(Speech::WebSocket, 15, 40)
        },
        Kind::new(Speech::Line, 5, 12),
        Kind {
            proof: Proof::Message,
            slack: None,
            ..Kind::new(Speech::Binary, 10, 25)
        },
        Kind {
            role: Role::Client,
            ..Kind::new(Speech::Binary, 20, 50)
        },
        Kind::new(Speech::Raw, 0, 20),
    ]
}

/// Opens `count` connections of all kinds within 20 s; one in three of them dies by the script.
fn populate(world: &mut World, count: usize, end: Micros) {
    let start = world.now.at;
    for n in 0..count {
        let at = start + Micros::new(20_000_000 * n as u64 / count as u64);
        world.run_to(at);
        let kind = n % world.kinds.len();
        let Kind {
            interval,
            timeout,
            speech,
            ..
        } = world.kinds[kind].0.clone();
        let silent_from = match n % 3 {
            0 => world.dice.span(at, end),
            _ => NEVER,
        };
        let second = Micros::from_secs(1);
        let script = match speech {
            Speech::Raw => Script {
                silent_from,
                answer: Micros::ZERO,
                gap: (Micros::ZERO, timeout - second),
            },
            // Every other peer sends nothing but pongs.
            Speech::WebSocket | Speech::Line | Speech::Binary => Script {
                silent_from,
                answer: world.dice.span(second, timeout - interval - second),
                gap: match n % 2 {
                    0 => (Micros::ZERO, Micros::ZERO),
                    _ => (second, timeout + timeout),
                },
            },
        };
        world.connect(kind, script);
    }
}

#[test]
fn a_hundred_thousand_mostly_idle_connections_for_ten_minutes() {
    let mut world = World::new(SEED, Micros::ZERO, mixed());
    let end = Micros::from_secs(600);
    populate(&mut world, 100_000, end);
    world.run_to(end);
    let deaths = world.check_ends();
    assert!((25_000..=33_334).contains(&deaths), "{deaths} deaths");
    let stats = world.env.stats();
    assert!(stats.pings_written > 2_000_000, "{stats:?}");
    assert_eq!(stats.pings_due, stats.pings_written);
    world.close_all();
}

#[test]
fn f47_clocks_that_pass_two_to_the_32_milliseconds_or_ticks_change_nothing() {
    for edge in [1 << 32, 10 * (1 << 32)] {
        let start = Micros::from_millis(edge) - Micros::from_millis(60_500);
        let end = start + Micros::from_secs(180);
        let mut world = World::new(SEED + edge, start, mixed());
        populate(&mut world, 2_100, end);
        world.run_to(end);
        assert!(world.check_ends() > 300);
        world.close_all();
    }
}

#[test]
fn f40_whoever_answers_in_time_stays_and_whoever_does_not_goes() {
    let kinds = mixed();
    let last = kinds.len();
    let mut world = World::new(SEED + 40, Micros::ZERO, kinds);
    let start = Micros::from_secs(1);
    for n in 0..4_200 {
        world.run_to(start + Micros::from_millis(n as u64));
        let (kind, in_time) = (n % last, (n / last).is_multiple_of(2));
        let Kind { timeout, proof, .. } = world.kinds[kind].0;
        if proof != Proof::Bytes {
            continue;
        }
        let latest = world.kinds[kind].0.latest();
        let script = Script {
            // The script knows who is to die; the network delivers to the end.
            silent_from: if in_time {
                NEVER
            } else {
                NEVER - Micros::new(1)
            },
            answer: Micros::ZERO,
            gap: match in_time {
                true => (Micros::ZERO, timeout),
                false => (latest + Micros::new(1), timeout + latest),
            },
        };
        world.connect(kind, script);
    }
    world.run_to(Micros::from_secs(300));
    let deaths = world.check_ends();
    let doomed = |conn: &&Conn| conn.script.silent_from < NEVER;
    assert_eq!(deaths, world.conns.iter().filter(doomed).count());
}

#[test]
fn f41_the_time_of_death_does_not_depend_on_what_we_send() {
    let mut world = World::new(
        SEED + 41,
        Micros::ZERO,
        vec![Kind::new(Speech::Line, 10, 25)],
    );
    let script = Script {
        silent_from: Micros::ZERO,
        answer: Micros::ZERO,
        gap: (Micros::ZERO, Micros::ZERO),
    };
    let rates = [0, 1, 10, 100];
    let keys = rates.map(|_| world.connect(0, script));
    for step in 0..2_600 {
        world.run_to(Micros::from_millis(step * 10));
        for (key, rate) in keys.into_iter().zip(rates) {
            if rate > 0 && step % (100 / rate) == 0 && world.conns[key].end.is_none() {
                let conn = &mut world.conns[key];
                let message = Message::text("into the void");
                conn.session
                    .send(&mut world.env, world.now, message)
                    .unwrap();
                world.flush(key);
            }
        }
    }
    for key in keys {
        let end = (Micros::from_secs(25), Cause::PongTimeout);
        assert_eq!(world.conns[key].end, Some(end));
    }
}

#[test]
fn f6_a_stop_of_three_timeouts_closes_nobody_who_answered() {
    let (second, timeout) = (Micros::from_secs(1), Micros::from_secs(25));
    let mut world = World::new(
        SEED + 6,
        Micros::ZERO,
        vec![Kind::new(Speech::WebSocket, 10, 25)],
    );
    for n in 0..10_000u64 {
        let silent_from = match n % 4 {
            0 => world.dice.span(second, Micros::from_secs(60)),
            _ => NEVER,
        };
        let answer = world.dice.span(second, Micros::from_secs(14));
        let gap = (Micros::ZERO, Micros::ZERO);
        world.connect(
            0,
            Script {
                silent_from,
                answer,
                gap,
            },
        );
    }
    world.run_to(Micros::from_secs(60));
    let stop = timeout.saturating_mul(3);
    world.stop_for(stop);
    let resumed = world.now.at;
    world.run_to(resumed + timeout + TICK);
    let deaths = world.conns.iter().filter(|conn| conn.end.is_some()).count();
    for (key, conn) in world.conns.iter().enumerate() {
        let is_dead = conn.script.silent_from < NEVER;
        assert_eq!(conn.end.is_some(), is_dead, "{key} {:?}", conn.script);
        assert_eq!(conn.reported, u32::from(is_dead));
        assert!(conn.end.is_none_or(|(at, _)| at >= conn.proof + timeout));
    }
    assert_eq!(deaths, 2_500);
    // And the world goes on as ever.
    world.run_to(resumed + Micros::from_secs(120));
    assert_eq!(
        world.conns.iter().filter(|conn| conn.end.is_some()).count(),
        deaths
    );
}

/// Asserts that pings are spread over the ten seconds from `start`, 100 ms at a time.
fn assert_flat(pings: &[Micros], start: Micros, mean: u32, about: &str) {
    let mut windows = [0u32; 100];
    for &at in pings {
        let window = (at - start).as_millis() / 100;
        if at >= start && window < 100 {
            windows[usize::try_from(window).unwrap()] += 1;
        }
    }
    for (window, &count) in windows.iter().enumerate() {
        let is_near = count.abs_diff(mean) * 10 <= mean;
        assert!(
            is_near,
            "{about}: {count} pings in window {window}, mean {mean}"
        );
    }
}

#[test]
fn f25_pings_of_connections_that_arrive_at_once_stay_spread() {
    for count in [20_000u32, 100_000] {
        let mut world = World::new(
            SEED + 25,
            Micros::ZERO,
            vec![Kind::new(Speech::Binary, 10, 25)],
        );
        let start = Micros::from_secs(3);
        world.run_to(start);
        for _ in 0..count {
            let answer = Micros::from_millis(200);
            let gap = (Micros::ZERO, Micros::ZERO);
            world.connect(
                0,
                Script {
                    silent_from: NEVER,
                    answer,
                    gap,
                },
            );
        }
        let mean = count / 100;
        let interval = Micros::from_secs(10);
        // The wheel's rounding puts a ping up to a tick after its due time.
        let from = |k: u64| start + interval.saturating_mul(k) + TICK;
        for (k, about) in [(0, "first"), (1, "second"), (19, "twentieth")] {
            world.run_to(from(k));
            world.pings = Some(Vec::new());
            world.run_to(from(k + 1));
            let pings = world.pings.take().unwrap();
            assert_flat(&pings, from(k), mean, about);
        }
        world.pings = Some(Vec::new());
        world.stop_for(Micros::from_secs(2));
        let resumed = world.now.at;
        world.run_to(resumed + interval);
        assert_flat(
            &world.pings.take().unwrap(),
            resumed,
            mean,
            "after the stop",
        );
        assert!(world.conns.iter().all(|conn| conn.end.is_none()));
    }
}

#[test]
fn f36_many_take_another_policy_and_nobody_who_answers_ends() {
    const COUNT: usize = 10_000;
    const PIECE: usize = 500;
    let second = Micros::from_secs(1);
    let (slow, quick) = (0, 1);
    let kinds = vec![
        Kind::new(Speech::WebSocket, 30, 60),
        Kind::new(Speech::WebSocket, 10, 25),
    ];
    let (interval, timeout) = (kinds[quick].interval, kinds[quick].timeout);
    let mut world = World::new(SEED + 36, Micros::ZERO, kinds);
    world.run_to(Micros::from_secs(3));
    let change = Micros::from_secs(100);
    for n in 0..COUNT {
        // One in four falls silent shortly before the change or after it.
        let silent_from = match n % 4 {
            0 => world.dice.span(
                change - Micros::from_secs(20),
                change + Micros::from_secs(20),
            ),
            _ => NEVER,
        };
        let answer = world.dice.span(second, Micros::from_secs(14));
        let gap = (Micros::ZERO, Micros::ZERO);
        world.connect(
            slow,
            Script {
                silent_from,
                answer,
                gap,
            },
        );
    }
    world.run_to(change);
    assert!(world.conns.iter().all(|conn| conn.end.is_none()));

    // As many at once as a turn has time for, so that the last ones change a fifth of a second later.
    let mut changed = Vec::new();
    for piece in 0..COUNT / PIECE {
        world.run_to(change + TICK.saturating_mul(piece as u64));
        for key in piece * PIECE..(piece + 1) * PIECE {
            let conn = &mut world.conns[key];
            let policy = world.env.policy(world.kinds[quick].1).clone();
            let result = conn.session.set_policy(&mut world.env, world.now, policy);
            result.unwrap();
            conn.kind = quick;
            changed.push(world.now.at);
            world.rearm(key);
        }
    }
    assert!(
        world.conns.iter().all(|conn| conn.end.is_none()),
        "an end at the change"
    );

    // The phases are scaled: pings are as flat in the new intervals as they were in the old ones, and
    // each is on the new grid, which the world looks at.
    let from = world.now.at + TICK;
    world.run_to(from);
    world.pings = Some(Vec::new());
    world.run_to(from + interval);
    let mean = u32::try_from(COUNT / 100).unwrap();
    assert_flat(&world.pings.take().unwrap(), from, mean, "first");

    world.run_to(change + Micros::from_secs(100));
    let mut ends = Vec::new();
    for (key, conn) in world.conns.iter().enumerate() {
        let about = format!("{key} {:?} proof {:?}", conn.script, conn.proof);
        let Some((at, _)) = conn.end else {
            assert_eq!(conn.script.silent_from, NEVER, "still there: {about}");
            continue;
        };
        assert!(conn.script.silent_from < NEVER, "it has answered: {about}");
        // The later of the last proof and the first ping under the new policy; what has come since the
        // change is a proof like any other, and asks for no ping before it counts.
        let phase = (u128::from(interval.as_micros()) * u128::from(conn.fraction)) >> 32;
        let phase = Micros::new(u64::try_from(phase).unwrap());
        let behind = (changed[key] - phase).as_micros();
        let asked = phase + interval.saturating_mul(behind.div_ceil(interval.as_micros()));
        let due = match conn.proof > changed[key] {
            true => conn.proof + timeout,
            false => asked + timeout,
        };
        assert!(at >= due, "early, at {at:?} of {due:?}: {about}");
        assert!(
            at <= due + TICK + TICK,
            "late, at {at:?} of {due:?}: {about}"
        );
        ends.push(at);
    }
    assert_eq!(ends.len(), COUNT / 4);
    // Nor do those who are dead end in a mass, although all were due in the old policy's time.
    ends.sort_unstable();
    let tenth = Micros::from_millis(100);
    let most = (0..ends.len()).map(|first| {
        let window = ends[first..].iter();
        window.take_while(|&&at| at < ends[first] + tenth).count()
    });
    let (most, mean) = (most.max().unwrap(), COUNT / 4 / 100);
    assert!(
        most <= 2 * mean,
        "{most} ends within 100 ms, a mean of {mean}"
    );
}
