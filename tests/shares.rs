//! Who is read first when there is more to read than one turn has time for, and who is read no more.
//!
//! In memory and on virtual time, which passes only in callbacks: a turn has time for a known number of them.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/memory/mod.rs"]
mod memory;

use heartwheel::close::Cause;
#[cfg(feature = "deflate")]
use heartwheel::config::DeflateConfig;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::event_loop::{ConnId, Context, Handler, ListenerConfig, WireFactory};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::time::Micros;

use dice::Dice;
use memory::pipe::{Far, Pipe};
use memory::{Memory, MemoryLoop};

/// Notes whose messages come, in their order.
#[derive(Debug)]
struct Log {
    /// Whose callbacks take time.
    memory: Option<Memory<Pipe>>,
    /// How much each takes.
    cost: Micros,
    opened: Vec<ConnId>,
    heard: Vec<usize>,
}

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

impl Handler<(), Memory<Pipe>> for Log {
    type Data = ();

    fn on_open(&mut self, _: &mut Cx<'_>, id: ConnId) {
        self.opened.push(id);
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        let number = self.opened.iter().position(|&other| other == id);
        self.heard.push(number.unwrap());
        if let Some(memory) = &self.memory {
            memory.set_clock(memory.clock() + self.cost);
        }
        if message.data() == b"all" {
            cx.broadcast(&SharedMessage::new(message)).unwrap();
        }
    }
}

/// The loop, and the other ends of its connections in the order in which they came.
struct Room {
    process: MemoryLoop<Log, Pipe>,
    peers: Vec<Far>,
}

impl Room {
    /// Lets so many come. A callback takes a tenth of a millisecond.
    fn with(count: usize) -> Self {
        Self::limited(count, LimitsConfig::default())
    }

    fn limited(count: usize, limits: LimitsConfig) -> Self {
        Self::speaking(WireFactory::Line, b"", count, limits)
    }

    /// Lets so many come who begin with these bytes.
    fn speaking(wire: WireFactory, begin: &[u8], count: usize, limits: LimitsConfig) -> Self {
        let log = Log {
            memory: None,
            cost: Micros::new(100),
            opened: Vec::new(),
            heard: Vec::new(),
        };
        let config = ReactorConfig {
            max_connections: 1_000,
            ..ReactorConfig::default()
        };
        let mut process = MemoryLoop::new(config, Micros::ZERO, Box::new(Dice::new(1)), log);
        let addr = ([127, 0, 0, 1], 1).into();
        let listener = ListenerConfig {
            limits,
            heartbeat: HeartbeatConfig {
                interval: None,
                timeout: None,
                ..HeartbeatConfig::tcp()
            },
            ..ListenerConfig::new(addr, wire)
        };
        process.inner.listen(listener).unwrap();
        let mut peers = Vec::new();
        for number in 0..count {
            let (pipe, far) = Pipe::new(number, true);
            process.memory.come(1, addr, pipe);
            far.send(begin);
            peers.push(far);
            process.settle();
        }
        assert_eq!(process.handler.opened.len(), count);
        process.handler.memory = Some(process.memory.clone());
        Self { process, peers }
    }

    /// Lets a peer send so many messages at once.
    fn send(&self, number: usize, count: usize) {
        self.peers[number].send(&b"a\n".repeat(count));
    }

    /// Turns once, and returns whose messages came.
    fn turn(&mut self) -> Vec<usize> {
        self.process.due();
        self.process.turn();
        std::mem::take(&mut self.process.handler.heard)
    }

    /// Turns until nothing is left.
    fn settle(&mut self) {
        while self.process.due() <= self.process.memory.clock() {
            self.process.turn();
        }
        self.process.handler.heard.clear();
    }
}

/// More messages than a share, and less time than one connection may take in a turn.
const MUCH: usize = 90;

/// Three thousand that sent in bursts were read before a peer with one message, 1 ms each.
#[test]
fn a_light_peer_comes_before_those_that_used_up_their_share() {
    let mut room = Room::with(41);
    room.process.handler.cost = Micros::new(10);
    for number in 0..40 {
        room.send(number, MUCH);
    }
    room.settle();
    for number in 0..40 {
        room.send(number, MUCH);
    }
    room.send(40, 1);
    assert_eq!(room.turn().first(), Some(&40));
    assert!(!room.turn().is_empty(), "the others follow");
}

/// Those for whom the turn had no time were put behind those that had had theirs.
#[test]
fn a_light_peer_that_a_turn_had_no_time_for_is_read_first_in_the_next() {
    let mut room = Room::with(60);
    for number in 0..10 {
        room.send(number, MUCH);
    }
    // Until each has had its first share.
    while !room.turn().contains(&9) {}
    for number in 10..60 {
        room.send(number, 5);
    }
    let mut lights = Vec::new();
    while lights.len() < 50 {
        let heard = in_order(room.turn());
        let heavy = heard.iter().filter(|&&number| number < 10).count();
        let is_last = lights.len() + heard.len() >= 50;
        assert!(heavy == 1 || is_last, "one of them gets on: {heard:?}");
        assert!(heard[0] >= 10 || is_last, "{heard:?}");
        lights.extend(heard.into_iter().filter(|&number| number >= 10));
    }
    assert!(lights.is_sorted(), "{lights:?}");
}

#[test]
fn a_heavy_peer_that_sends_little_is_light_again() {
    let mut room = Room::with(3);
    room.process.handler.cost = Micros::new(10);
    let is_first = |room: &mut Room| {
        room.send(0, 1);
        room.send(1, 1);
        let heard = room.turn();
        room.settle();
        heard == [0, 1]
    };
    assert!(is_first(&mut room));
    room.send(0, MUCH);
    room.settle();
    assert!(!is_first(&mut room), "it has yet to show that it changed");
    assert!(is_first(&mut room));
}

#[test]
fn a_message_to_many_is_charged_to_its_sender() {
    let mut room = Room::with(200);
    room.peers[0].send(b"all\n");
    room.settle();
    room.send(0, 1);
    room.send(1, 1);
    assert_eq!(room.turn(), [1, 0]);
}

/// A message that inflates to 8 MiB takes as long as thousands of short ones.
#[cfg(feature = "deflate")]
#[test]
fn a_light_peer_comes_between_the_steps_of_a_long_inflation() {
    let limits = LimitsConfig {
        deflate: Some(DeflateConfig::default()),
        ..LimitsConfig::default()
    };
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut room = Room::speaking(WireFactory::WebSocket, request, 2, limits);
    room.peers[0].send(&compressed(&vec![b'x'; 8 << 20]));
    room.peers[1].send(b"\x81\x85\0\0\0\0short");
    assert_eq!(room.turn(), [1, 0]);
    assert_eq!(room.process.inner.stats().inflated_to, 8 << 20);
}

/// A binary message of one frame, compressed, and masked by zeros.
#[cfg(feature = "deflate")]
fn compressed(message: &[u8]) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
    let mut out = vec![0; message.len()];
    let packed = stream.compress(message, &mut out, flate2::FlushCompress::Sync);
    packed.unwrap();
    let len = usize::try_from(stream.total_out()).unwrap();
    let payload = out[..len].strip_suffix(&[0, 0, 0xff, 0xff]).unwrap();
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0xc2, 0xfe], &len[..], &[0; 4], payload].concat()
}

#[test]
fn a_peer_above_its_limit_is_read_as_fast_as_that_allows() {
    let limits = LimitsConfig {
        messages_per_second: Some(10),
        ..LimitsConfig::default()
    };
    let mut room = Room::limited(2, limits);
    room.process.handler.cost = Micros::ZERO;
    room.send(0, 30);
    room.send(1, 3);
    room.peers[0].end();
    let mut heard = [0; 2];
    let began = room.process.memory.clock();
    for tenth in 0..=19 {
        room.process
            .run_to(began + Micros::from_millis(tenth * 100 + 10));
        for number in room.process.handler.heard.drain(..) {
            heard[number] += 1;
        }
        let earned = usize::try_from(tenth).unwrap();
        assert_eq!(heard, [11 + earned, 3], "after {tenth} tenths of a second");
    }
    // What is behind the last message is read after that pause.
    assert_eq!(room.process.inner.len(), 2);
    room.process.run_to(began + Micros::from_millis(2_010));
    assert_eq!(room.process.inner.len(), 1);
    assert_eq!(room.process.inner.stats().closed(Cause::PeerEof), 1);
    assert_eq!(room.process.inner.stats().rate_pauses, 20);
}

/// Returns whose messages came, each run of them once.
fn in_order(mut heard: Vec<usize>) -> Vec<usize> {
    heard.dedup();
    heard
}
