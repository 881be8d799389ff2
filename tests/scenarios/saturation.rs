//! A loop that is busy for good: everyone hears what a few say without pause.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::close::Evidence;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{Closed, ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};
use mio::{Events, Interest, Poll, Token};

use super::support::PATIENCE;
use super::support::crowd::raise_descriptor_limit;

const READERS: usize = 800;
const SENDERS: usize = 4;
const DEAD: usize = 20;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(10);
/// What makes turns long.
const CALLBACK: Duration = Duration::from_millis(50);
/// Both stamps of a span are in whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// Who sends what the room hears to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The handler, in one callback that takes long.
    Handler,
    /// The loop, in pieces.
    Broadcast,
}

/// Sends to everyone what it hears.
struct Room {
    by: By,
    opened: Vec<ConnId>,
    closed: Vec<(ConnId, Evidence)>,
    /// The longest turn, with what its wait was late.
    longest: Duration,
    /// Turns, and those of them that left work over.
    turns: [usize; 2],
}

impl Handler for Room {
    type Data = ();

    fn on_open(&mut self, _cx: &mut Context<'_, ()>, id: ConnId) {
        self.opened.push(id);
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, _id: ConnId, message: Message<'_>) {
        let message = SharedMessage::new(message);
        match self.by {
            By::Handler => {
                let ids: Vec<_> = cx.connections().collect();
                for id in ids {
                    cx.send_shared(id, &message).ok();
                }
                thread::sleep(CALLBACK);
            }
            // Where there is no room for another one, nobody hears it.
            By::Broadcast => drop(cx.broadcast(&message)),
        }
    }

    fn on_close(&mut self, _cx: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        self.closed.push((closed.id, *closed.evidence));
    }
}

impl Room {
    fn new(by: By) -> Self {
        Self {
            by,
            opened: Vec::new(),
            closed: Vec::new(),
            longest: Duration::ZERO,
            turns: [0; 2],
        }
    }

    /// Turns the loop until something is so.
    fn drive(&mut self, reactor: &mut Reactor<()>, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            self.turn(reactor);
            let (opened, closed) = (self.opened.len(), self.closed.len());
            assert!(
                Instant::now() < deadline,
                "{opened} opened, {closed} closed"
            );
        }
    }

    fn drive_for(&mut self, reactor: &mut Reactor<()>, span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span {
            self.turn(reactor);
        }
    }

    fn turn(&mut self, reactor: &mut Reactor<()>) {
        let turn = reactor.turn(self, Some(TICK)).unwrap();
        self.longest = self.longest.max(turn.delay);
        self.turns[0] += 1;
        self.turns[1] += usize::from(reactor.next_timeout() == Some(Duration::ZERO));
    }
}

/// Peers of one thread, which read all that comes and answer pings while they are well.
struct Peers {
    is_well: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    /// The longest time between two looks at their sockets, µs.
    held_up: Arc<AtomicU64>,
}

impl Peers {
    fn connect(addr: SocketAddr, count: usize) -> Self {
        let peers = Self {
            is_well: Arc::new(AtomicBool::new(true)),
            is_over: Arc::default(),
            held_up: Arc::default(),
        };
        let shared = Self {
            is_well: Arc::clone(&peers.is_well),
            is_over: Arc::clone(&peers.is_over),
            held_up: Arc::clone(&peers.held_up),
        };
        let connect = move |_| TcpStream::connect(addr).unwrap();
        thread::spawn(move || shared.hold((0..count).map(connect).collect()));
        peers
    }

    fn hold(&self, streams: Vec<TcpStream>) {
        let mut poll = Poll::new().unwrap();
        let mut streams: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                stream.set_nonblocking(true).unwrap();
                mio::net::TcpStream::from_std(stream)
            })
            .collect();
        for (index, stream) in streams.iter_mut().enumerate() {
            let registry = poll.registry();
            registry
                .register(stream, Token(index), Interest::READABLE)
                .unwrap();
        }
        let mut events = Events::with_capacity(1_024);
        let mut looked = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            poll.poll(&mut events, Some(TICK)).unwrap();
            for event in &events {
                self.answer(&mut streams[event.token().0]);
            }
            let took = looked.elapsed().as_micros().try_into().unwrap();
            self.held_up.fetch_max(took, Ordering::Relaxed);
            looked = Instant::now();
        }
    }

    fn answer(&self, stream: &mut mio::net::TcpStream) {
        let mut chunk = [0; 16 * 1_024];
        loop {
            let count = match stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return,
            };
            // Only a ping has this letter.
            let pings = chunk[..count].iter().filter(|&&byte| byte == b'P').count();
            if self.is_well.load(Ordering::Relaxed) {
                stream.write_all(&b"PONG\n".repeat(pings)).ok();
            }
        }
    }

    fn held_up(&self) -> Duration {
        Duration::from_micros(self.held_up.load(Ordering::Relaxed))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Says the same for ever, and reads what others say.
fn speak(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
    thread::spawn(move || {
        let mut chunk = [0; 64 * 1_024];
        while matches!(reader.read(&mut chunk), Ok(1..)) {}
    });
    thread::spawn(move || {
        let mut line = [b'x'; 200];
        line[199] = b'\n';
        while writer.write_all(&line).is_ok() {}
    });
    stream
}

fn listener() -> ListenerConfig {
    let mut config = ListenerConfig::new("127.0.0.1:0".parse().unwrap(), WireFactory::Line);
    config.heartbeat = HeartbeatConfig {
        interval: Some(INTERVAL),
        timeout: Some(TIMEOUT),
        ping_slack: Some(Duration::ZERO),
        // Who reads slowly is not what this is about.
        write_timeout: None,
        ..HeartbeatConfig::tcp()
    };
    config.limits = LimitsConfig {
        send_queue: Some(64 * 1_024),
        ..LimitsConfig::default()
    };
    config
}

mod large {
    use super::*;
    use crate::support::crowd::alone;

    #[test]
    #[ignore = "needs four minutes, and 1 300 descriptors: raise ulimit -Hn"]
    fn f51_for_minutes_it_is_no_different() {
        let _alone = alone();
        saturate(Duration::from_secs(120), By::Handler);
        saturate(Duration::from_secs(120), By::Broadcast);
    }

    #[test]
    #[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
    fn f51_a_room_that_never_rests_keeps_the_living_and_finds_the_dead_in_time() {
        let _alone = alone();
        saturate(Duration::from_secs(6), By::Handler);
    }

    #[test]
    #[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
    fn f51_a_room_of_broadcasts_that_never_rests_does_so_too() {
        let _alone = alone();
        saturate(Duration::from_secs(6), By::Broadcast);
    }
}

/// Lets the loop be busy for so long before anybody falls silent.
fn saturate(busy: Duration, by: By) {
    raise_descriptor_limit(2 * (READERS + SENDERS + DEAD));
    let mut reactor = Reactor::<()>::new(ReactorConfig::default()).unwrap();
    let listener = reactor.listen(listener()).unwrap();
    let addr = reactor.local_addr(listener).unwrap();
    let mut room = Room::new(by);
    let readers = Peers::connect(addr, READERS);
    room.drive(&mut reactor, |room| room.opened.len() == READERS);
    let dying = Peers::connect(addr, DEAD);
    room.drive(&mut reactor, |room| room.opened.len() == READERS + DEAD);
    let dead = room.opened[READERS..].to_vec();
    let speaking: Vec<_> = (0..SENDERS).map(|_| speak(addr)).collect();

    room.longest = Duration::ZERO;
    room.turns = [0; 2];
    let late = reactor.stats().late;
    room.drive_for(&mut reactor, busy);
    dying.is_well.store(false, Ordering::Relaxed);
    let is_found = |room: &Room, id| room.closed.iter().any(|closed| closed.0 == id);
    room.drive(&mut reactor, |room| {
        dead.iter().all(|&id| is_found(room, id))
    });

    let late = reactor.stats().late - late;
    let longest = room.longest;
    match by {
        By::Handler => assert!(late > TIMEOUT, "the loop was late by {late:?} only"),
        By::Broadcast => {
            let [all, busy] = room.turns;
            assert!(busy > all / 10 * 9, "{busy} of {all} turns left work over");
        }
    }
    let latest = TIMEOUT + TICK + 3 * longest + ROUNDING;
    let mut slowest = Duration::ZERO;
    for (id, evidence) in &room.closed {
        // Whoever did not get to its sockets for so long has not answered.
        let is_excused = readers.held_up() + 3 * longest > TIMEOUT - INTERVAL;
        assert!(dead.contains(id) || is_excused, "{id} was well: {evidence}");
        if dead.contains(id) {
            let silence = evidence.last_proof.unwrap();
            slowest = slowest.max(silence);
            assert!(silence >= TIMEOUT, "early: {silence:?}");
            assert!(silence <= latest, "{silence:?} of {latest:?}: {evidence}");
        }
    }
    eprintln!(
        "found after {slowest:?}, with turns of up to {longest:?}; {late:?} late in all, {:?}",
        room.turns
    );
    for stream in speaking {
        stream.shutdown(Shutdown::Both).ok();
    }
}
