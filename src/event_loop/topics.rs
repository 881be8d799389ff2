//! Topics: which connections subscribe to each, and to which ones each connection does.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use slab::Slab;

use super::delivery::BroadcastId;
use super::holders::Holders;
use crate::proto::tally::Tally;

/// The topics of a loop that somebody subscribes to.
///
/// A topic exists from its first subscriber to its last one. Connections without topics are nowhere in here:
/// neither a slot nor a connection knows of its topics. To remove a subscription, the last member of the topic
/// takes the place of the one that leaves. So nobody else moves, and the cost does not depend on how many
/// others subscribe.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: Slab<Topic>,
    names: Parts<Arc<str>, TopicKey>,
    /// By slot: the topics of its connection. None of the lists is empty.
    chosen: Parts<usize, Chosen, BuildHasherDefault<SlotHasher>>,
    /// How many subscriptions there are.
    subscriptions: usize,
    /// What the topics take beside their subscriptions, bytes.
    shared: usize,
    /// What the subscriptions take, and whose take most.
    holders: Holders,
    /// Lent for a look at the members of a topic.
    members: Vec<usize>,
}

/// The place of a topic in the table, as long as somebody subscribes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicKey(u32);

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// Invariant: the `Choice` of each has its place in this list.
    members: Vec<Member>,
}

/// A connection that subscribes to a topic.
#[derive(Clone, Copy, Debug)]
struct Member {
    slot: u32,
    /// The first message of the topic that it still gets.
    owed: BroadcastId,
}

/// The topics of a connection.
#[derive(Debug, Default)]
struct Chosen {
    /// In the order of their keys.
    choices: Vec<Choice>,
    /// What their topics take. It is freed with this connection if no other subscribes to them.
    shared: usize,
    /// What its subscriptions take, and where they stand among those of others.
    tally: Tally,
}

/// A topic that a connection subscribes to.
#[derive(Clone, Copy, Debug)]
struct Choice {
    topic: TopicKey,
    /// Where the connection is among the topic's members.
    place: u32,
}

impl Topics {
    /// Says whether nobody subscribes to anything.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Finds a topic that somebody subscribes to.
    pub(super) fn find(&self, name: &str) -> Option<TopicKey> {
        self.names.get(name).copied()
    }

    /// Returns the name of a topic, to be kept. It is copied only if nobody subscribes here.
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        let known = self.find(name).and_then(|key| self.topics.get(key.index()));
        known.map_or_else(|| name.into(), |topic| Arc::clone(&topic.name))
    }

    /// Returns how many connections subscribe to a topic.
    pub(super) fn len_of(&self, topic: TopicKey) -> usize {
        self.topics
            .get(topic.index())
            .map_or(0, |topic| topic.members.len())
    }

    /// Returns the slot of a member of a topic.
    pub(super) fn slot_at(&self, topic: TopicKey, place: usize) -> Option<usize> {
        let member = self.topics.get(topic.index())?.members.get(place)?;
        Some(member.slot as usize)
    }

    /// Returns the slot of a member of a topic, if it still gets this message.
    pub(super) fn owed_at(
        &self,
        topic: TopicKey,
        place: usize,
        message: BroadcastId,
    ) -> Option<usize> {
        let member = self.topics.get(topic.index())?.members.get(place)?;
        (member.owed <= message).then_some(member.slot as usize)
    }

    /// Returns the slot of the member before a place: members are visited from the last one to the first.
    pub(super) fn slot_before(&self, topic: TopicKey, place: usize) -> Option<usize> {
        self.slot_at(topic, place.checked_sub(1)?)
    }

    /// Says whether the connection in a slot has still to get this message of a topic, and notes that it
    /// gets it now. Ask in the order of the messages.
    pub(super) fn take_owed(&mut self, topic: TopicKey, slot: usize, message: BroadcastId) -> bool {
        let Some(place) = self.place_of(topic, slot) else {
            return false;
        };
        let member = &mut self.topics[topic.index()].members[place];
        let is_owed = member.owed <= message;
        if is_owed {
            member.owed = message.next();
        }
        is_owed
    }

    /// Returns how many topics the connection in a slot subscribes to.
    pub(super) fn count_of(&self, slot: usize) -> usize {
        let chosen = self.chosen.get(&slot);
        chosen.map_or(0, |chosen| chosen.choices.len())
    }

    /// Returns what the topics of the connection in a slot would take, bytes, if it subscribed to this one, too.
    pub(super) fn shared_with(&self, slot: usize, name: &str) -> usize {
        let shared = self.chosen.get(&slot).map_or(0, |chosen| chosen.shared);
        shared + cost(name)
    }

    /// Returns how many topics there are.
    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Returns how many subscriptions there are.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Returns what all of this takes, bytes. Each name counts once.
    pub(super) fn bytes(&self) -> usize {
        self.shared + self.holders.bytes()
    }

    /// Returns what the subscriptions of the connection in a slot take, bytes, without the topics themselves.
    pub(super) fn bytes_of(&self, slot: usize) -> usize {
        let chosen = self.chosen.get(&slot);
        chosen.map_or(0, |chosen| chosen.tally.bytes)
    }

    /// Returns what the end of the connection in a slot would free of this at most, bytes.
    pub(super) fn weight_of(&self, slot: usize) -> usize {
        self.chosen.get(&slot).map_or(0, Chosen::weight)
    }

    /// Returns slots of some connections whose end would free most of this.
    pub(super) fn heaviest(&self) -> &[usize] {
        self.holders.heaviest()
    }

    /// Lends a list of the slots of a topic's members, which may leave meanwhile.
    pub(super) fn take_members(&mut self, topic: TopicKey) -> Vec<usize> {
        let mut members = std::mem::take(&mut self.members);
        let topic = self.topics.get(topic.index());
        let slots = topic.into_iter().flat_map(|topic| &topic.members);
        members.extend(slots.map(|member| member.slot as usize));
        members
    }

    /// Takes the list back.
    pub(super) fn give_members(&mut self, mut members: Vec<usize>) {
        members.clear();
        self.members = members;
    }

    /// Says whether the connection in a slot subscribes to a topic.
    pub(super) fn has(&self, slot: usize, name: &str) -> bool {
        let topic = self.find(name);
        topic.is_some_and(|topic| self.place_of(topic, slot).is_some())
    }

    /// Returns the topics of the connection in a slot.
    pub(super) fn names_of(&self, slot: usize) -> impl Iterator<Item = &str> + '_ {
        let chosen = self.chosen.get(&slot).into_iter();
        let choices = chosen.flat_map(|chosen| &chosen.choices);
        choices.map(|choice| &*self.topics[choice.topic.index()].name)
    }

    /// Returns the topics and the number of subscribers of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> + '_ {
        let topics = self.topics.iter();
        topics.map(|(_, topic)| (&*topic.name, topic.members.len()))
    }

    /// Has the connection in a slot subscribe to a topic, from the message `owed` on. Returns whether it did
    /// not before.
    pub(super) fn subscribe(&mut self, slot: usize, name: &str, owed: BroadcastId) -> bool {
        let topic = self.find(name).unwrap_or_else(|| self.add(name));
        if self.chosen.get(&slot).is_none() {
            self.chosen.insert(slot, Chosen::default());
        }
        let chosen = self.chosen.get_mut(&slot).expect("it is there now");
        let Err(index) = chosen.find(topic) else {
            return false;
        };
        let members = &mut self.topics[topic.index()].members;
        let place = number(members.len());
        members.push(Member {
            slot: number(slot),
            owed,
        });
        chosen.choices.insert(index, Choice { topic, place });
        chosen.shared += cost(name);
        self.subscriptions += 1;
        self.count(slot);
        true
    }

    /// Takes the connection in a slot out of a topic. Returns whether it subscribed to it.
    pub(super) fn unsubscribe(&mut self, slot: usize, topic: TopicKey) -> bool {
        let Some(chosen) = self.chosen.get_mut(&slot) else {
            return false;
        };
        let Ok(index) = chosen.find(topic) else {
            return false;
        };
        chosen.shared -= cost(&self.topics[topic.index()].name);
        let Choice { place, .. } = chosen.remove(index);
        let is_last = chosen.choices.is_empty();
        self.count(slot);
        if is_last {
            self.chosen.remove(&slot);
        }
        self.leave(topic, place);
        true
    }

    /// Takes the connection in a slot out of all topics.
    pub(super) fn forget(&mut self, slot: usize) {
        let Some(chosen) = self.chosen.get_mut(&slot) else {
            return;
        };
        let choices = std::mem::take(&mut chosen.choices);
        self.count(slot);
        self.chosen.remove(&slot);
        for choice in choices {
            self.leave(choice.topic, choice.place);
        }
    }

    fn add(&mut self, name: &str) -> TopicKey {
        let name = Arc::<str>::from(name);
        let key = self.topics.insert(Topic {
            name: Arc::clone(&name),
            members: Vec::new(),
        });
        let key = TopicKey(number(key));
        self.shared += cost(&name);
        self.names.insert(name, key);
        key
    }

    /// Counts anew what the subscriptions of the connection in a slot take.
    fn count(&mut self, slot: usize) {
        let chosen = self.chosen.get_mut(&slot).expect("it has a list");
        let (bytes, weight) = (chosen.bytes(), chosen.weight());
        if let Some((moved, place)) = self.holders.count(&mut chosen.tally, slot, bytes, weight) {
            let moved = self.chosen.get_mut(&moved).expect("it has subscriptions");
            moved.tally.place = place;
        }
    }

    /// Removes a member, whose own list no longer has the topic. The last member takes its place. A topic without
    /// members ends.
    fn leave(&mut self, topic: TopicKey, place: u32) {
        let members = &mut self.topics[topic.index()].members;
        members.swap_remove(place as usize);
        self.subscriptions -= 1;
        if members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        if let Some(moved) = members.get(place as usize) {
            let chosen = self.chosen.get_mut(&(moved.slot as usize));
            let chosen = chosen.expect("a member has chosen the topic");
            let index = chosen.find(topic).expect("a member has chosen the topic");
            chosen.choices[index].place = place;
        } else if members.is_empty() {
            let ended = self.topics.remove(topic.index());
            self.names.remove(&ended.name);
            self.shared -= cost(&ended.name);
        }
    }

    fn place_of(&self, topic: TopicKey, slot: usize) -> Option<usize> {
        let chosen = self.chosen.get(&slot)?;
        let index = chosen.find(topic).ok()?;
        Some(chosen.choices[index].place as usize)
    }
}

impl Chosen {
    /// Finds a topic, or where it belongs.
    fn find(&self, topic: TopicKey) -> Result<usize, usize> {
        self.choices
            .binary_search_by_key(&topic, |choice| choice.topic)
    }

    fn remove(&mut self, index: usize) -> Choice {
        let choices = &mut self.choices;
        let removed = choices.remove(index);
        if choices.len() < choices.capacity() / 4 {
            choices.shrink_to(choices.len() * 2);
        }
        removed
    }

    /// Returns what its subscriptions take, bytes.
    fn bytes(&self) -> usize {
        match self.choices.len() {
            0 => 0,
            count => FIRST + count * EACH,
        }
    }

    /// Returns what its end would free at most, bytes.
    fn weight(&self) -> usize {
        self.bytes() + self.shared
    }
}

/// Returns what a topic takes, bytes.
fn cost(name: &str) -> usize {
    TOPIC + name.len()
}

/// What a connection with topics, each of its subscriptions, and each topic beside its name take at most, bytes:
/// lists and maps grow to twice their length.
const FIRST: usize = 2 * size_of::<(usize, Chosen)>();
const EACH: usize = 2 * (size_of::<Choice>() + size_of::<Member>());
const TOPIC: usize = 2 * (size_of::<Topic>() + size_of::<(Arc<str>, TopicKey)>());

impl TopicKey {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before")
}

/// A map in parts, each of which grows on its own. To grow a map with a million keys takes some 100 ms, and
/// the loop stands still meanwhile. The parts exist from the first key to the last one.
#[derive(Debug)]
struct Parts<K, V, S = RandomState> {
    parts: Vec<HashMap<K, V, S>>,
    len: usize,
    hasher: S,
}

impl<K, V, S: Default> Default for Parts<K, V, S> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            len: 0,
            hasher: S::default(),
        }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher + Clone> Parts<K, V, S> {
    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts.get(self.part(key))?.get(key)
    }

    fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let part = self.part(key);
        self.parts.get_mut(part)?.get_mut(key)
    }

    /// Adds a key that is not there.
    fn insert(&mut self, key: K, value: V) {
        if self.parts.is_empty() {
            let empty = || HashMap::with_hasher(self.hasher.clone());
            self.parts.resize_with(PARTS, empty);
        }
        let part = self.part(&key);
        let before = self.parts[part].insert(key, value);
        debug_assert!(before.is_none(), "the key is new");
        self.len += 1;
    }

    fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.part(key);
        let part = self.parts.get_mut(index)?;
        let removed = part.remove(key)?;
        if part.len() < part.capacity() / 8 {
            part.shrink_to(part.len() * 2);
        }
        self.len -= 1;
        if self.len == 0 {
            self.parts = Vec::new();
        }
        Some(removed)
    }

    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        (self.hasher.hash_one(key) >> (u64::BITS - PARTS.ilog2())) as usize
    }
}

/// A power of two.
const PARTS: usize = 64;

/// Spreads slots over a map. Peers do not choose slots, so this need not be proof against them. A message under
/// way asks for each connection that anything is sent to.
#[derive(Debug, Default)]
struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, slot: usize) {
        // 2^64 divided by the golden ratio; the upper half of the product depends on all bits.
        let product = (self.0 ^ slot as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FIRST_ID: BroadcastId = BroadcastId::FIRST;

    fn members(topics: &Topics, name: &str) -> BTreeSet<usize> {
        let topic = topics.find(name);
        topic.map_or_else(BTreeSet::new, |topic| {
            let places = 0..topics.len_of(topic);
            places
                .filter_map(|place| topics.slot_at(topic, place))
                .collect()
        })
    }

    #[test]
    fn a_topic_is_there_from_its_first_subscriber_to_its_last() {
        let mut topics = Topics::default();
        assert!(topics.is_empty() && topics.find("news").is_none());
        assert!(topics.subscribe(7, "news", FIRST_ID));
        assert!(!topics.subscribe(7, "news", FIRST_ID), "it does already");
        assert!(topics.subscribe(9, "news", FIRST_ID));
        let news = topics.find("news").expect("it is there");
        assert_eq!(topics.iter().collect::<Vec<_>>(), [("news", 2)]);
        assert!(topics.unsubscribe(7, news));
        assert!(!topics.unsubscribe(7, news), "it did already");
        assert_eq!(members(&topics, "news"), BTreeSet::from([9]));
        topics.forget(9);
        topics.forget(9);
        assert!(topics.is_empty() && topics.find("news").is_none());
        assert!(topics.names.parts.is_empty() && topics.chosen.parts.is_empty());
    }

    #[test]
    fn a_name_counts_once_and_weighs_on_each_who_subscribes() {
        let mut topics = Topics::default();
        let name = "x".repeat(1_000);
        topics.subscribe(7, &name, FIRST_ID);
        let alone = topics.bytes();
        topics.subscribe(9, &name, FIRST_ID);
        assert_eq!(topics.bytes() - alone, FIRST + EACH);
        assert_eq!(topics.bytes_of(9), FIRST + EACH);
        assert_eq!(topics.weight_of(9), FIRST + EACH + TOPIC + 1_000);
        topics.subscribe(9, "y", FIRST_ID);
        assert_eq!(topics.heaviest()[0], 7, "of the same class the first");
        topics.subscribe(9, &"z".repeat(1_000), FIRST_ID);
        assert_eq!(topics.heaviest(), [9]);
    }

    #[test]
    fn what_is_taken_is_not_owed_and_what_came_before_neither() {
        let mut topics = Topics::default();
        let (second, third) = (FIRST_ID.next(), FIRST_ID.next().next());
        topics.subscribe(7, "news", second);
        let news = topics.find("news").expect("it is there");
        assert!(!topics.take_owed(news, 7, FIRST_ID), "it came later");
        assert_eq!(topics.owed_at(news, 0, second), Some(7));
        assert!(topics.take_owed(news, 7, second));
        assert_eq!(topics.owed_at(news, 0, second), None);
        assert!(!topics.take_owed(news, 7, second) && topics.take_owed(news, 7, third));
        assert!(
            !topics.take_owed(news, 8, third),
            "it does not subscribe to it"
        );
    }

    proptest! {
        /// The model is the set of pairs.
        #[test]
        fn members_and_choices_are_the_two_sides_of_one_relation(
            steps in prop::collection::vec((0..4u8, 0..12usize, 0..12usize), 0..300),
        ) {
            let mut topics = Topics::default();
            let mut pairs = BTreeSet::new();
            for (kind, slot, topic) in steps {
                let name = topic.to_string();
                match kind {
                    0 | 1 => {
                        let is_new = topics.subscribe(slot, &name, FIRST_ID);
                        prop_assert_eq!(is_new, pairs.insert((slot, topic)));
                    }
                    2 => {
                        let found = topics.find(&name);
                        let was_there = found.is_some_and(|found| topics.unsubscribe(slot, found));
                        prop_assert_eq!(was_there, pairs.remove(&(slot, topic)));
                    }
                    _ => {
                        topics.forget(slot);
                        pairs.retain(|pair| pair.0 != slot);
                    }
                }
                prop_assert_eq!(topics.is_empty(), pairs.is_empty());
                let held: BTreeSet<_> = pairs.iter().map(|pair| pair.1.to_string()).collect();
                let slots: BTreeSet<_> = pairs.iter().map(|pair| pair.0).collect();
                prop_assert_eq!(topics.len(), held.len());
                prop_assert_eq!(topics.subscriptions(), pairs.len());
                let names: usize = held.iter().map(|name| cost(name)).sum();
                let bytes = names + slots.len() * FIRST + pairs.len() * EACH;
                prop_assert_eq!(topics.bytes(), bytes);
                let heaviest = topics.heaviest().iter().map(|&slot| topics.weight_of(slot)).max();
                let most = slots.iter().map(|&slot| topics.weight_of(slot)).max();
                prop_assert_eq!(heaviest, most);
                // What was touched; the rest when all is done.
                for number in [slot, topic] {
                    assert_both_sides(&topics, &pairs, number);
                }
            }
            for number in 0..12 {
                assert_both_sides(&topics, &pairs, number);
            }
        }
    }

    /// Compares the topic and the slot of a number with the model.
    fn assert_both_sides(topics: &Topics, pairs: &BTreeSet<(usize, usize)>, number: usize) {
        let name = number.to_string();
        let slots = pairs.iter().filter(|pair| pair.1 == number);
        let slots: BTreeSet<_> = slots.map(|pair| pair.0).collect();
        let len = topics.find(&name).map_or(0, |topic| topics.len_of(topic));
        assert_eq!(len, slots.len());
        assert_eq!(members(topics, &name), slots);
        let names = pairs.iter().filter(|pair| pair.0 == number);
        let names: BTreeSet<_> = names.map(|pair| pair.1.to_string()).collect();
        let chosen: BTreeSet<_> = topics.names_of(number).map(str::to_owned).collect();
        assert_eq!(topics.count_of(number), names.len());
        assert_eq!(chosen, names);
    }
}
