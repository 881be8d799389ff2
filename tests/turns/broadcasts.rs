//! Broadcasts: who gets them, in which order, and how much of one falls into one turn.
//!
//! The model is a list for each peer of what it must have read, in the order of the calls: whoever is open when
//! a broadcast is called gets it, and nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use heartwheel::close::CloseCode;
use heartwheel::config::PingWhen;
use heartwheel::error::SendError;
use heartwheel::event_loop::{BroadcastId, ConnId, LoopHandle};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::memory::pipe::Fate;
use crate::world::{World, shared};

/// Pings that paid for all that is said to everybody would take a busy loop's whole time.
#[test]
fn a_due_timer_does_not_pay_for_what_is_said_to_everybody() {
    let mut world = World::with(1, |listener| {
        listener.heartbeat.interval = Some(Duration::from_secs(1));
        listener.heartbeat.timeout = Some(Duration::from_secs(5));
        listener.heartbeat.ping_slack = Some(Duration::ZERO);
        // Such timers do not go the short way.
        listener.heartbeat.ping_when = PingWhen::Idle;
    });
    world.fill(10);
    let due = world.process.due();
    world.process.memory.set_clock(due);
    let wanted: String = (0..100).map(|number| format!("{number}\n")).collect();
    for number in 0..100 {
        world.cx().broadcast(&shared(&number.to_string())).unwrap();
    }
    let reached = world.turn().1;
    let read: Vec<_> = (0..10).map(|peer| world.read(peer)).collect();
    let reading = read.iter().filter(|read| read.contains("0\n")).count();
    assert_eq!((reached, reading), (1, 1), "{read:?}");
    world.process.settle();
    for (peer, read) in read.iter().enumerate() {
        assert_eq!(read.replace("PING\n", "") + &world.read(peer), wanted);
    }
}

#[test]
fn each_turn_hands_a_broadcast_to_so_many_and_the_loop_does_not_sleep_meanwhile() {
    let mut world = World::new(4);
    world.fill(10);
    let id = world.cx().broadcast(&shared("news")).unwrap();
    let turns: Vec<_> = (0..4).map(|_| world.turn()).collect();
    assert_eq!(turns[..3], [(true, 4), (true, 4), (true, 2)]);
    assert!(!turns[3].0, "nothing is left");
    assert_eq!(world.done(), [(id, 10, 0)]);
    for peer in 0..10 {
        assert_eq!(world.read(peer), "news\n");
    }
}

#[test]
fn broadcasts_under_way_reach_a_connection_together() {
    let mut world = World::new(4);
    world.fill(8);
    let first = world.cx().broadcast(&shared("1")).unwrap();
    world.turn();
    // The cursor is in the middle: the second one goes on from there, and round.
    let second = world.cx().broadcast(&shared("2")).unwrap();
    let reached: Vec<_> = (0..2).map(|_| world.turn().1).collect();
    assert_eq!(reached, [4, 4], "two pieces for both");
    assert_eq!(world.done(), [(first, 8, 0), (second, 8, 0)]);
    for peer in 0..8 {
        assert_eq!(world.read(peer), "1\n2\n");
    }
}

#[test]
fn who_comes_later_is_no_recipient_and_who_goes_is_not_counted() {
    let mut world = World::new(1);
    world.fill(3);
    let id = world.cx().broadcast(&shared("news")).unwrap();
    world.fars[2].end();
    world.come();
    world.turn();
    world.process.settle();
    assert_eq!(world.done(), [(id, 2, 0)]);
    let read: Vec<_> = (0..4).map(|peer| world.read(peer)).collect();
    assert_eq!(read, ["news\n", "news\n", "", ""]);
}

#[test]
fn what_is_sent_or_closed_later_comes_behind() {
    let mut world = World::new(1);
    world.fill(3);
    let ids = world.process.handler.opened.clone();
    world.cx().broadcast(&shared("news")).unwrap();
    world
        .cx()
        .broadcast_except(ids[2], &shared("more"))
        .unwrap();
    world
        .cx()
        .send(ids[2], Message::text("for you alone"))
        .unwrap();
    world.cx().close(ids[1], CloseCode::NORMAL, "");
    world.cx().broadcast(&shared("last")).unwrap();
    world.process.settle();
    let read: Vec<_> = (0..3).map(|peer| world.read(peer)).collect();
    let expected = [
        "news\nmore\nlast\n",
        "news\nmore\n",
        "news\nfor you alone\nlast\n",
    ];
    assert_eq!(read, expected);
    let counts: Vec<_> = world.done().iter().map(|done| done.1).collect();
    assert_eq!(counts, [3, 2, 2]);
}

#[test]
fn a_drain_and_a_stop_close_behind_broadcasts() {
    for is_stop in [false, true] {
        let mut world = World::new(1);
        world.fill(5);
        let id = world.cx().broadcast(&shared("news")).unwrap();
        match is_stop {
            true => world.cx().stop(),
            false => world.cx().drain(Duration::from_millis(1)),
        }
        while !world.process.inner.is_stopped() {
            let due = world.process.due();
            world.process.memory.set_clock(due);
            world.process.turn();
            world.part();
        }
        assert_eq!(world.done(), [(id, 5, 0)]);
        for peer in 0..5 {
            assert_eq!(world.read(peer), "news\n");
        }
    }
}

#[test]
fn a_broadcast_under_way_keeps_its_recipients_from_being_idle() {
    let mut world = World::with(1, |listener| {
        listener.heartbeat.app_idle = Some(Duration::from_secs(10));
    });
    world.fill(20);
    world.process.memory.set_clock(Micros::from_millis(9_999));
    let id = world.cx().broadcast(&shared("news")).unwrap();
    // Their time is over while most of them wait for their turn.
    world.process.memory.set_clock(Micros::from_millis(10_020));
    world.process.settle();
    assert_eq!(world.done(), [(id, 20, 0)]);
    for peer in 0..20 {
        assert_eq!(world.read(peer), "news\n");
    }
    let is_open = |world: &mut World| world.cx().connections().count();
    world.process.run_to(Micros::from_millis(20_000));
    assert_eq!(is_open(&mut world), 20);
    world.process.run_to(Micros::from_millis(20_100));
    assert_eq!(is_open(&mut world), 0, "they are idle since the message");
}

#[test]
fn a_full_queue_is_left_out_and_hears_of_room() {
    let mut world = World::with(64, |listener| listener.limits.send_queue = Some(1024));
    world.fill(2);
    world.fars[0].set_room(0);
    let text = "x".repeat(600);
    for _ in 0..2 {
        world.cx().broadcast(&shared(&text)).unwrap();
    }
    world.process.settle();
    let counts: Vec<_> = world.done().iter().map(|done| (done.1, done.2)).collect();
    assert_eq!(counts, [(2, 0), (1, 1)]);
    world.fars[0].set_room(usize::MAX);
    world.process.settle();
    assert_eq!(world.read(0).len(), text.len() + 1);
    assert_eq!(world.read(1).len(), 2 * (text.len() + 1));
    let first = world.process.handler.opened[0];
    assert_eq!(world.process.handler.writable, [first]);
}

#[test]
fn a_handler_that_goes_on_for_ever_does_not_hold_the_turn() {
    let mut world = World::new(64);
    for count in [0, 2] {
        world.fill(count);
        world.process.handler.again = vec!["again".to_owned(); 100];
        world.cx().broadcast(&shared("news")).unwrap();
        let before = world.process.handler.done.len();
        world.turn();
        assert_eq!(world.process.handler.done.len(), before + 1);
        world.process.settle();
        assert_eq!(world.process.handler.done.len(), before + 101);
    }
}

#[test]
fn too_many_broadcasts_are_refused_and_the_first_may_be_of_any_size() {
    let mut world = World::new(64);
    world.fill(1);
    let large = shared(&"x".repeat(20 << 20));
    world.cx().broadcast(&large).unwrap();
    let refused = world.cx().broadcast(&shared("small"));
    assert!(
        matches!(refused, Err(SendError::Full { .. })),
        "{refused:?}"
    );
    world.process.settle();
    for _ in 0..1024 {
        world.cx().broadcast(&shared("small")).unwrap();
    }
    let refused = world.cx().broadcast(&shared("small"));
    assert!(
        matches!(refused, Err(SendError::Full { .. })),
        "{refused:?}"
    );
    // Other threads wait instead.
    let handle: LoopHandle = world.process.inner.handle();
    handle.broadcast(shared("from elsewhere")).unwrap();
    let first = world.process.handler.opened[0];
    handle.send(first, shared("behind it")).unwrap();
    handle.broadcast(shared("and behind")).unwrap();
    handle.close(first, CloseCode::NORMAL, "").unwrap();
    world.turn();
    assert!(world.read(0).ends_with("small\n"), "they wait");
    world.process.settle();
    assert_eq!(world.done().len(), 1027);
    let behind = "from elsewhere\nbehind it\nand behind\n";
    assert_eq!(world.read(0), behind);
    assert_eq!(world.fars[0].fate(), Fate::Shut, "closed behind them");
}

#[derive(Clone, Debug)]
enum Step {
    Come,
    Broadcast,
    Except(Index),
    Send(Index),
    Close(Index),
    Leave(Index),
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Come),
        3 => Just(Step::Broadcast),
        1 => any::<Index>().prop_map(Step::Except),
        2 => any::<Index>().prop_map(Step::Send),
        1 => any::<Index>().prop_map(Step::Close),
        1 => any::<Index>().prop_map(Step::Leave),
        6 => Just(Step::Turn),
    ]
}

/// What is known of one peer.
#[derive(Debug)]
struct Peer {
    id: ConnId,
    number: usize,
    /// What it must have read.
    expected: String,
    is_open: bool,
}

/// The rule of recipients and order, as plain lists.
#[derive(Default)]
struct Model {
    peers: Vec<Peer>,
    /// Who is to get each broadcast that is not over.
    counts: BTreeMap<BroadcastId, usize>,
}

impl Model {
    fn open(&self) -> Vec<usize> {
        let open = self.peers.iter().enumerate();
        open.filter(|(_, peer)| peer.is_open)
            .map(|(place, _)| place)
            .collect()
    }

    fn pick(&self, index: Index) -> Option<usize> {
        let open = self.open();
        (!open.is_empty()).then(|| *index.get(&open))
    }

    fn broadcast(&mut self, id: BroadcastId, except: Option<usize>, text: &str) {
        let mut count = 0;
        for (place, peer) in self.peers.iter_mut().enumerate() {
            if peer.is_open && except != Some(place) {
                peer.expected += text;
                count += 1;
            }
        }
        self.counts.insert(id, count);
    }
}

proptest! {
    #[test]
    fn whoever_is_open_at_the_call_gets_it_in_the_order_of_the_calls(
        budget in 1..6usize,
        steps in vec(step(), 0..120),
    ) {
        let mut world = World::new(budget);
        let mut model = Model::default();
        let mut has_left = 0;
        for (number, step) in steps.into_iter().enumerate() {
            let text = number.to_string();
            let line = format!("{text}\n");
            match step {
                Step::Come => world.come(),
                Step::Broadcast => {
                    let id = world.cx().broadcast(&shared(&text)).unwrap();
                    model.broadcast(id, None, &line);
                }
                Step::Except(index) => {
                    if let Some(place) = model.pick(index) {
                        let except = model.peers[place].id;
                        let id = world.cx().broadcast_except(except, &shared(&text)).unwrap();
                        model.broadcast(id, Some(place), &line);
                    }
                }
                Step::Send(index) => {
                    if let Some(place) = model.pick(index) {
                        let peer = &mut model.peers[place];
                        world.cx().send(peer.id, Message::text(&text)).unwrap();
                        peer.expected += &line;
                    }
                }
                Step::Close(index) => {
                    if let Some(place) = model.pick(index) {
                        let peer = &mut model.peers[place];
                        world.cx().close(peer.id, CloseCode::NORMAL, "");
                        peer.is_open = false;
                    }
                }
                Step::Leave(index) => {
                    // It has all that it was sent before it leaves, or else nobody could say what it read.
                    if let Some(place) = model.pick(index) {
                        world.process.settle();
                        let peer = &mut model.peers[place];
                        peer.is_open = false;
                        world.fars[peer.number].fail(104);
                        world.process.settle();
                        has_left += 1;
                    }
                }
                Step::Turn => {
                    let (_, reached) = world.turn();
                    prop_assert!(reached <= budget);
                    world.part();
                }
            }
            let known = model.peers.len();
            for (number, &id) in world.process.handler.opened.iter().enumerate().skip(known) {
                model.peers.push(Peer { id, number, expected: String::new(), is_open: true });
            }
        }
        world.process.settle();
        for peer in &model.peers {
            prop_assert_eq!(&world.read(peer.number), &peer.expected, "peer {}", peer.number);
        }
        let done: BTreeMap<_, _> = world.done().into_iter().map(|done| (done.0, done.1)).collect();
        prop_assert_eq!(done, model.counts);
        prop_assert!(world.process.handler.closed.len() >= has_left);
    }
}
