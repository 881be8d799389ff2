//! Several loops behind one port, which count as one: a machine with a loop on each of its threads, any of
//! which may be held up, and a crowd of peers that its kernel deals out to them.
//!
//! The model is a count and an order: how many connections there may be in all and from each address, and
//! that whoever hears somebody hears all that one says, once and in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::event_loop::{
    Closed, ConnId, Context, Group, Handler, ListenerConfig, LoopHandle, Rejected, WireFactory,
};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::time::Micros;

use crate::dice::Dice;
use crate::memory::pipe::{Far, Pipe};
use crate::memory::{Memory, MemoryLoop};

const TICK: Micros = Micros::from_millis(10);
const TIMEOUT: Micros = Micros::from_secs(25);
/// The longest that a loop is held up.
const LONGEST: u64 = 3_000;
const PORT: u16 = 1;
const WINDOW: Duration = Duration::from_secs(8);
/// Worlds of each kind.
const SEEDS: u64 = 25;
/// Addresses that peers come from.
const ADDRESSES: usize = 4;

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

/// What one loop's application does: it tells everybody, in all loops, what anybody says.
struct Shard {
    number: usize,
    others: Vec<LoopHandle>,
    opened: Vec<(SocketAddr, ConnId)>,
    ended: Vec<(SocketAddr, Cause)>,
    refused: Vec<SocketAddr>,
    /// What was passed on, in its order.
    said: Vec<String>,
}

impl Handler<(), Memory<Pipe>> for Shard {
    type Data = ();

    fn on_open(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        assert_eq!(id.shard(), self.number);
        let peer = cx.info(id).expect("it is open").peer;
        self.opened.push((peer.socket_addr().unwrap(), id));
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        let text = String::from_utf8(message.data().to_vec()).unwrap();
        let shared = SharedMessage::new(Message::text(&text));
        cx.broadcast(&shared).expect("there is room");
        for other in &self.others {
            other.broadcast(shared.clone()).expect("there is room");
        }
        self.said.push(text);
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        let peer = closed.peer.socket_addr().unwrap();
        self.ended.push((peer, closed.evidence.cause));
    }

    fn on_rejected(&mut self, _: &mut Cx<'_>, rejected: Rejected<'_>) {
        assert_eq!(rejected.evidence.cause, Cause::Refused);
        self.refused.push(rejected.peer.socket_addr().unwrap());
    }
}

/// Somebody who has come.
struct Peer {
    addr: SocketAddr,
    shard: usize,
    far: Far,
    state: State,
    /// It answers nothing any more, since then.
    silent: Option<Micros>,
    /// For a while it took no output.
    was_blocked: bool,
    /// What it has read of a line.
    line: Vec<u8>,
    /// The last number that it has heard of each, and what it has said itself.
    heard: BTreeMap<usize, u64>,
    said: u64,
    /// Whose words it must hear from which number on, for it was there.
    since: BTreeMap<usize, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Open,
    Refused,
    Ended(Micros, Cause),
}

/// One loop on its thread.
struct Thread {
    /// None: it is gone, with all that it held.
    process: Option<MemoryLoop<Shard, Pipe>>,
    /// When its wait ends by itself.
    due: Micros,
    /// It does not run before.
    held: Micros,
}

struct World {
    threads: Vec<Thread>,
    group: Group,
    now: Micros,
    dice: Dice,
    peers: Vec<Peer>,
    limits: Limits,
    /// When connections were taken in.
    arrivals: Vec<Micros>,
    names: BTreeSet<ConnId>,
    refusals: usize,
    is_draining: bool,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    all: usize,
    address: Option<u32>,
    rate: Option<u32>,
}

impl World {
    fn new(seed: u64, shards: usize, limits: Limits) -> Self {
        let mut dice = Dice::new(seed);
        let group = Group::new();
        let mut loops: Vec<_> = (0..shards)
            .map(|number| Self::process(number, &group, limits, &mut dice))
            .collect();
        let handles: Vec<_> = loops.iter().map(|one| one.inner.handle()).collect();
        for (number, process) in loops.iter_mut().enumerate() {
            let others = handles.iter().enumerate();
            let others = others.filter(|&(other, _)| other != number);
            process.handler.others = others.map(|(_, handle)| handle.clone()).collect();
        }
        let thread = |mut process: MemoryLoop<Shard, Pipe>| Thread {
            due: process.due(),
            process: Some(process),
            held: Micros::ZERO,
        };
        Self {
            threads: loops.into_iter().map(thread).collect(),
            group,
            now: Micros::ZERO,
            dice,
            peers: Vec::new(),
            limits,
            arrivals: Vec::new(),
            names: BTreeSet::new(),
            refusals: 0,
            is_draining: false,
        }
    }

    fn process(
        number: usize,
        group: &Group,
        limits: Limits,
        dice: &mut Dice,
    ) -> MemoryLoop<Shard, Pipe> {
        let config = ReactorConfig {
            tick: TICK.into(),
            max_connections: limits.all,
            // Broadcasts take several turns, as they do where there are many connections.
            broadcast_budget: dice.pick(&[1, 2, 5, 1024]),
            ..ReactorConfig::default()
        };
        let shard = Shard {
            number,
            others: Vec::new(),
            opened: Vec::new(),
            ended: Vec::new(),
            refused: Vec::new(),
            said: Vec::new(),
        };
        let entropy = Box::new(dice.fork());
        let mut process = MemoryLoop::in_group(config, Micros::ZERO, entropy, shard, group);
        let mut listener = ListenerConfig {
            heartbeat: HeartbeatConfig {
                interval: Some(Duration::from_secs(10)),
                timeout: Some(TIMEOUT.into()),
                ..HeartbeatConfig::tcp()
            },
            ..ListenerConfig::new(([10, 0, 0, 1], PORT).into(), WireFactory::Line)
        };
        listener.admission.open_per_address = limits.address;
        listener.admission.handshakes_per_second = limits.rate;
        process.inner.listen(listener).unwrap();
        assert_eq!(process.inner.shard(), number);
        process
    }

    /// Lets time pass up to `end`, and each loop turn whenever it has something to do and is not held.
    fn run_to(&mut self, end: Micros) {
        loop {
            let wakes = self
                .threads
                .iter()
                .enumerate()
                .filter_map(|(shard, thread)| {
                    let process = thread.process.as_ref()?;
                    let due = if process.is_told() {
                        self.now
                    } else {
                        thread.due
                    };
                    Some((due.max(thread.held), shard))
                });
            let Some((at, shard)) = wakes.min().filter(|&(at, _)| at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.turn(shard);
        }
        self.now = end;
    }

    fn turn(&mut self, shard: usize) {
        let (now, before) = (self.now, self.held(None));
        let thread = &mut self.threads[shard];
        let process = thread.process.as_mut().expect("it runs");
        process.memory.set_clock(now);
        process.turn();
        thread.due = process.due();
        let handler = &mut process.handler;
        let opened = std::mem::take(&mut handler.opened);
        let ended = std::mem::take(&mut handler.ended);
        let refused = std::mem::take(&mut handler.refused);
        let said = std::mem::take(&mut handler.said);
        // A turn reads before it accepts.
        for text in said {
            let (speaker, number) = words(&text);
            assert_eq!(self.peers[speaker].said, number - 1, "{text}");
            self.peers[speaker].said = number;
        }
        for &(addr, id) in &opened {
            assert!(self.names.insert(id), "{id} is the name of another");
            self.arrivals.push(now);
            let newest = self.newest();
            let peer = self.peer(addr);
            assert_eq!(peer.state, State::Waits);
            (peer.state, peer.since) = (State::Open, newest);
        }
        for &(addr, cause) in &ended {
            let peer = self.peer(addr);
            assert_eq!(peer.state, State::Open);
            peer.state = State::Ended(now, cause);
        }
        for &addr in &refused {
            self.peer(addr).state = State::Refused;
            let most = |count: usize| count + opened.len() + ended.len();
            let is_full = most(before) >= self.limits.all;
            let of_address = self.limits.address.is_some_and(|limit| {
                most(self.held(Some(addr))) >= usize::try_from(limit).unwrap()
            });
            let is_fast = self.limits.rate.is_some();
            assert!(
                is_full || of_address || is_fast || self.is_draining,
                "{addr} is refused though there is room"
            );
            self.refusals += 1;
        }
        self.hear(shard);
        self.check_totals();
    }

    /// The last number that everybody has said.
    fn newest(&self) -> BTreeMap<usize, u64> {
        let peers = self.peers.iter().enumerate();
        peers.map(|(number, peer)| (number, peer.said)).collect()
    }

    fn peer(&mut self, addr: SocketAddr) -> &mut Peer {
        &mut self.peers[usize::from(addr.port())]
    }

    /// Counts the connections that are held, in all or from one address.
    fn held(&self, from: Option<SocketAddr>) -> usize {
        let is_from = |peer: &&Peer| from.is_none_or(|from| peer.addr.ip() == from.ip());
        let is_held = |peer: &&Peer| peer.state == State::Open;
        self.peers.iter().filter(is_held).filter(is_from).count()
    }

    /// What the group says of all loops is so, and within the limits.
    fn check_totals(&self) {
        let loops = self.threads.iter().filter_map(|one| one.process.as_ref());
        let total: usize = loops.map(|process| process.inner.len()).sum();
        assert_eq!(self.group.len(), total, "what the group counts");
        assert_eq!(self.held(None), total, "who is open is held by a loop");
        assert!(total <= self.limits.all, "{total} of {:?}", self.limits);
        for address in 0..ADDRESSES {
            let held = self.held(Some(address_of(address, 0)));
            let most = self.limits.address.map_or(usize::MAX, |most| most as usize);
            assert!(held <= most, "{held} of an address that may have {most}");
        }
        if let Some(rate) = self.limits.rate {
            // A second's worth at once, and as many a second after that.
            let last = self.arrivals.last().copied().unwrap_or_default();
            let recent = self.arrivals.iter().rev();
            for (count, &at) in (1..).zip(recent) {
                let most = f64::from(rate) * (1.0 + (last - at).as_secs_f64());
                assert!(f64::from(count) <= most + 1.0, "{count} of at most {most}");
            }
        }
    }

    /// Lets the peers of a loop read, and answer.
    fn hear(&mut self, shard: usize) {
        let process = self.threads[shard].process.as_ref().expect("it runs");
        for number in process.memory.take_spoken() {
            let bytes = self.peers[number].far.take();
            let peer = &mut self.peers[number];
            for byte in bytes {
                if byte != b'\n' {
                    peer.line.push(byte);
                    continue;
                }
                let line = String::from_utf8(std::mem::take(&mut peer.line)).unwrap();
                if line == "PING" {
                    if peer.silent.is_none() {
                        peer.far.send(b"PONG\n");
                    }
                    continue;
                }
                let (speaker, word) = words(&line);
                let before = peer.heard.insert(speaker, word);
                let since = peer.since.get(&speaker).copied().unwrap_or(0);
                // Words of before it came may still be on their way to its loop.
                let is_next = match before {
                    Some(last) => word == last + 1,
                    None => word <= since + 1,
                };
                assert!(is_next, "{number} hears {line} after {before:?}");
            }
        }
    }
}

/// What happens.
impl World {
    /// Somebody comes; the kernel gives the connection to any of the loops.
    fn come(&mut self) {
        let number = self.peers.len();
        let shard = self.dice.index(self.threads.len());
        let Some(process) = &self.threads[shard].process else {
            return;
        };
        let addr = address_of(self.dice.index(ADDRESSES), number);
        let (pipe, far) = Pipe::new(number, true);
        process.memory.come(PORT, addr, pipe);
        self.peers.push(Peer {
            addr,
            shard,
            far,
            state: State::Waits,
            silent: None,
            was_blocked: false,
            line: Vec::new(),
            heard: BTreeMap::new(),
            said: 0,
            since: BTreeMap::new(),
        });
    }

    /// Picks somebody who is there and lives.
    fn pick(&mut self) -> Option<usize> {
        let peers = self.peers.iter().enumerate();
        let alive = peers.filter(|(_, peer)| peer.state == State::Open && peer.silent.is_none());
        let alive: Vec<_> = alive.map(|(number, _)| number).collect();
        let place = self.dice.index(alive.len());
        alive.get(place).copied()
    }

    fn step(&mut self, words_sent: &mut BTreeMap<usize, u64>) {
        match self.dice.below(40) {
            0..14 => self.come(),
            14..30 => {
                if let Some(number) = self.pick() {
                    for _ in 0..=self.dice.below(4) {
                        let word = words_sent.entry(number).or_default();
                        *word += 1;
                        let line = format!("{number} {word}\n");
                        self.peers[number].far.send(line.as_bytes());
                    }
                }
            }
            30..33 => {
                if let Some(number) = self.pick() {
                    self.peers[number].far.end();
                }
            }
            33 => {
                if let Some(number) = self.pick() {
                    self.peers[number].silent = Some(self.now);
                }
            }
            34..37 => {
                let shard = self.dice.index(self.threads.len());
                self.threads[shard].held = self.now + self.dice.millis(0, LONGEST);
            }
            37 => {
                if let Some(number) = self.pick() {
                    self.peers[number].was_blocked = true;
                    self.peers[number].far.set_room(0);
                }
            }
            _ => {
                for peer in &self.peers {
                    peer.far.set_room(usize::MAX);
                }
            }
        }
    }

    /// One loop is gone, with its thread.
    fn lose(&mut self, shard: usize) {
        self.threads[shard].process = None;
        for peer in self.peers.iter_mut().filter(|peer| peer.shard == shard) {
            if peer.state == State::Open {
                peer.state = State::Ended(self.now, Cause::IoError);
            }
        }
        self.check_totals();
    }

    /// Whoever is there at the end has heard everything that was said since it came.
    fn check_heard(&self) {
        for (number, peer) in self.peers.iter().enumerate() {
            if peer.state != State::Open {
                continue;
            }
            for (&speaker, &since) in &peer.since {
                let said = self.peers[speaker].said;
                let heard = peer.heard.get(&speaker).copied().unwrap_or(since);
                assert_eq!(heard, said, "what {number} has heard of {speaker}");
            }
        }
    }

    /// Who was silent for long enough is gone, by the verdict of its own loop, and nobody else for that.
    fn check_silence(&self) {
        for (number, peer) in self.peers.iter().enumerate() {
            match (peer.silent, peer.state) {
                (Some(since), State::Ended(at, Cause::PongTimeout)) => {
                    // Its last word may be older by an interval, and the loop was held up.
                    let late = Micros::from_secs(15) + Micros::from_millis(2 * LONGEST);
                    let early = Micros::from_secs(10) + Micros::from_millis(LONGEST);
                    assert!(at + early >= since + TIMEOUT, "{number} at {at:?}");
                    assert!(at <= since + TIMEOUT + late, "{number} at {at:?}");
                }
                (None, State::Ended(_, cause)) => {
                    let is_wanted = matches!(cause, Cause::PeerEof | Cause::Drain | Cause::IoError);
                    assert!(is_wanted || peer.was_blocked, "{number}: {cause}");
                }
                (_, State::Waits | State::Open | State::Refused | State::Ended(..)) => {}
            }
        }
    }

    /// Every loop is asked to say goodbye, and the last is done when nobody is left.
    fn drain(&mut self) {
        self.is_draining = true;
        for peer in &self.peers {
            peer.far.set_room(usize::MAX);
        }
        for process in self.threads.iter().filter_map(|one| one.process.as_ref()) {
            let handle: LoopHandle = process.inner.handle();
            handle.drain(WINDOW).unwrap();
        }
        let ends = self.now + WINDOW.into() + Micros::from_millis(LONGEST) + TICK;
        while self.now < ends {
            self.run_to(self.now + Micros::from_millis(100));
            self.come();
            for peer in &self.peers {
                let is_asked = peer.far.fate() == crate::memory::pipe::Fate::Shut;
                if is_asked && peer.silent.is_none() {
                    peer.far.end();
                }
            }
        }
        self.run_to(ends + Micros::from_secs(1));
        assert!(self.group.is_empty(), "{} are left", self.group.len());
        for process in self.threads.iter().filter_map(|one| one.process.as_ref()) {
            assert!(process.inner.is_stopped());
            assert!(process.inner.wheel().is_empty(), "a timer is left over");
        }
        let open = self.peers.iter().filter(|peer| peer.state == State::Open);
        assert_eq!(open.count(), 0);
    }
}

/// Returns who spoke, and the number of the word.
fn words(line: &str) -> (usize, u64) {
    let (speaker, word) = line.split_once(' ').expect("two numbers");
    (speaker.parse().unwrap(), word.parse().unwrap())
}

/// An address, with a port that tells which peer it is.
fn address_of(address: usize, number: usize) -> SocketAddr {
    let last = 2 + u8::try_from(address).unwrap();
    let port = u16::try_from(number).expect("peers are few");
    ([10, 0, 0, last], port).into()
}

/// Plays worlds of one kind; returns how often somebody was refused.
fn play(limits: Limits) -> usize {
    let mut refusals = 0;
    for seed in 0..SEEDS {
        eprintln!("{limits:?}, seed {seed}");
        let shards = 2 + (seed % 3) as usize;
        let mut world = World::new(seed, shards, limits);
        let mut words_sent = BTreeMap::new();
        for _ in 0..400 {
            let span = world.dice.millis(0, 400);
            world.run_to(world.now + span);
            world.step(&mut words_sent);
        }
        // Everything arrives, and whoever is dead is found.
        for peer in &world.peers {
            peer.far.set_room(usize::MAX);
        }
        world.run_to(world.now + Micros::from_secs(60));
        world.check_heard();
        world.check_silence();
        if seed % 4 == 0 {
            world.lose(1);
        }
        world.drain();
        world.check_silence();
        refusals += world.refusals;
    }
    refusals
}

#[test]
fn loops_of_a_group_count_as_one_and_tell_each_other_everything_in_order() {
    let limits = Limits {
        all: 1_000,
        address: None,
        rate: None,
    };
    play(limits);
}

#[test]
fn limits_hold_for_all_loops_of_a_group_together() {
    let none = Limits {
        all: 1_000,
        address: None,
        rate: None,
    };
    for limits in [
        Limits { all: 12, ..none },
        Limits {
            address: Some(5),
            ..none
        },
        Limits {
            rate: Some(1),
            ..none
        },
    ] {
        let refusals = play(limits);
        assert!(refusals > 50, "{refusals} refusals");
    }
}
