//! Broadcasts under way, to all connections or to those of a topic, and which slots each of them has still
//! to visit.

use std::collections::{HashMap, VecDeque};

use super::delivery::{BroadcastDone, BroadcastId};
use super::token::ConnId;
use super::topics::{TopicKey, Topics};
use crate::error::SendError;
use crate::proto::message::SharedMessage;

/// Broadcasts under way, the oldest first.
///
/// One cursor goes round over the slots of the loop's connections. At each slot it hands out all
/// broadcasts that are under way, and so a connection gets several with one write. Each broadcast is
/// over when the cursor has come back to the slot where it began. Its recipients are the
/// connections that were open when it began: for each slot whose connection opened later, or was
/// served early, the number of the first broadcast that it still gets is kept.
///
/// A broadcast to a topic goes over the topic's members instead, and hands out at each of them all that
/// is under way too. There the table of topics says what a member still gets. The oldest one of all says
/// where to go next.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    under_way: VecDeque<Broadcast>,
    /// How many of them go to a topic.
    to_topics: usize,
    /// Those that are over and were not reported yet because they never were under way.
    finished: VecDeque<BroadcastDone>,
    /// The id of the last one.
    last: Option<BroadcastId>,
    /// Where the cursor is.
    place: Place,
    /// The number of slots that were ever in use: the cursor turns back there.
    reach: usize,
    /// What `under_way` counts against [`MOST_BYTES`].
    bytes: usize,
    /// By slot: the first broadcast to all that its connection gets. Slots that are not listed get all that
    /// are under way.
    since: HashMap<usize, BroadcastId>,
}

/// Where the cursor was or is: the round, then the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    slot: usize,
}

/// One of them.
#[derive(Debug)]
struct Broadcast {
    message: SharedMessage,
    except: Option<ConnId>,
    to: Recipients,
    done: BroadcastDone,
}

/// Who gets it.
#[derive(Clone, Copy, Debug)]
enum Recipients {
    /// All that were open when the cursor was here.
    All(Place),
    Members(Walk),
}

/// The way over the members of a topic, from the last one to the first: whoever takes the place of one that
/// leaves has a lower place afterwards, and whoever comes has a higher one.
#[derive(Clone, Copy, Debug)]
struct Walk {
    topic: TopicKey,
    /// Members at this place and above it have been visited, or came later.
    place: usize,
    /// Members that have still to get it. With none left, the key may belong to another topic.
    left: usize,
}

/// Where broadcasts are to be handed out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a slot, and the first broadcast to all that its connection gets.
    Slot(usize, Option<BroadcastId>),
    /// At a member that has got all of it.
    Served,
}

impl Place {
    /// Says whether the cursor, which is at `now`, has visited a slot since it was here.
    fn has_visited(self, slot: usize, now: Self) -> bool {
        if now.round == self.round {
            (self.slot..now.slot).contains(&slot)
        } else {
            slot >= self.slot || slot < now.slot
        }
    }

    /// Returns the same slot in the next round.
    fn one_round_on(self) -> Self {
        Self {
            round: self.round + 1,
            slot: self.slot,
        }
    }
}

impl Broadcasts {
    /// Begins one, for the connections that are open now.
    pub(super) fn begin(&mut self, message: SharedMessage, except: Option<ConnId>) -> BroadcastId {
        self.push(message, except, Recipients::All(self.place))
    }

    /// Begins one, for those that subscribe to a topic now: `members` of them.
    pub(super) fn begin_for(
        &mut self,
        topic: TopicKey,
        members: usize,
        message: SharedMessage,
        except: Option<ConnId>,
    ) -> BroadcastId {
        self.to_topics += 1;
        let walk = Walk {
            topic,
            place: members,
            left: members,
        };
        self.push(message, except, Recipients::Members(walk))
    }

    fn push(
        &mut self,
        message: SharedMessage,
        except: Option<ConnId>,
        to: Recipients,
    ) -> BroadcastId {
        let done = self.number();
        self.bytes += message.cost();
        self.under_way.push_back(Broadcast {
            message,
            except,
            to,
            done,
        });
        done.id
    }

    /// Numbers one that is handed out at once.
    pub(super) fn number(&mut self) -> BroadcastDone {
        let id = self.next_id();
        self.last = Some(id);
        BroadcastDone::new(id)
    }

    /// Notes that one that was handed out at once has to be reported.
    pub(super) fn finish(&mut self, done: BroadcastDone) {
        self.finished.push_back(done);
    }

    /// Returns the id of the next one.
    pub(super) fn next_id(&self) -> BroadcastId {
        self.last.map_or(BroadcastId::FIRST, BroadcastId::next)
    }

    /// Returns an error if there is no room for another one. The first may be of any size.
    pub(super) fn check_room(&self, message: &SharedMessage) -> Result<(), SendError> {
        let after = self.bytes.saturating_add(message.cost());
        if self.is_empty() || (!self.is_full() && after <= MOST_BYTES) {
            return Ok(());
        }
        Err(SendError::Full {
            queued: self.bytes,
            limit: MOST_BYTES,
        })
    }

    /// Says whether there is no room for another one, however small it is.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// Says whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Says whether any is under way, or has to be reported.
    pub(super) fn has_work(&self) -> bool {
        !self.is_empty() || !self.finished.is_empty()
    }

    /// Says whether any to a topic is under way.
    pub(super) fn has_topics(&self) -> bool {
        self.to_topics > 0
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Notes that a slot is in use.
    pub(super) fn note_slot(&mut self, slot: usize) {
        self.reach = self.reach.max(slot + 1);
    }

    /// Returns the number of slots that were ever in use.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// Notes that the connection in a slot has just opened, and gets none of those under way.
    pub(super) fn note_open(&mut self, slot: usize) {
        if self.len() > self.to_topics {
            self.since.insert(slot, self.next_id());
        }
    }

    /// Returns the slot that comes next.
    pub(super) fn coming(&self, topics: &Topics) -> Option<usize> {
        match self.under_way.front()?.to {
            Recipients::All(_) => Some(self.place.slot),
            Recipients::Members(walk) => topics.slot_before(walk.topic, walk.place),
        }
    }

    /// Moves on to the next slot, unless the oldest one is over or nothing is under way.
    pub(super) fn advance(&mut self, topics: &Topics) -> Option<Stop> {
        if self.is_over() {
            return None;
        }
        let oldest = self.under_way.front_mut()?;
        match &mut oldest.to {
            Recipients::All(_) => {
                let (slot, first) = self.advance_cursor();
                Some(Stop::Slot(slot, Some(first)))
            }
            Recipients::Members(walk) => {
                walk.place = walk.place.min(topics.len_of(walk.topic));
                let Some(place) = walk.place.checked_sub(1) else {
                    debug_assert!(false, "{} members are left", walk.left);
                    walk.left = 0;
                    return None;
                };
                walk.place = place;
                match topics.owed_at(walk.topic, place, oldest.done.id) {
                    Some(slot) => Some(Stop::Slot(slot, self.take_owed(slot))),
                    None => Some(Stop::Served),
                }
            }
        }
    }

    /// Moves the cursor to the next slot. Returns the slot that it was at, and the first broadcast to all that
    /// the slot's connection gets.
    fn advance_cursor(&mut self) -> (usize, BroadcastId) {
        let slot = self.place.slot;
        self.place.slot += 1;
        if self.place.slot >= self.reach {
            self.place = Place {
                round: self.place.round + 1,
                slot: 0,
            };
        }
        let first = match self.since.is_empty() {
            true => None,
            false => self.since.remove(&slot),
        };
        (slot, first.unwrap_or(BroadcastId::FIRST))
    }

    /// Says whether the oldest one is over.
    pub(super) fn is_over(&self) -> bool {
        self.under_way
            .front()
            .is_some_and(|oldest| match oldest.to {
                Recipients::All(began) => self.reach == 0 || self.place >= began.one_round_on(),
                Recipients::Members(walk) => walk.left == 0,
            })
    }

    /// Takes the oldest one, if it is over.
    pub(super) fn take_done(&mut self) -> Option<BroadcastDone> {
        if !self.is_over() {
            return None;
        }
        let oldest = self.under_way.pop_front()?;
        self.bytes -= oldest.message.cost();
        if matches!(oldest.to, Recipients::Members(_)) {
            self.to_topics -= 1;
        }
        if self.len() == self.to_topics {
            self.since = HashMap::new();
        }
        Some(oldest.done)
    }

    /// Returns how many that never were under way have to be reported.
    pub(super) fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Takes one that never was under way.
    pub(super) fn take_finished(&mut self) -> Option<BroadcastDone> {
        self.finished.pop_front()
    }

    /// Returns the first broadcast to all that the connection in a slot still gets, and notes that it gets
    /// none of those under way later. `None` if it gets none.
    pub(super) fn take_owed(&mut self, slot: usize) -> Option<BroadcastId> {
        if self.len() == self.to_topics {
            return None;
        }
        let place = self.place;
        let first = self.since.get(&slot).copied().unwrap_or(BroadcastId::FIRST);
        let owed = |one: &&Broadcast| match one.to {
            Recipients::All(began) => one.done.id >= first && !began.has_visited(slot, place),
            Recipients::Members(_) => false,
        };
        let first = self.under_way.iter().find(owed)?.done.id;
        self.since.insert(slot, self.next_id());
        Some(first)
    }

    /// Takes what the connection in a slot gets of the one at this index: its message, and who is left out.
    /// `first` is the first one to all that it gets. Ask in the order of the indices.
    pub(super) fn take(
        &mut self,
        index: usize,
        slot: usize,
        first: Option<BroadcastId>,
        topics: &mut Topics,
    ) -> Option<(&SharedMessage, Option<ConnId>)> {
        let one = self.under_way.get_mut(index)?;
        let is_for = match &mut one.to {
            Recipients::All(_) => first.is_some_and(|first| one.done.id >= first),
            Recipients::Members(walk) => {
                let is_for = walk.left > 0 && topics.take_owed(walk.topic, slot, one.done.id);
                walk.left -= usize::from(is_for);
                is_for
            }
        };
        is_for.then_some((&one.message, one.except))
    }

    /// Notes what became of the message of the one at this index.
    pub(super) fn count(&mut self, index: usize, sent: &Result<(), SendError>) {
        if let Some(one) = self.under_way.get_mut(index) {
            one.done.count(sent);
        }
    }
}

/// Most broadcasts under way, and most bytes of their messages.
const MOST: usize = 1024;
const MOST_BYTES: usize = 16 * 1024 * 1024;
