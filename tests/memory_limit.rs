//! The memory that connections hold: counted exactly, and limited.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/memory/mod.rs"]
mod memory;

use std::time::Duration;

use heartwheel::close::{Cause, Evidence};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::error::{SendError, SubscribeError};
use heartwheel::event_loop::{Closed, ConnId, Context, Handler, ListenerConfig, WireFactory};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::{Opcode, encode};
use proptest::prelude::*;

use dice::Dice;
use memory::pipe::{Far, Fate, Pipe};
use memory::{Memory, MemoryLoop, opening};

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

/// Sends each message back, and keeps what ended.
#[derive(Debug, Default)]
struct Echo {
    ids: Vec<ConnId>,
    ends: Vec<(ConnId, Evidence)>,
    pongs: usize,
}

impl Handler<(), Memory<Pipe>> for Echo {
    type Data = ();

    fn on_open(&mut self, _: &mut Cx<'_>, id: ConnId) {
        self.ids.push(id);
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        if let Err(SendError::Full { queued: 1.., .. }) = cx.send(id, message) {
            cx.set_held(id, message.data().len());
            cx.pause(id);
        }
    }

    fn on_writable(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        cx.set_held(id, 0);
        cx.resume(id);
    }

    fn on_pong(&mut self, _: &mut Cx<'_>, _: ConnId, _: Option<Duration>) {
        self.pongs += 1;
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        self.ends.push((closed.id, *closed.evidence));
    }
}

/// A loop with peers, each with the number that its connection has in the handler's list.
struct Town {
    process: MemoryLoop<Echo, Pipe>,
    peers: Vec<Far>,
    wires: Vec<u16>,
}

const WEBSOCKET: u16 = 1;
const LINE: u16 = 2;
const BINARY: u16 = 3;

impl Town {
    fn new(limit: Option<usize>) -> Self {
        Self::with(limit, |_, _| {})
    }

    fn with(
        limit: Option<usize>,
        change: impl Fn(&mut HeartbeatConfig, &mut LimitsConfig),
    ) -> Self {
        let config = ReactorConfig {
            max_connections: 100,
            memory_limit: limit,
            ..ReactorConfig::default()
        };
        let dice = Box::new(Dice::new(1));
        let mut process = MemoryLoop::new(config, Micros::ZERO, dice, Echo::default());
        for (port, wire) in [
            (WEBSOCKET, WireFactory::WebSocket),
            (LINE, WireFactory::Line),
            (BINARY, WireFactory::Binary),
        ] {
            let mut listener = ListenerConfig::new(([127, 0, 0, 1], port).into(), wire);
            change(&mut listener.heartbeat, &mut listener.limits);
            process.inner.listen(listener).unwrap();
        }
        let (peers, wires) = (Vec::new(), Vec::new());
        Self {
            process,
            peers,
            wires,
        }
    }

    /// Has one more peer come, and open.
    fn join(&mut self, port: u16) -> usize {
        let number = self.peers.len();
        let (pipe, far) = Pipe::new(number, true);
        let from = ([127, 0, 0, 1], 1_000).into();
        self.process.memory.come(port, from, pipe);
        self.process.settle();
        if port == WEBSOCKET {
            far.send(&opening::ask());
            self.process.settle();
        }
        far.take();
        self.peers.push(far);
        self.wires.push(port);
        assert_eq!(self.process.handler.ids.len(), self.peers.len());
        number
    }

    fn id(&self, peer: usize) -> ConnId {
        self.process.handler.ids[peer]
    }

    fn cx(&mut self) -> Cx<'_> {
        self.process.inner.context()
    }

    /// Sends the beginning of a message of `total` bytes.
    fn begin(&mut self, peer: usize, total: usize, sent: usize) {
        let mut frame = Vec::new();
        match self.wires[peer] {
            WEBSOCKET => encode(
                true,
                Opcode::Binary,
                &vec![7; total],
                Some([1, 2, 3, 4]),
                &mut frame,
            ),
            LINE => frame.resize(total, b'x'),
            _ => {
                frame.push(0);
                frame.extend((total as u32).to_be_bytes());
                frame.resize(5 + total, 7);
            }
        }
        frame.truncate(sent);
        self.peers[peer].send(&frame);
        self.process.settle();
    }

    /// Sends a whole message.
    fn say(&mut self, peer: usize, len: usize) {
        self.begin(peer, len, usize::MAX);
        if self.wires[peer] == LINE {
            self.peers[peer].send(b"\n");
            self.process.settle();
        }
    }

    fn pass(&mut self, span: Micros) {
        let end = self.process.memory.clock() + span;
        self.process.run_to(end);
    }

    /// Has the loop count what calls from outside have changed.
    fn turn(&mut self) {
        self.process.turn();
        self.process.settle();
    }

    fn memory(&self) -> usize {
        usize::try_from(self.process.inner.stats().memory).unwrap()
    }

    /// What is really held, looked for in all places.
    fn sum(&self) -> usize {
        let sessions = self.process.inner.inspect().map(|held| held.session);
        let pool = self.process.inner.pool();
        let held: usize = sessions.map(|session| session.memory()).sum();
        held + pool.shared_bytes() + pool.waste_bytes()
    }

    /// The same of topics and subscriptions.
    fn sum_of_topics(&mut self, rates: Rates) -> usize {
        let ids: Vec<_> = self.process.inner.inspect().map(|held| held.id).collect();
        let cx = self.cx();
        let names: usize = cx
            .all_topics()
            .map(|(name, _)| name.len() + rates.topic)
            .sum();
        let counts = ids.into_iter().map(|id| cx.topics(id).count());
        let each = |count: usize| {
            if count == 0 {
                0
            } else {
                rates.first + count * rates.each
            }
        };
        names + counts.map(each).sum::<usize>()
    }

    fn cause(&self, peer: usize) -> Option<Cause> {
        let id = self.id(peer);
        let ends = self.process.handler.ends.iter();
        ends.filter(|(other, _)| *other == id)
            .map(|(_, evidence)| evidence.cause)
            .next()
    }

    fn is_held_back(&self, peer: usize) -> bool {
        let id = self.id(peer);
        let mut all = self.process.inner.inspect();
        all.any(|held| held.id == id && held.session.is_paused())
    }
}

const MIB: usize = 1024 * 1024;

/// What a connection with topics, each of its subscriptions and each topic beside its name count.
#[derive(Clone, Copy, Debug)]
struct Rates {
    first: usize,
    each: usize,
    topic: usize,
}

impl Rates {
    fn measure() -> Self {
        let mut town = Town::new(None);
        let [one, other] = [town.join(LINE), town.join(LINE)].map(|peer| town.id(peer));
        let mut count = |id, name| {
            let before = town.memory();
            assert_eq!(town.cx().subscribe(id, name), Ok(true));
            town.turn();
            town.memory() - before
        };
        let (all, second, further) = (count(one, "x"), count(other, "x"), count(one, "y"));
        let topic = all - second - 1;
        let each = further - topic - 1;
        Self {
            first: second - each,
            each,
            topic,
        }
    }
}

#[test]
fn an_idle_connection_holds_nothing_and_an_unfinished_message_what_it_takes() {
    let mut town = Town::new(None);
    let peers = [WEBSOCKET, LINE, BINARY].map(|port| town.join(port));
    assert_eq!(town.memory(), 0);
    for peer in peers {
        let before = town.memory();
        town.begin(peer, 3 * MIB, 2 * MIB);
        let held = town.memory() - before;
        assert!((2 * MIB..5 * MIB).contains(&held), "{held}");
        assert_eq!(town.memory(), town.sum());
        let id = town.id(peer);
        assert_eq!(town.cx().info(id).unwrap().memory, held);
    }
    for far in &town.peers {
        far.end();
    }
    town.pass(Micros::from_secs(10));
    assert_eq!((town.memory(), town.sum()), (0, 0));
}

#[test]
fn a_broadcast_counts_once_however_many_queues_hold_it() {
    let mut town = Town::new(None);
    for _ in 0..20 {
        let peer = town.join(WEBSOCKET);
        town.peers[peer].set_room(0);
    }
    let news = vec![7; MIB];
    let news = SharedMessage::new(Message::binary(&news));
    town.cx().broadcast(&news).unwrap();
    town.process.settle();
    assert!(
        (MIB..MIB + MIB / 8).contains(&town.memory()),
        "{}",
        town.memory()
    );
    assert_eq!(town.memory(), town.sum());
    for far in &town.peers {
        far.set_room(usize::MAX);
    }
    town.process.settle();
    drop(news);
    town.pass(Micros::from_secs(1));
    assert_eq!(town.memory(), 0);
}

#[test]
fn near_the_limit_the_largest_wait_and_small_ones_are_read() {
    let mut town = Town::new(Some(5 * MIB));
    let (large, small) = (town.join(WEBSOCKET), town.join(WEBSOCKET));
    town.begin(large, 16 * MIB, 9 * MIB / 2);
    assert!(town.is_held_back(large));
    assert!(town.memory() > 15 * MIB / 4 && town.memory() <= 5 * MIB);
    assert!(town.peers[large].unread() > 0);
    town.say(small, 1_000);
    assert_eq!(town.peers[small].take().len(), 1_004);
    assert!(!town.is_held_back(small));
    assert!(town.process.inner.stats().memory_pauses >= 1);
}

/// What waits is read bit by bit, so that a message that needs little more can be complete.
#[test]
fn who_waits_is_read_again_after_a_second() {
    let mut town = Town::with(Some(5 * MIB), |heartbeat, _| {
        (heartbeat.interval, heartbeat.timeout) = (None, None);
    });
    let peer = town.join(BINARY);
    town.begin(peer, 3 * MIB, 3 * MIB);
    assert!(town.is_held_back(peer));
    let unread = town.peers[peer].unread();
    assert!(unread > MIB / 2);
    town.pass(Micros::from_millis(999));
    assert_eq!(town.peers[peer].unread(), unread);
    town.pass(Micros::from_millis(1));
    assert!(town.peers[peer].unread() < unread);
    town.pass(Micros::from_secs(5));
    assert_eq!(town.peers[peer].unread(), 0);
    assert_eq!(town.peers[peer].take(), b"");
    town.peers[peer].send(&[7; 5]);
    town.pass(Micros::from_secs(5));
    assert_eq!(town.peers[peer].take().len(), 3 * MIB + 5);
    assert_eq!(town.memory(), 0);
}

#[test]
fn past_the_limit_the_largest_ends_and_the_others_stay() {
    let mut town = Town::new(Some(8 * MIB));
    let idle = town.join(WEBSOCKET);
    let large = town.join(WEBSOCKET);
    let others: Vec<_> = (0..30).map(|_| town.join(WEBSOCKET)).collect();
    town.begin(large, 16 * MIB, 3 * MIB);
    for &peer in &others {
        town.begin(peer, MIB, 200 * 1024);
        assert!(town.memory() <= 8 * MIB, "{}", town.memory());
    }
    let sent = town.peers[large].take();
    assert_eq!(sent[..4], [0x88, sent[1], 0x03, 0xf5], "1013 at once");
    town.pass(Micros::from_secs(4));
    assert_eq!(town.cause(large), Some(Cause::MemoryLimit));
    let (_, evidence) = town.process.handler.ends[0];
    assert_eq!(evidence.close_code.unwrap().as_u16(), 1013);
    assert!(evidence.bytes_unfinished >= Some(3 * MIB as u32 / 2));
    assert!(!evidence.clean);
    assert_eq!(town.process.handler.ends.len(), 1);
    assert_eq!(town.process.inner.stats().closed(Cause::MemoryLimit), 1);
    assert_eq!(town.cause(idle), None);
}

#[test]
fn a_reader_that_hardly_reads_ends_before_those_that_do() {
    let mut town = Town::with(Some(2 * MIB), |heartbeat, limits| {
        heartbeat.write_timeout = None;
        limits.send_queue = Some(16 * MIB);
    });
    let (slow, other) = (town.join(WEBSOCKET), town.join(WEBSOCKET));
    town.peers[slow].set_room(0);
    town.say(slow, MIB);
    assert_eq!(town.cause(slow), None);
    town.say(slow, MIB);
    town.say(other, 1_000);
    // Reading stops for a second at a time before that, and a goodbye has three.
    town.pass(Micros::from_secs(12));
    assert_eq!(town.cause(slow), Some(Cause::MemoryLimit));
    assert_eq!(town.cause(other), None);
    let (_, evidence) = town.process.handler.ends[0];
    assert!(evidence.bytes_dropped > MIB as u64, "{evidence}");
    assert_eq!(town.memory(), 0);
}

/// A frame that was written in part cannot be followed by a goodbye soon: the end of the stream would
/// say that it was whole.
#[test]
fn a_long_frame_that_was_begun_ends_in_a_reset() {
    let mut town = Town::new(Some(2 * MIB));
    let peer = town.join(BINARY);
    town.peers[peer].set_room(1_000);
    let id = town.id(peer);
    let block = vec![7; MIB];
    for _ in 0..2 {
        let _ = town.cx().send(id, Message::binary(&block));
        town.process.settle();
    }
    assert_eq!(town.cause(peer), Some(Cause::MemoryLimit));
    assert_eq!(town.peers[peer].fate(), Fate::Reset);
    assert_eq!(town.memory(), 0);
}

/// A callback may send to any number of others before the loop writes anything.
#[test]
fn one_callback_cannot_queue_more_than_the_limit() {
    let mut town = Town::new(Some(4 * MIB));
    for _ in 0..50 {
        let peer = town.join(WEBSOCKET);
        town.peers[peer].set_room(0);
    }
    let block = vec![7; MIB / 2];
    let mut cx = town.process.inner.context();
    let ids: Vec<_> = cx.connections().collect();
    let mut taken = 0;
    for id in ids {
        taken += usize::from(cx.send(id, Message::binary(&block)).is_ok());
    }
    assert!(taken > 40, "{taken}");
    assert!(town.sum() <= 4 * MIB, "{}", town.sum());
    town.process.settle();
    assert_eq!(town.memory(), town.sum());
}

/// A long message that is sent back is shared and not copied: what grows is no connection's own.
#[test]
fn echoes_that_nobody_reads_stay_within_the_limit() {
    let mut town = Town::with(Some(2 * MIB), |_, limits| {
        limits.send_queue = Some(8 * MIB);
    });
    let peer = town.join(WEBSOCKET);
    town.peers[peer].set_room(0);
    for len in [100, 300_000, 300_000, 900_000, 900_000] {
        assert_eq!(town.cause(peer), None);
        town.say(peer, len);
        assert_eq!(town.memory(), town.sum());
        assert!(town.memory() <= 2 * MIB, "{}", town.memory());
    }
    town.pass(Micros::from_secs(4));
    assert_eq!(town.cause(peer), Some(Cause::MemoryLimit));
}

#[test]
fn what_the_embedder_holds_counts_and_is_forgotten_with_its_connection() {
    let mut town = Town::new(Some(4 * MIB));
    let (one, other) = (town.join(LINE), town.join(LINE));
    let (id, next) = (town.id(one), town.id(other));
    town.cx().set_held(id, 3 * MIB);
    town.process.settle();
    assert!(town.memory() > 3 * MIB);
    town.cx().set_held(next, 2 * MIB);
    town.process.settle();
    town.pass(Micros::from_secs(4));
    assert_eq!(town.cause(one), Some(Cause::MemoryLimit));
    assert_eq!(town.cause(other), None);
    // At once, since nobody knows how many more numbers one callback gives.
    town.cx().set_held(next, 5 * MIB);
    assert!(town.sum() < MIB);
    town.pass(Micros::from_secs(4));
    assert_eq!(town.cause(other), Some(Cause::MemoryLimit));
    assert_eq!(town.memory(), 0);
}

/// A peer that has its handler subscribe to more and more topics is one that holds more and more.
#[test]
fn who_subscribes_without_end_ends_and_the_others_keep_their_topics() {
    let mut town = Town::new(Some(2 * MIB));
    let [modest, greedy, large] = [town.join(LINE), town.join(LINE), town.join(WEBSOCKET)];
    let [id, endless] = [modest, greedy].map(|peer| town.id(peer));
    town.begin(large, MIB, 300 * 1024);
    town.cx().subscribe(id, "news").unwrap();
    town.cx().subscribe(endless, "news").unwrap();
    let mut taken = 0;
    let refused = loop {
        match town.cx().subscribe(endless, &format!("{taken:01000}")) {
            Ok(is_new) => assert!(is_new),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert_eq!(refused, SubscribeError::Closed);
    assert!((1_000..2_000).contains(&taken), "{taken}");
    assert_eq!(town.cx().topics(endless).count(), 0, "at once");
    town.cx()
        .publish("news", &SharedMessage::new(Message::text("hello")))
        .unwrap();
    town.pass(Micros::from_secs(4));
    assert!(town.peers[modest].take().starts_with(b"hello\n"));
    let causes = [modest, greedy, large].map(|peer| town.cause(peer));
    assert_eq!(causes, [None, Some(Cause::MemoryLimit), None]);
    let stats = town.process.inner.stats();
    assert_eq!((stats.topics, stats.subscriptions), (1, 1));
}

/// Without a limit of memory there is still one of topics.
#[test]
fn a_connection_has_no_more_than_16_384_topics() {
    let mut town = Town::new(None);
    let peer = town.join(LINE);
    let id = town.id(peer);
    for number in 0..16_384 {
        assert_eq!(town.cx().subscribe(id, &number.to_string()), Ok(true));
    }
    let limit = 16_384;
    assert_eq!(
        town.cx().subscribe(id, "x"),
        Err(SubscribeError::TooMany { limit })
    );
    assert_eq!(town.cx().subscribe(id, "7"), Ok(false), "it does already");
    let limit = 65_535;
    let refused = town.cx().subscribe(id, &"x".repeat(limit + 1));
    assert_eq!(
        refused,
        Err(SubscribeError::TooLong {
            len: limit + 1,
            limit
        })
    );
}

/// Messages to a topic make memory short: a member may end, and leave, while they are sent.
#[test]
fn members_that_end_while_a_message_is_sent_cost_nobody_else_his() {
    let mut town = Town::with(Some(MIB), |_, limits| {
        limits.send_queue = Some(MIB);
    });
    let members: Vec<_> = (0..4).map(|_| town.join(LINE)).collect();
    for &peer in &members {
        let id = town.id(peer);
        town.cx().subscribe(id, "news").unwrap();
        town.peers[peer].set_room(0);
    }
    // The one that is sent to first holds most.
    let last = town.id(members[3]);
    for number in 0..600 {
        town.cx()
            .subscribe(last, &format!("{number:01000}"))
            .unwrap();
    }
    let text = "x".repeat(400_000);
    let shared = SharedMessage::new(Message::text(&text));
    town.cx().publish("news", &shared).unwrap();
    assert_eq!(town.cx().subscribers("news"), 3);
    for &peer in &members {
        town.peers[peer].set_room(MIB);
    }
    town.pass(Micros::from_secs(4));
    for &peer in &members[..3] {
        assert_eq!(town.cause(peer), None);
        let got = town.peers[peer].take();
        let count = got.iter().filter(|&&byte| byte == b'x').count();
        assert_eq!(count, text.len(), "once");
    }
    assert_eq!(town.cause(members[3]), Some(Cause::MemoryLimit));
}

/// Both the loop and the application may stop reading; it goes on when neither does.
#[test]
fn a_pause_of_the_application_outlasts_that_of_the_loop() {
    for is_paused_first in [true, false] {
        let mut town = Town::new(Some(5 * MIB));
        let peer = town.join(WEBSOCKET);
        let id = town.id(peer);
        town.begin(peer, 16 * MIB, 9 * MIB / 2);
        assert!(town.is_held_back(peer));
        town.cx().pause(id);
        town.pass(Micros::from_secs(5));
        assert!(town.is_held_back(peer));
        let unread = town.peers[peer].unread();
        if is_paused_first {
            town.cx().resume(id);
            town.process.settle();
            assert!(town.peers[peer].unread() < unread);
        }
        assert_eq!(town.cause(peer), None);
    }
}

/// Reading stops for a second at a time; what a peer answers meanwhile lies unread.
#[test]
fn waiting_costs_nobody_its_heartbeat() {
    let mut town = Town::with(Some(5 * MIB), |heartbeat, limits| {
        heartbeat.interval = Some(Duration::from_millis(500));
        heartbeat.timeout = Some(Duration::from_millis(900));
        limits.message_timeout = None;
    });
    let peer = town.join(LINE);
    town.begin(peer, 3 * MIB, 3 * MIB);
    assert!(town.is_held_back(peer));
    for _ in 0..100 {
        town.pass(Micros::from_millis(100));
        if town.peers[peer].take().ends_with(b"PING\n") {
            town.peers[peer].send(b"x");
        }
    }
    assert_eq!(town.cause(peer), None);
    // It says nothing at all any more, and all that it has said is read.
    town.pass(Micros::from_secs(30));
    assert!(town.cause(peer).is_some());
}

#[derive(Clone, Debug)]
enum Act {
    Begin(usize, usize),
    Say(usize, usize),
    Room(usize, usize),
    Send(usize, usize),
    Broadcast(usize),
    Hold(usize, usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    Pause(usize),
    Resume(usize),
    Close(usize),
    End(usize),
    Fail(usize),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let len = || {
        prop_oneof![
            3 => 0..300usize,
            2 => 0..70_000usize,
            1 => 0..600_000usize,
        ]
    };
    let (peer, topic) = (|| 0..PEERS, || 0..5_usize);
    prop_oneof![
        4 => (peer(), len()).prop_map(|(peer, len)| Act::Begin(peer, len)),
        4 => (peer(), len()).prop_map(|(peer, len)| Act::Say(peer, len)),
        4 => (peer(), len()).prop_map(|(peer, room)| Act::Room(peer, room)),
        4 => (peer(), len()).prop_map(|(peer, len)| Act::Send(peer, len)),
        2 => len().prop_map(Act::Broadcast),
        1 => (peer(), len()).prop_map(|(peer, len)| Act::Hold(peer, len)),
        3 => (peer(), topic()).prop_map(|(peer, topic)| Act::Subscribe(peer, topic)),
        1 => (peer(), topic()).prop_map(|(peer, topic)| Act::Unsubscribe(peer, topic)),
        2 => (topic(), len()).prop_map(|(topic, len)| Act::Publish(topic, len)),
        1 => peer().prop_map(Act::Pause),
        1 => peer().prop_map(Act::Resume),
        1 => peer().prop_map(Act::Close),
        1 => peer().prop_map(Act::End),
        1 => peer().prop_map(Act::Fail),
        2 => (0..3_000u64).prop_map(Act::Pass),
    ]
}

const PEERS: usize = 6;

/// The name of a topic, longer for each.
fn name(topic: usize) -> String {
    "x".repeat(topic * 16_000)
}

impl Town {
    fn do_one(&mut self, act: Act) {
        match act {
            Act::Begin(peer, len) => self.begin(peer, 700_000, len),
            Act::Say(peer, len) => self.say(peer, len),
            Act::Room(peer, room) => {
                self.peers[peer].set_room(room);
                self.peers[peer].take();
            }
            Act::Send(peer, len) => {
                let (id, text) = (self.id(peer), "x".repeat(len));
                let _ = self.cx().send(id, Message::text(&text));
            }
            Act::Broadcast(len) => {
                let text = "x".repeat(len);
                let shared = SharedMessage::new(Message::text(&text));
                self.cx().broadcast(&shared).unwrap();
            }
            Act::Hold(peer, len) => {
                let id = self.id(peer);
                self.cx().set_held(id, len);
            }
            Act::Subscribe(peer, topic) => {
                let id = self.id(peer);
                let _ = self.cx().subscribe(id, &name(topic));
            }
            Act::Unsubscribe(peer, topic) => {
                let id = self.id(peer);
                self.cx().unsubscribe(id, &name(topic));
            }
            Act::Publish(topic, len) => {
                let text = "x".repeat(len);
                let shared = SharedMessage::new(Message::text(&text));
                self.cx().publish(&name(topic), &shared).unwrap();
            }
            Act::Pause(peer) => {
                let id = self.id(peer);
                self.cx().pause(id);
            }
            Act::Resume(peer) => {
                let id = self.id(peer);
                self.cx().resume(id);
            }
            Act::Close(peer) => {
                let id = self.id(peer);
                self.cx().replace(id);
            }
            Act::End(peer) => self.peers[peer].end(),
            Act::Fail(peer) => self.peers[peer].fail(104),
            Act::Pass(millis) => self.pass(Micros::from_millis(millis)),
        }
        self.turn();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The counter is what is really held after whatever happens, stays within the limit, and is back at
    /// zero in the end.
    #[test]
    fn the_counter_is_what_is_held(
        limit in prop_oneof![Just(None), Just(Some(MIB)), Just(Some(2 * MIB))],
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let rates = Rates::measure();
        let mut town = Town::with(limit, |_, limits| {
            limits.max_message = 700_000;
            limits.send_queue = Some(1_500_000);
        });
        for number in 0..PEERS {
            town.join([WEBSOCKET, LINE, BINARY][number % 3]);
        }
        for act in acts {
            let about = format!("after {act:?}");
            town.do_one(act);
            let sum = town.sum() + town.sum_of_topics(rates);
            prop_assert_eq!(town.memory(), sum, "{}", about);
            prop_assert!(town.memory() <= limit.unwrap_or(usize::MAX), "{}", about);
        }
        for far in &town.peers {
            far.fail(104);
        }
        town.pass(Micros::from_secs(400));
        prop_assert!(town.process.inner.is_empty());
        prop_assert_eq!((town.memory(), town.sum()), (0, 0));
    }
}
