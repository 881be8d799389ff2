//! Very many connections of one loop on virtual time, against peers that follow a script.
//!
//! What ought to happen is computed from the script and from what the simulated network delivered,
//! never from the code under test.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use heartwheel::PeerAddr;
use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::{HeartbeatConfig, PingWhen, Proof, ReactorConfig};
use heartwheel::event_loop::{
    ClientConfig, Closed, ConnId, Context, Endpoint, Handler, ListenerConfig, Rejected, WireFactory,
};
use heartwheel::proto::message::Message;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::{Opcode, encode};
use heartwheel::proto::wire::Role;

use crate::dice::Dice;
use crate::memory::opening;
use crate::memory::pipe::{Far, Fate, Pipe};
use crate::memory::{Memory, MemoryLoop};

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

/// One kind of connection: its heartbeat, and what the script needs to know of it.
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

    fn heartbeat(&self) -> HeartbeatConfig {
        HeartbeatConfig {
            interval: (self.interval > Micros::ZERO).then(|| self.interval.into()),
            timeout: Some(self.timeout.into()),
            proof: self.proof,
            ping_when: self.ping_when,
            ping_slack: self.slack,
            ..HeartbeatConfig::tcp()
        }
    }

    fn wire(&self) -> WireFactory {
        match self.speech {
            Speech::WebSocket => WireFactory::WebSocket,
            Speech::Line => WireFactory::Line,
            Speech::Binary => WireFactory::Binary,
            Speech::Raw => WireFactory::Raw,
        }
    }

    /// What a peer of this kind masks its frames with.
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Server).then_some([1, 2, 3, 4])
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
    far: Far,
    id: Option<ConnId>,
    script: Script,
    /// The opening handshake is over, as the peer has it.
    is_greeted: bool,
    /// When the network last delivered what the policy takes for proof of life.
    proof: Micros,
    /// Half a message was delivered, when that was, and when the rest will be.
    is_cut: bool,
    rest: Micros,
    /// Pings the peer has read, and when its latest pong arrives: a stream keeps its order.
    pinged: u32,
    pong: Micros,
    end: Option<(Micros, Cause)>,
    is_clean: bool,
    reported: u32,
}

/// Every connection, by its number, which its peer's address tells.
#[derive(Default)]
struct Book(Vec<Conn>);

impl Handler<(), Memory<Pipe>> for Book {
    type Data = ();

    fn on_open(&mut self, cx: &mut Context<'_, (), Memory<Pipe>>, id: ConnId) {
        let peer = cx.info(id).unwrap().peer;
        let conn = &mut self.0[number_of(&peer)];
        assert_eq!(conn.id.replace(id), None, "it opens once");
        conn.proof = cx.now().into();
    }

    fn on_message(
        &mut self,
        _: &mut Context<'_, (), Memory<Pipe>>,
        _: ConnId,
        message: Message<'_>,
    ) {
        assert_eq!(message.data(), b"hello");
    }

    fn on_close(&mut self, cx: &mut Context<'_, (), Memory<Pipe>>, closed: Closed<'_, ()>) {
        let conn = &mut self.0[number_of(&closed.peer)];
        let cause = closed.evidence.cause;
        let is_dead = cause != Cause::LocalClose;
        assert_eq!(conn.far.fate() == Fate::Reset, is_dead, "{cause}");
        conn.end = Some((cx.now().into(), cause));
        conn.is_clean = closed.evidence.clean;
        conn.reported += 1;
    }

    fn on_rejected(&mut self, _: &mut Context<'_, (), Memory<Pipe>>, rejected: Rejected<'_>) {
        panic!("{rejected:?}");
    }
}

/// The loop, the network and the clock.
struct World {
    process: MemoryLoop<Book, Pipe>,
    kinds: Vec<Kind>,
    network: BinaryHeap<Reverse<(Micros, usize, Delivery)>>,
    dice: Dice,
    /// Where in its interval the first connection pings.
    first: Option<u32>,
    scratch: Vec<u8>,
    /// When each ping was written, if that is of interest.
    pings: Option<Vec<Micros>>,
}

impl World {
    fn new(seed: u64, start: Micros, kinds: Vec<Kind>) -> Self {
        eprintln!("seed {seed:#x}");
        let config = ReactorConfig {
            tick: TICK.into(),
            max_connections: 100_000,
            history: 0,
            ..ReactorConfig::default()
        };
        let entropy = Box::new(Dice::new(seed));
        let mut process = MemoryLoop::new(config, start, entropy, Book::default());
        for (number, kind) in kinds.iter().enumerate() {
            let mut config = ListenerConfig {
                heartbeat: kind.heartbeat(),
                ..ListenerConfig::new(([10, 0, 0, 0], port(number)).into(), kind.wire())
            };
            // All may come at once, from addresses that are as good as one.
            config.admission.half_open_per_address = None;
            process.inner.listen(config).unwrap();
        }
        Self {
            process,
            kinds,
            network: BinaryHeap::new(),
            dice: Dice::new(!seed),
            first: None,
            scratch: Vec::new(),
            pings: None,
        }
    }

    fn now(&self) -> Micros {
        self.process.memory.clock()
    }

    fn conns(&self) -> &[Conn] {
        &self.process.handler.0
    }

    fn conn(&mut self, key: usize) -> &mut Conn {
        &mut self.process.handler.0[key]
    }

    /// Lets somebody come, or dials; it opens before time goes on.
    fn connect(&mut self, kind: usize, script: Script) -> usize {
        let (key, now) = (self.conns().len(), self.now());
        let (pipe, far) = Pipe::new(key, true);
        let Kind { role, speech, .. } = self.kinds[kind];
        let memory = &self.process.memory;
        match role {
            Role::Server => memory.come(port(kind), address(key, kind), pipe),
            Role::Client => {
                memory.expect_dial(pipe);
                let addr = address(key, kind);
                let config = ClientConfig {
                    heartbeat: self.kinds[kind].heartbeat(),
                    reconnect: None,
                    ..ClientConfig::new(addr.ip().to_string(), addr.port(), self.kinds[kind].wire())
                };
                self.process.inner.connect(config).unwrap();
            }
        }
        if (role, speech) == (Role::Server, Speech::WebSocket) {
            far.send(&opening::ask());
        }
        self.process.handler.0.push(Conn {
            kind,
            far,
            id: None,
            script,
            is_greeted: speech != Speech::WebSocket,
            proof: now,
            is_cut: false,
            rest: now,
            pinged: 0,
            pong: now,
            end: None,
            is_clean: false,
            reported: 0,
        });
        self.expect_data(key);
        key
    }

    /// Lets time pass without stalls.
    fn run_to(&mut self, end: Micros) {
        loop {
            let arrival = self.network.peek().map_or(NEVER, |Reverse((at, ..))| *at);
            let next = self.process.due().min(arrival);
            if next > end {
                break;
            }
            self.process.memory.set_clock(next);
            self.turn();
        }
        self.process.memory.set_clock(end);
    }

    /// Stops the whole process for a while; then one late turn.
    fn stop_for(&mut self, span: Micros) {
        self.process.due();
        self.process.memory.set_clock(self.now() + span);
        self.turn();
    }

    /// Lets arrive what is due, has the loop turn, and its peers read what it has written.
    fn turn(&mut self) {
        let now = self.now();
        while let Some(&Reverse((at, key, delivery))) = self.network.peek()
            && at <= now
        {
            self.network.pop();
            self.deliver(at, key, delivery);
        }
        self.process.turn();
        if self.first.is_none() {
            let held = self.process.inner.inspect().next();
            self.first = held.map(|held| held.session.heartbeat().phase().fraction());
        }
        for key in self.process.memory.take_spoken() {
            let bytes = self.conns()[key].far.take();
            self.peer_reads(key, &bytes);
        }
    }

    fn deliver(&mut self, sent: Micros, key: usize, delivery: Delivery) {
        let now = self.now();
        let conn = &mut self.process.handler.0[key];
        let kind = &self.kinds[conn.kind];
        let is_silent = sent >= conn.script.silent_from;
        // Under proof by pong a dead peer's data goes on: it is none.
        if conn.end.is_some() || (is_silent && kind.proof != Proof::Pong) {
            return;
        }
        if let (Delivery::Pong(..), true) = (delivery, conn.is_cut) {
            self.network.push(Reverse((conn.rest, key, delivery)));
            return;
        }
        let bytes = &mut self.scratch;
        bytes.clear();
        let mask = kind.mask();
        let mut is_proof = kind.proof == Proof::Bytes;
        match (delivery, kind.speech) {
            (Delivery::Pong(..), _) if is_silent => return,
            (Delivery::Pong(_, token), Speech::WebSocket) => {
                encode(true, Opcode::Pong, &token.to_be_bytes(), mask, bytes);
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
                encode(true, Opcode::Ping, b"are you there", mask, bytes);
                is_proof |= kind.proof == Proof::Message;
            }
            (Delivery::Data | Delivery::Rest, speech) => {
                match speech {
                    Speech::WebSocket => encode(true, Opcode::Text, b"hello", mask, bytes),
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
                    conn.rest = now + Micros::from_millis(125);
                    self.network.push(Reverse((conn.rest, key, Delivery::Rest)));
                }
                is_proof |= kind.proof == Proof::Message && !conn.is_cut;
            }
            (Delivery::Pong(..), Speech::Raw) => unreachable!("nobody pings a raw wire"),
        }
        if is_proof {
            conn.proof = now;
        }
        conn.far.send(bytes);
        if delivery == Delivery::Data {
            self.expect_data(key);
        }
    }

    /// Schedules the peer's next data, unless half a message is still to be finished first.
    fn expect_data(&mut self, key: usize) {
        let (low, high) = self.conns()[key].script.gap;
        if high > Micros::ZERO {
            let at = self.now() + self.dice.span(low, high);
            self.network.push(Reverse((at, key, Delivery::Data)));
        }
    }

    /// Lets the peer read what was written to it, and plan its answers.
    fn peer_reads(&mut self, key: usize, mut wire: &[u8]) {
        let Kind { speech, role, .. } = self.kinds[self.conns()[key].kind];
        if !self.conns()[key].is_greeted {
            let len = opening::head_len(wire).expect("a head is written at once");
            let conn = self.conn(key);
            conn.is_greeted = true;
            if role == Role::Client {
                conn.far.send(&opening::answer(&wire[..len]).unwrap());
            }
            wire = &wire[len..];
        }
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
                Speech::Line => {
                    let end = wire.iter().position(|byte| *byte == b'\n').unwrap();
                    (wire.starts_with(b"PING\n"), 0, end + 1)
                }
                Speech::Binary => (*first == 1, 0, 1),
                Speech::Raw => (false, 0, wire.len()),
            };
            if is_ping {
                self.peer_pinged(key, token);
            }
            wire = &wire[len..];
        }
    }

    fn peer_pinged(&mut self, key: usize, token: u32) {
        let now = self.now();
        let kind = &self.kinds[self.conns()[key].kind];
        // On the grid: phase + k * interval, by the slack early at most, by slack and tick late.
        let interval = kind.interval.as_micros();
        let phase = (u128::from(interval) * u128::from(self.fraction(key))) >> 32;
        let since = (u128::from(now.as_micros()) + u128::from(interval) - phase) as u64 % interval;
        let slack = kind.slack();
        let is_on_grid =
            since <= (slack + TICK).as_micros() || since >= interval - slack.as_micros();
        let was_late = self.process.inner.lateness().total(now) > Micros::ZERO;
        assert!(
            was_late || is_on_grid,
            "{key} pinged {since} µs off its grid"
        );
        if let Some(pings) = &mut self.pings {
            pings.push(now);
        }
        let answer = self.conns()[key].script.answer;
        if answer > Micros::ZERO {
            let span = self.dice.span(Micros::ZERO, answer);
            let conn = self.conn(key);
            conn.pinged += 1;
            conn.pong = conn.pong.max(now + span);
            let pong = Reverse((conn.pong, key, Delivery::Pong(conn.pinged, token)));
            self.network.push(pong);
        }
    }

    /// Where in its interval a connection pings: each a golden ratio behind the one before it.
    fn fraction(&self, key: usize) -> u32 {
        let steps = u32::try_from(key).unwrap();
        let first = self.first.expect("somebody has come");
        first.wrapping_add(steps.wrapping_mul(0x9E37_79B9))
    }

    /// Checks every end against the script, in a world that was never late.
    fn check_ends(&self) -> usize {
        let mut deaths = 0;
        for (key, conn) in self.conns().iter().enumerate() {
            let kind = &self.kinds[conn.kind];
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
                    let is_overdue = conn.proof + kind.latest() <= self.now();
                    assert!(!is_overdue, "a dead peer is still there: {about}");
                }
            }
        }
        deaths
    }

    /// Closes whatever is left, peers answering at once, and checks that nothing is borrowed.
    fn close_all(&mut self) {
        let (now, book) = (self.now(), &self.process.handler.0);
        let keys: BTreeMap<_, _> = (0..).zip(book).map(|(key, conn)| (conn.id, key)).collect();
        for held in self.process.inner.inspect() {
            let key = keys[&Some(held.id)];
            assert!(
                book[key].is_cut || held.session.is_released(),
                "{key} is idle and owns buffers"
            );
        }
        let left: Vec<_> = book.iter().filter(|conn| conn.end.is_none()).collect();
        for conn in &left {
            let mut cx = self.process.inner.context();
            cx.close(conn.id.unwrap(), CloseCode::NORMAL, "done");
        }
        self.run_to(now);
        for conn in &self.process.handler.0 {
            let kind = &self.kinds[conn.kind];
            if kind.speech == Speech::WebSocket && !conn.is_cut {
                let mut answer = Vec::new();
                encode(true, Opcode::Close, &[], kind.mask(), &mut answer);
                conn.far.send(&answer);
            }
            conn.far.end();
        }
        self.run_to(now);
        for conn in self.conns() {
            let is_killed = conn
                .end
                .is_some_and(|(_, cause)| cause != Cause::LocalClose);
            assert!(is_killed || conn.is_cut || conn.is_clean);
            assert_eq!(conn.reported, 1);
        }
        let process = &self.process.inner;
        assert!(process.is_empty() && process.wheel().is_empty());
        process.wheel().assert_consistent();
        assert!(process.pool().free_bytes() <= Pool::KEPT);
    }
}

/// Who listens for connections of a kind.
fn port(kind: usize) -> u16 {
    1 + u16::try_from(kind).unwrap()
}

/// An address for each peer.
fn address(key: usize, kind: usize) -> SocketAddr {
    let number = u32::try_from(key).unwrap();
    (Ipv4Addr::from_bits(FIRST + number), port(kind)).into()
}

fn number_of(peer: &PeerAddr) -> usize {
    let Some(SocketAddr::V4(addr)) = peer.socket_addr() else {
        panic!("{peer} is nobody's");
    };
    (addr.ip().to_bits() - FIRST) as usize
}

/// 10.1.0.0.
const FIRST: u32 = 0x0A01_0000;

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
    let start = world.now();
    for n in 0..count {
        let at = start + Micros::new(20_000_000 * n as u64 / count as u64);
        world.run_to(at);
        let kind = n % world.kinds.len();
        let Kind {
            interval,
            timeout,
            speech,
            ..
        } = world.kinds[kind].clone();
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

/// Tests that take long.
mod large {
    use super::*;

    #[test]
    #[ignore = "needs a minute"]
    fn a_hundred_thousand_mostly_idle_connections_for_ten_minutes() {
        let mut world = World::new(SEED, Micros::ZERO, mixed());
        let end = Micros::from_secs(600);
        populate(&mut world, 100_000, end);
        world.run_to(end);
        let deaths = world.check_ends();
        assert!((25_000..=33_334).contains(&deaths), "{deaths} deaths");
        let stats = world.process.inner.stats();
        assert!(stats.pings_written > 2_000_000, "{stats:?}");
        assert_eq!(stats.pings_due, stats.pings_written);
        world.close_all();
    }

    #[test]
    #[ignore = "needs a minute"]
    fn f25_pings_of_a_hundred_thousand_that_arrive_at_once_stay_spread() {
        pings_stay_spread(100_000);
    }
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
        let Kind { timeout, proof, .. } = world.kinds[kind];
        if proof != Proof::Bytes {
            continue;
        }
        let latest = world.kinds[kind].latest();
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
    assert_eq!(deaths, world.conns().iter().filter(doomed).count());
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
            if rate > 0 && step % (100 / rate) == 0 && world.conns()[key].end.is_none() {
                let id = world.conns()[key].id.unwrap();
                let mut cx = world.process.inner.context();
                cx.send(id, Message::text("into the void")).unwrap();
            }
        }
    }
    for key in keys {
        let end = (Micros::from_secs(25), Cause::PongTimeout);
        assert_eq!(world.conns()[key].end, Some(end));
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
    let resumed = world.now();
    world.run_to(resumed + timeout + TICK);
    let deaths = world
        .conns()
        .iter()
        .filter(|conn| conn.end.is_some())
        .count();
    for (key, conn) in world.conns().iter().enumerate() {
        let is_dead = conn.script.silent_from < NEVER;
        assert_eq!(conn.end.is_some(), is_dead, "{key} {:?}", conn.script);
        assert_eq!(conn.reported, u32::from(is_dead));
        assert!(conn.end.is_none_or(|(at, _)| at >= conn.proof + timeout));
    }
    assert_eq!(deaths, 2_500);
    // And the world goes on as ever.
    world.run_to(resumed + Micros::from_secs(120));
    assert_eq!(
        world
            .conns()
            .iter()
            .filter(|conn| conn.end.is_some())
            .count(),
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
    pings_stay_spread(20_000);
}

/// Lets so many connections arrive at once, and looks at their pings.
fn pings_stay_spread(count: u32) {
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
    // The wheel's rounding puts a ping up to a tick after its due time, and onto a tick: each window
    // has ten of them.
    let from = |k: u64| start + interval.saturating_mul(k) + TICK + Micros::new(1);
    for (k, about) in [(0, "first"), (1, "second"), (19, "twentieth")] {
        world.run_to(from(k));
        world.pings = Some(Vec::new());
        world.run_to(from(k + 1));
        let pings = world.pings.take().unwrap();
        assert_flat(&pings, from(k), mean, about);
    }
    world.pings = Some(Vec::new());
    // It goes on at a tick.
    world.stop_for(Micros::from_secs(2) - Micros::new(1));
    let resumed = world.now();
    world.run_to(resumed + interval);
    assert_flat(
        &world.pings.take().unwrap(),
        resumed,
        mean,
        "after the stop",
    );
    assert!(world.conns().iter().all(|conn| conn.end.is_none()));
}

#[test]
fn f36_many_take_another_policy_and_nobody_who_answers_ends() {
    let change = |world: &mut World, quick: usize| {
        // As many at once as a turn has time for, so that the last ones change a fifth of a second later.
        const PIECE: usize = 500;
        let (begin, count) = (world.now(), world.conns().len());
        let mut changed = Vec::new();
        for piece in 0..count / PIECE {
            world.run_to(begin + TICK.saturating_mul(piece as u64));
            for key in piece * PIECE..(piece + 1) * PIECE {
                let heartbeat = world.kinds[quick].heartbeat();
                let id = world.conns()[key].id.unwrap();
                let mut cx = world.process.inner.context();
                cx.set_heartbeat(id, &heartbeat).unwrap();
                world.conn(key).kind = quick;
                changed.push(world.now());
            }
        }
        changed
    };
    all_take_another_policy(change);
}

#[test]
fn f36_many_take_over_what_their_listener_was_changed_to_and_nobody_who_answers_ends() {
    all_take_another_policy(|world, quick| {
        let first = world.conns()[0].id.unwrap();
        let mut cx = world.process.inner.context();
        let Endpoint::Listener(id) = cx.info(first).unwrap().endpoint else {
            panic!("they were accepted");
        };
        let addr = cx.local_addr(id).unwrap();
        let config = ListenerConfig {
            heartbeat: world.kinds[quick].heartbeat(),
            ..ListenerConfig::new(addr, world.kinds[quick].wire())
        };
        assert!(cx.set_listener(id, config).unwrap());
        assert!(cx.renew_connections(id));
        let (now, count) = (world.now(), world.conns().len());
        for key in 0..count {
            world.conn(key).kind = quick;
        }
        // Each turn changes some, and the next one follows at once.
        let turns = world.process.inner.stats().turns;
        world.run_to(now);
        let turns = world.process.inner.stats().turns - turns;
        assert!((8..16).contains(&turns), "{turns} turns for {count}");
        vec![now; count]
    });
}

/// Lets 10 000 connections, of which a quarter falls silent, change to a shorter interval and timeout, and
/// looks at their pings and ends. `change_all` says when each was changed.
fn all_take_another_policy(change_all: impl FnOnce(&mut World, usize) -> Vec<Micros>) {
    const COUNT: usize = 10_000;
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
    assert!(world.conns().iter().all(|conn| conn.end.is_none()));

    let changed = change_all(&mut world, quick);
    assert!(
        world.conns().iter().all(|conn| conn.end.is_none()),
        "an end at the change"
    );

    // The phases are scaled: pings are as flat in the new intervals as they were in the old ones, and
    // each is on the new grid, which the world looks at.
    let from = world.now() + TICK;
    world.run_to(from);
    world.pings = Some(Vec::new());
    world.run_to(from + interval);
    let mean = u32::try_from(COUNT / 100).unwrap();
    assert_flat(&world.pings.take().unwrap(), from, mean, "first");

    world.run_to(change + Micros::from_secs(100));
    let mut ends = Vec::new();
    for (key, conn) in world.conns().iter().enumerate() {
        let about = format!("{key} {:?} proof {:?}", conn.script, conn.proof);
        let Some((at, _)) = conn.end else {
            assert_eq!(conn.script.silent_from, NEVER, "still there: {about}");
            continue;
        };
        assert!(conn.script.silent_from < NEVER, "it has answered: {about}");
        // The later of the last proof and the first ping under the new policy; what has come since the
        // change is a proof like any other, and asks for no ping before it counts.
        let phase = (u128::from(interval.as_micros()) * u128::from(world.fraction(key))) >> 32;
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
