//! Topics, on real sockets: several wires, several loops of a group, other threads, and loops that do not keep up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::config::ReactorConfig;
use heartwheel::error::{SendError, SubscribeError};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{
    ConnId, Context, Group, HandleError, Handler, LoopHandle, Reactor, WireFactory,
};
use heartwheel::stats::Stats;

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

fn shared(text: &str) -> SharedMessage {
    SharedMessage::new(Message::text(text))
}

/// Has everybody who comes subscribe to a topic.
fn subscribing(topic: &'static str) -> Recorder {
    Recorder::reacting(move |cx, seen| {
        if let Seen::Open(id) = seen {
            assert_eq!(cx.subscribe(*id, topic), Ok(true));
        }
    })
}

/// How many queues took each message and how many did not.
fn counts(recorder: &Recorder) -> Vec<(usize, usize)> {
    let counts = recorder.seen.iter().filter_map(|seen| match seen {
        Seen::Broadcast(_, sent, dropped) => Some((*sent, *dropped)),
        _ => None,
    });
    counts.collect()
}

#[test]
fn a_connection_holds_no_gigabyte_of_names() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peers = [(); 2].map(|()| connect_peer(addr));
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let [one, other] = [recorder.opened()[0], recorder.opened()[1]];
    let long = |number: usize| format!("{number:060000}");
    let mut cx = reactor.context();
    let held = (0..).find_map(|number| match cx.subscribe(one, &long(number)) {
        Ok(is_new) => {
            assert!(is_new);
            None
        }
        Err(error) => Some((number, error)),
    });
    let limit = 8 * 1024 * 1024;
    assert_eq!(held, Some((139, SubscribeError::NamesTooLong { limit })));
    // What it has is no more; another name is, unless one goes; and others have room of their own.
    assert_eq!(cx.subscribe(one, &long(7)), Ok(false));
    assert_eq!(cx.subscribe(one, "short"), Ok(true));
    assert_eq!(cx.subscribe(other, &long(999)), Ok(true));
    assert!(cx.unsubscribe(one, &long(7)));
    assert_eq!(cx.subscribe(one, &long(999)), Ok(true));
}

/// Loops of one group that turn in the test's thread, each with a listener for lines.
struct Loops(Vec<(Reactor<u32, u64>, Recorder, SocketAddr)>);

impl Loops {
    fn new(topics: &[&'static str]) -> Self {
        let group = Group::new();
        let one = |topic: &&'static str| {
            let config = ReactorConfig {
                max_connections: 64,
                ..ReactorConfig::default()
            };
            let mut reactor = Reactor::in_group(config, &group).unwrap();
            let (_, addr) = listen(&mut reactor, WireFactory::Line);
            (reactor, subscribing(topic), addr)
        };
        Self(topics.iter().map(one).collect())
    }

    fn come(&mut self, number: usize) -> (TcpStream, ConnId) {
        let (reactor, recorder, addr) = &mut self.0[number];
        let peer = connect_peer(*addr);
        let known = recorder.opened().len();
        drive(reactor, recorder, |seen| seen.opened().len() > known);
        (peer, recorder.opened()[known])
    }

    fn cx(&mut self, number: usize) -> Context<'_, u32> {
        self.0[number].0.context()
    }

    fn handle(&self, number: usize) -> LoopHandle<u32, u64> {
        self.0[number].0.handle()
    }

    fn turn(&mut self) {
        for (reactor, recorder, _) in &mut self.0 {
            let limit = Some(Duration::from_millis(1));
            reactor.turn(recorder, limit).unwrap();
        }
    }

    #[track_caller]
    fn turn_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "gave up");
            self.turn();
        }
    }

    /// Turns until the peer has read all this.
    #[track_caller]
    fn expect(&mut self, peer: &mut TcpStream, text: &str) {
        let mut read = String::new();
        self.turn_until(|_| {
            let mut chunk = [0; 4096];
            if let Ok(count) = peer.read(&mut chunk) {
                read += str::from_utf8(&chunk[..count]).unwrap();
            }
            read.len() >= text.len()
        });
        assert_eq!(read, text);
    }
}

#[test]
fn a_message_is_the_same_on_every_wire() {
    let (mut reactor, mut recorder) = (reactor(), subscribing("news"));
    let (_, lines) = listen(&mut reactor, WireFactory::Line);
    let (_, frames) = listen(&mut reactor, WireFactory::Binary);
    let (_, sockets) = listen(&mut reactor, WireFactory::WebSocket);
    let mut peers = [
        connect_peer(lines),
        connect_peer(frames),
        open_websocket(&mut reactor, &mut recorder, sockets),
    ];
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 3);
    reactor.context().publish("news", &shared("hello")).unwrap();
    let expected: [&[u8]; 3] = [b"hello\n", b"\0\0\0\0\x05hello", b"\x81\x05hello"];
    for (peer, expected) in peers.iter_mut().zip(expected) {
        let read = read_at_least(&mut reactor, &mut recorder, peer, expected.len());
        assert_eq!(read, expected);
    }
    assert_eq!(counts(&recorder), [(3, 0)]);
}

#[test]
fn who_leaves_has_no_topics_in_its_last_callback() {
    let mut recorder = Recorder::reacting(|cx, seen| match seen {
        Seen::Open(id) => assert_eq!(cx.subscribe(*id, "news"), Ok(true)),
        Seen::Closed(id, ..) => {
            assert_eq!(cx.topics(*id).count(), 0);
            cx.publish("news", &shared("one is gone")).unwrap();
        }
        _ => {}
    });
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peers: Vec<_> = (0..3).map(|_| connect_peer(addr)).collect();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 3);
    drop(peers.pop());
    for peer in &mut peers {
        let read = read_at_least(&mut reactor, &mut recorder, peer, 12);
        assert_eq!(read, b"one is gone\n");
    }
    assert_eq!(reactor.context().subscribers("news"), 2);
    drop(peers);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 3);
    assert_eq!(reactor.context().all_topics().count(), 0);
}

#[test]
fn a_message_reaches_all_loops_of_a_group_in_order() {
    let mut loops = Loops::new(&["news", "news", "other"]);
    let (mut first, own) = loops.come(0);
    let (mut second, other) = loops.come(1);
    let (mut third, _) = loops.come(2);
    loops.cx(0).publish("news", &shared("1")).unwrap();
    loops
        .cx(0)
        .publish_except(own, "news", &shared("2"))
        .unwrap();
    loops
        .cx(0)
        .publish_except(other, "news", &shared("3"))
        .unwrap();
    // A topic that nobody subscribes to where it is published.
    loops.cx(0).publish("other", &shared("x")).unwrap();
    loops.cx(0).publish("news", &shared("4")).unwrap();
    loops.expect(&mut first, "1\n3\n4\n");
    loops.expect(&mut second, "1\n2\n4\n");
    loops.expect(&mut third, "x\n");
    let handle = loops.handle(2);
    handle.publish("news", shared("5")).unwrap();
    loops.expect(&mut first, "5\n");
    loops.expect(&mut second, "5\n");
    loops.turn_until(|loops| loops.0.iter().all(|one| counts(&one.1).len() == 6));
    let sent = |loops: &Loops, number: usize| -> usize {
        counts(&loops.0[number].1).iter().map(|count| count.0).sum()
    };
    assert_eq!([0, 1, 2].map(|number| sent(&loops, number)), [4, 4, 1]);
}

#[test]
fn the_gauges_say_how_many_topics_and_subscriptions_there_are() {
    let mut loops = Loops::new(&["news", "news"]);
    let (first, id) = loops.come(0);
    let (_second, _) = loops.come(0);
    let (_third, _) = loops.come(1);
    loops.cx(0).subscribe(id, "other").unwrap();
    let gauges = |loops: &Loops| {
        let mut all = Stats::default();
        for (reactor, ..) in &loops.0 {
            all.merge(reactor.stats());
        }
        (all.topics, all.subscriptions)
    };
    loops.turn();
    assert_eq!(gauges(&loops), (3, 4), "each loop counts for itself");
    drop(first);
    loops.turn_until(|loops| loops.0[0].1.closed().len() == 1);
    assert_eq!(gauges(&loops), (2, 2));
}

#[test]
fn another_thread_subscribes_in_the_order_of_its_other_calls() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let (id, handle) = (recorder.opened()[0], reactor.handle());
    thread::spawn(move || {
        handle.publish("news", shared("1")).unwrap();
        handle.subscribe(id, "news").unwrap();
        handle.publish("news", shared("2")).unwrap();
        handle.send(id, shared("3")).unwrap();
        handle.publish("news", shared("4")).unwrap();
        handle.unsubscribe(id, "news").unwrap();
        handle.unsubscribe(id, "news").unwrap();
        handle.publish("news", shared("5")).unwrap();
        handle.send(id, shared("6")).unwrap();
    })
    .join()
    .unwrap();
    let read = read_at_least(&mut reactor, &mut recorder, &mut peer, 8);
    assert_eq!(read, b"2\n3\n4\n6\n");
    assert_eq!(reactor.stats().subscriptions_missed, 0);
}

#[test]
fn what_another_thread_cannot_have_subscribed_is_counted() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let (id, handle) = (recorder.opened()[0], reactor.handle());
    handle.subscribe(id, &"x".repeat(65_536)).unwrap();
    drop(peer);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
    handle.subscribe(id, "news").unwrap();
    handle.unsubscribe(id, "news").unwrap();
    handle.command(1).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Command(1))
    });
    let stats = reactor.stats();
    assert_eq!((stats.subscriptions_missed, stats.subscriptions), (2, 0));
}

/// Names take room in the queue as messages do: other threads cannot fill the memory with them.
#[test]
fn names_of_other_threads_are_bounded_while_they_wait() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
    let (id, handle) = (recorder.opened()[0], reactor.handle());
    let long = "x".repeat(65_535);
    let taken = (0..2_000).take_while(|_| handle.subscribe(id, &long).is_ok());
    assert!((16..1_000).contains(&taken.count()));
    assert_eq!(handle.unsubscribe(id, &long), Err(HandleError::Full));
    handle.subscribe(id, "").unwrap();
    handle.command(1).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.contains(&Seen::Command(1))
    });
    assert_eq!(reactor.context().topics(id).count(), 2);
}

/// It has nobody to tell: what is published elsewhere would only fill its lane.
#[test]
fn a_loop_without_topics_is_told_nothing_and_holds_nobody_up() {
    let mut loops = Loops::new(&["news", "news"]);
    let (_first, _) = loops.come(0);
    let (second, _) = loops.come(1);
    drop(second);
    loops.turn_until(|loops| loops.0[1].1.closed().len() == 1);
    // From here on it does not turn.
    let (reactor, recorder, _) = &mut loops.0[0];
    let large = shared(&"x".repeat(1 << 20));
    for number in 1..=64 {
        reactor.context().publish("news", &large).unwrap();
        drive(reactor, recorder, |seen| counts(seen).len() == number);
    }
    assert_eq!(counts(&loops.0[1].1), []);
}

#[test]
fn a_loop_that_does_not_keep_up_has_the_others_refuse_and_nothing_is_lost() {
    let mut loops = Loops::new(&["nothing", "news"]);
    let (_peer, _) = loops.come(1);
    let large = shared(&"x".repeat(1 << 20));
    let (reactor, recorder, _) = &mut loops.0[0];
    let mut published = 0;
    let refused = loop {
        match reactor.context().publish("news", &large) {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SendError::Full { .. }), "{refused:?}");
    // 16 MiB in its lane, and as much in ours.
    assert_eq!(published, 30);
    let handle = reactor.handle();
    let refused = loop {
        match handle.publish("news", large.clone()) {
            Ok(()) => published += 1,
            Err(error) => break error,
        }
        let limit = Some(Duration::from_millis(1));
        reactor.turn(recorder, limit).unwrap();
        assert!(published < 64, "{published}");
    };
    assert_eq!(refused, HandleError::Full);
    // Other calls are taken meanwhile.
    handle.command(1).unwrap();
    drive(reactor, recorder, |seen| {
        seen.seen.contains(&Seen::Command(1))
    });
    loops.turn_until(|loops| counts(&loops.0[1].1).len() == published);
    loops.cx(0).publish("news", &large).unwrap();
    handle.publish("news", large.clone()).unwrap();
    loops.turn_until(|loops| counts(&loops.0[1].1).len() == published + 2);
}

#[test]
fn a_loop_that_is_gone_holds_nobody_up() {
    let mut loops = Loops::new(&["nothing", "news"]);
    let (_peer, _) = loops.come(1);
    let large = shared(&"x".repeat(1 << 20));
    while loops.cx(0).publish("news", &large).is_ok() {}
    loops.0.pop();
    for _ in 0..64 {
        loops.cx(0).publish("news", &large).unwrap();
    }
    // Nothing is left that would keep this one awake.
    loops.turn_until(|loops| loops.0[0].0.next_timeout() != Some(Duration::ZERO));
}

/// Publishes what its peers say.
struct Room;

impl Handler<u64> for Room {
    type Data = u32;

    fn on_open(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        cx.subscribe(id, "room").unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_, u32>, _: ConnId, message: Message<'_>) {
        cx.publish("room", &SharedMessage::new(message)).unwrap();
    }
}

/// Reads lines of a speaker's number and a count until it has so many.
fn hear(peer: &mut TcpStream, speakers: usize, each: usize) -> Vec<Vec<usize>> {
    let mut heard = vec![Vec::new(); speakers];
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + PATIENCE;
    while heard.iter().any(|one| one.len() < each) {
        assert!(Instant::now() < deadline, "{heard:?}");
        let Ok(count) = peer.read(&mut chunk) else {
            continue;
        };
        text.extend_from_slice(&chunk[..count]);
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<_> = text.drain(..=end).collect();
            let line = str::from_utf8(&line[..end]).unwrap();
            let (speaker, number) = line.split_once(' ').unwrap();
            heard[speaker.parse::<usize>().unwrap()].push(number.parse().unwrap());
        }
    }
    heard
}

#[test]
fn loops_on_threads_and_other_threads_are_heard_by_everybody_in_their_order() {
    const LOOPS: usize = 2;
    const PEERS: usize = 2;
    const EACH: usize = 500;
    let group = Group::new();
    let mut handles = Vec::new();
    let mut peers = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..LOOPS {
        let config = ReactorConfig {
            max_connections: 64,
            ..ReactorConfig::default()
        };
        let mut reactor = Reactor::in_group(config, &group).unwrap();
        let (_, addr) = listen(&mut reactor, WireFactory::Line);
        handles.push(reactor.handle());
        peers.extend((0..PEERS).map(|_| connect_peer(addr)));
        let mut recorder = subscribing("unused");
        drive(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == PEERS
        });
        let ids = recorder.opened();
        threads.push(thread::spawn(move || {
            for id in ids {
                reactor.context().subscribe(id, "room").unwrap();
            }
            reactor.run(&mut Room).unwrap();
        }));
    }
    // Each has heard itself: so all subscribe.
    let speakers = LOOPS * PEERS + 1;
    for peer in &mut peers {
        peer.write_all(b"0 0\n").unwrap();
    }
    for peer in &mut peers {
        let heard = hear(peer, 1, 1);
        assert_eq!(heard[0][0], 0);
    }
    let speaking = handles[1].clone();
    let outside = thread::spawn(move || {
        for number in 0..EACH {
            let text = format!("{} {number}", LOOPS * PEERS);
            while speaking.publish("room", shared(&text)) == Err(HandleError::Full) {
                thread::yield_now();
            }
        }
    });
    let hearing: Vec<_> = (0..)
        .zip(peers)
        .map(|(own, mut peer)| {
            thread::spawn(move || {
                let said: String = (1..=EACH)
                    .map(|number| format!("{own} {number}\n"))
                    .collect();
                peer.write_all(said.as_bytes()).unwrap();
                let heard = hear(&mut peer, speakers, EACH);
                for (speaker, numbers) in heard.iter().enumerate() {
                    let numbers = numbers.iter().filter(|&&number| speaker > 0 || number > 0);
                    assert!(
                        numbers.is_sorted_by(|a, b| a < b),
                        "{own} hears {speaker}: {heard:?}"
                    );
                }
            })
        })
        .collect();
    for hearing in hearing {
        hearing.join().unwrap();
    }
    outside.join().unwrap();
    for handle in handles {
        handle.stop().unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
