//! Topics: who gets what is published, in which order, and how much of it falls into one turn.
//!
//! The model is a set of names and a list for each peer of what it must have read: whoever subscribes when a
//! message is published gets it once, in the order of the calls, and nobody else.

use std::collections::{BTreeMap, BTreeSet};

use allocation_counter::measure;
use heartwheel::close::CloseCode;
use heartwheel::error::{SendError, SubscribeError};
use heartwheel::event_loop::{BroadcastId, ConnId};
use heartwheel::proto::message::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{World, shared};

/// So many get a message at once; to more it is handed out in pieces.
const AT_ONCE: usize = 256;

/// Returns a world of so many peers who all subscribe to `topic`.
fn world_of(budget: usize, count: usize, topic: &str) -> (World, Vec<ConnId>) {
    let mut world = World::new(budget);
    world.fill(count);
    let ids = world.process.handler.opened.clone();
    for &id in &ids {
        assert_eq!(world.cx().subscribe(id, topic), Ok(true));
    }
    (world, ids)
}

fn publish(world: &mut World, topic: &str, text: &str) -> BroadcastId {
    world.cx().publish(topic, &shared(text)).unwrap()
}

fn read_all(world: &World) -> Vec<String> {
    (0..world.fars.len()).map(|peer| world.read(peer)).collect()
}

#[test]
fn a_message_reaches_those_who_subscribe_and_its_sender_may_be_left_out() {
    let mut world = World::new(4);
    world.fill(3);
    let ids = world.process.handler.opened.clone();
    for &id in &ids[..2] {
        assert_eq!(world.cx().subscribe(id, "news"), Ok(true));
        assert_eq!(world.cx().subscribe(id, "news"), Ok(false));
    }
    let both = publish(&mut world, "news", "both");
    let news = shared("one");
    let one = world.cx().publish_except(ids[0], "news", &news).unwrap();
    let nobody = publish(&mut world, "nothing", "nobody");
    world.process.settle();
    assert_eq!(read_all(&world), ["both\n", "both\none\n", ""]);
    assert_eq!(world.done(), [(both, 2, 0), (one, 1, 0), (nobody, 0, 0)]);
    assert!(world.cx().unsubscribe(ids[0], "news"));
    assert!(!world.cx().unsubscribe(ids[0], "news"));
    publish(&mut world, "news", "later");
    world.process.settle();
    assert_eq!(read_all(&world), ["", "later\n", ""]);
    assert!(!world.turn().0, "nothing is left");
}

#[test]
fn a_message_to_many_is_handed_out_in_pieces_and_to_nobody_else() {
    let count = AT_ONCE + 4;
    let (mut world, _) = world_of(100, count, "news");
    world.fill(50);
    let id = publish(&mut world, "news", "x");
    assert_eq!(read_all(&world).concat(), "", "the call only notes it");
    let turns: Vec<_> = (0..4).map(|_| world.turn()).collect();
    assert_eq!(turns[..3], [(true, 100), (true, 100), (true, 60)]);
    assert!(!turns[3].0, "nothing is left");
    assert_eq!(world.done(), [(id, count, 0)]);
    let read = read_all(&world);
    assert!(read[..count].iter().all(|read| read == "x\n"));
    assert!(read[count..].iter().all(String::is_empty));
}

/// Each of a thousand messages would otherwise cost everybody a write.
#[test]
fn messages_to_many_reach_a_subscriber_together() {
    let count = AT_ONCE + 1;
    let (mut world, _) = world_of(100, count, "news");
    let ids: Vec<_> = (0..100).map(|_| publish(&mut world, "news", "x")).collect();
    let reached: Vec<_> = (0..4).map(|_| world.turn().1).collect();
    assert_eq!(reached, [100, 100, 57, 0], "one visit for all of them");
    let done = ids.into_iter().map(|id| (id, count, 0));
    assert_eq!(world.done(), done.collect::<Vec<_>>());
    assert!(
        read_all(&world)
            .iter()
            .all(|read| *read == "x\n".repeat(100))
    );
}

/// Ten thousand topics of ten subscribers each must not cost a walk over all connections each.
#[test]
fn a_message_to_a_few_is_in_their_queues_at_once() {
    let (mut world, ids) = world_of(1, AT_ONCE, "news");
    publish(&mut world, "news", "x");
    let queued = |world: &mut World, id| world.cx().info(id).unwrap().queued;
    assert!(ids.iter().all(|&id| queued(&mut world, id) == 2));
    assert_eq!(world.turn().1, 0, "no broadcast");
    assert!(read_all(&world).iter().all(|read| read == "x\n"));
}

#[test]
fn what_is_sent_closed_or_unsubscribed_later_comes_behind() {
    let (mut world, ids) = world_of(1, AT_ONCE + 1, "many");
    for &id in &ids[..4] {
        world.cx().subscribe(id, "few").unwrap();
    }
    publish(&mut world, "many", "1");
    publish(&mut world, "few", "2");
    world.cx().broadcast(&shared("3")).unwrap();
    publish(&mut world, "many", "4");
    world.cx().send(ids[0], Message::text("5")).unwrap();
    world.cx().close(ids[1], CloseCode::NORMAL, "");
    assert!(world.cx().unsubscribe(ids[2], "many"));
    publish(&mut world, "many", "6");
    publish(&mut world, "few", "7");
    world.process.settle();
    let read = read_all(&world);
    let first = [
        "1\n2\n3\n4\n5\n6\n7\n",
        "1\n2\n3\n4\n",
        "1\n2\n3\n4\n7\n",
        "1\n2\n3\n4\n6\n7\n",
    ];
    assert_eq!(read[..4], first);
    assert!(read[4..].iter().all(|read| read == "1\n3\n4\n6\n"));
}

#[test]
fn who_subscribes_later_or_again_gets_only_what_is_published_later() {
    let (mut world, ids) = world_of(1, AT_ONCE + 2, "news");
    world.fill(1);
    publish(&mut world, "news", "1");
    world.turn();
    assert!(world.cx().unsubscribe(ids[0], "news"));
    assert_eq!(world.cx().subscribe(ids[0], "news"), Ok(true));
    let late = *world.process.handler.opened.last().unwrap();
    assert_eq!(world.cx().subscribe(late, "news"), Ok(true));
    world.turn();
    publish(&mut world, "news", "2");
    world.process.settle();
    let read = read_all(&world);
    assert!(read[..ids.len()].iter().all(|read| read == "1\n2\n"));
    assert_eq!(read[ids.len()], "2\n");
}

#[test]
fn a_drain_and_a_stop_come_behind_what_is_published() {
    for is_stop in [false, true] {
        let count = AT_ONCE + 1;
        let (mut world, _) = world_of(1, count, "news");
        let id = publish(&mut world, "news", "x");
        match is_stop {
            true => world.cx().stop(),
            false => world.cx().drain(std::time::Duration::from_millis(1)),
        }
        while !world.process.inner.is_stopped() {
            let due = world.process.due();
            world.process.memory.set_clock(due);
            world.process.turn();
            world.part();
        }
        assert_eq!(world.done(), [(id, count, 0)]);
        assert!(read_all(&world).iter().all(|read| read == "x\n"));
        assert_eq!(world.cx().all_topics().count(), 0);
    }
}

#[test]
fn a_full_queue_is_left_out_and_the_others_are_not() {
    let text = "x".repeat(600);
    for count in [2, AT_ONCE + 1] {
        let mut world = World::with(64, |listener| listener.limits.send_queue = Some(1024));
        world.fill(count);
        let ids = world.process.handler.opened.clone();
        for &id in &ids {
            world.cx().subscribe(id, "news").unwrap();
        }
        world.fars[0].set_room(0);
        for _ in 0..2 {
            publish(&mut world, "news", &text);
            world.process.settle();
        }
        let counts: Vec<_> = world.done().iter().map(|done| (done.1, done.2)).collect();
        assert_eq!(counts, [(count, 0), (count - 1, 1)]);
        world.fars[0].set_room(usize::MAX);
        world.process.settle();
        let read: Vec<_> = read_all(&world).iter().map(String::len).collect();
        assert_eq!(read[0], text.len() + 1);
        assert!(read[1..].iter().all(|&len| len == 2 * (text.len() + 1)));
        assert_eq!(world.process.handler.writable, [ids[0]]);
    }
}

#[test]
fn too_many_messages_to_many_are_refused_and_those_to_a_few_are_not() {
    let (mut world, ids) = world_of(64, AT_ONCE + 1, "many");
    world.cx().subscribe(ids[0], "few").unwrap();
    for _ in 0..1024 {
        publish(&mut world, "many", "x");
    }
    let refused = world.cx().publish("many", &shared("x"));
    assert!(
        matches!(refused, Err(SendError::Full { .. })),
        "{refused:?}"
    );
    publish(&mut world, "few", "y");
    world.process.settle();
    assert_eq!(world.read(0), "x\n".repeat(1024) + "y\n");
    assert_eq!(world.done().len(), 1025);
}

#[test]
fn a_name_a_number_and_a_connection_have_their_limits() {
    let mut world = World::new(1);
    world.fill(2);
    let ids = world.process.handler.opened.clone();
    let longest = "x".repeat(65_535);
    assert_eq!(world.cx().subscribe(ids[0], &longest), Ok(true));
    let len = longest.len() + 1;
    let too_long = Err(SubscribeError::TooLong { len, limit: 65_535 });
    assert_eq!(
        world.cx().subscribe(ids[0], &(longest.clone() + "x")),
        too_long
    );
    for number in 1..16_384 {
        assert_eq!(world.cx().subscribe(ids[0], &number.to_string()), Ok(true));
    }
    let too_many = Err(SubscribeError::TooMany { limit: 16_384 });
    assert_eq!(world.cx().subscribe(ids[0], "one more"), too_many);
    assert_eq!(world.cx().subscribe(ids[0], "1"), Ok(false));
    assert_eq!(world.cx().subscribe(ids[1], "one more"), Ok(true));
    assert_eq!(world.cx().topics(ids[0]).count(), 16_384);
    world.cx().close(ids[0], CloseCode::NORMAL, "");
    assert_eq!(
        world.cx().subscribe(ids[0], "1"),
        Err(SubscribeError::Closed)
    );
    // It ends when its peer has ended too.
    world.process.settle();
    world.part();
    world.process.settle();
    assert_eq!(world.cx().topics(ids[0]).count(), 0);
    let left: Vec<_> = world
        .cx()
        .all_topics()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(left, ["one more"]);
}

#[test]
fn publishing_to_a_known_topic_allocates_nothing() {
    for count in [8, AT_ONCE + 1] {
        let (mut world, _) = world_of(1024, count, "news");
        let message = shared("hello, all");
        for round in 0..8 {
            let counted = measure(|| {
                world.cx().publish("news", &message).unwrap();
            });
            // The first ones find tables and buffers too small.
            assert!(
                round < 4 || counted.count_total == 0,
                "{round}: {counted:?}"
            );
            world.process.settle();
        }
        assert_eq!(world.read(0), "hello, all\n".repeat(8));
    }
}

/// The documentation of `subscribe` has these figures.
#[test]
fn a_subscription_and_a_topic_take_little_memory() {
    let held = |world: &mut World, name: &dyn Fn(usize) -> String| {
        let ids = world.process.handler.opened.clone();
        let counted = measure(|| {
            for (number, &id) in ids.iter().enumerate() {
                world.cx().subscribe(id, &name(number)).unwrap();
            }
        });
        usize::try_from(counted.bytes_current).unwrap() / ids.len()
    };
    let mut world = World::new(1);
    world.fill(3_000);
    let first = held(&mut world, &|_| "first".to_owned());
    let more: usize = (0..10)
        .map(|name| held(&mut world, &|_| name.to_string()))
        .sum();
    let own = held(&mut world, &|number| number.to_string());
    let own = own.saturating_sub(more / 10);
    assert!(
        first <= 160 && more <= 480 && own <= 240,
        "{first} {more} {own}"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Come,
    Subscribe(Index, usize),
    Unsubscribe(Index, usize),
    Publish(usize),
    Except(Index, usize),
    Broadcast,
    Send(Index),
    Close(Index),
    Leave(Index),
    Turn,
}

/// The first one begins with many subscribers.
const NAMES: [&str; 3] = ["many", "some", "few"];

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let who = any::<Index>();
    prop_oneof![
        1 => Just(Step::Come),
        4 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Subscribe(who, name)),
        3 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Unsubscribe(who, name)),
        5 => name.clone().prop_map(Step::Publish),
        2 => (who.clone(), name).prop_map(|(who, name)| Step::Except(who, name)),
        1 => Just(Step::Broadcast),
        2 => who.clone().prop_map(Step::Send),
        1 => who.clone().prop_map(Step::Close),
        1 => who.prop_map(Step::Leave),
        6 => Just(Step::Turn),
    ]
}

/// What is known of one peer.
#[derive(Debug)]
struct Peer {
    id: ConnId,
    topics: BTreeSet<&'static str>,
    /// What it must have read.
    expected: String,
    is_open: bool,
}

/// The rule of recipients and order, as plain lists.
#[derive(Default)]
struct Model {
    /// By their numbers.
    peers: Vec<Peer>,
    /// How many were to get each message.
    counts: BTreeMap<BroadcastId, usize>,
}

impl Model {
    /// Picks an open peer: often one of a few, so that the same ones meet several steps.
    fn pick(&self, index: Index) -> Option<usize> {
        let open = self
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| peer.is_open);
        let open: Vec<_> = open.map(|(number, _)| number).collect();
        let few = &open[open.len().saturating_sub(8)..];
        (!open.is_empty()).then(|| match index.index(2) {
            0 => *index.get(few),
            _ => *index.get(&open),
        })
    }

    fn tell(&mut self, id: BroadcastId, text: &str, is_for: impl Fn(usize, &Peer) -> bool) {
        let mut count = 0;
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if peer.is_open && is_for(number, peer) {
                peer.expected += text;
                count += 1;
            }
        }
        self.counts.insert(id, count);
    }

    /// Notes who has come.
    fn meet(&mut self, opened: &[ConnId]) {
        for &id in &opened[self.peers.len()..] {
            self.peers.push(Peer {
                id,
                topics: BTreeSet::new(),
                expected: String::new(),
                is_open: true,
            });
        }
    }

    fn end(&mut self, number: usize) {
        self.peers[number].is_open = false;
        self.peers[number].topics.clear();
    }
}

/// Does one step to both.
fn play(world: &mut World, model: &mut Model, step: &Step, text: &str) {
    let line = format!("{text}\n");
    let picked = match step {
        Step::Subscribe(index, _)
        | Step::Unsubscribe(index, _)
        | Step::Except(index, _)
        | Step::Send(index)
        | Step::Close(index)
        | Step::Leave(index) => match model.pick(*index) {
            Some(number) => number,
            None => return,
        },
        Step::Come | Step::Publish(_) | Step::Broadcast | Step::Turn => 0,
    };
    match *step {
        Step::Come => world.come(),
        Step::Subscribe(_, name) => {
            let peer = &mut model.peers[picked];
            let is_new = world.cx().subscribe(peer.id, NAMES[name]);
            assert_eq!(is_new, Ok(peer.topics.insert(NAMES[name])));
        }
        Step::Unsubscribe(_, name) => {
            let peer = &mut model.peers[picked];
            let was_there = world.cx().unsubscribe(peer.id, NAMES[name]);
            assert_eq!(was_there, peer.topics.remove(NAMES[name]));
        }
        Step::Publish(name) => {
            let id = publish(world, NAMES[name], text);
            model.tell(id, &line, |_, peer| peer.topics.contains(NAMES[name]));
        }
        Step::Except(_, name) => {
            let except = model.peers[picked].id;
            let message = shared(text);
            let id = world.cx().publish_except(except, NAMES[name], &message);
            model.tell(id.unwrap(), &line, |number, peer| {
                number != picked && peer.topics.contains(NAMES[name])
            });
        }
        Step::Broadcast => {
            let id = world.cx().broadcast(&shared(text)).unwrap();
            model.tell(id, &line, |_, _| true);
        }
        Step::Send(_) => {
            let peer = &mut model.peers[picked];
            world.cx().send(peer.id, Message::text(text)).unwrap();
            peer.expected += &line;
        }
        Step::Close(_) => {
            world
                .cx()
                .close(model.peers[picked].id, CloseCode::NORMAL, "");
            model.end(picked);
        }
        Step::Leave(_) => {
            // It has all that it was sent before it leaves, or else nobody could say what it read.
            world.process.settle();
            model.meet(&world.process.handler.opened);
            model.end(picked);
            world.fars[picked].fail(104);
            world.process.settle();
        }
        Step::Turn => {
            world.turn();
            world.part();
        }
    }
    model.meet(&world.process.handler.opened);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whoever_subscribes_at_the_call_gets_it_once_in_the_order_of_the_calls(
        budget in 1..60usize,
        beyond in 0..4usize,
        steps in vec(step(), 0..150),
    ) {
        let (mut world, _) = world_of(budget, AT_ONCE + beyond, NAMES[0]);
        let mut model = Model::default();
        model.meet(&world.process.handler.opened);
        for peer in &mut model.peers {
            peer.topics.insert(NAMES[0]);
        }
        for (number, step) in steps.iter().enumerate() {
            play(&mut world, &mut model, step, &number.to_string());
        }
        world.process.settle();
        for (number, peer) in model.peers.iter().enumerate() {
            prop_assert_eq!(&world.read(number), &peer.expected, "peer {}", number);
            if peer.is_open {
                let topics: BTreeSet<_> = world.cx().topics(peer.id).map(str::to_owned).collect();
                let expected: BTreeSet<_> = peer.topics.iter().map(|&name| name.to_owned()).collect();
                prop_assert_eq!(topics, expected);
            }
        }
        let done: BTreeMap<_, _> = world.done().into_iter().map(|done| (done.0, done.1)).collect();
        prop_assert_eq!(done, model.counts);

        // Whoever is left ends: nothing stays in the tables.
        for peer in model.peers.iter().filter(|peer| peer.is_open) {
            world.cx().close(peer.id, CloseCode::NORMAL, "");
        }
        world.process.settle();
        world.part();
        world.process.settle();
        prop_assert_eq!(world.cx().all_topics().count(), 0);
    }
}
